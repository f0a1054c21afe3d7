"""One builder per environment, across threads and processes, and across crashes.

The lock is the kernel's (`flock`): it is gone the moment its holder dies, so nothing has to be
cleaned up. Lock files are never removed, because removing one that somebody waits for splits it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlengine.core.errors import Cancelled, Unavailable

__all__ = ["held", "try_held"]

_POLL_S = 0.02


@contextlib.contextmanager
def try_held(path: Path) -> Iterator[bool]:
    """Hold the lock if nobody else does; yields whether we do."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _take(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(
    path: Path,
    *,
    timeout_s: float,
    cancelled: Callable[[], bool],
    waiting: Callable[[], None],
    shared: bool = False,
) -> Iterator[None]:
    """Hold the lock, waiting for whoever has it now.

    Args:
        shared: Together with others who hold it so; whoever wants it alone then waits.
        timeout_s: Longest wait, in seconds.
        cancelled: Polled while waiting.
        waiting: Called once, if there is a wait at all.

    Raises:
        Unavailable: The other one holds it for too long.
        Cancelled: `cancelled` said so.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline_s = time.monotonic() + timeout_s
        pause = threading.Event()
        told = False
        while not _take(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if not told:
                waiting()
                told = True
            if cancelled():
                raise Cancelled("The wait for an environment was cancelled.", "Submit it again.")
            if time.monotonic() >= deadline_s:
                raise Unavailable(
                    f"Another process has been building this environment for {timeout_s:.0f} s.",
                    "Try again; if it persists, stop the job that builds it.",
                )
            pause.wait(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
