"""Port: an object store behind a network, as little of it as buckets need."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from mlengine.core.errors import (
    Aborted,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from mlengine.storage.records import ObjectRecord
from mlengine.storage.staging import append_at

__all__ = [
    "IN_ONE_CALL_BYTES",
    "ByteStream",
    "Naming",
    "RemoteObject",
    "RemoteStore",
    "Spool",
    "refusal",
]

IN_ONE_CALL_BYTES = 16 << 20
"""Larger objects go in several calls, of which only the last one shows the object."""

_IN_MEMORY_BYTES = 4 << 20

Naming = Callable[[str], str]
"""Says what a key is called in messages, such as ``gs://census/a.csv``."""


class RemoteObject(NamedTuple):
    """One object as the store showed it; of a listing's common prefix, only the name.

    Attributes:
        version: The store's own word for this writing of the object; never empty.
        generation: The same as a number that grows.
        record: What a listing says of it; `head` says all that there is.
    """

    name: str
    size: int
    updated: datetime.datetime
    version: str
    generation: int
    record: ObjectRecord


class ByteStream(Protocol):
    """Bytes on their way; an early end is told by an exception, never by silence."""

    def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class Spool:
    """Bytes gathered on this machine until all are there: small ones in memory."""

    def __init__(self) -> None:
        self._small = bytearray()
        self._file: io.FileIO | None = None
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def append(self, chunk: bytes) -> None:
        """Write on at the end; when it raises, nothing of the chunk is there.

        Raises:
            OSError: ``ENOSPC`` and the like.
        """
        if self._file is None and self.size + len(chunk) <= _IN_MEMORY_BYTES:
            self._small += chunk
        else:
            if self._file is None:
                self._file = _file_with(self._small)
                self._small.clear()
            append_at(self._file.fileno(), self.size, chunk)
        self._md5.update(chunk)
        self.size += len(chunk)

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on."""
        end = min(offset + size, self.size)
        if self._file is None:
            return bytes(self._small[offset:end])
        parts = []
        while offset < end and (part := os.pread(self._file.fileno(), end - offset, offset)):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    @property
    def md5(self) -> str:
        """The digest as the JSON API writes it."""
        return base64.b64encode(self._md5.digest()).decode()

    def close(self) -> None:
        """Throw the bytes away."""
        self._small.clear()
        if self._file is not None:
            self._file.close()


def _file_with(content: bytearray) -> io.FileIO:
    """Return a file without a name; unbuffered, for what a buffer holds fails later, elsewhere."""
    file = tempfile.TemporaryFile(prefix="mlengine-upload-", buffering=0)  # noqa: SIM115 - kept
    try:
        append_at(file.fileno(), 0, bytes(content))
    except OSError:
        file.close()
        raise
    return file


class RemoteStore(Protocol):
    """Contract, held by `tests/conformance/storage` on every technology:

    1. Names are the caller's to check; ``only_if`` is None, or the version that must be there at
       the moment of the change, ``""`` for none: else `Aborted`.
    2. `pages` yields names in order of code points, behind `after` only; with `is_shallow` one
       that goes on behind the next slash is cut there, told once, and the rest is jumped over.
    3. `put` is whole or nothing. When it raises, the object is the old one, or (where an answer
       was lost) the new one.
    4. `read` answers the bytes of exactly the object that `found` describes, or raises `Aborted`.
    5. Errors are `core.errors`: `Unavailable` once trying again for some seconds did not help.
    """

    def pages(
        self, prefix: str, *, after: str = "", is_shallow: bool = False
    ) -> Iterator[list[RemoteObject]]: ...
    def head(self, name: str) -> RemoteObject: ...
    def read(self, found: RemoteObject, offset: int) -> ByteStream: ...
    def put(
        self, name: str, spool: Spool, record: ObjectRecord, *, only_if: str | None = None
    ) -> RemoteObject: ...
    def update(self, found: RemoteObject, record: ObjectRecord) -> RemoteObject:
        """Change what is said of exactly this object; `Unimplemented` where stores cannot."""
        ...

    def delete(self, name: str, *, only_if: str | None = None) -> None: ...
    def abort_unfinished(self, *, before: datetime.datetime) -> int:
        """End uploads that began before, and were neither finished nor ended; return how many."""
        ...


def refusal(status: int, what: str) -> EngineError:
    """Return what a store's answer other than the wanted one means.

    Args:
        status: Of HTTP.
        what: The object or bucket, as people call it.
    """
    if status in (404, 410):
        return NotFound(f"{what} was not found.", "List what is there with 'storage ls'.")
    if status in (401, 403):
        return FailedPrecondition(
            f"The object store refuses the engine's access to {what} ({status}).",
            "Give the engine's account or keys access to objects of that bucket.",
        )
    if status in (304, 409, 412):
        return Aborted(f"{what} was changed meanwhile.", "Read it again, then try again.")
    if 400 <= status < 500 and status not in (408, 429):
        return InvalidArgument(f"The object store does not take {what} ({status}).", "Rename it.")
    return Unavailable(f"{what} cannot be reached: the store answers {status}.", "Try again.")
