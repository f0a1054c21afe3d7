"""Where a job's ``gs://`` places lie on this machine: in a bucket's own folder, or in its mirror.

folder-backed bucket     the real path, as ever
object store             the path of the job's own copy (`mirrors`), fetched before it starts
a bucket that is not ours, or a whole one in an object store     as it was written; as a job
    directory the second is refused
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mlengine.core.errors import (
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from mlengine.storage import Buckets
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.paths import BucketPath, is_uri, parse_uri
from mlengine.storage.patterns import has_wildcards
from mlengine.store import JobRecord
from mlengine.training.kinds import NotYet, Preparation
from mlengine.training.launchers import ExitRecord, Outcome
from mlengine.training.leftovers import LeftOut, left_in_place
from mlengine.training.mirroring import Mirrors
from mlengine.training.mirrors import mirror_path
from mlengine.training.newfolders import NewFolders
from mlengine.training.uris import ensure_folder

__all__ = ["Places", "is_local", "remote_trouble"]

_LOOKED_AT_BYTES = 4 << 30
_LOOKED_AT_FILES = 1000
_TOLD = 20
_TOLD_IN_PLACE = 5
_NO_OBJECTS = "Not all that is in the job directory is an object of its bucket:"
_LEAVE_FILES = (
    "Nothing lists, copies or deploys them; leave regular files with plain names, and copy what a "
    "link points to into its place."
)
_SLACK_S = 1.0  # stores tell times to the second


class Places:
    """The places of all jobs.

    Args:
        buckets: All buckets.
        mirrors: Of jobs with places in object stores; None: such places are refused.
        new_folders: Those that were made for jobs which are not over.
    """

    def __init__(self, buckets: Buckets, mirrors: Mirrors | None, new_folders: NewFolders) -> None:
        self._buckets, self._mirrors = buckets, mirrors
        self._new_folders = new_folders

    def check_job_dir(self, uri: str, *, is_tuning: bool = False) -> None:
        """Refuse what no trainer could write to, and what none should be given.

        Args:
            is_tuning: Each of its trials gets a folder in it.
        """
        if self._mirror_of(uri) is None:
            self._buckets.local_path(uri, field="training_input.job_dir")
        elif not is_tuning:
            _check_is_part(parse_uri(uri))

    def job_dir(self, record: JobRecord, uri: str) -> Path | None:
        """Return where a job's directory can be read; None when there is nothing."""
        mirrors = self._mirror_of(uri)
        if mirrors is None:
            return self._buckets.local_path(uri)
        path = mirror_path(mirrors.folder(record), parse_uri(uri))
        return path if path.is_dir() else None

    def open_job_dir(self, uri: str, preparation: Preparation, *, verbatim: bool) -> str:
        """Have a job's directory ready; return what variables call it.

        Args:
            verbatim: The trainer writes to ``gs://`` by itself.
        """
        mirrors = self._mirror_of(uri)
        if mirrors is None:
            folder = self._buckets.local_path(uri, field="training_input.job_dir")
            folder.mkdir(parents=True, exist_ok=True)
            return str(folder)
        bucket, name = parse_uri(uri)
        where = BucketPath(bucket, name if not name or name.endswith("/") else name + "/")
        mirror = mirrors.of(preparation.record)
        if verbatim:
            mirror.watch(where)
            return uri
        _check_is_part(where)
        with remote_trouble():
            mirror.fetch(where, preparation.log, preparation.cancelled)
        folder = mirror.path(where)
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def resolve(self, uri: str, preparation: Preparation) -> str | None:
        """Return the path that a URI in an argument becomes; None leaves it as it is."""
        mirrors = self._mirror_of(uri, wildcards=True)
        try:
            where = parse_uri(uri, wildcards=True)
            if mirrors is None:
                path = self._buckets.local_path(where, field="training_input.args")
        except NotFound:
            return None  # a public bucket: the trainer may know how
        except EngineError as error:
            preparation.warn(f"{error.problem} The trainer gets this argument as it was written.")
            return None
        if mirrors is not None:
            return self._mirrored(where, mirrors, preparation)
        made = ensure_folder(path)
        self._new_folders.give(path, made, preparation.record.uid)
        return _ready(where, path, made, preparation)

    def _mirrored(
        self, where: BucketPath, mirrors: Mirrors, preparation: Preparation
    ) -> str | None:
        if not where.name:
            return None  # nobody means a copy of all that there is
        mirror = mirrors.of(preparation.record)
        with remote_trouble():
            found = mirror.fetch(where, preparation.log, preparation.cancelled)
        path = mirror.path(where)
        made = [] if found or has_wildcards(where.name) else ensure_folder(path)
        return _ready(where, path, made, preparation)

    def release(self, record: JobRecord) -> None:
        """Remove the folders made for a job that it left empty; it does not write any more."""
        self._new_folders.release(record.uid)

    def settle(self, record: JobRecord, exit_record: ExitRecord) -> list[str]:
        """Carry all that an attempt left to its buckets, before anybody believes its success.

        Returns:
            Warnings of what is in no bucket, and of what is no object in one on this machine.

        Raises:
            NotYet: An object store does not answer.
            FailedPrecondition: It does not take the files.
        """
        self.release(record)
        in_place = self._left_in_place(record, since_s=exit_record.started - _SLACK_S)
        mirror = self._mirrors.known(record) if self._mirrors else None
        if self._mirrors is None or mirror is None:
            return in_place
        folder = f"{self._mirrors.folder(record)}/buckets"
        try:
            left_out = mirror.push().left_out
            mirror.look(_made_since(exit_record.started - _SLACK_S))
        except EngineError as error:
            if exit_record.outcome is not Outcome.SUCCEEDED:
                return in_place  # the job has failed anyway; `Mirrors.tick` goes on trying
            problem = f"The job's files are not in their bucket yet: {error.problem}"
            remedy = f"They are in {folder} until then."
            if isinstance(error, Unavailable):
                raise NotYet(problem, remedy) from None
            raise FailedPrecondition(problem, remedy) from None
        return in_place + _warnings(left_out, folder)

    def _left_in_place(self, record: JobRecord, *, since_s: float) -> list[str]:
        """Warn of what an attempt left in a job directory on this machine and is no object."""
        uri = record.job.training_input.job_dir if record.job.training_input else ""
        if not is_uri(uri) or self._mirror_of(uri) is not None:
            return []
        try:
            folder, where = self._buckets.local_path(uri), parse_uri(uri)
            left_out = left_in_place(folder, where, since_s=since_s)
        except NotFound:  # its bucket was deleted meanwhile
            return []
        except EngineError as error:
            return [f"What is in the job directory cannot be told: {error.description}"]
        shown = " ".join(each.problem for each in sorted(left_out)[:_TOLD_IN_PLACE])
        more = len(left_out) - _TOLD_IN_PLACE
        shown += f" {more} more files and links are none either." * (more > 0)
        return [f"{_NO_OBJECTS} {shown} {_LEAVE_FILES}"] * bool(left_out)

    def _mirror_of(self, uri: str, *, wildcards: bool = False) -> Mirrors | None:
        """Return the mirrors if a place needs one."""
        if self._mirrors is None or not is_uri(uri):
            return None
        try:
            bucket = parse_uri(uri, wildcards=wildcards).bucket
            return None if is_local(self._buckets, bucket) else self._mirrors
        except EngineError:
            return None


