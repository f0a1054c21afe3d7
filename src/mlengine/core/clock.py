"""Time, passed in: the wall clock is for display, the monotonic clock for every decision."""

from __future__ import annotations

import datetime
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock", "parse_duration_s", "rfc3339"]


class Clock(Protocol):
    """Where the engine learns the time.

    1. `now` is timezone-aware UTC and may jump; only people read it.
    2. `monotonic_s` never goes back; every time-out is measured on it.
    """

    def now(self) -> datetime.datetime: ...
    def monotonic_s(self) -> float: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime.datetime:
        """Return the wall-clock time in UTC."""
        return datetime.datetime.now(datetime.UTC)

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary point; never goes back."""
        return time.monotonic()


_: type[Clock] = SystemClock


def rfc3339(moment: datetime.datetime) -> str:
    """Write a moment as the API does.

    Example:
        >>> rfc3339(datetime.datetime(2018, 3, 2, 6, 50, 6, tzinfo=datetime.UTC))
        '2018-03-02T06:50:06Z'
    """
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_duration_s(text: str) -> float:
    """Read a protobuf duration such as ``"7200s"`` or ``"1.5s"`` as seconds.

    Raises:
        ValueError: It is not digits, at most nine decimals, and a final ``s``.
    """
    number = text.removesuffix("s")
    whole, _dot, fraction = number.partition(".")
    digits_only = (whole + fraction).isascii() and (whole + fraction).isdigit()
    if number == text or not whole or not digits_only or len(fraction) > 9:
        raise ValueError(f"{text!r} is not a duration such as '7200s'")
    return float(number)
