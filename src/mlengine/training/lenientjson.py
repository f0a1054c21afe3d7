"""JSON as trainers write it: quickly where it is JSON, and also with their ``NaN`` in it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["loads"]


def loads(text: str | bytes) -> Any:
    """Return what a text says; `msgspec` takes a fifth of the time, but knows no ``NaN``.

    Raises:
        ValueError: It is not even that.
        RecursionError: It is nested too deeply.

    Example:
        >>> loads('{"loss": NaN}'), loads(b"[1]")
        ({'loss': nan}, [1])
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError):
        return json.loads(text)
