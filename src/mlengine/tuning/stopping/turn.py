"""Whether a learning curve has turned: since its best it only gets worse, as when it overfits.

None of the decays of `decay.py` comes down and goes up again, so to them such a curve is one of
which little is known. Here a line through what came since the best reading is enough: it must fall,
by more than its scatter explains, for a while that grows with the curve. A plateau does not fall,
and may yet rise.
"""

from __future__ import annotations

import math

from mlengine.tuning.stopping.curve import Course

__all__ = ["has_turned"]

_LEAST = 3  # readings since the best one
_SHARE = 0.15  # of all readings: as many at least
_SIGNIFICANT = 2.0  # the slope, in standard errors


def has_turned(course: Course) -> bool:
    """Whether a curve falls since its best reading; "more" is better, as in every course.

    Example:
        >>> rising = [(float(n), min(n, 6.0)) for n in range(12)]
        >>> falling = [(float(n), 6.0 - abs(n - 6.0)) for n in range(12)]
        >>> has_turned(rising), has_turned(falling)
        (False, True)
    """
    values = [value for _place, value in course]
    if not values:
        return False
    low, top = min(values), max(values)
    since = course[values.index(top) :]
    if top <= low or len(since) - 1 < max(_LEAST, _SHARE * len(course)):
        return False
    first, length = since[0][0], since[-1][0] - since[0][0]
    if not 0 < length < math.inf:
        return False
    xs = [(place - first) / length for place, _value in since]
    ys = [(value - low) / (top - low) for _place, value in since]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    squares = sum((x - x_mean) ** 2 for x in xs)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / squares
    rest = sum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in zip(xs, ys, strict=True))
    error = math.sqrt(rest / (len(xs) - 2) / squares)
    return slope < 0 and -slope > _SIGNIFICANT * error
