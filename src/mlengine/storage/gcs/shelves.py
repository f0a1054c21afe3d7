"""Port: a bucket's objects with generations, records and conditions, as Cloud Storage has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

from mlengine.storage.gcs.conditions import Conditions, Facts
from mlengine.storage.records import ObjectRecord

__all__ = ["Draft", "Shelf", "Stored"]


class Stored(NamedTuple):
    """An object as it was seen."""

    bucket: str
    name: str
    size: int
    generation: int
    record: ObjectRecord

    @property
    def facts(self) -> Facts:
        """What conditions are about."""
        return Facts(self.generation, self.record.metageneration)


class Draft(Protocol):
    """An object that is still being written, over many calls."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    def append(self, chunk: bytes) -> None: ...
    def chunks(self, size: int) -> Iterator[bytes]:
        """Read what has been written so far."""
        ...

    def close(self) -> None:
        """End it; what was not committed goes."""
        ...


class Shelf(Protocol):
    """Contract, held by `tests/conformance/storage/test_shelves.py`:

    1. `find`, `open`, `update` and `delete` of nothing, or of another generation, raise `NotFound`;
       what `open` answers of a folder (a name that ends in a slash) has no file.
    2. `commit` shows a draft's bytes whole, at the moment at which the conditions hold; they are
       checked against what is there then, whoever else writes.
    3. `each` yields names in order, each with how to learn more; with `is_shallow` it may tell of
       several that share a next segment only once.
    4. Generations grow with every change of an object's bytes (within one second, S3's only
       differ). What a kind of bucket cannot do, it refuses by name.
    """

    @property
    def bucket(self) -> str: ...
    def find(self, name: str, *, generation: int | None = None) -> Stored: ...
    def open(
        self, name: str, *, generation: int | None = None
    ) -> tuple[BinaryIO | None, Stored]: ...
    def each(
        self, prefix: str, *, after: str, is_shallow: bool
    ) -> Iterator[tuple[str, Callable[[], Stored]]]: ...
    def draft(self, name: str) -> Draft: ...
    def commit(
        self, draft: Draft, record: ObjectRecord, conditions: Conditions = ...
    ) -> Stored: ...
    def make_folder(
        self, name: str, record: ObjectRecord, conditions: Conditions = ...
    ) -> Stored: ...
    def update(
        self,
        name: str,
        change: Callable[[ObjectRecord], ObjectRecord],
        conditions: Conditions = ...,
        *,
        generation: int | None = None,
    ) -> Stored:
        """Change what is said of an object, not its bytes."""
        ...

    def delete(
        self, name: str, conditions: Conditions = ..., *, generation: int | None = None
    ) -> None: ...
    def check(self, name: str, conditions: Conditions) -> None:
        """Raise `ConditionNotMet` unless the conditions hold now; a change checks them again."""
        ...
