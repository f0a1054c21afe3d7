"""What a failed system call means to the caller; no path of the machine gets into a message."""

from __future__ import annotations

import errno
import os

from mlengine.core.errors import (
    AlreadyExists,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)

__all__ = ["from_os_error"]

_GONE = (errno.ENOENT, errno.ENOTDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LINKS = (errno.ELOOP, errno.EMLINK)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_HANDLES = (errno.EMFILE, errno.ENFILE)
_BY_CLASS: tuple[tuple[type[OSError], int], ...] = (
    (FileNotFoundError, errno.ENOENT),
    (NotADirectoryError, errno.ENOTDIR),
    (IsADirectoryError, errno.EISDIR),
    (FileExistsError, errno.EEXIST),
    (PermissionError, errno.EACCES),
)


def from_os_error(error: OSError, what: str, *, is_local: bool = False) -> EngineError:
    """Build the error to raise for `what`, such as ``gs://b/x``, from the system's own.

    With `is_local` it is a file of the caller's machine, which is no business of the engine.
    """
    number = error.errno or _number_of(error)
    reason = os.strerror(number) if number else type(error).__name__
    if number in _GONE and is_local:
        return NotFound(f"{what} was not found.", "See what is there with 'ls'.")
    if number in _GONE:
        return NotFound(f"{what} was not found.", "List what is there with 'storage ls'.")
    if number in _FULL:
        disk = "its disk" if is_local else "the disk of the engine's home"
        return Unavailable(
            f"No space is left to write {what}; nothing of it was kept.",
            f"Free space on {disk}, then try again.",
        )
    if number in _LINKS:
        return FailedPrecondition(
            f"{what} is a link or lies behind one.",
            "Put a regular file there: copy what the link points to.",
        )
    if number == errno.EEXIST:
        return AlreadyExists(f"{what} exists already.", "Choose another name, or remove it first.")
    if number in (errno.EISDIR, errno.ENOTEMPTY):
        return FailedPrecondition(
            f"{what} is a folder that is not empty.", "Choose another name, or remove it first."
        )
    if number == errno.EXDEV:
        return FailedPrecondition(
            f"{what} lies on another file system than the engine's buckets.",
            "Back the bucket with file:///THAT/FOLDER instead of mounting into it.",
        )
    if number == errno.ENAMETOOLONG:
        return InvalidArgument(f"The name of {what} is too long.", "Use a shorter name.")
    if number in _FORBIDDEN and is_local:
        return FailedPrecondition(
            f"You may not touch {what}: {reason}.", "Mend its owner or mode, or its folder's."
        )
    if number in _FORBIDDEN:
        return FailedPrecondition(
            f"The engine may not touch {what}: {reason}.", "Mend the owner or mode of its folder."
        )
    if number in _HANDLES:
        return Unavailable(f"Too many files are open to touch {what}.", "Try again in a moment.")
    return Unavailable(f"{what} cannot be reached: {reason}.", "Try again; check the disk.")


def _number_of(error: OSError) -> int:
    """Return the number that a service's Python client left out of its error."""
    return next((number for cls, number in _BY_CLASS if isinstance(error, cls)), 0)
