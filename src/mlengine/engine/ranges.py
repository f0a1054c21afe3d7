"""Which numbers a setting can have: one that nothing could keep to is refused, not taken.

0 has a meaning of its own where `docs/settings.md` says so, and where it does not is one like any
other: no pause, no grace, asleep at once. But a time limit or a size of 0 lets nothing through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlengine.core.limits import MAX_PREDICT_BYTES

__all__ = ["out_of_range"]

_DAY_S = 86_400
_LONGEST_DAYS = 20
"""What the system waits for with one call is at most 24 days."""
_MOST = 1 << 50
_PORT = (65_535, "for a port")
_MOST_OF: Mapping[str, tuple[int, str]] = {
    "port": _PORT,
    "grpc_port": _PORT,
    "max_predict_bytes": (MAX_PREDICT_BYTES, "1 GiB"),
    "grace_s": (_DAY_S, "a day, for a cancelled job must end"),
}
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
    most, why = _MOST_OF.get(name) or (
        (_LONGEST_DAYS * _DAY_S, f"{_LONGEST_DAYS} days") if name.endswith("_s") else (_MOST, "")
    )
    return f"It is at most {most}{', ' * bool(why)}{why}." if number > most else ""
