"""Other jobs that write into a job's directory: what is half-written there may be theirs.

Nobody is kept from giving two jobs one ``--job-dir``, or one the whole bucket that holds another's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from mlengine.store import JobRecord

__all__ = ["Neighbour", "neighbours"]


class Neighbour(NamedTuple):
    """A job that has not ended, and where it writes.

    Attributes:
        name: What messages call it.
        folder: Its part of the other's job directory, relative to that; ``.`` is all of it.
    """

    name: str
    folder: PurePosixPath

    def may_own(self, path: str) -> bool:
        """Tell whether it may have written a path, relative to the other's job directory."""
        return PurePosixPath(path).is_relative_to(self.folder)


def neighbours(record: JobRecord, others: Iterable[JobRecord]) -> list[Neighbour]:
    """Return which of `others` have a job directory that is, holds or lies below a job's.

    A trial's tuning job is none, and for the trials of another one that job stands.

    Args:
        record: The job.
        others: Jobs that have not ended; it may be among them.
    """
    own, found = _job_dir(record), []
    if own is None:
        return []
    for other in others:
        theirs = _job_dir(other)
        if theirs is None or other.parent or other.uid in (record.uid, record.parent):
            continue
        if theirs.is_relative_to(own):
            found.append(Neighbour(_name(other, record), theirs.relative_to(own)))
        elif own.is_relative_to(theirs):
            found.append(Neighbour(_name(other, record), PurePosixPath()))
    return found


def _job_dir(record: JobRecord) -> PurePosixPath | None:
    """Return a job's directory as names to compare; a URI's are told apart by their first, gs:."""
    uri = record.job.training_input.job_dir if record.job.training_input else ""
    return PurePosixPath(uri) if uri else None


def _name(other: JobRecord, record: JobRecord) -> str:
    where = "" if other.project == record.project else f" of the project {other.project}"
    return f"the job {other.job_id}{where}"
