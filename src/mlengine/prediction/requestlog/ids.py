"""The names of predictions: what an answer's ``x-mlengine-prediction-id`` says.

    PERIOD-VERSION-UNIT-DAYxxxxxxxxxxNdd

An id holds what must be known to count an outcome without looking anything up (`traffic`), and the
UTC day on which it was given, so that a row of a request log is looked for in one day's folder.
Ids are never given twice: by another gateway, or by this one's next life.

Nothing in an id proves that it was given: `parse_id` refuses what no gateway would ever give, and
that is all it can do.
"""

from __future__ import annotations

import itertools
import os
import re
from typing import NamedTuple

__all__ = ["PredictionId", "PredictionIds", "day_of", "parse_id"]

_DAY_S = 86_400
# Each number names 256 predictions that are not drawn, or one that is.
_LAST_DIGITS = tuple(f"{number:02x}" for number in reversed(range(256)))
_PLAIN_HEX = "(?:0|[1-9a-f][0-9a-f]{0,%d})"  # as `format(number, "x")` writes it
_ID = re.compile(
    r"(0|[1-9]\d{0,8})"  # period
    r"-([A-Za-z][A-Za-z0-9_]{0,127})"  # version
    rf"-({_PLAIN_HEX % 15}?)"  # unit: 64 bits, or nothing
    # day, gateway, number (12 digits are more than any gateway will ever give), last digits
    rf"-([0-9a-f]{{5}}[0-9a-f]{{10}}{_PLAIN_HEX % 11}([0-9a-f]{{2}}))",
    re.ASCII,
)
_LAST_OF_DRAWN = "00"


class PredictionId(NamedTuple):
    """What a prediction's id says.

    Attributes:
        period: Of the model's traffic; 0 where the version was not drawn.
        version_id: The version.
        unit: Hash of what the draw sticks by, in hex; empty where it sticks by nothing.
        end: What no other prediction has: day, gateway and number.
    """

    period: int
    version_id: str
    unit: str
    end: str

    @property
    def day(self) -> int:
        """On which it was given: days since 1970."""
        return int(self.end[:5], 16)


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
        return f"{period}-{version_id}-{unit}-{self._head}{next(self._numbers):x}{_LAST_OF_DRAWN}"


def parse_id(prediction_id: str) -> PredictionId | None:
    """Return what an id says; None if no gateway would give such a one.

    Example:
        >>> parse_id("3-v2-5f3a-051293c0ffee042b700").unit
        '5f3a'
        >>> parse_id("3-v2-5f3a-051293c0ffee042b700x")
    """
    found = _ID.fullmatch(prediction_id)
    if found is None:
        return None
    period, version_id, unit, end, last = found.groups()
    # Only those that are not drawn are made many of one number.
    if last != _LAST_OF_DRAWN and (period != "0" or unit):
        return None
    return PredictionId(int(period), version_id, unit, end)


def day_of(prediction_id: str) -> int:
    """Return the day on which an id was given: days since 1970; -1 if it is no id.

    Example:
        >>> day_of(PredictionIds(86_400.0 * 20_000).next("v1"))
        20000
    """
    found = parse_id(prediction_id)
    return found.day if found is not None else -1
