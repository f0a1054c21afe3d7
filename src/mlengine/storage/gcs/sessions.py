"""Resumable uploads: bytes that come in pieces, over hours, and appear as one object or not at all.

    begin ──▶ open ──put──▶ open … ──last byte──▶ finished    asked again, it answers the same
                └──delete, or a day of silence──▶ gone (404)

What a broken request brought is kept; the caller asks how much that is (``Content-Range: bytes
*/N`` is answered 308 with the range) and goes on from there. Sessions end with the process, as do
their drafts: a caller then hears 404 and begins again, as Cloud Storage has it for expired ones.
"""

from __future__ import annotations

import collections
import re
import secrets
import threading
import time
from typing import Any, NamedTuple

from mlengine.core.errors import EngineError, InvalidArgument, NotFound, ResourceExhausted
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.digests import Expected, weighed
from mlengine.storage.gcs.messages import Request, Response, empty, json_response
from mlengine.storage.gcs.resources import object_resource
from mlengine.storage.gcs.shelves import Draft, Shelf, Stored
from mlengine.storage.records import ObjectRecord

__all__ = ["Sessions", "UploadPlan"]

_SILENT_S = 24 * 3600.0
_MOST_OPEN = 1000  # each holds a descriptor
_CLIENT_CLOSED = 499  # what Cloud Storage says to a cancelled upload
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.ASCII)


class UploadPlan(NamedTuple):
    """What was settled when a resumable upload began."""

    shelf: Shelf
    name: str
    record: ObjectRecord
    conditions: Conditions
    expected: Expected
    total: int | None


class _Span(NamedTuple):
    """What a request brings: from where, how many bytes, and how many there will be in the end."""

    first: int | None  # None: nothing is brought, only asked
    length: int | None
    total: int | None


class Sessions:
    """The resumable uploads of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: collections.OrderedDict[str, _Session] = collections.OrderedDict()

    def begin(self, plan: UploadPlan) -> str:
        """Begin an upload and return its key."""
        self._expire()
        session, key = _Session(plan), secrets.token_hex(16)
        with self._lock:
            self._open[key] = session
        return key

    def put(self, key: str, request: Request) -> Response:
        """Take what a request brings, or say how far the upload is."""
        return self._of(key).put(request)

    def cancel(self, key: str) -> Response:
        """Throw an upload away."""
        session = self._of(key)
        with self._lock:
            self._open.pop(key, None)
        session.close()
        return empty(_CLIENT_CLOSED)

    def close(self) -> None:
        """Throw all unfinished uploads away."""
        with self._lock:
            sessions = [*self._open.values()]
            self._open.clear()
        for session in sessions:
            session.close()

    def _of(self, key: str) -> _Session:
        with self._lock:
            session = self._open.get(key)
            if session is None:
                raise NotFound("The upload is not known (any more).", "Begin it again.")
            self._open.move_to_end(key)
            session.touched_s = time.monotonic()
            return session

    def _expire(self) -> None:
        """Forget silent uploads; of finished ones the oldest, when there are many."""
        gone = []
        with self._lock:
            for key, session in [*self._open.items()]:
                silent = time.monotonic() - session.touched_s > _SILENT_S
                crowded = len(self._open) >= _MOST_OPEN and session.finished is not None
                if silent or crowded:
                    gone.append(self._open.pop(key))
            is_full = len(self._open) >= _MOST_OPEN
        for session in gone:
            session.close()
        if is_full:
            raise ResourceExhausted(f"{_MOST_OPEN} uploads are open.", "End some first.")


class _Session:
    def __init__(self, plan: UploadPlan) -> None:
        self._plan, self._total = plan, plan.total
        self._lock = threading.Lock()
        self._draft: Draft | None = None
        if not plan.name.endswith("/"):
            self._draft = plan.shelf.draft(plan.name)
        self._is_over = False
        self.finished: Stored | None = None
        self.touched_s = time.monotonic()

    def put(self, request: Request) -> Response:
        with self._lock:
            if self.finished is not None:
                return self._answer(request)
            if self._is_over:
                raise NotFound("The upload was refused or cancelled.", "Begin it again.")
            span = _span(request)
            if span.total is not None:
                if self._total not in (None, span.total) or self._size > span.total:
                    raise InvalidArgument(
                        f"The upload has other than {span.total} bytes.",
                        field="Content-Range",
                    )
                self._total = span.total
            if span.first is not None and span.first <= self._size:
                self._take(request, span)
            if self._size == self._total:
                self._finish(request)
                return self._answer(request)
            return self._so_far()

    def close(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._is_over = True
        if self._draft is not None:
            self._draft.close()

    @property
    def _size(self) -> int:
        return self._draft.size if self._draft is not None else 0

    def _take(self, request: Request, span: _Span) -> None:
        """Write on with what is new of the request's bytes."""
        at = span.first or 0
        end = None if span.length is None else at + span.length
        for chunk in request.body:
            if (end is not None and at + len(chunk) > end) or (self._draft is None and chunk):
                raise InvalidArgument("More bytes came than were announced.", field="Content-Range")
            known = self._size - at
            at += len(chunk)
            if self._draft is not None and known < len(chunk):
                self._draft.append(chunk[known:] if known else chunk)
        if span.total is None and span.length is None:
            self._total = at  # a request without Content-Range brings everything

    def _finish(self, request: Request) -> None:
        plan, draft = self._plan, self._draft
        said = Expected.of(request.headers, {})
        expected = Expected(plan.expected.md5 or said.md5, plan.expected.crc32c or said.crc32c)
        try:
            if draft is None:
                self.finished = plan.shelf.make_folder(plan.name, plan.record, plan.conditions)
            else:
                record = weighed(draft, plan.record, expected)
                self.finished = plan.shelf.commit(draft, record, plan.conditions)
        except EngineError as error:
            if not error.retryable:
                self._end()
            raise
        self._end()

    def _answer(self, request: Request) -> Response:
        assert self.finished is not None
        resource: dict[str, Any] = object_resource(self.finished, request.origin)
        return json_response(resource, request)

    def _so_far(self) -> Response:
        headers = {"Range": f"bytes=0-{self._size - 1}"} if self._size else {}
        return empty(308, headers)


def _span(request: Request) -> _Span:
    line = request.headers.get("content-range", "").strip()
    if not line:
        return _Span(0, None, None)
    match = _RANGE.fullmatch(line)
    if match is None:
        raise InvalidArgument(f"{line[:60]!r} is no range.", field="Content-Range")
    first, last, total_text = match.groups()
    total = None if total_text == "*" else int(total_text)
    if first is None:
        return _Span(None, 0, total)
    length = int(last) + 1 - int(first)
    if length < 1 or (total is not None and int(last) >= total):
        raise InvalidArgument(f"{line[:60]!r} is no range.", field="Content-Range")
    return _Span(int(first), length, total)
