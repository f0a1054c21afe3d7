"""The store's bucket table, in memory, for tests that need no database."""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.core.errors import AlreadyExists, NotFound
from mlengine.core.resources import Bucket


class BucketTableFake:
    def __init__(self) -> None:
        self._rows: dict[str, Bucket] = {}

    def add_bucket(self, bucket: Bucket) -> Bucket:
        if bucket.name in self._rows:
            raise AlreadyExists(f"The bucket '{bucket.name}' exists already.", "Choose another.")
        self._rows[bucket.name] = bucket
        return bucket

    def bucket(self, name: str) -> Bucket:
        if name not in self._rows:
            raise NotFound.among("bucket", name, self._rows.keys(), "List them.")
        return self._rows[name]

    def buckets(self) -> Sequence[Bucket]:
        return [*self._rows.values()]

    def remove_bucket(self, name: str) -> None:
        self.bucket(name)
        del self._rows[name]
