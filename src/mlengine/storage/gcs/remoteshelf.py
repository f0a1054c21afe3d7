"""An object store as Cloud Storage sees it: what the store itself remembers, and its own guards.

Google's store has all of it. S3 keeps an object's type and metadata, has ETags for generations (see
`backends.s3`), and cannot change what is said of an object: that is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import msgspec

from mlengine.core.errors import Aborted, InvalidArgument, NotFound, Unavailable
from mlengine.storage.backends.remote import RemoteBackend, remote_file
from mlengine.storage.backends.remotes import RemoteObject, Spool
from mlengine.storage.faults import from_os_error
from mlengine.storage.gcs.conditions import Conditions, Facts
from mlengine.storage.gcs.shelves import Draft, Shelf, Stored
from mlengine.storage.paths import check_name
from mlengine.storage.records import ObjectRecord

__all__ = ["RemoteShelf"]

_ANY = Conditions()
_TURNS = 20
_T = TypeVar("_T")


class RemoteShelf:
    """The objects of one bucket in an object store.

    Args:
        backend: The store.
        bucket: Our name of it.
    """

    def __init__(self, backend: RemoteBackend, bucket: str) -> None:
        self.bucket = bucket
        self._store = backend.store

    # --- reading --------------------------------------------------------------------------------

    def find(self, name: str, *, generation: int | None = None) -> Stored:
        return self._stored(self._head(name, generation))

    def open(self, name: str, *, generation: int | None = None) -> tuple[BinaryIO | None, Stored]:
        def once() -> tuple[BinaryIO | None, Stored]:
            found = self._head(name, generation)
            is_folder = name.endswith("/")
            file = None if is_folder else remote_file(self._store, found)
            return file, self._stored(found)

        return self._settled(name, once)

    def each(
        self, prefix: str, *, after: str, is_shallow: bool
    ) -> Iterator[tuple[str, Callable[[], Stored]]]:
        for page in self._store.pages(prefix, after=after, is_shallow=is_shallow):
            for found in page:
                yield found.name, self._later(found)

    def _later(self, found: RemoteObject) -> Callable[[], Stored]:
        if found.generation:
            return lambda: self._stored(found)
        return lambda: self.find(found.name)  # only that names go on with it is known

    def check(self, name: str, conditions: Conditions) -> None:
        if conditions != _ANY:
            conditions.check(_facts(self._peek(name)))

    # --- changing -------------------------------------------------------------------------------

    def draft(self, name: str) -> Draft:
        return _SpoolDraft(check_name(name), f"gs://{self.bucket}/{name}")

    def commit(self, draft: Draft, record: ObjectRecord, conditions: Conditions = _ANY) -> Stored:
        assert isinstance(draft, _SpoolDraft)
        return self._put(draft.name, draft.spool, record, conditions)

    def make_folder(self, name: str, record: ObjectRecord, conditions: Conditions = _ANY) -> Stored:
        check_name(name.removesuffix("/"))
        with contextlib.closing(Spool()) as nothing:
            return self._put(name, nothing, record, conditions)

    def _put(self, name: str, spool: Spool, record: ObjectRecord, conditions: Conditions) -> Stored:
        def once() -> Stored:
            only_if = None
            if conditions != _ANY:
                before = self._peek(name)
                conditions.check(_facts(before))
                only_if = before.version if before else ""
            stored = self._stored(self._store.put(name, spool, record, only_if=only_if))
            weighed = {"md5": record.md5, "crc32c": record.crc32c}
            unsaid = {k: v for k, v in weighed.items() if v and not getattr(stored.record, k)}
            return stored._replace(record=msgspec.structs.replace(stored.record, **unsaid))

        return self._settled(name, once)

    def update(
        self,
        name: str,
        change: Callable[[ObjectRecord], ObjectRecord],
        conditions: Conditions = _ANY,
        *,
        generation: int | None = None,
    ) -> Stored:
        def once() -> Stored:
            found = self._head(name, generation)
            conditions.check(_facts(found))
            return self._stored(self._store.update(found, change(found.record)))

        return self._settled(name, once)

    def delete(
        self, name: str, conditions: Conditions = _ANY, *, generation: int | None = None
    ) -> None:
        def once() -> None:
            found = self._head(name, generation)
            conditions.check(_facts(found))
            is_any = conditions == _ANY and generation is None
            self._store.delete(name, only_if=None if is_any else found.version)

        self._settled(name, once)

    # --- inner ----------------------------------------------------------------------------------

    def _settled(self, name: str, once: Callable[[], _T]) -> _T:
        """Do something anew while others change the object between our look and our change."""
        for _turn in range(_TURNS):
            with contextlib.suppress(Aborted):
                return once()
        raise Unavailable(f"gs://{self.bucket}/{name} is changed over and over.", "Try later.")

    def _head(self, name: str, generation: int | None) -> RemoteObject:
        try:
            check_name(name.removesuffix("/"))
            found = self._store.head(name)
        except (NotFound, InvalidArgument):  # what no object can be called is not there
            raise self._missing(name) from None
        if generation is not None and generation != found.generation:
            raise self._missing(f"{name}#{generation}")
        return found

    def _peek(self, name: str) -> RemoteObject | None:
        try:
            return self._head(name, None)
        except NotFound:
            return None

    def _stored(self, found: RemoteObject) -> Stored:
        return Stored(self.bucket, found.name, found.size, found.generation, found.record)

    def _missing(self, name: str) -> NotFound:
        return NotFound(f"No such object: {self.bucket}/{name}")


class _SpoolDraft:
    def __init__(self, name: str, what: str) -> None:
        self.name, self._what = name, what
        self.spool = Spool()

    @property
    def size(self) -> int:
        return self.spool.size

    def append(self, chunk: bytes) -> None:
        try:
            self.spool.append(chunk)
        except OSError as error:
            raise from_os_error(error, self._what) from error

    def chunks(self, size: int) -> Iterator[bytes]:
        for at in range(0, self.spool.size, size):
            yield self.spool.read_at(at, size)

    def close(self) -> None:
        self.spool.close()


def _facts(found: RemoteObject | None) -> Facts:
    return Facts(found.generation, found.record.metageneration) if found else Facts()


_: type[Shelf] = RemoteShelf
