"""`Buckets`: the table of buckets and the bytes behind each, for the engine and all its rooms.

Long because whatever every bucket can do is one list of methods; the work itself is done elsewhere.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from mlengine.core.clock import Clock, SystemClock, rfc3339
from mlengine.core.errors import (
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from mlengine.core.names import check_bucket_id
from mlengine.core.resources import Bucket
from mlengine.storage import staging, trees
from mlengine.storage.backends import Backend, ObjectInfo
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.backends.remote import REMOTE_SCHEMES, RemoteBackend, RemoteBackends
from mlengine.storage.faults import from_os_error
from mlengine.storage.paths import BucketPath, check_name, parse_backing, parse_uri
from mlengine.storage.patterns import compile_pattern, has_wildcards, literal_prefix
from mlengine.storage.records import Records
from mlengine.storage.trees import TreeFile

__all__ = ["BucketTable", "Buckets"]

# `Buckets.list` hides the builtin from the annotations of the methods behind it.
Infos = list[ObjectInfo]
TreeFiles = list[TreeFile]

_log = logging.getLogger(__name__)

_STAGING = ".staging"  # a bucket's name cannot start with a dot
_RECORDS = ".records"
_OWN_STAGING = ".mlengine-staging"  # beneath a file:// backing, where it has to be hidden


class BucketTable(Protocol):
    """What `Buckets` needs of the store; `mlengine.store.Store` has it."""

    def add_bucket(self, bucket: Bucket) -> Bucket: ...
    def bucket(self, name: str) -> Bucket: ...
    def buckets(self) -> Sequence[Bucket]: ...
    def remove_bucket(self, name: str) -> None: ...


class Buckets:
    """Buckets and their objects.

    Every method that takes a `BucketPath` also takes a ``gs://`` URI. An unknown bucket or object
    is `NotFound`; a full or failing disk `Unavailable`. Thread-safe.

    Args:
        store: The bucket table.
        root: Folder for folder-backed buckets, ``root/NAME``; made when missing.
        private: Folders that no bucket may be backed by or contain, such as the engine's home.
        clock: For times of creation and the age of unfinished writes.
    """

    def __init__(
        self,
        store: BucketTable,
        root: Path,
        *,
        private: Sequence[Path] = (),
        clock: Clock | None = None,
    ) -> None:
        self._store, self._root = store, root
        self._private = [root, *private]
        self._clock = clock or SystemClock()
        self._remotes = RemoteBackends()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    # --- buckets --------------------------------------------------------------------------------

    def create(self, bucket: Bucket) -> Bucket:
        """Add a bucket; with an empty `backing` it is a folder of the engine.

        Raises:
            AlreadyExists: The name is taken.
            InvalidArgument: The name or the backing is not valid.
            FailedPrecondition: The backing is not there, or needs a package that is not installed.
            Unavailable: The object store behind it does not answer.
        """
        check_bucket_id(bucket.name)
        if bucket.backing:
            self._check_backing(bucket)
        created = msgspec.structs.replace(bucket, create_time=rfc3339(self._clock.now()))
        added = self._store.add_bucket(created)
        if isinstance(self._open(created), FolderBackend):
            try:
                self.records(bucket.name).prepare()
                if not bucket.backing:
                    (self._root / bucket.name).mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                self._store.remove_bucket(bucket.name)
                raise from_os_error(error, f"gs://{bucket.name}") from error
        return added

    def _check_backing(self, bucket: Bucket) -> None:
        backing = parse_backing(bucket.backing)
        if backing.scheme == "file":
            folder = Path(backing.path).resolve()
            for private in (path.resolve() for path in self._private):
                if folder.is_relative_to(private) or private.is_relative_to(folder):
                    raise InvalidArgument(
                        f"The backing '{backing}' would show the engine's own files.",
                        "Choose a folder that neither holds the engine's home nor lies in it.",
                        field="bucket.backing",
                    )
            if not folder.is_dir():
                raise FailedPrecondition(
                    f"The backing '{backing}' is not a folder.",
                    "Make the folder first.",
                    field="bucket.backing",
                )
        backend = self._open(bucket)
        if isinstance(backend, RemoteBackend):
            try:
                next(iter(backend.list()), None)  # is it there, and may we look into it?
            except NotFound:
                raise FailedPrecondition(
                    f"The backing '{backing}' was not found.",
                    "Make the bucket in the object store first.",
                    field="bucket.backing",
                ) from None

    def get(self, name: str) -> Bucket:
        """Return one bucket."""
        return self._store.bucket(name)

    def list(self) -> list[Bucket]:
        """Return all buckets, by name."""
        return sorted(self._store.buckets(), key=lambda bucket: bucket.name)

    def delete(self, name: str, *, force: bool = False) -> None:
        """Remove a bucket.

        With `force` a folder-backed bucket goes with all its objects. Of a bucket that is backed
        elsewhere only the name is removed: its bytes were never the engine's.

        Raises:
            FailedPrecondition: It has objects, and `force` is false.
        """
        bucket = self._store.bucket(name)
        if not force and self.objects(name, limit=1):
            raise _not_empty(name)
        if bucket.backing:
            self._forget(name)
            return
        with self.records(name).all_locked():  # nobody publishes an object meanwhile
            try:
                # Bytes first: a crash in between leaves an empty bucket, never a bucket come back.
                aside = self._set_aside(name, force=force)
            except OSError as error:
                raise from_os_error(error, f"gs://{name}") from error
            self._forget(name)
            with contextlib.suppress(OSError):
                (self._root / name).rmdir()  # somebody looked into the bucket: see `_renew`
            with contextlib.suppress(NotFound):  # or has made it anew by now
                self._renew(self._store.bucket(name))
        if aside:
            with contextlib.suppress(OSError):  # the sweep tries again
                staging.discard(self._root, aside)

    def _set_aside(self, name: str, *, force: bool) -> str:
        """Move a bucket's folder away and return where it is now, ``""`` if there was none."""
        try:
            aside = staging.set_aside(self._root, name, staging=_STAGING)
        except FileNotFoundError:
            return ""
        try:
            # Looked at anew where no one can write to it: trainers do, by its path and unlocked.
            there = FolderBackend(self._root, bucket=name, folder=aside)
            if not force and next(there.list(), None):
                raise _not_empty(name)
        except BaseException:
            rest = staging.put_back(self._root, aside, name)
            if rest:
                _log.error(
                    "gs://%s was not deleted, but not all of its objects could be put back, as "
                    "others were written meanwhile: the rest is in %s",
                    name, self._root / rest,
                )  # fmt: skip
            raise
        return aside

    def _forget(self, name: str) -> None:
        shutil.rmtree(self._root / _RECORDS / name, ignore_errors=True)
        self._store.remove_bucket(name)

    # --- objects --------------------------------------------------------------------------------

    def objects(
        self, bucket: str, *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> Infos:
        """Return up to `limit` objects by name, those behind `after` only (exclusive)."""
        found = self.backend(bucket).list(prefix, after=after)
        return [*itertools.islice(found, limit)]

    def stat(self, path: BucketPath | str) -> ObjectInfo:
        """Return one object's size and time."""
        where = _object(path)
        return self.backend(where.bucket).stat(where.name)

    def open_read(self, path: BucketPath | str, *, offset: int = 0) -> BinaryIO:
        """Open an object from byte `offset`; it stays readable when it is replaced meanwhile."""
        where = _object(path)
        return self.backend(where.bucket).open_read(where.name, offset=offset)

    def write(self, path: BucketPath | str, chunks: Iterable[bytes]) -> ObjectInfo:
        """Write an object whole or not at all; when it returns, the object is durable."""
        where = _object(path)
        backend = self.backend(where.bucket)
        if not isinstance(backend, FolderBackend):
            return backend.write(where.name, chunks)
        with contextlib.closing(backend.draft(where.name)) as draft:
            for chunk in chunks:
                draft.append(chunk)
            draft.settle()
            with self._changing(backend, where) as before:
                # Its time is its generation, which has to grow whoever wrote before.
                draft.dated(max(time.time_ns(), before.changed_ns + 1000 if before else 0))
                return draft.publish()

    def delete_object(self, path: BucketPath | str) -> None:
        """Remove one object."""
        where = _object(path)
        backend = self.backend(where.bucket)
        if not isinstance(backend, FolderBackend):
            backend.delete(where.name)
            return
        with self._changing(backend, where):
            backend.delete(where.name)

    @contextlib.contextmanager
    def _changing(self, backend: FolderBackend, where: BucketPath) -> Iterator[ObjectInfo | None]:
        """Keep others from changing an object, then forget what was said of it."""
        records = self.records(where.bucket)
        with records.locked(where.name):
            try:
                before = backend.stat(where.name)
            except (NotFound, FailedPrecondition):  # nothing, or a link, which a writer replaces
                before = None
            yield before
            if before is not None:
                records.drop(before)

    def glob(self, uri: str, *, field: str = "") -> Infos:
        """Return the objects that a URI with wildcards means, by name; none is no error.

        ``*`` and ``?`` stay within a segment, ``**`` crosses slashes; a final slash means
        everything beneath.
        """
        return [*self._matches(uri, field)]

    def _matches(self, uri: str, field: str) -> Iterator[ObjectInfo]:
        bucket, name = parse_uri(uri, field=field, wildcards=True)
        pattern = name + "**" if not name or name.endswith("/") else name
        backend = self.backend(bucket)
        if has_wildcards(pattern):
            matches = compile_pattern(pattern).fullmatch
            yield from (i for i in backend.list(literal_prefix(pattern)) if matches(i.name))
            return
        try:
            yield backend.stat(name)
        except NotFound:
            return

    def expand_inputs(self, patterns: Iterable[str], *, field: str = "") -> Infos:
        """Return the objects that input patterns mean, in their order, each object once.

        Raises:
            NotFound: A pattern means no object.
        """
        found: dict[str, ObjectInfo] = {}
        for pattern in patterns:
            matches = self.glob(pattern, field=field)
            if not matches:
                raise NotFound(
                    f"Nothing matches {pattern!a}.",
                    "See what is there with 'storage ls'.",
                    field=field,
                )
            for info in matches:
                found.setdefault(info.uri, info)
        return [*found.values()]

    # --- folder-backed buckets ------------------------------------------------------------------

    def folder(self, name: str) -> FolderBackend:
        """Return the folder behind a bucket, for who needs more of it than every bucket can do.

        Raises:
            FailedPrecondition: The bucket's bytes are not files of this machine.
        """
        bucket = self._store.bucket(check_bucket_id(name))
        self._renew(bucket)
        backend = self._open(bucket)
        if not isinstance(backend, FolderBackend):
            raise _elsewhere(f"gs://{name}", bucket, field="")
        return backend

    def records(self, name: str) -> Records:
        """Return what is remembered of the objects of a folder-backed bucket."""
        return Records(self._root / _RECORDS / check_bucket_id(name), f"gs://{name}")

    # --- trees ----------------------------------------------------------------------------------

    def local_path(self, uri: BucketPath | str, *, field: str = "") -> Path:
        """Return where an object or prefix of a folder-backed bucket lies, existing or not.

        Raises:
            FailedPrecondition: The bucket's bytes are not files of this machine, or a link is on
                the way.
        """
        where = parse_uri(uri, field=field) if isinstance(uri, str) else uri
        bucket = self._store.bucket(where.bucket)
        path = self._open(bucket).local_path(where.name)
        if path is None:
            raise _elsewhere(str(where), bucket, field=field)
        return path

    def download(
        self,
        source: BucketPath | str,
        into: Path,
        *,
        max_files: int = 100_000,
        max_bytes: int = 100 * 1024**3,
        between: Callable[[], None] = lambda: None,
    ) -> TreeFiles:
        """Copy an object, or all beneath a prefix, to a folder of this machine, hashing it.

        Names in the answer are relative to `into`. Links, hard links and special files in the tree
        are refused, not skipped: an artefact is complete or it is none. On an error `into` may
        hold a part; the caller owns it. `between` is called before each chunk is written: what it
        raises ends the copying.

        Raises:
            NotFound: Nothing is there.
            FailedPrecondition: The tree holds something that is not a regular file.
            ResourceExhausted: There are more files or bytes than allowed.
        """
        where = _path(source)
        backend = self.backend(where.bucket)
        return trees.download(
            backend, where, into, max_files=max_files, max_bytes=max_bytes, between=between
        )

    def upload_tree(self, local: Path, destination: BucketPath | str, *, last: str = "") -> Infos:
        """Copy all files beneath a local folder under a prefix; links in it are refused.

        The file called `last` appears after all others, for who takes it as the sign of all.
        """
        where = _path(destination)
        self.get(where.bucket)  # it is there, though there be no file
        return trees.upload(local, where, self.write, last=last)

    def sweep(self, *, older_than_s: float = 3600.0) -> int:
        """Remove unfinished writes of dead writers; return how many.

        Object stores are swept beside this, now and then, of what is a day old.
        """
        now_s = self._clock.now().timestamp()
        removed = staging.sweep(
            self._root, staging=_STAGING, older_than_s=older_than_s, now_s=now_s
        )
        for bucket in self._store.buckets():
            removed += self._sweep_bucket(bucket, older_than_s=older_than_s, now_s=now_s)
        return removed

    def _sweep_bucket(self, bucket: Bucket, *, older_than_s: float, now_s: float) -> int:
        def stat(name: str) -> ObjectInfo | None:
            try:
                return backend.stat(name)
            except (NotFound, InvalidArgument, FailedPrecondition):
                return None

        removed = 0
        with contextlib.suppress(EngineError, OSError):  # what is away now is swept another time
            backend = self._open(bucket)
            if isinstance(backend, RemoteBackend):
                self._remotes.sweep_aside(backend, older_than_s=older_than_s, now_s=now_s)
                return 0
            if bucket.backing:
                removed = backend.sweep(older_than_s=older_than_s, now_s=now_s)
            records = self.records(bucket.name)
            removed += records.sweep(stat, older_than_s=older_than_s, now_s=now_s)
            if isinstance(backend, FolderBackend):
                records.prepare()  # earlier engines made it with the first record
        return removed

    def backend(self, name: str) -> Backend:
        """Return what holds a bucket's bytes."""
        bucket = self._store.bucket(check_bucket_id(name))
        self._renew(bucket)
        return self._open(bucket)

    def _renew(self, bucket: Bucket) -> None:
        """Make the folder of a bucket anew that somebody removed by hand.

        Raises:
            NotFound: The bucket has been deleted since we looked for it.
        """
        folder = self._root / bucket.name
        if bucket.backing or folder.is_dir():
            return
        try:
            folder.mkdir(mode=0o700)
        except OSError:
            return  # who writes is told
        try:
            self._store.bucket(bucket.name)
        except NotFound:
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise

    def _open(self, bucket: Bucket) -> Backend:
        if not bucket.backing:
            return FolderBackend(
                self._root, bucket=bucket.name, folder=bucket.name, staging=_STAGING
            )
        backing = parse_backing(bucket.backing)
        if backing.scheme == "file":
            # Not through fsspec: a folder gets the same link-proof, durable writes as our own.
            return FolderBackend(
                Path(backing.path), bucket=bucket.name, folder="", staging=_OWN_STAGING
            )
        if backing.scheme in REMOTE_SCHEMES:
            return self._remotes.open(backing, bucket=bucket.name)
        from mlengine.storage.backends.fsspec import FsspecBackend  # costs 0.1 s, few need it

        return FsspecBackend(backing, bucket=bucket.name)


def _path(path: BucketPath | str) -> BucketPath:
    return parse_uri(path) if isinstance(path, str) else path


def _not_empty(name: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"The bucket '{name}' is not empty.",
        f"Remove it with its objects by 'storage rm -r gs://{name}', or force it.",
    )


def _elsewhere(what: str, bucket: Bucket, *, field: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{what} lies on '{bucket.backing}', not on this machine.",
        "Use a folder-backed bucket, or download it first.",
        field=field,
    )


def _object(path: BucketPath | str) -> BucketPath:
    where = _path(path)
    if where.is_folder:
        raise InvalidArgument(f"{where} names no object.", "Write gs://BUCKET/NAME.")
    check_name(where.name)
    return where