def is_local(buckets: Buckets, bucket: str) -> bool:
    """Return whether a bucket's objects are files of this machine."""
    return isinstance(buckets.backend(bucket), FolderBackend)


def _check_is_part(where: BucketPath) -> None:
    """Refuse a whole bucket, whose every object would be fetched.

    Many a trainer begins by emptying its job directory, which does nothing on Google's ``gs://``.
    """
    if not where.name:
        raise InvalidArgument(
            f"The job directory {where} is a whole bucket, of which the job would get, and may "
            "remove, every object.",
            f"Name a folder in it: {where}JOB.",
            field="training_input.job_dir",
        )


def _ready(where: BucketPath, path: Path, made: list[Path], preparation: Preparation) -> str:
    """Tell of the folders made for a place, if any; return what the trainer is given."""
    name = where.name if path in made else where.name.rpartition("/")[0]
    if made and name:
        folder = BucketPath(where.bucket, name)
        preparation.log(f"Made the folder {folder}, for there was nothing of that name.")
    return f"{path}/" if where.is_folder else str(path)


@contextlib.contextmanager
def remote_trouble() -> Iterator[None]:
    """Have a step that an object store does not answer tried again in a while."""
    try:
        yield
    except Unavailable as error:
        raise NotYet(error.problem, error.remedy, field=error.field) from None


def _warnings(left_out: Sequence[LeftOut], folder: str) -> list[str]:
    """Tell of what is in no bucket: the first of very much, and how much there is."""
    remedy = f"It is in no bucket but in {folder}; leave regular files with plain names."
    told = [f"{each.problem} {remedy}" for each in sorted(left_out)[:_TOLD]]
    more = len(left_out) - _TOLD
    return told + [f"{more} more files and links are in no bucket but in {folder}."] * (more > 0)


def _made_since(moment_s: float) -> Callable[[ObjectInfo], bool]:
    """Return a choice of what was written since; of very much, only a part."""
    files, size = 0, 0

    def is_wanted(info: ObjectInfo) -> bool:
        nonlocal files, size
        if info.updated.timestamp() < moment_s or files >= _LOOKED_AT_FILES:
            return False
        if size + info.size > _LOOKED_AT_BYTES:
            return False
        files, size = files + 1, size + info.size
        return True

    return is_wanted
