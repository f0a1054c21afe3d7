"""``rm``, ``ls`` and ``du`` over any `ObjectStore`, as ``gcloud storage`` means them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mlengine.core.errors import NotFound
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.paths import BucketPath, parse_uri
from mlengine.storage.patterns import compile_pattern, has_wildcards, literal_prefix
from mlengine.storage.sources import (
    PAGE,
    ObjectStore,
    OnSkip,
    every_object,
    find_sources,
    folder_name,
    ignore,
)

__all__ = [
    "Removal",
    "Usage",
    "disk_usage",
    "list_places",
    "plan_removal",
    "plan_remove",
    "run_remove",
]

_LAST = "\U0010ffff"  # sorts behind every character a name can go on with


class Usage(NamedTuple):
    """What lies at or beneath `path`."""

    path: BucketPath
    objects: int
    size: int


class Removal(NamedTuple):
    """What `rm` removes: objects, and then the buckets that were named whole."""

    objects: list[BucketPath]
    buckets: list[str]


def plan_removal(
    uris: Sequence[str],
    *,
    recursive: bool = False,
    force: bool = False,
    store: ObjectStore,
    on_skip: OnSkip = ignore,
) -> Removal:
    """Decide what `rm` removes where buckets may go too; local paths are refused.

    With `recursive` a bucket named whole, ``gs://b``, goes with its objects, also an empty one;
    named by wildcards, ``gs://b/**``, it stays. With `force` what matches nothing is no error.

    Raises:
        NotFound: A URI means nothing.
        InvalidArgument: A folder without `recursive`, or a bucket.
    """
    doomed: dict[BucketPath, None] = {}
    buckets: dict[str, None] = {}
    for uri in uris:
        path = parse_uri(uri, wildcards=True)
        try:
            if recursive and not path.name:
                found = [BucketPath(i.bucket, i.name) for i in every_object(store, path.bucket, "")]
                buckets[path.bucket] = None
            else:
                found = plan_remove([uri], recursive=recursive, store=store, on_skip=on_skip)
        except NotFound:
            if not force:
                raise
            continue
        doomed.update(dict.fromkeys(found))
    return Removal([*doomed], [*buckets])


def plan_remove(
    uris: Sequence[str], *, recursive: bool = False, store: ObjectStore, on_skip: OnSkip = ignore
) -> list[BucketPath]:
    """Decide what `rm` removes: each object once, in order; local paths are refused."""
    doomed: dict[BucketPath, None] = {}
    for uri in uris:
        parse_uri(uri, wildcards=True)
        for source in find_sources(uri, recursive=recursive, store=store, on_skip=on_skip):
            doomed.update((f.place, None) for f in source.files if isinstance(f.place, BucketPath))
    return [*doomed]


def run_remove(
    paths: Sequence[BucketPath],
    store: ObjectStore,
    on_progress: Callable[[BucketPath], None] | None = None,
) -> int:
    """Remove objects and return how many were there; one that has gone meanwhile is no error."""
    removed = 0
    for path in paths:
        try:
            store.delete_object(path)
            removed += 1
        except NotFound:
            continue
        if on_progress is not None:
            on_progress(path)
    return removed


def list_places(
    uri: str, *, recursive: bool = False, store: ObjectStore
) -> Iterator[ObjectInfo | BucketPath]:
    """Yield what `ls` shows: objects, and folders as paths that end in a slash.

    Raises:
        NotFound: Nothing is there; an existing empty bucket is not nothing.
    """
    path = parse_uri(uri, wildcards=True)
    if has_wildcards(path.name):
        places = _matching(path, recursive=recursive, store=store)
    else:
        places = _beneath(path, recursive=recursive, store=store)
    first = next(places, None)
    if first is not None:
        return itertools.chain([first], places)
    if path.name:
        raise NotFound(f"{uri} matches no object.", "List what is there with a shorter name.")
    return iter(())


def _beneath(
    path: BucketPath, *, recursive: bool, store: ObjectStore
) -> Iterator[ObjectInfo | BucketPath]:
    if not path.is_folder:
        first = store.objects(path.bucket, prefix=path.name, limit=1)
        if first and first[0].name == path.name:
            yield first[0]
            return
    if recursive:
        yield from every_object(store, path.bucket, folder_name(path))
    else:
        yield from _children(path.bucket, folder_name(path), store)


def _children(bucket: str, folder: str, store: ObjectStore) -> Iterator[ObjectInfo | BucketPath]:
    """Yield the objects right in a folder and its subfolders, jumping over what these hold."""
    after = shown = ""
    while page := store.objects(bucket, prefix=folder, after=after, limit=PAGE):
        for info in page:
            child, slash, _rest = info.name.removeprefix(folder).partition("/")
            if not slash:
                yield info
            elif shown != f"{folder}{child}/":
                shown = f"{folder}{child}/"
                yield BucketPath(bucket, shown)
        after = page[-1].name
        if shown and after.startswith(shown):
            after = shown + _LAST


def _matching(
    path: BucketPath, *, recursive: bool, store: ObjectStore
) -> Iterator[ObjectInfo | BucketPath]:
    pattern = compile_pattern(path.name.removesuffix("/"))
    shown = ""
    for info in every_object(store, path.bucket, literal_prefix(path.name)):
        folders = [info.name[:at] for at, c in enumerate(info.name) if c == "/"]
        folder = next((f for f in folders if pattern.fullmatch(f)), "")
        if (folder and recursive) or (pattern.fullmatch(info.name) and not path.is_folder):
            yield info
        elif folder and folder != shown:
            shown = folder
            yield BucketPath(path.bucket, folder + "/")


def disk_usage(uri: str, *, store: ObjectStore) -> list[Usage]:
    """Return what `du` shows: each object and folder right there, and the total last."""
    path = parse_uri(uri, wildcards=True)
    rows = []
    for place in list_places(uri, store=store):
        if isinstance(place, BucketPath):
            sizes = [info.size for info in every_object(store, place.bucket, place.name)]
            rows.append(Usage(place, len(sizes), sum(sizes)))
        else:
            rows.append(Usage(BucketPath(place.bucket, place.name), 1, place.size))
    total = Usage(path, sum(row.objects for row in rows), sum(row.size for row in rows))
    return [*rows, total]
