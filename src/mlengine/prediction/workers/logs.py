"""What the workers of a version printed, read back from their logs.

    logs/worker-<uid of the version>-<n>.log      of the worker that runs now, or ran last
                                            .1    of the one before it, or what was cut off

A version that failed, or sleeps, has no worker and still has its logs.
"""

from __future__ import annotations

import os
from pathlib import Path

from mlengine.core.predictions import WorkerLog

__all__ = ["worker_logs"]

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
