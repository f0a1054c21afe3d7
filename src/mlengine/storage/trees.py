"""Whole trees between a bucket and a folder of this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlengine.core.errors import InvalidArgument, NotFound, ResourceExhausted
from mlengine.storage.backends import Backend, ObjectInfo
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.chunks import chunks_of
from mlengine.storage.faults import from_os_error
from mlengine.storage.paths import BucketPath, check_name, open_inside

__all__ = ["TreeFile", "download", "upload"]


class TreeFile(NamedTuple):
    """One copied file: `name` relative to the tree, `size` in bytes, `sha256` in hex."""

    name: str
    size: int
    sha256: str


def download(
    backend: Backend,
    source: BucketPath,
    into: Path,
    *,
    max_files: int,
    max_bytes: int,
    between: Callable[[], None],
) -> list[TreeFile]:
    """Copy an object, or all beneath a prefix, into a folder; see `Buckets.download`."""
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    copied: list[TreeFile] = []
    left = max_bytes
    for info, name in _found(backend, source):
        if len(copied) >= max_files:
            raise ResourceExhausted(
                f"{source} holds more than {max_files} files.", "Copy a smaller tree."
            )
        with backend.open_read(info.name, single_link=True) as file:
            # Counted while copying, not from the listing: a file may still be growing.
            copied.append(_copy(file, into, name, source, max_bytes=left, between=between))
        left -= copied[-1].size
    if not copied:
        raise NotFound(f"{source} was not found.", "List what is there with 'storage ls'.")
    return copied


def _found(backend: Backend, source: BucketPath) -> Iterator[tuple[ObjectInfo, str]]:
    """Yield each object with its name relative to the tree."""
    if not source.is_folder:
        try:
            yield backend.stat(check_name(source.name)), source.name.rpartition("/")[2]
            return
        except NotFound:
            pass
    folder = source.name if source.is_folder else source.name + "/"
    for info in backend.list(folder, strict=True):
        yield info, info.name.removeprefix(folder)


def _copy(
    file: BinaryIO,
    into: Path,
    name: str,
    source: BucketPath,
    *,
    max_bytes: int,
    between: Callable[[], None],
) -> TreeFile:
    digest, size = hashlib.sha256(), 0
    with open_inside(into, name, "xb") as target:
        for chunk in chunks_of(file):
            between()
            size += len(chunk)
            if size > max_bytes:
                raise ResourceExhausted(
                    f"{source} holds more bytes than allowed.", "Copy a smaller tree."
                )
            digest.update(chunk)
            _put(target, chunk, name)
        _finish(target, name)
    return TreeFile(name, size, digest.hexdigest())


def _put(target: BinaryIO, chunk: bytes, name: str) -> None:
    try:
        target.write(chunk)
    except OSError as error:
        raise from_os_error(error, f"'{name}'") from error


def _finish(target: BinaryIO, name: str) -> None:
    try:
        target.flush()
        os.fsync(target.fileno())
    except OSError as error:
        raise from_os_error(error, f"'{name}'") from error


def upload(
    local: Path,
    destination: BucketPath,
    write: Callable[[BucketPath, Iterable[bytes]], ObjectInfo],
    *,
    last: str = "",
) -> list[ObjectInfo]:
    """Copy all files beneath a local folder under a prefix, by name; `write` writes an object.

    The file called `last`, if there is one, comes after all others.
    """
    if not local.is_dir():
        raise InvalidArgument(f"'{local}' is not a folder.", "Name an existing folder.")
    folder = destination.name
    if not destination.is_folder:
        folder += "/"
    local = local.resolve()
    tree = FolderBackend(local.parent, bucket="local", folder=local.name)
    written = []
    for info in sorted(tree.list(strict=True), key=lambda info: info.name == last):
        with tree.open_read(info.name) as file:
            target = BucketPath(destination.bucket, folder + info.name)
            written.append(write(target, chunks_of(file)))
    return written
