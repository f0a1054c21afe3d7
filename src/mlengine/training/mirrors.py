"""A job's own copies of what it reads and writes in buckets that are not folders of this machine.

A trainer opens paths. Where its ``gs://`` arguments lie in an object store, each becomes a path in
the job's mirror of that bucket: what is there already is fetched before the trainer starts, and
what it writes, replaces or removes there is done in the bucket too, while it runs and once more,
completely, when it has ended. What can be no object stays in the copies, and nothing is removed for
it (`leftovers`).

    jobs/<uid>/buckets/BUCKET/NAME   the copies; a later attempt of the job finds them
    mirrors/<uid>.json               which of them the bucket has; there while the job is open

The engine that leads carries. One that led before may be late with what it began: it finds that
file gone, or newer, and touches nothing of a job that is over.

What a trainer changes goes before what lies in the bucket: it was fetched from there. A trainer
that reads ``gs://`` by itself has no copies; of its job directory the event files are looked at,
and what it exported when it ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from mlengine.core.errors import FailedPrecondition, NotFound
from mlengine.runtime.wholefile import write_whole
from mlengine.storage import Buckets, staging
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.chunks import chunks_of
from mlengine.storage.faults import from_os_error
from mlengine.storage.paths import BucketPath
from mlengine.storage.patterns import has_wildcards
from mlengine.training.leftovers import LeftOut, leftovers
from mlengine.training.mirrorstate import MirrorState, Stamp, content, stamp_of

__all__ = ["JobMirror", "Pushed", "is_event_file", "mirror_path"]

_FOLDER = "buckets"
_STAGING = ".staging"
_BESIDE = 8  # files that are carried at one time
_SPARE_BYTES = 256 << 20

Log = Callable[[str], None]
Place = tuple[str, str]  # bucket and name


class Pushed(NamedTuple):
    """What became of the copies: how many objects changed, and of what none can be made."""

    changed: int
    left_out: list[LeftOut]


def mirror_path(job_folder: Path, where: BucketPath) -> Path:
    """Return where a job's copy of an object or prefix lies, existing or not."""
    return job_folder / _FOLDER / where.bucket / where.name


def is_event_file(name: str) -> bool:
    """Return whether an object is one that TensorBoard reads."""
    return "tfevents" in name.rpartition("/")[2]


