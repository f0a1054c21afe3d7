"""What a version's log says of predictions that failed: enough to find out why, however many."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable

from mlengine.runtime.prediction_error import ErrorClass, PredictionError

__all__ = ["FailureLog", "write_traceback"]

_SPOILT_EVERY_S = 60.0
_RAISED_EVERY_S = 1.0
_MOST_PLACES = 64
_MAX_CHARS = 2000
_SHARED_MEMORY = ("SemLock", "shm_open", "/dev/shm")
_NO_SHARED_MEMORY = (
    "Processes of Python need shared memory, which a confined worker has not: use threads "
    "(docs/custom-prediction.md).\n"
)


class FailureLog:
    """Tells of what a model raised, and of what it returned and nobody can send.

    The first is told at once. What comes again is counted, and told with that count a while later:
    a model that fails hundreds of times a second would fill its log with one traceback, and writing
    it costs more than answering.

        raised      a traceback, at most one a second for each place that raises
        spoiled     NaN, a wrong count, a dict: nothing was raised, and without a line the owner of
                    a model that answers nobody would find an empty log; at most one line a minute

    An error of the caller's input is the caller's business.

    Args:
        what: What failed.
        now: Says the time in seconds.
    """

    def __init__(
        self, what: str = "Prediction", *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._now = now
        self._told: dict[object, tuple[float, int]] = {}  # when, and how many since
        self._lock = threading.Lock()

    def note(self, error: PredictionError) -> None:
        """Write why a prediction failed, or count it."""
        if error.error_class is ErrorClass.INPUTS:
            return
        if (cause := error.__cause__) is not None:
            lines = traceback.walk_tb(cause.__traceback__)
            place = (type(cause), *[(frame.f_code, line) for frame, line in lines])
            if (more := self._more(place, _RAISED_EVERY_S)) is not None:
                write_traceback(cause, more)
        elif (
            error.error_class is ErrorClass.OUTPUTS
            and (more := self._more("spoiled", _SPOILT_EVERY_S)) is not None
        ):
            _write(f"{self._what} failed: {str(error)[:_MAX_CHARS]}{more}\n")

    def _more(self, place: object, every_s: float) -> str | None:
        """Return what to add to a line about a place; None: it was told lately."""
        now_s = self._now()
        with self._lock:  # several threads may call
            told_s, untold = self._told.get(place, (float("-inf"), 0))
            if now_s - told_s < every_s:
                self._told[place] = told_s, untold + 1
                return None
            if len(self._told) >= _MOST_PLACES:
                self._told.clear()
            self._told[place] = now_s, 0
        return f" ({untold} more since the last time that this was told)" if untold else ""


def write_traceback(error: BaseException, more: str = "") -> None:
    """Write where an error came from into the log, in one piece: each piece wakes who reads it."""
    text = "".join(traceback.format_exception(error)).rstrip("\n") + f"{more}\n"
    # "Permission denied" alone names no file, and sends its reader to the model's own.
    if "PermissionError" in text and any(word in text for word in _SHARED_MEMORY):
        text += _NO_SHARED_MEMORY
    _write(text)


def _write(text: str) -> None:
    # A model may have closed what is written to, or put anything in its place: its callers are
    # answered all the same.
    with contextlib.suppress(Exception):
        sys.stderr.write(text)
