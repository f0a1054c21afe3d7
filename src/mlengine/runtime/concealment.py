"""Keeps a process's memory, and the environment that it was started with, from its own user.

Keys come to an engine in its environment, which every process of the same user may read in
``/proc/PID/environ``, as it may read the memory, and take open descriptors. A process that is not
"dumpable" is open to root only (proc(5), prctl(2)), and leaves no core file with keys in it. What
it forks is closed as well; a program that is executed is an ordinary one again.

Standard library only, Python >= 3.7, Linux; elsewhere it does nothing.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["conceal", "reveal"]

_PR_SET_DUMPABLE = 4


def conceal() -> bool:
    """Close this process to others of its user; return whether the system does that."""
    return _set_dumpable(0)


def reveal() -> bool:
    """Make this process, which was forked from a closed one, an ordinary one again."""
    return _set_dumpable(1)


def _set_dumpable(value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_DUMPABLE, value, 0, 0, 0) == 0)
