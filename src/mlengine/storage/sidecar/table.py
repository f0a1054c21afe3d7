"""The bucket table without the store: the folders that are there, and those backed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlengine.core.errors import EngineError, NotFound, PermissionDenied
from mlengine.core.names import check_bucket_id
from mlengine.core.resources import Bucket
from mlengine.storage.objects import Buckets

__all__ = ["BucketSnapshot", "JobBuckets"]


class JobBuckets(Buckets):
    """`Buckets` as a job has them: objects come and go, the buckets themselves are the engine's."""

    def delete(self, name: str, *, force: bool = False) -> None:
        """Refuse, before anything is moved away."""
        self._store.remove_bucket(name)

    def _renew(self, bucket: Bucket) -> None:
        """Make nothing anew: to `BucketSnapshot` a folder that is gone is a bucket deleted."""


class BucketSnapshot:
    """The `BucketTable` of a process that may not open the store.

    A folder-backed bucket is a folder beneath `root` for as long as it exists, so these are found
    as they are now. Those backed elsewhere are as the engine wrote them down.

    Args:
        root: Folder of the folder-backed buckets.
        backed: The others.
    """

    def __init__(self, root: Path, backed: Sequence[Bucket]) -> None:
        self._root = root
        self._backed = {bucket.name: bucket for bucket in backed if bucket.backing}

    def bucket(self, name: str) -> Bucket:
        """Return one bucket."""
        found = self._find(name)
        if found is None:
            names = [bucket.name for bucket in self.buckets()]
            raise NotFound.among("bucket", name, names, "List them with 'storage ls'.")
        return found

    def buckets(self) -> Sequence[Bucket]:
        """Return all buckets, in no order."""
        here = (self._find(path.name) for path in self._root.iterdir())
        return [*(b for b in here if b and not b.backing), *self._backed.values()]

    def add_bucket(self, bucket: Bucket) -> Bucket:
        """Refuse: the engine alone makes buckets, for its store has to know them."""
        raise PermissionDenied(
            f"A job cannot make the bucket '{bucket.name}'.",
            f"Make it before: 'mlengine storage buckets create {bucket.name}'.",
        )

    def remove_bucket(self, name: str) -> None:
        """Refuse, for the same reason."""
        raise PermissionDenied(
            f"A job cannot delete the bucket '{name}'.",
            f"Delete it from outside: 'mlengine storage buckets delete {name}'.",
        )

    def _find(self, name: str) -> Bucket | None:
        try:
            check_bucket_id(name)
        except EngineError:
            return None  # also the folder of unfinished writes
        if name in self._backed:
            return self._backed[name]
        path = self._root / name
        return Bucket(name=name) if path.is_dir() and not path.is_symlink() else None
