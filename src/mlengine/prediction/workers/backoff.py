"""How long a worker that keeps dying stays down, and when it is said to loop. Pure."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Deaths", "is_healthy", "is_loop", "next_deaths", "restart_delay_s"]

_FIRST_S = 0.5
_LONGEST_S = 60.0
_HEALTHY_S = 60.0
_LOOP = 3


class Deaths(NamedTuple):
    """How often a worker died, each time soon, and when it did last (monotonic seconds)."""

    in_a_row: int = 0
    last_s: float = 0.0


def next_deaths(deaths: Deaths, *, now_s: float, ready_s: float | None) -> Deaths:
    """Count one more death; a worker that had been ready for a minute begins anew.

    Args:
        deaths: What was counted of it before.
        now_s: The present moment.
        ready_s: When it was ready that died now; None if it died while it loaded its model,
            however long that took.
    """
    in_a_row = 0 if is_healthy(now_s=now_s, ready_s=ready_s) else deaths.in_a_row
    return Deaths(in_a_row + 1, now_s)


def restart_delay_s(deaths: Deaths) -> float:
    """Return the wait after the last death: none after the first, then doubling up to a minute.

    Example:
        >>> [restart_delay_s(Deaths(n)) for n in (1, 2, 3, 4, 20)]
        [0.0, 0.5, 1.0, 2.0, 60.0]
    """
    if deaths.in_a_row <= 1:
        return 0.0
    return float(min(_FIRST_S * 2 ** min(deaths.in_a_row - 2, 16), _LONGEST_S))


def is_healthy(*, now_s: float, ready_s: float | None) -> bool:
    """Tell whether a worker has been ready for a minute; `ready_s` is None until it is."""
    return ready_s is not None and now_s - ready_s >= _HEALTHY_S


def is_loop(deaths: Deaths, *, now_s: float, ready_s: float | None) -> bool:
    """Tell whether a worker dies again and again: three times soon, and not healthy since.

    Args:
        deaths: What is counted of it.
        now_s: The present moment.
        ready_s: When it was ready that runs now; None while it is down, or loads its model.

    Example:
        >>> is_loop(Deaths(3, 9.0), now_s=10.0, ready_s=9.5)
        True
        >>> is_loop(Deaths(3, 9.0), now_s=80.0, ready_s=9.5)
        False
    """
    return deaths.in_a_row >= _LOOP and not is_healthy(now_s=now_s, ready_s=ready_s)
