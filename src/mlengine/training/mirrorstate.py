"""What is known of a job's mirror: ``mirrors/<uid>.json``, there while the job is open."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from mlengine.storage.backends import ObjectInfo

__all__ = ["MirrorState", "Stamp", "content", "stamp_of"]


class Stamp(NamedTuple):
    """One writing of a file of the mirror."""

    size: int
    inode: int
    changed_ns: int


class MirrorState(msgspec.Struct):
    """What is known of a mirror.

    Attributes:
        buckets: Whose copies the trainer changes; bucket → name → what the bucket has of it.
        watched: The job directory of a trainer that writes to the bucket by itself.
        fetching: Bucket → place in it → names that are fetched for that place. A copy of one of
            them that the bucket is not known to have is of a fetch that was killed: no trainer
            has seen it.
    """

    project: str
    job_id: str
    buckets: dict[str, dict[str, Stamp]] = {}
    watched: str = ""
    fetching: dict[str, dict[str, list[str]]] = {}


def stamp_of(info: ObjectInfo) -> Stamp:
    """Return the writing of a file that was seen."""
    return Stamp(info.size, info.inode, info.changed_ns)


def content(file: Path) -> bytes | None:
    """Return what is in a file, None if it is not there; only who opens it is told so by NFS."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
