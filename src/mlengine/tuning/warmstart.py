"""What trials of an earlier study say of a problem that is not quite theirs.

Other bounds, a parameter more, one less: the old trials are measurements of about the same thing,
somewhere beside the new space. How far beside, each parameter says:

    value within the new bounds             nothing is lost
    beyond them, or no choice any more      as far as it is from the border
    new; the earlier trainer was given one  that value, which may be within or beyond
    new, and nobody knows what it was       half a range away
    dropped; the new trainer is given one   as far as the two values are apart
    dropped, and nobody knows what it is    half a range away

What is left of the correlation follows from the distances as in the search's own model (a
Matérn-5/2 kernel whose length grows with the square root of the number of parameters), and what is
lost is told to the search as a standard error: such a trial bends the model where nothing better is
known, and gives way to what is measured now. Trials that would say next to nothing are left out.

What is uncertain is never the best so far, and its point is free to be tried: only what was
measured in the new space counts for those. Where trials lie close to old ones and their values are
of another scale (more data, another loss), the old values are brought to the new scale first.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from mlengine.tuning.axis import Axis
from mlengine.tuning.problem import Goal, Kind, Parameter, Point, Problem, Tried, Value
from mlengine.tuning.space import Space

__all__ = ["Earlier", "carried"]

_LENGTH = 0.25  # of the kernel, in ranges, for one parameter
_UNKNOWN = 0.5  # ranges between a value that nobody knows and the one that counts
_LEAST = 0.2  # of the correlation; below, a trial is left out
_SURE = 0.8  # above, a trial is as good as one of the new space
_NEAR = 0.15  # lengths of the unit cube's diagonal: trials that should have about one value
_PAIRS, _MORE_PAIRS = 3, 8  # for another level, and for another spread
_LARGEST = 1e100  # values are taken as no larger, so that what is made of them stays finite
_INNER = 2.56  # standard deviations between the ends of the inner eight tenths, of a normal one
_APART = 1.5  # spreads between neighbours that say that a scale is another
_COMPARED, _TO = 20, 1000  # trials that are looked at to find that out: one's own, and old ones
_BEHIND = 0.05  # spreads by which what is uncertain stays behind the best


class Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """A study that came before.

    Attributes:
        parameters: Its space.
        trials: What was tried in it.
        given: What its trainer was given besides, by the names of parameters.
    """

    parameters: tuple[Parameter, ...]
    trials: Sequence[Tried]
    given: Mapping[str, str] = {}


class _Carried(msgspec.Struct, frozen=True):
    """An earlier trial in the new space, and how much of it is left."""

    trial: Tried
    left: float


def carried(
    problem: Problem,
    earlier: Iterable[Earlier],
    own: Sequence[Tried] = (),
    *,
    given: Mapping[str, str] | None = None,
) -> list[Tried]:
    """Return what a search may know of earlier studies; their numbers stay as they are.

    Args:
        problem: What is sought now, by one metric.
        earlier: The studies before.
        own: Trials of the problem itself.
        given: What the trainer is given besides, by name.

    Example:
        >>> from mlengine.tuning.problem import Metric
        >>> def over(high: float) -> Parameter:
        ...     return Parameter(name="x", kind=Kind.DOUBLE, high=high)
        >>> before = [
        ...     Tried(number=n, point={"x": x}, values=(x,)) for n, x in enumerate((1.0, 6.0))
        ... ]
        >>> now = Problem(parameters=(over(4.0),), metrics=(Metric(name="loss"),))
        >>> [t.point for t in carried(now, [Earlier(parameters=(over(8.0),), trials=before)])]
        [{'x': 1.0}]
    """
    space = Space(problem.parameters)
    axes = {axis.name: axis for axis in space.axes}
    goal, found = problem.metrics[0].goal, []
    for study in earlier:
        moved = [m for t in study.trials if (m := _moved(t, study, space, given or {})) is not None]
        found += _doubted(_aligned(moved, own, axes))
    sure = [*own, *(c.trial for c in found if c.left == 1.0)]
    known = [value for trial in sure if (value := _value(trial)) is not None]
    return [_behind(c, known, goal) for c in found]


# --- places -------------------------------------------------------------------------------------


def _moved(trial: Tried, study: Earlier, space: Space, given: Mapping[str, str]) -> _Carried | None:
    """Return a trial with what of its point counts now; None if that says too little."""
    if trial.pending:
        return None
    point: Point = {}
    distances: list[float] = []
    names: set[str] = set()
    for i, axis in enumerate(space.axes):
        if not space.active(i, point):
            continue
        names.add(axis.name)
        value = _fitting(trial.point.get(axis.name, study.given.get(axis.name)), axis)
        if value is None:
            distances.append(_UNKNOWN)
        else:
            point[axis.name] = value
            distances.append(_beyond(axis, value))
    before = {parameter.name: parameter for parameter in study.parameters}
    for name in [name for name in trial.point if name not in names]:
        distance = _apart(before.get(name), trial.point[name], given.get(name))
        if distance > 0.0:
            point[name] = trial.point[name]  # so that nobody takes the new point for tried
            distances.append(distance)
    length = _LENGTH * math.sqrt(len({axis.name for axis in space.axes} | before.keys()))
    left = math.prod(_correlation(distance / length) for distance in distances)
    if left < (_SURE if trial.infeasible else _LEAST):
        return None
    return _Carried(msgspec.structs.replace(trial, point=point), left)


def _fitting(value: Value | None, axis: Axis) -> Value | None:
    """Return a value as the axis has such values, also beyond its bounds; None if it has none."""
    if value is None or axis.kind is Kind.CATEGORICAL:
        return value if isinstance(value, str) and axis.holds(value) else None
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    # A number between two integers was measured there: rounded, its neighbour would seem tried.
    return int(number) if axis.kind is Kind.INTEGER and number.is_integer() else number


def _beyond(axis: Axis, value: Value) -> float:
    """Return how far a value lies outside of the bounds, in ranges."""
    if axis.kind is Kind.CATEGORICAL:
        return 0.0
    place = axis.place(value)
    return max(-place, place - 1.0, 0.0)


def _apart(parameter: Parameter | None, was: Value, now: str | None) -> float:
    """Return how far what a parameter was is from what it is given now."""
    axis = Axis(parameter) if parameter is not None else None
    is_value = _fitting(now, axis) if axis is not None else None
    if axis is None or is_value is None:
        return _UNKNOWN
    if axis.kind is Kind.CATEGORICAL:
        return 0.0 if was == is_value else _UNKNOWN
    return abs(axis.place(was) - axis.place(is_value))


def _correlation(distance: float) -> float:
    """Return Matérn's of smoothness 5/2 at a distance in lengths."""
    root = math.sqrt(5.0) * distance
    return (1.0 + root + root * root / 3.0) * math.exp(-root)


