"""Open files beneath a folder, whoever changes the folder meanwhile.

A path that was checked and then opened is a race: between the two a trainer may put a link where a
folder was. Here the kernel checks while it opens (`openat2`, Linux 5.6), or, where that is missing,
every component is opened from the one before it and never as a link. Raises bare `OSError`:
``ELOOP`` for a link, ``ENOENT`` for what is not a regular file, ``EMLINK`` for a hard link.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["create_file", "folder_of", "open_beneath", "open_file", "open_folder", "opened"]

_NR_OPENAT2 = 437
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# NONBLOCK: a FIFO that a trainer left must not hang the engine; regular files ignore it.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(folder_fd: int, name: str, flags: int) -> int:
    """Open `name` relative to an open folder; no component of it may be a link.

    `name` has no ``..`` and does not start with a slash; ``""`` is the folder itself.
    """
    if _has_openat2():
        return _openat2(folder_fd, name or ".", flags)
    return _open_by_steps(folder_fd, name, flags)


@functools.cache
def _has_openat2() -> bool:
    if sys.platform != "linux":
        return False  # elsewhere that number is another call, or none
    try:
        os.close(_openat2(-100, ".", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False  # an old kernel says ENOSYS, some sandboxes EPERM
    return True


def _openat2(folder_fd: int, name: str, flags: int) -> int:
    how = _OpenHow(flags, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    while True:
        fd = _libc().syscall(
            _NR_OPENAT2, folder_fd, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how)
        )
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        if number not in (errno.EINTR, errno.EAGAIN):
            raise OSError(number, os.strerror(number))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _open_by_steps(folder_fd: int, name: str, flags: int) -> int:
    *folders, last = name.split("/")
    fd = os.dup(folder_fd)
    try:
        for part in folders:
            above, fd = fd, _step(fd, part, _FOLDER)
            os.close(above)
        return _step(fd, last or ".", flags)
    finally:
        os.close(fd)


def _step(folder_fd: int, part: str, flags: int) -> int:
    try:
        return os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder_fd)
    except NotADirectoryError:
        # With O_DIRECTORY a link is "not a directory"; say what it is, as openat2 does.
        if stat.S_ISLNK(os.stat(part, dir_fd=folder_fd, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise


@contextlib.contextmanager
def opened(fd: int) -> Iterator[int]:
    """Close `fd` at the end of a ``with``."""
    try:
        yield fd
    finally:
        os.close(fd)


def open_folder(root: Path, name: str = "") -> int:
    """Open a folder beneath `root` and return its descriptor."""
    with opened(os.open(root, _FOLDER)) as root_fd:
        return open_beneath(root_fd, name, _FOLDER)


def open_file(root: Path, name: str, *, single_link: bool = False) -> int:
    """Open a regular file beneath `root` for reading and return its descriptor."""
    with opened(os.open(root, _FOLDER)) as root_fd:
        fd = open_beneath(root_fd, name, _READ)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if single_link and status.st_nlink > 1:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_file(root: Path, name: str) -> int:
    """Create a file that must not exist, and its folders, and return its descriptor."""
    folder, _slash, leaf = name.rpartition("/")
    with opened(os.open(root, _FOLDER)) as root_fd, opened(folder_of(root_fd, folder)) as fd:
        return os.open(leaf, _CREATE, _FILE_MODE, dir_fd=fd)


def folder_of(root_fd: int, name: str, *, is_private: bool = True) -> int:
    """Open a folder beneath an open one, making what is missing durably; ``""`` is itself."""
    try:
        return open_beneath(root_fd, name, _FOLDER)
    except FileNotFoundError:
        pass
    fd = os.dup(root_fd)
    try:
        for part in name.split("/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, _FOLDER_MODE if is_private else 0o777, dir_fd=fd)
                os.fsync(fd)
            above, fd = fd, _step(fd, part, _FOLDER)
            os.close(above)
        return os.dup(fd)
    finally:
        os.close(fd)
