"""`open_shelf`: the shelf that a bucket's backing asks for; `write_described`, for who has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from mlengine.core.errors import FailedPrecondition
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.backends.remote import RemoteBackend
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.foldershelf import FolderShelf
from mlengine.storage.gcs.remoteshelf import RemoteShelf
from mlengine.storage.gcs.resources import changed_record, check_settable
from mlengine.storage.gcs.shelves import Shelf
from mlengine.storage.gcs.uploads import store_object
from mlengine.storage.objects import Buckets
from mlengine.storage.paths import BucketPath
from mlengine.storage.records import ObjectRecord

__all__ = ["open_shelf", "write_described"]


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


def write_described(
    buckets: Buckets,
    target: BucketPath,
    chunks: Iterable[bytes],
    *,
    like: BucketPath | None = None,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> ObjectInfo:
    """Write an object, and say something of it: its type, encoding, own metadata.

    Args:
        buckets: Where it goes.
        target: Its place.
        chunks: Its bytes.
        like: Another, of which the same is said; where one of the two buckets remembers nothing of
            its objects (memory, Azure), nothing is.
        about: What is said besides, in the words of Cloud Storage's JSON: ``{"contentType": …}``.

    Raises:
        NotFound: The other object, or one of the buckets, is not there.
        InvalidArgument: `about` holds something that buckets do not keep.
        FailedPrecondition: There is an `about`, and this bucket does not keep it.
    """
    check_settable(about, field="about")
    shelf = _remembering(buckets, target.bucket)
    source = _remembering(buckets, like.bucket) if like else None
    if shelf is None and about:
        raise FailedPrecondition(
            f"gs://{target.bucket} keeps nothing of its objects but bytes: {min(about)} would be "
            "lost.",
            "Leave it out, or use a bucket in a folder, in Cloud Storage or in S3.",
            field="about",
        )
    record = source.find(like.name).record if source and like else ObjectRecord()
    # Its history is not said of it: a copy of an object that was composed is none.
    bare = msgspec.structs.replace(record, updated_ns=0, generation=0, component_count=0)
    record = changed_record(bare, about)
    if shelf is None or record.is_plain:
        return buckets.write(target, chunks)
    store_object(shelf, target.name, chunks, record, Conditions())
    return buckets.stat(target)


def _remembering(buckets: Buckets, bucket: str) -> Shelf | None:
    try:
        return open_shelf(buckets, bucket)
    except FailedPrecondition:  # a backing that knows no more of its objects than their bytes
        return None
