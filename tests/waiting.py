"""Waiting for something to become true, with a deadline; tests never sleep for a fixed time."""

from __future__ import annotations

import functools
import select
import time
from collections.abc import Callable
from typing import ParamSpec

__all__ = ["wait_until", "within_a_day"]

P = ParamSpec("P")


def wait_until(predicate: Callable[[], object], timeout_s: float = 60.0, message: str = "") -> None:
    """Return as soon as the predicate is true; fail the test when it never is.

    The limit tells a hang from a slow machine, and no more: what is fast is a benchmark's to say.
    """
    begun_s = looked_s = time.monotonic()
    while not predicate():
        now_s = time.monotonic()
        if now_s > begun_s + timeout_s:
            raise AssertionError(f"not true within {timeout_s:g} s: {message or predicate}")
        # What is waited for needs the processor too: looks take a fifth of the time at most, and
        # come a twentieth too late.
        pause_s = max(4 * (now_s - looked_s), (now_s - begun_s) / 20)
        select.select([], [], [], min(max(pause_s, 0.005), 0.05))
        looked_s = time.monotonic()


def within_a_day(test: Callable[P, None]) -> Callable[P, None]:
    """Have a test begin anew when it failed because a day ended meanwhile, in UTC."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        day = time.gmtime().tm_yday
        try:
            test(*args, **kwargs)
        except (AssertionError, ValueError):
            if time.gmtime().tm_yday == day:
                raise
            test(*args, **kwargs)

    return run
