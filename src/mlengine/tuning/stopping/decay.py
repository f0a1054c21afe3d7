"""Foresee where a learning curve ends, and stop it when that is very unlikely to beat the best.

Learning curves come down to a limit at a falling pace: limit + height x decay(place). For each of
a dozen decays (exponentials and inverse powers, quick and slow) limit and height follow in closed
form by least squares; the decays are then weighed by how well they fit, as in Domhan et al.
(IJCAI 2015) and Google Vizier's decay curve rule (Golovin et al., KDD 2017, section 3.2.1), without
their sampling.

A fit does not know what it does not know. So the same is foretold for trials that ended, from as
much of their curves as there is of this one, and what that was off by is added to the spread; the
fewer there are to learn that from, the heavier the tails. Who ended better than foretold shows that
this one may, and weighs three times as much as who ended worse, as trials do that overfit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import Verdict
from mlengine.tuning.stopping.curve import Axis, Course, Curve, may_be_over

__all__ = ["DecayCurve", "Outlook", "outlook"]

_LEAST = 3  # readings; two are spent on the fit
_MOST = 48  # blocks of readings that a fit looks at
_WITNESSES = 8  # ended trials that a prediction is tried on
_AHEAD, _SHORT = 1.5, 0.5  # weights of ends that were better, and worse, than foretold
_CHANCE = 0.05  # of ending above the best: below it a trial is stopped
_WHOLE = 0.9  # of the longest training: what counts as run out


def _exponential(pace: float) -> Callable[[float], float]:
    return lambda place: math.exp(-pace * place)


def _inverse(pace: float, power: float) -> Callable[[float], float]:
    return lambda place: float((1 + pace * place) ** -power)


_DECAYS = (
    *(_exponential(pace) for pace in (2.0, 5.0, 12.0, 30.0, 80.0)),
    *(_inverse(pace, 1.0) for pace in (3.0, 10.0, 30.0, 100.0)),
    *(_inverse(pace, 0.5) for pace in (10.0, 100.0)),
)


class DecayCurve:
    """Stop what will very likely not beat the best trial that ended.

    Args:
        axis: What curves are drawn over.
    """

    def __init__(self, axis: Axis = Axis.STEPS) -> None:
        self._axis = axis

    def judge(self, goal: Goal, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """See `Policy.judge`."""
        foreseen = outlook(goal, self._axis, trial, [o for o in others if o.ended])
        stop = foreseen.chance is not None and foreseen.chance < _CHANCE
        return Verdict(stop=stop, why=foreseen.why)


class Outlook(NamedTuple):
    """What is foreseen of a trial: its chance of ending above all others, None if unknown."""

    chance: float | None
    why: str


def outlook(
    goal: Goal, axis: Axis, trial: Curve, others: Sequence[Curve], *, short: float = _SHORT
) -> Outlook:
    """Foresee whether a trial will beat what others ended with, and what those that run have seen.

    Args:
        goal: Which way the objective is better.
        axis: What curves are drawn over.
        trial: The one in question.
        others: Those that it must beat; those that ended show how long a training is.
        short: How much an end that was worse than foretold adds to the spread.
    """
    course = trial.course(goal, axis)
    if trial.ended or not course:
        return Outlook(None, "it ended" if trial.ended else "nothing reported yet")
    if may_be_over(trial, others):
        return Outlook(None, "no trial that ended came farther")
    curves = sorted(others, key=lambda other: -other.number)
    courses = [(o.ended, found) for o in curves if (found := o.course(goal, axis))]
    ended = [found for is_over, found in courses if is_over]
    whole = max((other[-1][0] for other in ended), default=-math.inf)
    if course[-1][0] >= whole:
        return Outlook(None, f"no trial that ended shows what comes after {whole:g} {axis}")
    seen = [max(value for _place, value in found) for _is_over, found in courses]
    if max(value for _place, value in course) >= max(seen):
        return Outlook(1.0, "it has been as good as every other")
    best = max(
        found[-1][1] if over else top for (over, found), top in zip(courses, seen, strict=True)
    )
    every = [best, *(value for found in (course, *ended) for _place, value in found)]
    low, range_ = min(every), max(every) - min(every)
    scaled = [[(p, (v - low) / range_) for p, v in found] for found in (course, *ended)]
    foreseen = _foresee(scaled[0], scaled[1:], whole, short)
    if foreseen is None:
        return Outlook(None, "too few readings to foresee anything")
    mean, spread, freedom = foreseen
    chance = _beyond(((best - low) / range_ - mean) / spread, freedom)
    sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
    return Outlook(
        chance,
        f"foreseen at {whole:g} {axis}: {sign * (low + mean * range_):g} with a "
        f"spread of {spread * range_:g}; chance to beat {sign * best:g}: {chance:.3g}",
    )


def _foresee(
    course: Course, ended: list[Course], whole: float, short: float = _SHORT
) -> tuple[float, float, int] | None:
    """Return the mean and spread of the value at the end, and how many witnesses there were."""
    mine = _fit(course, whole)
    misses: list[float] = []
    for other in ended:
        end, last = other[-1]
        start = [pair for pair in other if pair[0] <= course[-1][0]]
        if end >= _WHOLE * whole and len(start) < len(other) and (fit := _fit(start, end)):
            misses.append(last - fit[0])
        if len(misses) == _WITNESSES:
            break
    if mine is None or not misses:
        return None
    mean, variance = mine
    missed = sum(miss * miss * (_AHEAD if miss > 0 else short) for miss in misses) / len(misses)
    return mean, math.sqrt(variance + missed), len(misses)


def _fit(course: Course, whole: float) -> tuple[float, float] | None:
    """Return mean and variance of what a curve comes to, over all decays by their weights."""
    first = course[0][0] if course else 0.0
    if len(course) < _LEAST or course[-1][0] <= first or whole <= first:
        return None
    blocks = _blocks([((place - first) / (whole - first), value) for place, value in course])
    values = [value for _place, value in blocks]
    found = [_least_squares(values, shape) for shape in _shapes(tuple(p for p, _v in blocks))]
    if not found:
        return None
    top = max(log_weight for log_weight, _mean, _variance in found)
    weights = [math.exp(log_weight - top) for log_weight, _mean, _variance in found]
    total = sum(weights)
    mean = sum(w * m for w, (_l, m, _v) in zip(weights, found, strict=True)) / total
    variance = sum(
        w * (v + (m - mean) ** 2) for w, (_l, m, v) in zip(weights, found, strict=True)
    )  # fmt: skip
    return mean, variance / total


_Shape = tuple[tuple[float, ...], float, float]
"""A decay at some places: its values less their mean, the sum of their squares, and its end."""


@functools.lru_cache(maxsize=128)
def _shapes(places: tuple[float, ...]) -> list[_Shape]:
    """Return the decays at some places: those of one study report at the same ones."""
    shapes = []
    for decay in _DECAYS:
        xs = [decay(place) for place in places]
        mean = sum(xs) / len(xs)
        centred = tuple(x - mean for x in xs)
        squares = sum(x * x for x in centred)
        if squares >= 1e-12:  # else it has come down before the first reading, and says nothing
            shapes.append((centred, squares, decay(1.0) - mean))
    return shapes


def _least_squares(values: list[float], shape: _Shape) -> tuple[float, float, float]:
    """Return the log weight of a decay, and mean and variance of what it says comes at the end."""
    xs, squares, ahead = shape
    size = len(values)
    mean = sum(values) / size
    products = sum(x * y for x, y in zip(xs, values, strict=True))
    spread = sum((y - mean) ** 2 for y in values)
    rest = 1e-12 + max(0.0, spread - products * products / squares)
    variance = rest / (size - 2) * (1 + 1 / size + ahead * ahead / squares)
    return -size / 2 * math.log(rest), mean + products / squares * ahead, variance


def _blocks(course: Course) -> Course:
    """Return at most `_MOST` means of neighbours, so that long curves cost what short ones do."""
    size = -(-len(course) // _MOST)
    if size == 1:
        return course
    cut = [course[begin : begin + size] for begin in range(0, len(course), size)]
    return [
        (sum(p for p, _v in block) / len(block), sum(v for _p, v in block) / len(block))
        for block in cut
    ]


def _beyond(t: float, freedom: int) -> float:
    """Return the chance that Student's t exceeds a value (Abramowitz and Stegun, 26.7.3-4).

    Example:
        >>> round(_beyond(2.0, 1), 4), round(_beyond(2.0, 4), 4), round(_beyond(-2.0, 4), 4)
        (0.1476, 0.0581, 0.9419)
    """
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, series = (cosine if odd else 1.0), 0.0
    for k in range(odd, freedom - 1, 2):
        series += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    within = math.sin(angle) * series
    if odd:
        within = 2 / math.pi * (angle + within)
    return (1 - within) / 2