class JobMirror:
    """The mirror of one job. Thread-safe.

    Args:
        buckets: Where the originals are.
        job_folder: Where the copies are.
        state_file: Is written when there is something to remember.
        project: Whose job it is, for who finds the file later.
        job_id: Likewise.
    """

    def __init__(
        self, buckets: Buckets, job_folder: Path, state_file: Path, project: str, job_id: str
    ) -> None:
        self._buckets, self._folder, self._file = buckets, job_folder, state_file
        self._lock = threading.Lock()
        self._state = MirrorState(project, job_id)
        self._was_open = False  # when the work at hand began
        self._read_again()

    @property
    def is_open(self) -> bool:
        """Whether something may be carried: no more of a job that is over.

        Raises:
            EngineError: That cannot be told now.
        """
        try:
            return content(self._file) is not None
        except OSError as error:
            raise from_os_error(error, "what is known of the job's copies") from error

    @property
    def is_busy(self) -> bool:
        """Whether somebody works on it now: a fetch may take hours."""
        return self._lock.locked()

    @property
    def owner(self) -> tuple[str, str]:
        """Project and id of the job."""
        return self._state.project, self._state.job_id

    def path(self, where: BucketPath) -> Path:
        """Return where the copy of an object or prefix lies, existing or not."""
        return mirror_path(self._folder, where)

    # --- before the trainer starts --------------------------------------------------------------

    def fetch(self, where: BucketPath, log: Log, cancelled: Callable[[], bool]) -> int:
        """Copy what a place means in its bucket, and carry changes there back from now on.

        Args:
            where: An object, everything beneath a prefix, what matches a pattern, or the beginning
                of names, whichever is there.

        Returns:
            How many objects it means.

        Raises:
            FailedPrecondition: There is no room for it on this machine.
            Unavailable: The bucket cannot be reached.
        """
        with self._current():
            known = self._state.buckets.setdefault(where.bucket, {})
            found = self._meant(where)
            for info in found:  # a fetch that was killed left copies that nobody has changed
                if info.name not in known and self._is_same(info):
                    known[info.name] = stamp_of(self._tree(info.bucket).stat(info.name))
            missing = self._missing(where, found)
            begun = self._state.fetching.setdefault(where.bucket, {})
            begun[where.name] = [info.name for info in missing]
            try:
                if missing:
                    self._make_room(where, missing)
                    self._save()  # who is killed from here on leaves copies that nobody has seen
                    size = sum(info.size for info in missing)
                    log(f"Fetching {where}: {len(missing)} file(s), {size / 1e6:,.1f} MB.")
                    self._fetch_all(missing, cancelled)
            finally:  # what did come is not the trainer's, whatever becomes of the rest
                begun[where.name] = [name for name in begun[where.name] if name not in known]
                self._save()
            return len(found)

    def _missing(self, where: BucketPath, found: Sequence[ObjectInfo]) -> list[ObjectInfo]:
        """Return what is to be fetched; remove what was fetched before and is not there any more.

        What a former attempt has, or has removed, is newer than what the bucket has of it. Of a
        fetch that was killed there may be copies that are older.
        """
        known = self._state.buckets[where.bucket]
        begun = self._begun(where.bucket, where.name).difference(known)
        for name in begun.difference(info.name for info in found):
            with contextlib.suppress(NotFound, FailedPrecondition):
                self._tree(where.bucket).delete(name)
        return [
            info
            for info in found
            if info.name not in known
            and (info.name in begun or not os.path.lexists(self._copy_of(info)))
        ]

    def _meant(self, where: BucketPath) -> list[ObjectInfo]:
        if has_wildcards(where.name):
            return self._buckets.glob(str(where))
        if not where.is_folder:
            with contextlib.suppress(NotFound):
                return [self._buckets.stat(where)]
            beneath = [*self._buckets.backend(where.bucket).list(where.name + "/")]
            if beneath:
                return beneath
        return [*self._buckets.backend(where.bucket).list(where.name)]

    def _begun(self, bucket: str, place: str | None = None) -> set[str]:
        """Return the names whose fetch was begun, for all places of a bucket or for one."""
        places = self._state.fetching.get(bucket, {})
        return {n for at, names in places.items() if place in (None, at) for n in names}

    def _make_room(self, where: BucketPath, missing: Sequence[ObjectInfo]) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        size, free = sum(info.size for info in missing), shutil.disk_usage(self._root).free
        if size + _SPARE_BYTES > free:
            raise FailedPrecondition(
                f"{where} has {size / 1e9:,.1f} GB, and this machine has room for "
                f"{max(free - _SPARE_BYTES, 0) / 1e9:,.1f} GB.",
                "Free space, or let the trainer read gs:// by itself (tf.io.gfile, "
                "google.cloud.storage): name less of it in its arguments.",
            )

    def _fetch_all(self, missing: Sequence[ObjectInfo], cancelled: Callable[[], bool]) -> None:
        def one(info: ObjectInfo) -> None:
            if not cancelled():
                self._state.buckets[info.bucket][info.name] = self._fetch_one(info)

        with ThreadPoolExecutor(_BESIDE, thread_name_prefix="fetch") as carriers:
            for _ in carriers.map(one, missing):
                pass  # the first that failed raises

    def _fetch_one(self, info: ObjectInfo) -> Stamp:
        """Copy one object, whole, with the time that it has there."""
        name = f"{info.bucket}/{info.name}"
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._buckets.open_read(BucketPath(info.bucket, info.name)) as data:
                staging.write_whole(self._root, name, chunks_of(data), staging=_STAGING)
            moment_ns = int(info.updated.timestamp() * 1e9)
            os.utime(self._root / name, ns=(moment_ns, moment_ns), follow_symlinks=False)
            return stamp_of(self._tree(info.bucket).stat(info.name))
        except OSError as error:
            raise from_os_error(error, f"the copy of {info.uri}") from error

    # --- while it runs, and when it has ended ---------------------------------------------------

    def push(self) -> Pushed:
        """Do in the buckets what the trainer did in its copies.

        Raises:
            Unavailable: A bucket cannot be reached; what was not carried is carried another time.
        """
        with self._current():
            changed, left_out = 0, list[LeftOut]()
            try:
                for bucket in self._state.buckets:
                    # Nothing was written; or the copies are lost, which removes no original.
                    if (self._root / bucket).is_dir():
                        changed += self._push_bucket(bucket, left_out)
            finally:
                self._save()
            return Pushed(changed, left_out)

    def _push_bucket(self, bucket: str, left_out: list[LeftOut]) -> int:
        known = self._state.buckets[bucket]
        there = {info.name: info for info in self._tree(bucket).list()}
        beside = leftovers(self._root, bucket, objects=there, buckets=self._state.buckets)
        there |= beside.links
        left_out += beside.left_out
        unseen = self._begun(bucket).difference(known)  # they may be older than the originals
        news = [
            n for n, info in there.items() if n not in unseen and known.get(n) != stamp_of(info)
        ]

        def upload(name: str) -> Stamp | None:
            source = there[name]
            try:
                file, info = self._tree(source.bucket).open_object(source.name)
            except NotFound:  # removed since
                return None
            except FailedPrecondition as error:  # made a link since; or it may not be read
                left_out.append(LeftOut(BucketPath(bucket, name), error.problem))
                return None
            with file:
                self._buckets.write(BucketPath(bucket, name), chunks_of(file))
            return stamp_of(info)  # of a file that grows on, an old one: it goes again

        changed = 0
        with ThreadPoolExecutor(_BESIDE, thread_name_prefix="push") as carriers:
            for name, stamp in zip(news, carriers.map(upload, news), strict=True):
                if stamp is not None:
                    known[name] = stamp
                    changed += 1
        return changed + self._remove_gone(bucket, there, beside.left_out)

    def _remove_gone(self, bucket: str, there: Collection[str], left_out: Sequence[LeftOut]) -> int:
        """Remove the originals of what the trainer removed; return how many."""
        known, odd = self._state.buckets[bucket], {each.where.name for each in left_out}
        gone = [
            name
            for name in known
            if name not in there
            and not _is_something(self._root / bucket / name)
            and odd.isdisjoint(str(folder) for folder in PurePosixPath(name).parents)
        ]
        if gone and not self.is_open:
            return 0  # another engine retires it: it was not the trainer who removed them
        for name in gone:
            with contextlib.suppress(NotFound):
                self._buckets.delete_object(BucketPath(bucket, name))
            del known[name]
        return len(gone)

    # --- of trainers that write by themselves ---------------------------------------------------

    def watch(self, where: BucketPath) -> None:
        """Remember a job directory that the trainer writes to by itself."""
        with self._current():
            self._state.watched = str(where)
            self._save()

    def look(self, wanted: Callable[[ObjectInfo], bool]) -> None:
        """Copy what is new of the job directory that is watched, for us to read."""
        with self._current():
            if not self._state.watched:
                return
            bucket, _slash, name = self._state.watched.removeprefix("gs://").partition("/")
            folder = name if not name or name.endswith("/") else name + "/"
            for info in self._buckets.backend(bucket).list(folder):
                if wanted(info) and not self._is_same(info):
                    with contextlib.suppress(NotFound):
                        self._fetch_one(info)

    def _is_same(self, info: ObjectInfo) -> bool:
        with contextlib.suppress(OSError):
            status = self._copy_of(info).lstat()
            return stat.S_ISREG(status.st_mode) and (status.st_size, int(status.st_mtime)) == (
                info.size, int(info.updated.timestamp()),
            )  # fmt: skip
        return False

    # --- when the job is over -------------------------------------------------------------------

    def retire(self, left_out: Sequence[LeftOut] = ()) -> None:
        """Forget the mirror and remove its copies, but for event files: these are still shown.

        Args:
            left_out: What is in no bucket, as `push` said: it stays.
        """
        kept = {self.path(each.where) for each in left_out}
        with self._lock:
            self._file.unlink(missing_ok=True)
            self._state = MirrorState(*self.owner)
            for folder, _folders, names in os.walk(self._root, topdown=False):
                for path in (Path(folder, name) for name in names):
                    if not is_event_file(path.name) and kept.isdisjoint([path, *path.parents]):
                        path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()

    # --- inner ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Work alone, on what is known now: another engine may have led meanwhile."""
        with self._lock:
            self._read_again()
            yield

    def _read_again(self) -> None:
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # then what was read last holds
            read = content(self._file)
            self._was_open = read is not None
            if read is None:
                self._state = MirrorState(*self.owner)
            else:
                self._state = msgspec.json.decode(read, type=MirrorState)

    @property
    def _root(self) -> Path:
        return self._folder / _FOLDER

    def _tree(self, bucket: str) -> FolderBackend:
        return FolderBackend(self._root, bucket=bucket, folder=bucket, staging=_STAGING)

    def _copy_of(self, info: ObjectInfo) -> Path:
        return self._root / info.bucket / info.name

    def _save(self) -> None:
        if not self._state.buckets and not self._state.watched:
            return
        try:
            before, now = content(self._file), msgspec.json.encode(self._state)
            if before == now or (before is None and self._was_open):
                return  # nothing new; or another engine retired it meanwhile
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._file, now, durable=True)
            self._was_open = True
        except OSError as error:
            raise from_os_error(error, "what is known of the job's copies") from error


def _is_something(path: Path) -> bool:
    """Return whether anything but a folder lies there, also a link that leads nowhere."""
    try:
        return not stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # that cannot be told: nothing is removed for it
