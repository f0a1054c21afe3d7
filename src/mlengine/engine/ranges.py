"""Which numbers a setting can have: one that nothing could keep to is refused, not taken.

0 has a meaning of its own where `docs/settings.md` says so, and where it does not is one like any
other: no pause, no grace, asleep at once. But a time limit or a size of 0 lets nothing through.

A file that an earlier mlengine has taken stops no command: what is beyond a range there is lessened
(`possible`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlengine.core.limits import MAX_PREDICT_BYTES

__all__ = ["out_of_range", "possible"]

_DAY_S = 86_400
_PORT = (65_535, "for a port")
_WAIT = (20 * _DAY_S, "20 days, for the system waits 24 at most with one call")
_WHOLE = ((1 << 63) - 1, "the most that 64 bits hold")
_MOST_OF: Mapping[str, tuple[int, str]] = {
    "port": _PORT,
    "grpc_port": _PORT,
    "max_predict_bytes": (MAX_PREDICT_BYTES, "1 GiB"),
    "grace_s": (_DAY_S, "a day, for a cancelled job must end"),
    # The other times are compared with clocks, and can be as long as anybody likes.
    **dict.fromkeys(
        ("evaluator_grace_s", "polling_interval_s", "predict_timeout_s", "warm_idle_s",
         "warm_workers_idle_s"),
        _WAIT,
    ),
}  # fmt: skip
_NEEDED = (
    "install_timeout_s", "load_timeout_s", "log_quota_bytes", "max_model_bytes",
    "max_predict_bytes", "predict_timeout_s",
)  # fmt: skip


def out_of_range(name: str, number: float) -> str:
    """Return what a setting must be instead of this number; empty if it can be that.

    Example:
        >>> out_of_range("port", 70_000)
        'It is at most 65535, for a port.'
        >>> out_of_range("port", 8470)
        ''
    """
    if isinstance(number, float) and not math.isfinite(number):
        return "It must be a finite number."
    if number < 0:
        return "It cannot be negative."
    if number == 0 and name in _NEEDED:
        return "It must be more than 0, which would let nothing through."
    most, why = _most(name, number)
    return f"It is at most {most}, {why}." if number > most else ""


def possible(name: str, number: float, default: float) -> float:
    """Return what a number in a file means today, where an earlier mlengine has taken any.

    Example:
        >>> possible("grace_s", 1e6, 10.0), possible("load_timeout_s", 0.0, 300.0)
        (86400.0, 300.0)
        >>> possible("grace_s", 20.0, 10.0), possible("port", 70_000, 8470)  # never was a port
        (20.0, 70000)
    """
    if number == 0 and name in _NEEDED:
        return default
    most, _why = limit = _most(name, number)
    is_too_much = limit != _PORT and most < number < math.inf
    return type(number)(most) if is_too_much else number


def _most(name: str, number: float) -> tuple[float, str]:
    return _MOST_OF.get(name) or (_WHOLE if isinstance(number, int) else (math.inf, ""))
