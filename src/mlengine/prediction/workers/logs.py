"""What the workers of a version printed: read back from their logs, and removed with it.

    logs/worker-<uid of the version>-<n>.log      of the worker that runs now, or ran last
                                            .1    of the one before it, or what was cut off
         environment-<uid>.log                    what the installer of its packages said
         compiler-<uid>.log                       what its compiler said

A version that failed, or sleeps, has no worker and still has its logs. One that is deleted has no
logs: they hold what its code printed, callers' data perhaps, and nobody could ask for them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Set
from pathlib import Path

from mlengine.core.predictions import WorkerLog

__all__ = ["KnownLogs", "worker_logs"]

_log = logging.getLogger(__name__)
_MOST_BYTES = 4 << 20  # of all that is read for one answer
_LEAST_BYTES = 8192


def worker_logs(folder: Path, uid: str, *, lines: int) -> list[WorkerLog]:
    """Return the last lines of each log of a version's workers.

    Args:
        folder: The engine's ``logs``.
        uid: The version's.
        lines: Most lines of each; of long ones fewer are returned.

    Returns:
        The log that was written last, last; without those that hold nothing.
    """
    paths = sorted(folder.glob(f"worker-{uid}-*.log*"), key=_age)
    most = max(_MOST_BYTES // max(len(paths), 1), _LEAST_BYTES)
    found = [WorkerLog(file=str(path), lines=_tail(path, lines, most)) for path in paths]
    return [log for log in found if log.lines]


class KnownLogs:
    """The logs of the versions that an engine knows; each engine has its own.

    Logs of versions that it never knew stay. Its records may be older than they are, those of a
    backup perhaps.

    Args:
        folder: The engine's ``logs``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: Set[str] = frozenset()

    def keep(self, uids: Set[str]) -> None:
        """Remove the logs of versions that were among `uids` at the last call and are not now."""
        for uid in self._known - uids:
            self.remove(uid)
        self._known = uids

    def remove(self, uid: str) -> None:
        """Remove the logs of a version whose workers are gone; again is harmless."""
        for name in (f"worker-{uid}-*.log*", f"environment-{uid}.log*", f"compiler-{uid}.log*"):
            for path in self._folder.glob(name):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    _log.warning("%s stays, its version is deleted: %s", path, error.strerror)


def _age(path: Path) -> tuple[int, bool, str]:
    try:
        written = path.stat().st_mtime_ns
    except OSError:  # renamed since it was listed
        written = 0
    return written, path.suffix == ".log", path.name  # at one time, what came before is first


def _tail(path: Path, lines: int, most: int) -> list[str]:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - most, 0))
            text = file.read(most).decode(errors="replace")
    except OSError:
        return []
    found = text.removesuffix("\n").split("\n") if text else []
    if size > most and len(found) > 1:
        del found[0]  # only its end was read
    return found[-lines:]
