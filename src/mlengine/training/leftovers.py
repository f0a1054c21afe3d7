"""What a job writes that is no object: links, odd names, pipes.

Buckets have no links. In a job's copies of an object store, one that leads to a file of these
copies, as ``latest.pth`` to the newest checkpoint, stands for the bytes of that file; what it leads
to elsewhere is not the job's to give away. The rest is left where it is, and told. So is all of it
in a bucket that is a folder of this machine: the trainer has written there itself.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.beneath import open_folder, opened
from mlengine.storage.faults import from_os_error
from mlengine.storage.paths import BucketPath, check_name

__all__ = ["LeftOut", "Leftovers", "left_in_place", "leftovers"]

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_MAX_ENTRIES = 50_000


class LeftOut(NamedTuple):
    """Something that no object can be made of; of a folder, all that is in it.

    Attributes:
        where: Its place in the bucket, if it could have one.
        problem: A sentence that says what it is.
    """

    where: BucketPath
    problem: str


class Leftovers(NamedTuple):
    """What is no object by itself.

    Attributes:
        links: Name of a link → the file of the copies that it leads to.
        left_out: The rest.
    """

    links: dict[str, ObjectInfo]
    left_out: list[LeftOut]


def leftovers(
    root: Path, bucket: str, *, objects: Collection[str], buckets: Collection[str]
) -> Leftovers:
    """Return what lies in the copies of a bucket beside its objects.

    Args:
        root: Has a folder for each bucket.
        bucket: Whose copies are meant.
        objects: Names that are known as objects: no more is asked of them.
        buckets: Those whose copies a link may lead to.

    Raises:
        FailedPrecondition: A folder may not be read.
    """
    found = Leftovers({}, [])
    for name, entry in _entries(root / bucket, f"gs://{bucket}/"):
        if name in objects:
            continue
        where = BucketPath(bucket, name)
        problem = _problem(where, entry, "is a link that leads to no file of the job's own copies")
        is_link = entry.is_symlink() and not _is_odd(name)
        target = _target(root, where, buckets) if is_link else None
        if target is not None:
            found.links[name] = target
        elif problem:
            found.left_out.append(LeftOut(where, problem))
    return found


def left_in_place(folder: Path, where: BucketPath, *, since_s: float) -> list[LeftOut]:
    """Return what lies in a folder of a bucket and is no object, of what came since a moment.

    Args:
        folder: Is that folder on this machine; it need not exist. Of very many files not all are
            looked at.
        where: What it is called.
        since_s: In seconds since the epoch.

    Raises:
        FailedPrecondition: A folder may not be read.
    """
    found, above = [], where if where.is_folder else BucketPath(where.bucket, where.name + "/")
    for name, entry in itertools.islice(_entries(folder, str(above)), _MAX_ENTRIES):
        place = BucketPath(above.bucket, above.name + name)
        problem = _problem(place, entry, "is a link")
        with contextlib.suppress(FileNotFoundError):  # removed since
            if problem and entry.stat(follow_symlinks=False).st_ctime >= since_s:
                found.append(LeftOut(place, problem))
    return found


def _problem(where: BucketPath, entry: os.DirEntry[str], link: str) -> str:
    """Say why an entry is no object; empty if it is one."""
    if _is_odd(where.name):
        return f"{str(where)!a} is a name that no URI can say."
    if entry.is_symlink():
        return f"{where} {link}."
    return "" if entry.is_file(follow_symlinks=False) else f"{where} is not a regular file."


def _entries(top: Path, called: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what lies beneath a folder, but for folders with plain names: these are entered."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            fd = open_folder(top.parent, f"{top.name}/{folder}".removesuffix("/"))
        except OSError as error:
            if error.errno in _GONE:
                continue
            raise from_os_error(error, f"{called}{folder}") from error
        with opened(fd), os.scandir(fd) as entries:
            for entry in entries:
                name = folder + entry.name
                if entry.is_dir(follow_symlinks=False) and not _is_odd(name):
                    folders.append(name + "/")
                else:
                    yield name, entry


def _is_odd(name: str) -> bool:
    try:
        check_name(name)
    except InvalidArgument:
        return True
    return False


def _target(root: Path, link: BucketPath, buckets: Collection[str]) -> ObjectInfo | None:
    """Return the file of the copies that a link leads to, None if that is none."""
    path = os.path.realpath(root / link.bucket / link.name)
    inside = path.removeprefix(os.path.realpath(root) + "/")
    bucket, _slash, name = inside.partition("/")  # of a place elsewhere an empty one
    if bucket not in buckets:
        return None
    # Whoever changes the links on the way meanwhile: nothing outside is looked at.
    with contextlib.suppress(NotFound, FailedPrecondition, InvalidArgument):
        return FolderBackend(root, bucket=bucket, folder=bucket).stat(name)
    return None
