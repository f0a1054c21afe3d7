"""`open_shelf`: the shelf that a bucket's backing asks for; `write_like`, for who has none."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mlengine.core.errors import FailedPrecondition
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.backends.remote import RemoteBackend
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.foldershelf import FolderShelf
from mlengine.storage.gcs.remoteshelf import RemoteShelf
from mlengine.storage.gcs.shelves import Shelf
from mlengine.storage.gcs.uploads import store_object
from mlengine.storage.objects import Buckets
from mlengine.storage.paths import BucketPath

__all__ = ["open_shelf", "write_like"]


def open_shelf(buckets: Buckets, bucket: str) -> Shelf:
    """Return a bucket's shelf.

    Raises:
        NotFound: There is no such bucket.
        FailedPrecondition: Its backing knows neither folders nor versions (memory, Azure).
    """
    backend = buckets.backend(bucket)
    if isinstance(backend, RemoteBackend):
        return RemoteShelf(backend, bucket)
    return FolderShelf(buckets, bucket)


def write_like(
    buckets: Buckets, target: BucketPath, chunks: Iterable[bytes], like: BucketPath
) -> ObjectInfo:
    """Write an object, and say of it what is said of another: its type, encoding and metadata.

    Where one of the two buckets remembers nothing of its objects (memory, Azure), only the bytes
    are written.

    Raises:
        NotFound: The other object, or one of the buckets, is not there.
    """
    try:
        source, shelf = open_shelf(buckets, like.bucket), open_shelf(buckets, target.bucket)
    except FailedPrecondition:
        return buckets.write(target, chunks)
    record = msgspec.structs.replace(source.find(like.name).record, updated_ns=0, generation=0)
    if record.is_plain:
        return buckets.write(target, chunks)
    store_object(shelf, target.name, chunks, record, Conditions())
    return buckets.stat(target)
