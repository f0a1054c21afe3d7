"""Lists of objects: prefix, delimiter, offsets, pages; memory grows with a page, not the bucket."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mlengine.core.errors import InvalidArgument, NotFound
from mlengine.core.paging import page_token, position
from mlengine.storage.gcs.conditions import whole_number
from mlengine.storage.gcs.messages import Query, Request, Response, Unsupported, json_response
from mlengine.storage.gcs.resources import object_resource
from mlengine.storage.gcs.shelves import Shelf, Stored
from mlengine.storage.patterns import compile_pattern, literal_prefix

__all__ = ["list_objects"]

_MAX_PAGE = 1000
_LAST = "\U0010ffff"  # sorts behind every character a name can go on with
_PENDING = "\x01"  # no name begins with it
_REFUSED = ("softDeleted", "includeFoldersAsPrefixes", "filter")


class _Wanted(NamedTuple):
    prefix: str
    delimiter: str
    start: str  # inclusive
    end: str  # exclusive
    has_folder_items: bool  # items that end in the delimiter appear as items too
    pattern: re.Pattern[str] | None

    @classmethod
    def of(cls, query: Query) -> _Wanted:
        for name in _REFUSED:
            if query.get(name, "false") not in ("false", ""):
                raise Unsupported(f"These buckets cannot list by {name}.", field=name)
        pattern = query.get("matchGlob", "")
        if any(c in pattern for c in "[]{}\\"):
            raise Unsupported("Only *, ** and ? are known in globs.", field="matchGlob")
        prefix = query.get("prefix", "")
        if pattern and literal_prefix(pattern).startswith(prefix):
            prefix = literal_prefix(pattern)
        return cls(
            prefix,
            query.get("delimiter", ""),
            query.get("startOffset", ""),
            query.get("endOffset", ""),
            query.get("includeTrailingDelimiter") == "true",
            compile_pattern(pattern) if pattern else None,
        )


class _Row(NamedTuple):
    """What a page counts: an item, or a prefix (with nothing to load) that stands for many.

    `end` is where the list goes on behind it.
    """

    name: str
    load: Callable[[], Stored] | None
    end: str


def list_objects(shelf: Shelf, request: Request) -> Response:
    """Answer one page of a bucket's objects."""
    query = request.query
    wanted = _Wanted.of(query)
    asked = whole_number(query, "maxResults")
    if asked == 0:
        raise InvalidArgument("A page holds at least one item.", field="maxResults")
    scope = ("gcs", shelf.bucket, wanted.prefix, wanted.delimiter, query.get("matchGlob", ""))
    after = position(query.get("pageToken", ""), *scope)
    page: dict[str, Any] = {"kind": "storage#objects"}
    rows = _rows(shelf, wanted, after)
    last: _Row | None = None
    room = min(asked or _MAX_PAGE, _MAX_PAGE)
    for row in rows:
        if room == 0 and last is not None:
            page["nextPageToken"] = page_token(last.end, *scope)
            break
        if _add(page, row, request.origin):
            last, room = row, room - 1
    return json_response(page, request)


def _add(page: dict[str, Any], row: _Row, origin: str) -> bool:
    if row.load is None:
        page.setdefault("prefixes", []).append(row.name)
        return True
    try:
        stored = row.load()
    except NotFound:
        return False  # gone since
    item = object_resource(stored, origin)
    if not stored.record.content_type:
        del item["contentType"]  # S3's listings do not tell it: it may be any
    page.setdefault("items", []).append(item)
    return True


def _rows(shelf: Shelf, wanted: _Wanted, after: str) -> Iterator[_Row]:
    seen = ""
    if after.startswith(_PENDING):  # the prefix was told, the item of the same name was not
        seen = after.removeprefix(_PENDING)
        after = _just_before(seen)
    start = max(after, _just_before(wanted.start))
    is_shallow = wanted.delimiter == "/" and wanted.pattern is None
    for name, load in shelf.each(wanted.prefix, after=start, is_shallow=is_shallow):
        if wanted.end and name >= wanted.end:
            return
        if wanted.pattern is not None and not wanted.pattern.fullmatch(name):
            continue
        group = _group(name, wanted)
        is_item_too = wanted.has_folder_items and name == group
        if group and group != seen:
            seen = group
            yield _Row(group, None, _PENDING + group if is_item_too else group + _LAST)
        if not group or is_item_too:
            yield _Row(name, load, group + _LAST if group else name)


def _group(name: str, wanted: _Wanted) -> str:
    """Return the prefix that stands for `name` in the list, or nothing when it stands itself."""
    if not wanted.delimiter:
        return ""
    end = name.find(wanted.delimiter, len(wanted.prefix))
    return "" if end < 0 else name[: end + len(wanted.delimiter)]


def _just_before(start: str) -> str:
    """Return a text behind all names that sort before `start`; lists begin behind a name."""
    if not start:
        return ""
    return start[:-1] + chr(ord(start[-1]) - 1) + _LAST if ord(start[-1]) else start[:-1]
