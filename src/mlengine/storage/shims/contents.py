"""Objects with what is said of them: `Buckets` alone sees only their bytes.

The real programs carry type, encoding and metadata along from bucket to bucket, and hand out
unpacked what was stored with ``Content-Encoding: gzip``.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterable
from typing import BinaryIO, cast

import msgspec

from mlengine.core.errors import FailedPrecondition, NotFound
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.shelves import Shelf
from mlengine.storage.gcs.shelving import open_shelf
from mlengine.storage.gcs.uploads import store_object
from mlengine.storage.objects import Buckets
from mlengine.storage.paths import BucketPath
from mlengine.storage.patterns import compile_pattern, literal_prefix
from mlengine.storage.sources import ObjectStore

__all__ = ["UnpackedObjects", "copy_object", "remove_folders"]

_CHUNK_BYTES = 1024 * 1024
_GZIP = b"\x1f\x8b"


def copy_object(source: BucketPath, target: BucketPath, buckets: Buckets) -> None:
    """Copy an object from bucket to bucket as it is stored, with all that is said of it."""
    shelf, onto = _shelf(buckets, source.bucket), _shelf(buckets, target.bucket)
    if shelf is None or onto is None:
        with buckets.open_read(source) as file:
            buckets.write(target, _chunks(file))
        return
    opened, stored = shelf.open(source.name)
    assert opened is not None  # only folders have no bytes, and no source is one
    with opened:
        record = msgspec.structs.replace(stored.record, updated_ns=0, generation=0)
        store_object(onto, target.name, _chunks(opened), record, Conditions())


def remove_folders(path: BucketPath, buckets: Buckets) -> int:
    """Remove the folders that somebody made at `path` and beneath it; return how many there were.

    One with an object in it stays, and so does what is above it. Wildcards mean what they mean
    for objects.
    """
    shelf = _shelf(buckets, path.bucket)
    if shelf is None:
        return 0
    pattern = compile_pattern(path.name.removesuffix("/"))
    prefix = literal_prefix(path.name).removesuffix("/")
    removed = 0
    # Read to its end first: what is removed would change under the listing. Inner ones go first.
    for name, _found in reversed([*shelf.each(prefix, after="", is_shallow=False)]):
        tops = (name[:at] for at, letter in enumerate(name) if letter == "/")
        if not name.endswith("/") or not (path.name == "" or any(map(pattern.fullmatch, tops))):
            continue
        if not buckets.objects(path.bucket, prefix=name, limit=1):
            with contextlib.suppress(NotFound):  # somebody else was faster
                shelf.delete(name)
                removed += 1
    return removed


class UnpackedObjects:
    """An `ObjectStore` that unpacks what was stored packed."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    def objects(
        self, bucket: str, *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[ObjectInfo]:
        """List objects; sizes are of what is stored."""
        return self._buckets.objects(bucket, prefix=prefix, after=after, limit=limit)

    def open_read(self, path: BucketPath) -> BinaryIO:
        """Open an object as it was before it was packed."""
        shelf = _shelf(self._buckets, path.bucket)
        if shelf is None:
            return self._buckets.open_read(path)
        file, stored = shelf.open(path.name)
        assert file is not None
        if stored.record.content_encoding != "gzip":
            return file
        packed = io.BufferedReader(cast(io.RawIOBase, file))
        if packed.peek(2)[:2] != _GZIP:  # its writer said so and did not pack it
            return packed
        return cast(BinaryIO, _Unpacked(cast(BinaryIO, packed), path))

    def write(self, path: BucketPath, chunks: Iterable[bytes]) -> ObjectInfo:
        """Write an object as it comes."""
        return self._buckets.write(path, chunks)

    def delete_object(self, path: BucketPath) -> None:
        """Remove an object."""
        self._buckets.delete_object(path)


class _Unpacked(gzip.GzipFile):
    def __init__(self, packed: BinaryIO, path: BucketPath) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._packed, self._path = packed, path

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FailedPrecondition(
                f"{self._path} is said to be packed by gzip, but cannot be unpacked: {error}.",
                "Store it again, whole.",
            ) from None

    def close(self) -> None:
        super().close()
        self._packed.close()


def _shelf(buckets: Buckets, bucket: str) -> Shelf | None:
    try:
        return open_shelf(buckets, bucket)
    except FailedPrecondition:  # a backing that remembers nothing of its objects but bytes
        return None


def _chunks(file: BinaryIO) -> Iterable[bytes]:
    return iter(lambda: file.read(_CHUNK_BYTES), b"")


_: type[ObjectStore] = UnpackedObjects
