"""Whether two versions said the same. Pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec

__all__ = ["CLOSE", "DIFFERENT", "EQUAL", "UNCOMPARED", "agreement"]

EQUAL, CLOSE, DIFFERENT, UNCOMPARED = range(4)
"""How two answers compare; where each is counted in `ArmCounts.agreed`."""

_TOLERANCE = 1e-5
_MOST_COMPARED_BYTES = 32 << 10  # of one answer: longer ones would keep callers waiting


def agreement(first: bytes, second: bytes) -> int:
    """Tell how two JSON answers compare: `EQUAL`, `CLOSE`, `DIFFERENT` or `UNCOMPARED`.

    Example:
        >>> agreement(b'{"predictions": [1.0]}', b'{"predictions":[1]}') == EQUAL
        True
    """
    if first == second:
        return EQUAL
    if max(len(first), len(second)) > _MOST_COMPARED_BYTES:
        return UNCOMPARED
    try:
        return _agreement(msgspec.json.decode(first), msgspec.json.decode(second))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return DIFFERENT


def _agreement(a: Any, b: Any) -> int:
    if isinstance(a, bool) or isinstance(b, bool):
        return EQUAL if a is b else DIFFERENT
    if isinstance(a, int | float) and isinstance(b, int | float):
        close = math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * _TOLERANCE)
        return EQUAL if a == b else CLOSE if close else DIFFERENT
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max(map(_agreement, a, b), default=EQUAL)
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max((_agreement(a[key], b[key]) for key in a), default=EQUAL)
    return EQUAL if a == b else DIFFERENT
