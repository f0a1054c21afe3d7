"""Spans of time as flags take them: ``30s``, ``10m``, ``2h``, ``1d``, ``2w``."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["read_span"]

_SPAN = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_span(text: str) -> timedelta | None:
    """Return how long a span is; None for what is none, such as a timestamp.

    Raises:
        OverflowError: It is longer than time is.

    Example:
        >>> read_span("10m")
        datetime.timedelta(seconds=600)
    """
    found = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
