"""A bucket that is a folder of this machine: the default.

Trainers write into it directly, so it may hold anything: files still growing, links, pipes. Links
and special files are not objects: listings skip them and opening one is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.storage import staging
from mlengine.storage.backends import Backend, ObjectInfo
from mlengine.storage.backends.drafts import ObjectDraft, object_info, write_faults
from mlengine.storage.beneath import folder_of, open_file, open_folder, opened
from mlengine.storage.faults import from_os_error
from mlengine.storage.listing import walk
from mlengine.storage.paths import check_name

__all__ = ["FolderBackend"]

_PLAIN = re.compile(r"[A-Za-z0-9_=+,@ -][A-Za-z0-9_.=+,@ -]{0,199}", re.ASCII)
_SURELY_SHORT = 200  # characters, each at most four bytes of the 1024 a name may have
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class FolderBackend:
    """The files beneath ``root/folder``; unfinished ones lie in ``root/staging``.

    Args:
        root: Exists, and is on one file system with `folder` and `staging`.
        bucket: The name in answers and messages.
        folder: Folder beneath `root`; empty for `root` itself. Nothing is written where it is not:
            who is writing when a bucket is deleted does not bring it back.
        staging: Folder beneath `root` that no listing shows and no name may enter.
    """

    def __init__(self, root: Path, *, bucket: str, folder: str, staging: str = ".staging") -> None:
        self._root, self._bucket, self._folder, self._staging = root, bucket, folder, staging

    def list(
        self,
        prefix: str = "",
        *,
        after: str = "",
        strict: bool = False,
        is_shallow: bool = False,
    ) -> Iterator[ObjectInfo]:
        hidden = "" if self._folder else self._staging + "/"

        def enter(name: str) -> _OpenFolder | None:
            if hidden and name.startswith(hidden):
                return None
            with self._faults(name):
                return _OpenFolder.open(
                    self._root, self._beneath(name), self._bucket, name, strict=strict
                )

        return walk(enter, prefix=prefix, after=after, is_shallow=is_shallow)

    def stat(self, name: str) -> ObjectInfo:
        with self._faults(name), opened(open_file(self._root, self._file(name))) as fd:
            return object_info(self._bucket, name, os.fstat(fd))

    def open_read(self, name: str, *, offset: int = 0, single_link: bool = False) -> BinaryIO:
        with self._faults(name):
            fd = open_file(self._root, self._file(name), single_link=single_link)
            file = os.fdopen(fd, "rb")
            file.seek(offset)
            return file

    def open_object(self, name: str) -> tuple[BinaryIO, ObjectInfo]:
        """Open an object together with what it is at this moment."""
        file = self.open_read(name)
        return file, object_info(self._bucket, name, os.fstat(file.fileno()))

    def write(self, name: str, chunks: Iterable[bytes]) -> ObjectInfo:
        with contextlib.closing(self.draft(name)) as draft:
            for chunk in chunks:
                draft.append(chunk)
            draft.settle()
            return draft.publish()

    def draft(self, name: str) -> ObjectDraft:
        """Begin an object that appears when its writer publishes it."""
        self._file(name)  # refuses what no object can be called
        with write_faults(self._uri(name)):
            draft = staging.Draft(self._root, name, staging=self._staging, within=self._folder)
        return ObjectDraft(draft, self._bucket, name)

    def make_folder(self, name: str) -> None:
        """Make a folder and those above it; one that is there is no error."""
        self._beneath(name)  # refuses what no object can be called
        with write_faults(self._uri(name)), opened(open_folder(self._root, self._folder)) as top_fd:
            os.close(folder_of(top_fd, name.removesuffix("/")))

    def has_folder(self, name: str) -> bool:
        """Return whether a folder is there, with objects in it or without."""
        with self._faults(name):
            try:
                os.close(open_folder(self._root, self._beneath(name)))
            except OSError as error:
                if error.errno in _GONE:
                    return False
                raise
        return True

    def remove_folder(self, name: str) -> None:
        """Remove a folder if nothing is in it."""
        folder, _slash, leaf = self._beneath(name).rpartition("/")
        try:
            with opened(open_folder(self._root, folder)) as fd:
                os.rmdir(leaf, dir_fd=fd)
        except OSError as error:
            if error.errno not in (*_GONE, errno.ENOTEMPTY, errno.EEXIST):
                raise from_os_error(error, self._uri(name)) from error

    def delete(self, name: str) -> None:
        folder, _slash, leaf = self._file(name).rpartition("/")
        self.stat(name)  # NotFound for a folder, a refusal for a link
        with self._faults(name), opened(open_folder(self._root, folder)) as fd:
            os.unlink(leaf, dir_fd=fd)
            os.fsync(fd)

    def local_path(self, name: str) -> Path | None:
        """Return the path; refuse one whose existing part goes through a link."""
        where = self._beneath(name)
        parts = where.split("/") if where else []
        for end in range(1, len(parts) + 1):
            if (self._root / "/".join(parts[:end])).is_symlink():
                raise from_os_error(OSError(errno.ELOOP, ""), self._uri(name))
        return self._root.joinpath(where)

    def sweep(self, *, older_than_s: float, now_s: float) -> int:
        return staging.sweep(
            self._root, staging=self._staging, older_than_s=older_than_s, now_s=now_s
        )

    def _file(self, name: str) -> str:
        return self._beneath(check_name(name))

    def _beneath(self, name: str) -> str:
        """Return a checked object or prefix name relative to the root."""
        bare = name.removesuffix("/")
        if name:
            check_name(bare)
        if not self._folder and bare.split("/")[0] == self._staging:
            raise InvalidArgument(
                f"The name '{self._staging}' is reserved for unfinished writes.",
                "Choose another name.",
            )
        return f"{self._folder}/{bare}".strip("/")

    def _uri(self, name: str) -> str:
        return f"gs://{self._bucket}/{name}"

    @contextlib.contextmanager
    def _faults(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os_error(error, self._uri(name)) from error


class _OpenFolder:
    """A folder held by descriptor: its entries' status needs no path, so no link is followed."""

    def __init__(self, fd: int, bucket: str, name: str, *, strict: bool) -> None:
        self._fd, self._bucket, self._name, self._strict = fd, bucket, name, strict

    @classmethod
    def open(
        cls, root: Path, where: str, bucket: str, name: str, *, strict: bool
    ) -> _OpenFolder | None:
        try:
            return cls(open_folder(root, where), bucket, name, strict=strict)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise

    def keys(self) -> list[str]:
        with os.scandir(self._fd) as entries:
            return [key for entry in entries if (key := self._key(entry))]

    def _key(self, entry: os.DirEntry[str]) -> str:
        is_folder = entry.is_dir(follow_symlinks=False)
        odd = ""
        if not (is_folder or entry.is_file(follow_symlinks=False)):
            odd = "is a link" if entry.is_symlink() else "is not a regular file"
        # Most names are plain at a glance, which matters in a folder of 100,000.
        if not (_PLAIN.fullmatch(entry.name) and len(self._name) < _SURELY_SHORT):
            try:
                check_name(self._name + entry.name)
            except InvalidArgument:
                odd = "has a name that no URI can say"
        if odd and self._strict:
            raise FailedPrecondition(
                f"{entry.name!a} in gs://{self._bucket}/{self._name} {odd}.",
                "Leave regular files with plain names only; copy what a link points to into its "
                "place.",
            )
        return "" if odd else entry.name + "/" * is_folder

    def info(self, key: str) -> ObjectInfo | None:
        try:
            status = os.stat(key, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None  # swapped since the folder was read
        return object_info(self._bucket, self._name + key, status)

    def close(self) -> None:
        os.close(self._fd)


_: type[Backend] = FolderBackend
