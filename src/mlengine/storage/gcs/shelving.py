"""`open_shelf`: the shelf that a bucket's backing asks for."""

from __future__ import annotations

from mlengine.storage.backends.remote import RemoteBackend
from mlengine.storage.gcs.foldershelf import FolderShelf
from mlengine.storage.gcs.remoteshelf import RemoteShelf
from mlengine.storage.gcs.shelves import Shelf
from mlengine.storage.objects import Buckets

__all__ = ["open_shelf"]


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
