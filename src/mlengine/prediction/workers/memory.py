"""What workers hold of the memory, and who sleeps when another needs room; the rule is pure.

A worker that was forked shares most of what it shows with its zygote; so what counts is its
proportional share (PSS), which the kernel works out page by page, in milliseconds; what a worker
has in memory (RSS) it knows at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["Sleeper", "choose_sleepers", "pss_bytes", "rss_bytes"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Sleeper(NamedTuple):
    """A version that may sleep.

    Attributes:
        version: Its full name.
        held_bytes: What its workers hold.
        last_use_s: When it was last asked, or woken.
    """

    version: str
    held_bytes: int
    last_use_s: float


def choose_sleepers(
    sleepers: Iterable[Sleeper], *, used_bytes: int, needed_bytes: int, cap_bytes: int
) -> list[str] | None:
    """Return who must sleep so that so much more fits, the longest unused first.

    Who needs more than there is has room once nobody else is awake: it could never be served else.

    Returns:
        Their names, none if it fits as it is; None if it does not fit even if all of them sleep.

    Example:
        >>> idle = [Sleeper("a", 40, 9.0), Sleeper("b", 40, 5.0)]
        >>> choose_sleepers(idle, used_bytes=90, needed_bytes=30, cap_bytes=100)
        ['b']
    """
    excess = used_bytes + needed_bytes - cap_bytes
    left = used_bytes
    chosen = []
    for sleeper in sorted(sleepers, key=lambda sleeper: (sleeper.last_use_s, sleeper.version)):
        if excess <= 0:
            break
        chosen.append(sleeper.version)
        excess -= sleeper.held_bytes
        left -= sleeper.held_bytes
    return chosen if excess <= 0 or left <= 0 else None


def pss_bytes(pid: int) -> int:
    """Return a process's proportional share of memory; 0 when it is gone."""
    try:
        for row in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if row.startswith(b"Pss:"):
                return int(row.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return 0


def rss_bytes(pid: int) -> int:
    """Return what a process has in memory, shared or not; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0
