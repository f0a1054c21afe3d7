"""The database file: made once and whole, private, and never replaced by an empty one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from mlengine.core.errors import FailedPrecondition

__all__ = ["damage", "damaged", "ensure"]

_QUICK_CHECK_MAX_BYTES = 32 * 1024 * 1024
"""Larger files are not walked at every start: that takes about a second per gigabyte."""

_SMALLEST_BYTES = 512
"""SQLite's smallest page; a database has at least one."""

_SIDE_FILES = ("-journal", "-wal", "-shm")


def ensure(path: Path, make: Callable[[Path], None]) -> None:
    """Make the database if there never was one; see that only its owner may read it.

    It is made under another name and renamed when whole, so a file of no bytes under `path` is
    always damage, and two engines that start at once make one database.

    Args:
        path: Where it belongs.
        make: Fills the empty file at the path that it is given.

    Raises:
        FailedPrecondition: It is damaged, or its folder cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with _locked(path.parent):
            if path.exists():
                _check(path)
            else:
                _make(path, make)
    except OSError as error:
        raise FailedPrecondition(
            f"The database {path} cannot be opened: {error.strerror}.",
            "Check that its folder exists and who owns it.",
        ) from error


def damaged(path: Path, problem: str) -> FailedPrecondition:
    """Build the refusal to start on a damaged database."""
    return FailedPrecondition(
        f"The database {path} is damaged: {problem}",
        f"Nothing was changed. Move it, and {path.name}-wal if there is one, aside and put the "
        "newest backup in its place, or rescue "
        f"what is readable with: sqlite3 {path} .recover | sqlite3 rescued.db",
    )


def damage(connection: sa.Connection, path: Path) -> str:
    """Return what is wrong with the file's structure; empty if nothing was found."""
    if path.stat().st_size > _QUICK_CHECK_MAX_BYTES:
        return ""
    found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    return "" if found == "ok" else found


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        os.fsync(handle)  # a name made inside is on disk, too
    finally:
        os.close(handle)


def _check(path: Path) -> None:
    status = path.stat()
    if status.st_size < _SMALLEST_BYTES:  # which SQLite would take for a new database
        raise damaged(path, f"it has {status.st_size} bytes.")
    if status.st_mode & 0o077:
        path.chmod(0o600)


def _make(path: Path, make: Callable[[Path], None]) -> None:
    for suffix in _SIDE_FILES:
        rest = path.with_name(path.name + suffix)
        if rest.exists() and rest.stat().st_size > 0:
            raise damaged(path, f"it is gone, but {rest.name} is there.")
    new = path.with_name(f".{path.name}.new")
    _discard(new)  # a start that was killed
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        make(new)
        new.rename(path)
    finally:
        _discard(new)


def _discard(path: Path) -> None:
    for suffix in ("", *_SIDE_FILES):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
