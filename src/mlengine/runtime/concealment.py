"""Keeps a process's memory, and the environment that it was started with, from its own user.

Keys come to an engine in its environment, which every process of the same user may read in
``/proc/PID/environ``, as it may read the memory. A process that is not "dumpable" is open to root
only (proc(5), prctl(2)), and leaves no core file with keys in it. A program that it starts is an
ordinary one again.

Standard library only, Python >= 3.7, Linux; elsewhere it does nothing.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["conceal"]

_PR_SET_DUMPABLE = 4


def conceal() -> bool:
    """Close this process to others of its user; return whether the system does that."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
