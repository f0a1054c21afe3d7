"""What lies in a job's copies and is no object: links, odd names, pipes.

An object store has no links. One that leads to a file of the job's own copies, as ``latest.pth`` to
the newest checkpoint, stands for the bytes of that file; what it leads to elsewhere is not the
job's to give away. The rest is left where it is, and told.
"""

from __future__ import annotations

import contextlib
import errno
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

__all__ = ["LeftOut", "Leftovers", "leftovers"]

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


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
    for name, entry in _entries(root, bucket):
        if name in objects:
            continue
        where = BucketPath(bucket, name)
        if _is_odd(name):
            found.left_out.append(LeftOut(where, f"{str(where)!a} is a name that no URI can say."))
        elif entry.is_symlink():
            target = _target(root, where, buckets)
            if target is not None:
                found.links[name] = target
            else:
                problem = f"{where} is a link that leads to no file of the job's own copies."
                found.left_out.append(LeftOut(where, problem))
        elif not entry.is_file(follow_symlinks=False):  # one that is has come since
            found.left_out.append(LeftOut(where, f"{where} is not a regular file."))
    return found


def _entries(root: Path, bucket: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what lies in the copies, but for folders with plain names: these are entered."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            fd = open_folder(root, f"{bucket}/{folder}".removesuffix("/"))
        except OSError as error:
            if error.errno in _GONE:
                continue
            raise from_os_error(error, f"gs://{bucket}/{folder}") from error
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
