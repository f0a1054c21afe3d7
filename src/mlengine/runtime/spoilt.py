"""What a version's log says of answers that its model spoiled: one line a minute, however many."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

from mlengine.runtime.prediction_error import ErrorClass, PredictionError

__all__ = ["SpoiltAnswers"]

_EVERY_S = 60.0
_MAX_CHARS = 2000


class SpoiltAnswers:
    """Tells of what a model returned and nobody can send: NaN, a wrong count, a dict.

    Nothing was raised then, so there is no traceback, and without a line the owner of a model that
    answers nobody would find an empty log. The first is told at once; after that, at most one in
    `every_s` seconds, with the count of those that were not told. An error of the caller's input is
    the caller's business.

    Args:
        every_s: Least time between two lines, in seconds.
        now: Says the time in seconds.
    """

    def __init__(
        self, *, every_s: float = _EVERY_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._every_s = every_s
        self._now = now
        self._told_s = float("-inf")
        self._untold = 0

    def note(self, error: PredictionError) -> None:
        """Write an error into the log, or count it; other classes than OUTPUTS are passed over."""
        if error.error_class is not ErrorClass.OUTPUTS:
            return
        now_s = self._now()
        if now_s - self._told_s < self._every_s:
            self._untold += 1
            return
        more = f" ({self._untold} more since the last such line)" if self._untold else ""
        self._told_s, self._untold = now_s, 0
        # A model may have closed what is written to: that its answer is bad is told anyway.
        with contextlib.suppress(OSError, ValueError):
            print(f"Prediction failed: {str(error)[:_MAX_CHARS]}{more}", file=sys.stderr)
