"""One parameter's values on the unit interval.

There are two ways from a number in [0, 1] to a value. `at` takes it as a share of what a uniform
draw gives, so that every category and every discrete value is equally likely. `nearest` takes it
as a place: where numbers lie on the parameter's scale, as `place` says; a model measures distances
there. An integer owns the cell half a step to both sides of it, so that the ends of a range are
as likely as its middle.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Iterator

from mlengine.core.errors import InvalidArgument
from mlengine.tuning.problem import Kind, Parameter, Scale, Value

__all__ = ["LARGEST_INTEGER", "Axis"]

LARGEST_INTEGER = 2**53
"""The largest bound of an INTEGER; beyond it a float does not hold every integer."""

_MAX_VALUES = 1000


class Axis:
    """Where the values of `parameter` lie; raises InvalidArgument if it makes no sense."""

    def __init__(self, parameter: Parameter) -> None:
        _check(parameter)
        self.parameter = parameter
        self.name, self.kind = parameter.name, parameter.kind
        low, high = parameter.low, parameter.high
        if self.kind is Kind.INTEGER:
            low, high = low - 0.5, high + 0.5
        elif self.kind is Kind.DISCRETE:
            low, high = float(parameter.values[0]), float(parameter.values[-1])
        self._low, self._high = low, high

    @property
    def count(self) -> int | None:
        """How many values there are; None: as many as floats in a range."""
        if self.kind is Kind.INTEGER:
            return int(self.parameter.high) - int(self.parameter.low) + 1
        if self.kind is Kind.DOUBLE:
            return 1 if self._low == self._high else None
        return len(self.parameter.values)

    def values(self) -> Iterator[Value]:
        """Yield all values in order; of a DOUBLE the only one it has, or its two ends."""
        if self.kind is Kind.INTEGER:
            yield from range(int(self.parameter.low), int(self.parameter.high) + 1)
        elif self.kind is Kind.DOUBLE:
            low, high = float(self._low), float(self._high)
            yield from (low,) if low == high else (low, high)
        else:
            yield from self.parameter.values

    def holds(self, value: object) -> bool:
        """Whether `value` is one of them, and of the right type."""
        if self.kind is Kind.CATEGORICAL:
            return isinstance(value, str) and value in self._index
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.kind is Kind.DISCRETE:
            return value in self._index
        if self.kind is Kind.INTEGER and not isinstance(value, int):
            return False
        return self.parameter.low <= value <= self.parameter.high

    def at(self, share: float) -> Value:
        """Return the value at `share` of a uniform draw, 0 ≤ share ≤ 1."""
        if self.kind in (Kind.CATEGORICAL, Kind.DISCRETE):
            values = self.parameter.values
            return values[min(int(share * len(values)), len(values) - 1)]
        return self.nearest(share)

    def place(self, value: Value) -> float:
        """Return where `value` lies: within [0, 1] if it is allowed, within [-1, 2] if not.

        Of a CATEGORICAL: its index, or -1 if it is none of them.
        """
        if self.kind is Kind.CATEGORICAL:
            return float(self._index.get(value, -1))
        if isinstance(value, str) or not math.isfinite(value):
            return 0.5
        if self._low == self._high:
            return 0.5 if value == self._low else (2.0 if value > self._low else -1.0)
        return min(2.0, max(-1.0, self._spread(float(value))))

    def nearest(self, place: float) -> Value:
        """Return the value nearest to `place`; of a CATEGORICAL the one with that index."""
        if self.kind is Kind.CATEGORICAL:
            return self.parameter.values[int(place)]
        place = min(1.0, max(0.0, place))
        if self.kind is Kind.DISCRETE:
            after = bisect.bisect_left(self._places, place)
            around = range(max(0, after - 1), min(len(self._places), after + 1))
            return self.parameter.values[min(around, key=lambda i: abs(self._places[i] - place))]
        low, high = self.parameter.low, self.parameter.high
        value = self._gather(place)
        if self.kind is Kind.INTEGER:
            return min(int(high), max(int(low), math.floor(value + 0.5)))
        return float(min(high, max(low, value)))

    @functools.cached_property
    def _index(self) -> dict[Value, int]:
        return {value: i for i, value in enumerate(self.parameter.values)}

    @functools.cached_property
    def _places(self) -> list[float]:
        return [self.place(value) for value in self.parameter.values]

    def _spread(self, value: float) -> float:
        low, high, scale = self._low, self._high, self.parameter.scale
        if scale is Scale.LOG:
            return _log_ratio(value, low) / _log_ratio(high, low) if value > 0 else -1.0
        if scale is Scale.REVERSE_LOG:
            rest = high - value + low
            return 1.0 - _log_ratio(rest, low) / _log_ratio(high, low) if rest > 0 else 2.0
        return (value / 2 - low / 2) / (high / 2 - low / 2)  # halves: a range may be all floats

    def _gather(self, place: float) -> float:
        low, high, scale = self._low, self._high, self.parameter.scale
        if scale is Scale.LOG:
            return self._grown(place)
        if scale is Scale.REVERSE_LOG:
            return high - (self._grown(1.0 - place) - low)
        return low * (1.0 - place) + high * place

    def _grown(self, place: float) -> float:
        """Return how far the lower end has grown at a place between it and the upper end."""
        low, high = self._low, self._high
        if math.isinf(high / low):
            return float(low ** (1.0 - place) * high**place)
        return low * math.exp(place * math.log(high / low))


def _log_ratio(value: float, low: float) -> float:
    """Return the logarithm of `value / low`, which itself may be too large or small a number."""
    ratio = value / low
    return math.log(ratio) if 0.0 < ratio < math.inf else math.log(value) - math.log(low)


def _check(parameter: Parameter) -> None:
    """Raise InvalidArgument that names the parameter and the value that is wrong with it."""
    name, kind = parameter.name, parameter.kind
    if not name:
        raise InvalidArgument("A parameter has an empty name.", "Give it one.")
    if kind in (Kind.DOUBLE, Kind.INTEGER):
        _check_range(parameter)
        return
    if not parameter.values:
        raise InvalidArgument(f"The parameter '{name}' has no values.", "List at least one.")
    if kind is Kind.CATEGORICAL:
        if parameter.scale is not Scale.LINEAR:
            raise InvalidArgument(
                f"The parameter '{name}' is CATEGORICAL and has the scale {parameter.scale}.",
                "Categories have no order: leave its scale out.",
            )
        _check_categories(parameter)
        return
    _check_discrete(parameter)


def _check_range(parameter: Parameter) -> None:
    name, low, high = parameter.name, parameter.low, parameter.high
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InvalidArgument(
            f"The parameter '{name}' ranges from {low} to {high}.", "Give finite bounds."
        )
    if low > high:
        raise InvalidArgument(
            f"The parameter '{name}' has the minimum {low:g} above its maximum {high:g}.",
            "Swap them.",
        )
    if parameter.kind is Kind.INTEGER:
        for bound in (low, high):
            if bound != math.floor(bound) or abs(bound) > LARGEST_INTEGER:
                raise InvalidArgument(
                    f"The parameter '{name}' is INTEGER and has the bound {bound!r}.",
                    "Give whole numbers between -2^53 and 2^53.",
                )
    _check_positive(parameter, low)


def _check_positive(parameter: Parameter, low: float) -> None:
    if parameter.scale is not Scale.LINEAR and low <= 0:
        raise InvalidArgument(
            f"The parameter '{parameter.name}' has the scale {parameter.scale} and the smallest "
            f"value {low:g}.",
            "A logarithmic scale needs values above 0.",
        )


def _check_categories(parameter: Parameter) -> None:
    seen = set()
    for value in parameter.values:
        if not isinstance(value, str):
            raise InvalidArgument(
                f"The parameter '{parameter.name}' is CATEGORICAL and has the value {value!r}.",
                "Categories are strings.",
            )
        if value in seen:
            raise InvalidArgument(
                f"The parameter '{parameter.name}' has the value '{value}' twice.", "Name it once."
            )
        seen.add(value)


def _check_discrete(parameter: Parameter) -> None:
    name, values = parameter.name, parameter.values
    if len(values) > _MAX_VALUES:
        raise InvalidArgument(
            f"The parameter '{name}' has {len(values)} discrete values.",
            f"At most {_MAX_VALUES} are allowed; use INTEGER or DOUBLE with a range.",
        )
    before = -math.inf
    for value in values:
        if isinstance(value, str) or not math.isfinite(value):
            raise InvalidArgument(
                f"The parameter '{name}' is DISCRETE and has the value {value!r}.",
                "Discrete values are finite numbers.",
            )
        if value <= before:
            raise InvalidArgument(
                f"The parameter '{name}' has the value {value:g} after {before:g}.",
                "Discrete values must increase strictly.",
            )
        before = value
    _check_positive(parameter, float(values[0]))
