"""Write aside, fsync, rename: a file appears whole or not at all.

Unfinished files lie in a staging folder beneath the same root (renames need one file system) and
carry a lock while their writer lives, so that `sweep` tells a slow writer from a dead one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from mlengine.runtime import failpoints
from mlengine.storage.beneath import folder_of, open_beneath, open_folder, opened

__all__ = ["Draft", "append_at", "discard", "put_back", "set_aside", "sweep", "write_whole"]

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RENAME_TURNS = 5
_KEPT = "kept-"


class Draft:
    """An unfinished file: it grows, then appears under its name whole, or never.

    One thread at a time. Whoever opens it closes it; closing throws away what was not published.

    Args:
        root: The folder to stay in.
        name: Where the file will appear, checked by `paths.check_name`. Its folder is made at once:
            a name that cannot be is refused before the upload.
        staging: Folder beneath `root` for the unfinished file; made when missing.
        within: Folder beneath `root` where `name` is. It is never made: who removed it meanwhile
            wanted the file gone, too.
        is_private: Modes 0600 and 0700; otherwise what the process's umask leaves.

    Raises:
        OSError: ``ENOSPC`` and the like; ``ENOTDIR`` when a folder of `name` is a file; ``ENOENT``
            when `within` is not there.
    """

    def __init__(
        self, root: Path, name: str, *, staging: str, within: str = "", is_private: bool = True
    ) -> None:
        self._root, self._staging, self._within = root, staging, within
        self._folder, _slash, self._leaf = name.rpartition("/")
        self._temporary = f".{os.getpid()}-{secrets.token_hex(8)}.part"
        self._is_published = False
        self.size = 0
        with opened(os.open(root, _FOLDER)) as root_fd:
            with opened(open_beneath(root_fd, within, _FOLDER)) as top_fd:
                os.close(folder_of(top_fd, self._folder, is_private=is_private))
            with opened(folder_of(root_fd, staging, is_private=is_private)) as staging_fd:
                mode = 0o600 if is_private else 0o666
                self.fd = os.open(self._temporary, _CREATE, mode, dir_fd=staging_fd)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def append(self, chunk: bytes) -> None:
        """Write on at the end; when it raises, nothing of the chunk is there."""
        append_at(self.fd, self.size, chunk)
        self.size += len(chunk)

    def settle(self) -> None:
        """Make the bytes durable."""
        os.ftruncate(self.fd, self.size)  # a failed `append` may not have got rid of its rest
        os.fsync(self.fd)

    def publish(self) -> os.stat_result:
        """Let it appear; replaces a file or a link there, never what a link points to.

        Raises:
            OSError: ``EISDIR`` when a folder with something in it is there; ``ENOENT`` when the
                folder that it is to be within is gone.
        """
        with (
            opened(os.open(self._root, _FOLDER)) as root_fd,
            opened(open_beneath(root_fd, self._staging, _FOLDER)) as staging_fd,
            opened(open_beneath(root_fd, self._within, _FOLDER)) as top_fd,
        ):
            _publish(top_fd, staging_fd, self._temporary, self._folder, self._leaf)
        self._is_published = True
        return os.fstat(self.fd)

    def close(self) -> None:
        """End it; an unfinished file goes."""
        if self.fd < 0:
            return
        try:
            if not self._is_published:
                with (
                    contextlib.suppress(FileNotFoundError),
                    opened(open_folder(self._root, self._staging)) as staging_fd,
                ):
                    os.unlink(self._temporary, dir_fd=staging_fd)
        finally:
            os.close(self.fd)
            self.fd = -1


def append_at(fd: int, size: int, chunk: bytes) -> None:
    """Write behind the first `size` bytes of a file; when it raises, these are all there is.

    Even if the rest of a failed write cannot be cut off at once: it is behind `size`, where the
    next write begins.
    """
    rest, at = memoryview(chunk), size
    try:
        while rest:
            written = os.pwrite(fd, rest, at)
            rest, at = rest[written:], at + written
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        raise


def write_whole(
    root: Path, name: str, chunks: Iterable[bytes], *, staging: str, is_private: bool = True
) -> os.stat_result:
    """Write a file beneath `root` as a `Draft`; when `chunks` raise, nothing has changed."""
    with contextlib.closing(Draft(root, name, staging=staging, is_private=is_private)) as draft:
        for chunk in chunks:
            draft.append(chunk)
        draft.settle()
        return draft.publish()


def _publish(top_fd: int, staging_fd: int, temporary: str, folder: str, leaf: str) -> None:
    """Rename into place; somebody may remove the folder between two steps."""
    for turn in range(_RENAME_TURNS):
        with opened(folder_of(top_fd, folder)) as folder_fd:
            try:
                failpoints.hit("object.before-commit")
                os.rename(temporary, leaf, src_dir_fd=staging_fd, dst_dir_fd=folder_fd)
            except FileNotFoundError:
                if turn + 1 == _RENAME_TURNS:
                    raise
                continue
            except IsADirectoryError:
                _remove_hollow(folder_fd, leaf)
                continue
            os.fsync(folder_fd)
            failpoints.hit("object.after-commit")
            return
    raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))


def _remove_hollow(folder_fd: int, name: str) -> None:
    """Remove a tree of empty folders: to a bucket, which has objects only, nothing is there."""
    with opened(open_beneath(folder_fd, name, _FOLDER)) as fd:
        with os.scandir(fd) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for each in names:
            _remove_hollow(fd, each)
    try:
        os.rmdir(name, dir_fd=folder_fd)
    except OSError as error:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR)) from error


def set_aside(root: Path, name: str, *, staging: str) -> str:
    """Make a file or folder tree vanish in one step; no link is followed.

    Returns:
        Where it is now, beneath `root`: for `put_back`, or for `discard` within the hour.
    """
    folder, _slash, leaf = name.rpartition("/")
    temporary = f"{os.getpid()}-{secrets.token_hex(8)}"
    with (
        opened(open_folder(root, folder)) as folder_fd,
        opened(os.open(root, _FOLDER)) as root_fd,
        opened(folder_of(root_fd, staging)) as staging_fd,
    ):
        os.utime(leaf, dir_fd=folder_fd, follow_symlinks=False)  # `sweep` leaves alone what is new
        os.rename(leaf, temporary, src_dir_fd=folder_fd, dst_dir_fd=staging_fd)
        os.fsync(folder_fd)
    return f"{staging}/{temporary}"


def put_back(root: Path, aside: str, name: str) -> str:
    """Let a folder that was set aside be where it was; what is there by now is newer, and stays.

    Returns:
        Where the rest is, beneath `root`, if not all found its place: `sweep` leaves it alone.
        Otherwise ``""``.

    Raises:
        OSError: Nothing was put back, nor made safe from `sweep`.
    """
    folder, _slash, leaf = name.rpartition("/")
    staging, _slash, temporary = aside.rpartition("/")
    with (
        opened(open_folder(root, folder)) as folder_fd,
        opened(open_folder(root, staging)) as staging_fd,
    ):
        with contextlib.suppress(OSError):  # a folder with something in it, say
            os.rename(temporary, leaf, src_dir_fd=staging_fd, dst_dir_fd=folder_fd)
            return ""
        kept = _KEPT + temporary
        os.rename(temporary, kept, src_dir_fd=staging_fd, dst_dir_fd=staging_fd)
        with contextlib.suppress(OSError):
            _merge(staging_fd, kept, folder_fd, leaf)
            return ""
    return f"{staging}/{kept}"


def _merge(aside_fd: int, aside: str, there_fd: int, there: str) -> None:
    """Move what is in a folder into another, entry by entry, and remove it.

    Raises:
        OSError: ``ENOTEMPTY`` and the like: some of it could not be moved.
    """
    with (
        opened(open_beneath(aside_fd, aside, _FOLDER)) as from_fd,
        opened(folder_of(there_fd, there)) as to_fd,
    ):
        with os.scandir(from_fd) as found:
            entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for name, is_folder in entries:
            with contextlib.suppress(OSError):  # the others are moved all the same
                _move(from_fd, to_fd, name, is_folder=is_folder)
    os.rmdir(aside, dir_fd=aside_fd)


def _move(from_fd: int, to_fd: int, name: str, *, is_folder: bool) -> None:
    with contextlib.suppress(OSError):  # hollow folders are of drafts, which make them anew
        _remove_hollow(to_fd, name)
    try:
        os.stat(name, dir_fd=to_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        return
    if is_folder:
        _merge(from_fd, name, to_fd, name)


def discard(root: Path, aside: str) -> None:
    """Free the space of what was set aside."""
    staging, _slash, temporary = aside.rpartition("/")
    with opened(open_folder(root, staging)) as staging_fd:
        _remove(staging_fd, temporary)


def _remove(folder_fd: int, name: str) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
        # rmtree works on descriptors here and refuses links; what it cannot free, sweep retries.
        shutil.rmtree(name, dir_fd=folder_fd, ignore_errors=True)
    else:
        os.unlink(name, dir_fd=folder_fd)


def sweep(root: Path, *, staging: str, older_than_s: float, now_s: float) -> int:
    """Remove what dead writers left in the staging folder; return how many entries went.

    What `put_back` kept there stays: it is objects, and nobody else has them.
    """
    try:
        staging_fd = open_folder(root, staging)
    except FileNotFoundError:
        return 0
    removed = 0
    with opened(staging_fd), os.scandir(staging_fd) as entries:
        for entry in entries:
            if entry.name.startswith(_KEPT):
                continue
            with contextlib.suppress(FileNotFoundError):
                age_s = now_s - entry.stat(follow_symlinks=False).st_mtime
                if age_s >= older_than_s and not _is_held(staging_fd, entry):
                    _remove(staging_fd, entry.name)
                    removed += 1
    return removed


def _is_held(staging_fd: int, entry: os.DirEntry[str]) -> bool:
    if not entry.is_file(follow_symlinks=False):
        return False
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    with opened(os.open(entry.name, flags, dir_fd=staging_fd)) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