# --- values -------------------------------------------------------------------------------------


def _aligned(
    moved: list[_Carried], own: Sequence[Tried], axes: Mapping[str, Axis]
) -> list[_Carried]:
    """Bring values to the scale of one's own if, side by side, they are plainly of another.

    What they are off by even then is their standard error.
    """
    sure = [c.trial for c in moved if c.left >= _SURE and _value(c.trial) is not None]
    spread = _spread([v for t in sure if (v := _value(t)) is not None])
    pairs = []
    for trial in own[-_COMPARED:]:
        mine, beside = _value(trial), _nearest(trial, sure[-_TO:], axes)
        if mine is not None and beside is not None:
            pairs.append((mine, beside))
    if len(pairs) < _PAIRS or not spread > 0.0:
        return moved
    if statistics.median(abs(a - b) for a, b in pairs) <= _APART * spread:
        return moved
    now, then = [a for a, _b in pairs], [b for _a, b in pairs]
    ratio = 1.0
    if len(pairs) >= _MORE_PAIRS and (before := _spread(then)) > 0.0 and (after := _spread(now)):
        ratio = after / before
    level, base = statistics.median(now), statistics.median(then)
    off = statistics.median(abs(a - level - ratio * (b - base)) for a, b in pairs)
    found = []
    for c in moved:
        if (old := _value(c.trial)) is not None:
            noise = math.hypot(off, ratio * (c.trial.noise[0] if c.trial.noise else 0.0))
            values = (level + ratio * (old - base),)
            c = _Carried(msgspec.structs.replace(c.trial, values=values, noise=(noise,)), c.left)
        found.append(c)
    return found


def _nearest(trial: Tried, others: Sequence[Tried], axes: Mapping[str, Axis]) -> float | None:
    """Return the value of the nearest of the others if it is near."""
    found, value = _NEAR * math.sqrt(len(axes)), None
    for other in others:
        total = 0.0
        for name, axis in axes.items():
            if name not in other.point or name not in trial.point:
                continue
            off = axis.place(other.point[name]) - axis.place(trial.point[name])
            total += min(abs(off), 1.0) ** 2
        if math.sqrt(total) <= found:
            found, value = math.sqrt(total), _value(other)
    return value


def _doubted(moved: Sequence[_Carried]) -> list[_Carried]:
    """Say of each value by how much it may be off, for being measured elsewhere."""
    spread = _spread([v for c in moved if (v := _value(c.trial)) is not None])
    found = []
    for c in moved:
        off = spread * math.sqrt(2.0 * (1.0 - c.left))
        if off > 0.0 and c.trial.values is not None:
            noise = math.hypot(off, c.trial.noise[0] if c.trial.noise else 0.0)
            c = _Carried(msgspec.structs.replace(c.trial, noise=(noise,)), c.left)
        found.append(c)
    return found


def _behind(c: _Carried, known: Sequence[float], goal: Goal) -> Tried:
    """Return a trial whose value, if it is uncertain, is worse than the best that is known."""
    value = _value(c.trial)
    if value is None or c.left == 1.0 or not known:
        return c.trial
    margin = _BEHIND * _spread([*known, value])
    bound = max(known) - margin if goal is Goal.MAXIMIZE else min(known) + margin
    kept = min(value, bound) if goal is Goal.MAXIMIZE else max(value, bound)
    return msgspec.structs.replace(c.trial, values=(kept,))


def _value(trial: Tried) -> float | None:
    if not trial.values or not math.isfinite(trial.values[0]):
        return None
    return max(-_LARGEST, min(_LARGEST, trial.values[0]))


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation of values, by that of their inner eight tenths.

    Most trials of a good search lie close together near the best, some lie anywhere, and one may
    have diverged: neither the most nor the worst of them say what the function does.
    """
    if not values:
        return 0.0
    ordered = sorted(values)
    cut = (len(ordered) - 1) // 10
    inner = ordered[cut : len(ordered) - cut]
    return (inner[-1] - inner[0] or ordered[-1] - ordered[0]) / _INNER
