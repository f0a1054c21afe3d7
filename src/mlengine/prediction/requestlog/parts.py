"""Files of rows: appended to by one process, read by any, and never with half a line in them.

A part that is written is locked and ends in ``.jsonl.open``; when it is full or old it is renamed
to ``.jsonl`` and changes no more. A write that fails half-way is taken back. Of a writer that was
killed the lock is gone: whoever comes next cuts off what follows its last line end, and closes the
part. Readers take no notice of what follows the last line end.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MOST_PIECES", "PartWriter", "close_orphans", "day_folder", "part_files", "part_order",
           "whole_lines"]  # fmt: skip

MOST_PIECES = 512
"""Of one write; no system takes fewer than 1,024."""

_log = logging.getLogger("mlengine.gateway")

_OPEN = ".open"
_ENDING = ".jsonl"
_BLOCK_BYTES = 1 << 16
_DAY_S = 86_400


def day_folder(day: int) -> str:
    """Return the name of a day's folder.

    Example:
        >>> day_folder(20_000)
        '2024-10-04'
    """
    return time.strftime("%Y-%m-%d", time.gmtime(day * _DAY_S))


class PartWriter:
    """Writes the parts of one folder, one after the other.

    Args:
        folder: Made when the first row comes.
        names: Gives each part a name of its own.
        max_bytes: A part that has so many is closed.
        max_s: So is one that is so old.
        keep: The newest closed parts that are kept; 0: all.
    """

    def __init__(
        self, folder: Path, names: Iterator[str], *, max_bytes: int, max_s: float, keep: int = 0
    ) -> None:
        self._folder = folder
        self._names = names
        self._max_bytes = max_bytes
        self._max_s = max_s
        self._keep = keep
        self._fd = -1
        self._path = folder
        self._bytes = 0
        self._begun_s = 0.0
        self._dirty = False

    def write(self, *pieces: bytes) -> None:
        """Append whole lines: all of them, or none.

        Args:
            pieces: `MOST_PIECES` at most; they go to the disk with one call.

        Raises:
            OSError: They could not be written; the part is as it was.
        """
        if self._fd < 0:
            self._open()
        done, size = 0, sum(map(len, pieces))
        try:
            done = os.writev(self._fd, pieces)
            while done < size:  # hardly ever: the disk is nearly full
                done += os.write(self._fd, b"".join(pieces)[done:])
        except OSError:
            self._take_back()
            raise
        self._bytes += done
        self._dirty = True

    def settle(self, *, sync: bool) -> bool:
        """Close the part if its time has come.

        Args:
            sync: Have what was written reach the disk; a part that is closed always does.

        Returns:
            Whether a part is open.

        Raises:
            OSError: The disk refuses.
        """
        if self._fd < 0:
            return False
        if self._dirty and sync:
            self._dirty = False
            os.fsync(self._fd)
        is_gone = os.fstat(self._fd).st_nlink == 0  # somebody has removed the table
        is_due = self._bytes >= self._max_bytes or time.monotonic() - self._begun_s >= self._max_s
        if is_gone or is_due:
            self.close()
        return self._fd >= 0

    def close(self) -> None:
        """Close the part, if one is open."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):  # removed by somebody, or the disk is gone
            if self._bytes:
                os.fsync(fd)
                self._path.rename(self._path.with_suffix(""))
            else:
                self._path.unlink()
        os.close(fd)
        if self._keep:
            for old in sorted(part_files(self._folder), key=_last_write)[: -self._keep]:
                old.unlink(missing_ok=True)

    def _take_back(self) -> None:
        """Cut off the lines that were written in part; or leave the part to who mends it."""
        try:
            os.ftruncate(self._fd, self._bytes)
        except OSError:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{next(self._names)}"
        self._path = self._folder / f"{name}{_ENDING}{_OPEN}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._bytes = 0
        self._begun_s = time.monotonic()


def _last_write(part: Path) -> tuple[int, str]:
    """Tell when a part was written last; the names of older engines do not say the day."""
    try:
        return part.stat().st_mtime_ns, part.name
    except FileNotFoundError:
        return 0, part.name


def part_order(name: str) -> str:
    """Return what the names of a day's parts are sorted by.

    Those of older engines begin with the hour and not with the day, and are older than all others.

    Example:
        >>> part_order("203000-w-0.jsonl") < part_order("20261122-090000-w-0.jsonl")
        True
    """
    first = name.partition("-")[0]
    return f"{first.zfill(8)}{name[len(first) :]}"


def part_files(folder: Path) -> list[Path]:
    """Return the parts of a folder, the oldest first; one that is closed meanwhile comes once."""
    try:
        found = {path.name.removesuffix(_OPEN): path for path in sorted(folder.iterdir())}
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [found[name] for name in sorted(found, key=part_order)
            if name.endswith(_ENDING) and name[0].isdigit()]  # fmt: skip


def whole_lines(path: Path, begin: int = 0) -> Iterator[bytes]:
    """Return the lines of a part; nothing of one that is half-written, or of a part that is gone.

    A part that is closed between the look and the reading is found under its new name.

    Args:
        path: The part.
        begin: The byte at which the first line begins.
    """
    for name in (path, path.with_suffix("") if path.suffix == _OPEN else path):
        with contextlib.suppress(FileNotFoundError), open(name, "rb") as lines:
            lines.seek(begin)
            for line in lines:
                if line.endswith(b"\n"):
                    yield line
            return


def close_orphans(folder: Path) -> int:
    """Close the parts below a folder whose writers are gone; return how many."""
    closed = 0
    for path in folder.rglob(f"*{_ENDING}{_OPEN}"):
        try:
            closed += _close_orphan(path)
        except OSError as error:
            _log.warning("the part %s stays open: %s", path, error)
    return closed


def _close_orphan(path: Path) -> bool:
    with open(path, "r+b") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if os.fstat(part.fileno()).st_nlink == 0 or not path.exists():
            return False  # its writer has just closed it
        size = _whole_bytes(part.fileno())
        if not size:
            path.unlink()
            return True
        part.truncate(size)
        os.fsync(part.fileno())
        path.rename(path.with_suffix(""))
        return True


def _whole_bytes(fd: int) -> int:
    """Return up to where a file has whole lines."""
    end = os.fstat(fd).st_size
    while end:
        begin = max(end - _BLOCK_BYTES, 0)
        at = os.pread(fd, end - begin, begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0
