"""Which worker computes on more CPUs than its machine type has; it counts for less then. Pure.

Workers share the CPUs. One that starts as many threads or processes as it likes is on all of them
at any moment, and whoever has a prediction to make waits until the kernel's turn comes round. So
it counts for an eighth of another (`Limits.weigh`) until it has kept to its own for a while: it
still gets whatever nobody else wants.
"""

from __future__ import annotations

__all__ = ["Greed"]

_BEYOND_CPUS = 0.5  # a library's own threads take a little beside those of a call
_PATIENCE_S = 10.0
_LEAST_S = 0.2  # the kernel counts in hundredths of a second: less says nothing


class Greed:
    """Follows what one worker has used.

    Args:
        cpus: Those of its machine type, of this machine's at most.

    Example:
        >>> greed = Greed(cpus=1)
        >>> greed.look(used_s=5.0, now_s=0.0), greed.look(used_s=7.0, now_s=1.0)
        (False, True)
        >>> greed.look(used_s=8.0, now_s=2.0), greed.look(used_s=16.0, now_s=11.0)
        (True, False)
    """

    def __init__(self, cpus: int) -> None:
        self._most = cpus + _BEYOND_CPUS
        self._last: tuple[float, float] | None = None
        self._greedy_s: float | None = None  # when it was seen to be

    def look(self, used_s: float, now_s: float) -> bool:
        """Tell whether it takes more than its own.

        Args:
            used_s: CPU seconds that it has used so far, all its processes together.
            now_s: The time; only differences matter.
        """
        if self._last is not None:
            since_s, before_s = self._last
            if now_s - since_s < _LEAST_S:
                return self._greedy_s is not None
            used_s = max(used_s, before_s)  # of a child that ended, its parent tells later
            if (used_s - before_s) / (now_s - since_s) > self._most:
                self._greedy_s = now_s
            elif self._greedy_s is not None and now_s - self._greedy_s >= _PATIENCE_S:
                self._greedy_s = None
        self._last = (now_s, used_s)
        return self._greedy_s is not None
