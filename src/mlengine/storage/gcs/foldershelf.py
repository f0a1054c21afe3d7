"""A folder as Cloud Storage sees it: generations, records and conditions.

Every change of an object is made under its lock: look, check the conditions, publish. The lock is
between processes and never held while a caller sends bytes.

An object whose name ends in a slash has no bytes. It is a folder that somebody made, which a table
remembers: folders that merely came to be on the way to an object are not objects.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.backends.drafts import ObjectDraft
from mlengine.storage.gcs.conditions import Conditions, Facts
from mlengine.storage.gcs.shelves import Draft, Shelf, Stored
from mlengine.storage.objects import Buckets
from mlengine.storage.paths import check_name
from mlengine.storage.records import ObjectRecord

__all__ = ["FolderShelf"]

_NS = 1000  # nanoseconds in the unit of a generation
_ANY = Conditions()


class FolderShelf:
    """The objects of one folder-backed bucket.

    Raises:
        NotFound: There is no such bucket.
        FailedPrecondition: Its bytes are not files of this machine.
    """

    def __init__(self, buckets: Buckets, bucket: str) -> None:
        self.bucket = bucket
        self._folder = buckets.folder(bucket)
        self._records = buckets.records(bucket)

    # --- reading --------------------------------------------------------------------------------

    def find(self, name: str, *, generation: int | None = None) -> Stored:
        """Return an object.

        Raises:
            NotFound: It is not there, or has another generation by now.
        """
        if name.endswith("/"):
            found = self._made_folder(name)
            if found is None:
                raise self._missing(name)
        else:
            try:
                found = self.stored(self._folder.stat(name))
            except (NotFound, InvalidArgument):  # what no object can be called is not there
                raise self._missing(name) from None
        return self._wanted(found, generation)

    def open(self, name: str, *, generation: int | None = None) -> tuple[BinaryIO | None, Stored]:
        """Open an object together with what it is; of a folder there is nothing to open."""
        if name.endswith("/"):
            return None, self.find(name, generation=generation)
        try:
            file, info = self._folder.open_object(name)
        except (NotFound, InvalidArgument):
            raise self._missing(name) from None
        try:
            return file, self._wanted(self.stored(info), generation)
        except BaseException:
            file.close()
            raise

    def stored(self, info: ObjectInfo) -> Stored:
        """Add to what the folder knows of an object what the records do."""
        generation = max(info.changed_ns // _NS, 1)  # 0 is of what is not there
        return Stored(self.bucket, info.name, info.size, generation, self._records.of(info))

    def each(
        self, prefix: str, *, after: str, is_shallow: bool
    ) -> Iterator[tuple[str, Callable[[], Stored]]]:
        """Yield names in order, each with how to learn more; of made folders too."""
        made = sorted(n for n in self._records.folders() if n.startswith(prefix) and n > after)
        return heapq.merge(
            ((info.name, _later(self.stored, info)) for info in self._files(
                prefix, after=after, is_shallow=is_shallow
            )),
            ((name, _later(self.find, name)) for name in made if self._folder.has_folder(name)),
            key=lambda row: row[0],
        )  # fmt: skip

    def _files(self, prefix: str, *, after: str, is_shallow: bool) -> Iterator[ObjectInfo]:
        folder = prefix[: prefix.rfind("/")] if "/" in prefix else ""
        if folder:
            try:
                check_name(folder)
            except InvalidArgument:
                return iter(())  # no object can be called so
        return self._folder.list(prefix, after=after, is_shallow=is_shallow)

    # --- changing -------------------------------------------------------------------------------

    def draft(self, name: str) -> ObjectDraft:
        """Begin an object; `commit` ends it."""
        return self._folder.draft(name)

    def commit(self, draft: Draft, record: ObjectRecord, conditions: Conditions = _ANY) -> Stored:
        """Let a draft become the object, whole, if the conditions hold at that moment."""
        assert isinstance(draft, ObjectDraft)
        draft.settle()
        with self._records.locked(draft.name):
            before = self._peek(draft.name)
            old = self._known(before)
            conditions.check(old)
            generation = max(time.time_ns() // _NS, old.generation + 1)
            info = draft.dated(generation * _NS)
            filed = msgspec.structs.replace(record, name=draft.name, metageneration=1)
            self._records.put(info, filed)
            try:
                draft.publish()
            except BaseException:
                self._records.drop(info)
                raise
            if before is not None:
                self._records.drop(before)
        return Stored(self.bucket, draft.name, info.size, generation, filed)

    def make_folder(self, name: str, record: ObjectRecord, conditions: Conditions = _ANY) -> Stored:
        """Make an object whose name ends in a slash."""
        check_name(name.removesuffix("/"))
        with self._records.locked(name):
            old = self._made_folder(name)
            conditions.check(old.facts if old else Facts())
            generation = max(time.time_ns() // _NS, old.generation + 1 if old else 0)
            filed = msgspec.structs.replace(
                record, name=name, metageneration=1, generation=generation
            )
            self._folder.make_folder(name)
            self._records.set_folder(name, filed)
        return Stored(self.bucket, name, 0, generation, filed)

    def update(
        self,
        name: str,
        change: Callable[[ObjectRecord], ObjectRecord],
        conditions: Conditions = _ANY,
        *,
        generation: int | None = None,
    ) -> Stored:
        """Change what is said of an object, not its bytes."""
        with self._records.locked(name):
            found = self.find(name, generation=generation)
            conditions.check(found.facts)
            changed = msgspec.structs.replace(
                change(found.record),
                name=name,
                metageneration=found.record.metageneration + 1,
                updated_ns=time.time_ns(),
            )
            if name.endswith("/"):
                self._records.set_folder(name, changed)
            else:
                self._records.put(self._folder.stat(name), changed)
        return found._replace(record=changed)

    def delete(
        self, name: str, conditions: Conditions = _ANY, *, generation: int | None = None
    ) -> None:
        """Remove an object."""
        with self._records.locked(name):
            conditions.check(self.find(name, generation=generation).facts)
            if name.endswith("/"):
                self._records.set_folder(name, None)
                self._folder.remove_folder(name)
                return
            before = self._peek(name)
            self._folder.delete(name)
            if before is not None:
                self._records.drop(before)

    def check(self, name: str, conditions: Conditions) -> None:
        """Raise `ConditionNotMet` unless the conditions hold now; a change checks them again."""
        if name.endswith("/"):
            made = self._made_folder(name)
            conditions.check(made.facts if made else Facts())
        else:
            conditions.check(self._known(self._peek(name)))

    # --- inner ----------------------------------------------------------------------------------

    def _peek(self, name: str) -> ObjectInfo | None:
        try:
            return self._folder.stat(name)
        except (NotFound, FailedPrecondition):  # a link, which a writer replaces
            return None

    def _known(self, info: ObjectInfo | None) -> Facts:
        return Facts() if info is None else self.stored(info).facts

    def _made_folder(self, name: str) -> Stored | None:
        record = self._records.folders().get(name)
        if record is None or not self._folder.has_folder(name):
            return None
        return Stored(self.bucket, name, 0, record.generation, record)

    def _wanted(self, found: Stored, generation: int | None) -> Stored:
        if generation is not None and generation != found.generation:
            raise self._missing(f"{found.name}#{generation}")
        return found

    def _missing(self, name: str) -> NotFound:
        return NotFound(f"No such object: {self.bucket}/{name}")


def _later(call: Callable[..., Stored], argument: object) -> Callable[[], Stored]:
    return lambda: call(argument)


_: type[Shelf] = FolderShelf
