"""The buckets of an engine, as `storage.transfer` wants to see them."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from mlengine.core.resources import Object
from mlengine.engine import Engine
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.paths import BucketPath
from mlengine.storage.sources import ObjectStore

__all__ = ["EngineObjects"]

_PAGE = 1000
_NO_TIME = "1970-01-01T00:00:00Z"


class EngineObjects:
    """An `ObjectStore` over the verbs of an engine.

    Callers go through a bucket forwards, each time behind the last name they saw; the listing is
    kept open between calls, so going through n objects costs n, not n squared.

    Args:
        engine: Whose buckets they are.
        about: What is said of each object that is written, as `Engine.write_object` takes it.
    """

    def __init__(self, engine: Engine, *, about: Mapping[str, Any] | None = None) -> None:
        self._engine, self._about = engine, about
        self._listing: _Listing | None = None

    def objects(
        self, bucket: str, *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[ObjectInfo]:
        """List at most `limit` objects behind `after`, sorted by name."""
        listing = self._listing
        if listing is None or not listing.can_go_on(bucket, prefix, after):
            listing = _Listing(bucket, prefix, _walk(self._engine, bucket, prefix, limit))
        self._listing = listing
        return listing.take(after, limit)

    def open_read(self, path: BucketPath) -> BinaryIO:
        """Open an object for reading."""
        pieces = self._engine.read_object(path.bucket, path.name)
        return io.BufferedReader(_Pieces(pieces), 1 << 20)

    def write(self, path: BucketPath, chunks: Iterable[bytes]) -> ObjectInfo:
        """Store an object whole or not at all."""
        self._listing = None
        about = self._about
        return _info(self._engine.write_object(path.bucket, path.name, chunks, about=about))

    def write_like(self, path: BucketPath, chunks: Iterable[bytes], like: BucketPath) -> ObjectInfo:
        """Store an object; its type, encoding and metadata are those of another."""
        self._listing = None
        stored = self._engine.write_object(
            path.bucket, path.name, chunks, like=str(like), about=self._about
        )
        return _info(stored)

    def delete_object(self, path: BucketPath) -> None:
        """Delete an object."""
        self._listing = None
        self._engine.delete_object(path.bucket, path.name)


_: type[ObjectStore] = EngineObjects


class _Listing:
    """One way through a bucket; it has gone by every name up to `at`."""

    def __init__(self, bucket: str, prefix: str, found: Iterator[ObjectInfo]) -> None:
        self._scope, self._found = (bucket, prefix), found
        self._at = ""

    def can_go_on(self, bucket: str, prefix: str, after: str) -> bool:
        return self._scope == (bucket, prefix) and after >= self._at and after != ""

    def take(self, after: str, limit: int) -> list[ObjectInfo]:
        taken: list[ObjectInfo] = []
        while len(taken) < limit:
            info = next(self._found, None)
            if info is None:
                break
            if info.name > after:
                taken.append(info)
        self._at = taken[-1].name if taken else after
        return taken


def _walk(engine: Engine, bucket: str, prefix: str, first: int) -> Iterator[ObjectInfo]:
    token, size = "", min(first, _PAGE)
    while True:
        page = engine.list_objects(bucket, prefix=prefix, page_size=size, page_token=token)
        yield from map(_info, page.items)
        token, size = page.next_page_token, _PAGE
        if not token:
            return


def _info(found: Object) -> ObjectInfo:
    moment = datetime.datetime.fromisoformat(found.updated or _NO_TIME)
    return ObjectInfo(bucket=found.bucket, name=found.name, size=found.size, updated=moment)


class _Pieces(io.RawIOBase):
    """Bytes that come in pieces, as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        end = getattr(self._pieces, "close", None)
        if end is not None and not self.closed:
            end()
        super().close()
