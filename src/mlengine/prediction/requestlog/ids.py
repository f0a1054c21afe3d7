"""The names of predictions: what an answer's ``x-mlengine-prediction-id`` says.

    PERIOD-VERSION-UNIT-DAYxxxxxxxxxxN

An id holds what must be known to count an outcome without looking anything up (`traffic`), and the
UTC day on which it was given, so that a row of a request log is looked for in one day's folder.
Ids are never given twice: by another gateway, or by this one's next life.
"""

from __future__ import annotations

import itertools
import os
import re

__all__ = ["PredictionIds", "day_of"]

_DAY_S = 86_400
# Each number names 256 predictions that are not drawn, or one that is.
_LAST_DIGITS = tuple(f"{number:02x}" for number in reversed(range(256)))
_ID = re.compile(r"\d{1,9}-[A-Za-z][A-Za-z0-9_]{0,127}-[0-9a-f]{0,16}-([0-9a-f]{5})[0-9a-f]{11,26}",
                 re.ASCII)  # fmt: skip


class PredictionIds:
    """Gives ids.

    Args:
        wall_s: The time of day: seconds since 1970.
    """

    def __init__(self, wall_s: float) -> None:
        self._nonce = os.urandom(5).hex()
        self._numbers = itertools.count()
        self._day = -1
        self._head = ""
        self._fresh: dict[str, list[str]] = {}  # version → ids for those not drawn, newest first
        self.set_time(wall_s)

    def set_time(self, wall_s: float) -> None:
        """Say what day it is; once a second will do."""
        day = int(wall_s) // _DAY_S
        if day != self._day:
            self._day = day
            self._head = f"{day:05x}{self._nonce}"
            for fresh in self._fresh.values():
                fresh.clear()

    def next(self, version_id: str) -> str:
        """Return a new id of a prediction whose version was not drawn: its period is 0."""
        fresh = self.fresh(version_id)
        if not fresh:
            head = f"0-{version_id}--{self._head}{next(self._numbers):x}"
            fresh += [head + digits for digits in _LAST_DIGITS]
        return fresh.pop()

    def fresh(self, version_id: str) -> list[str]:
        """Return ids that `next` has made in advance, many at once; it gives the last one first.

        Whoever needs one for every prediction may take it from there until there are none left.
        """
        return self._fresh.setdefault(version_id, [])

    def drawn(self, version_id: str, *, period: int, unit: str) -> str:
        """Return a new id of a prediction whose version was drawn.

        Args:
            version_id: The version.
            period: Of the model's traffic.
            unit: Hash of what the draw sticks by, in hex.
        """
        return f"{period}-{version_id}-{unit}-{self._head}{next(self._numbers):x}00"


def day_of(prediction_id: str) -> int:
    """Return the day on which an id was given: days since 1970; -1 if it is no id.

    Example:
        >>> day_of(PredictionIds(86_400.0 * 20_000).next("v1"))
        20000
    """
    found = _ID.fullmatch(prediction_id)
    return int(found[1], 16) if found else -1
