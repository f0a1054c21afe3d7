"""Which share of its time a process has used, by what the kernel counts."""

from __future__ import annotations

import os
import time
from collections.abc import Hashable
from pathlib import Path

__all__ = ["CpuTimes", "Shares"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MOST_REMEMBERED = 4096


class Shares:
    """Remembers how many seconds each had used when it was looked at last."""

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[float, float]] = {}

    def share(self, who: Hashable, used_s: float) -> float:
        """Return how much of the time since the last look somebody has used; 0 at first.

        Args:
            who: Who.
            used_s: All seconds that it has used so far.
        """
        now_s = time.monotonic()
        if who not in self._last and len(self._last) >= _MOST_REMEMBERED:
            self._last.clear()
        before_s, before_used_s = self._last.get(who, (now_s, used_s))
        self._last[who] = (now_s, used_s)
        return max(used_s - before_used_s, 0.0) / (now_s - before_s) if now_s > before_s else 0.0


class CpuTimes:
    """Tells how many CPUs processes have used since they were looked at last."""

    def __init__(self) -> None:
        self._shares = Shares()

    def share(self, pid: int) -> float:
        """Return the CPUs' worth of time that a process used since the last look; 0 at first."""
        return self._shares.share(pid, _used_s(pid))


def _used_s(pid: int) -> float:
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0.0
    fields = raw[raw.rindex(b")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
