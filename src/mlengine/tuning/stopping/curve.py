"""What a trial reported over its time, and the same with "more" always better.

Everything a policy computes begins with `Curve.course`, so that NaN, a goal that is minimised and
readings that came out of order are dealt with once.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import msgspec

from mlengine.tuning.problem import Goal

__all__ = ["Axis", "Course", "Curve", "Reading", "best_by", "may_be_over"]

Course = list[tuple[float, float]]
"""(place on the axis, value with more being better), by place."""

_LIMIT = 1e300
"""Values are taken as no larger than this, so that their sums stay finite."""


class Axis(enum.StrEnum):
    """What two trials are compared at: as many steps, or as much time."""

    STEPS = "steps"
    ELAPSED = "elapsed"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of the objective while a trial ran."""

    value: float
    step: int = 0
    elapsed_s: float = 0.0


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A trial as a policy sees it.

    Attributes:
        number: Its id.
        readings: In any order; those that are no finite numbers are skipped.
        ended: It has its final value, whether it ran out or was stopped.
    """

    number: int
    readings: tuple[Reading, ...] = ()
    ended: bool = False

    def course(self, goal: Goal, axis: Axis) -> Course:
        """Return its usable readings in order, turned so that more is better.

        Example:
            >>> curve = Curve(number=1, readings=(Reading(step=2, value=3.0), Reading(value=4.0)))
            >>> curve.course(Goal.MINIMIZE, Axis.STEPS)
            [(0.0, -4.0), (2.0, -3.0)]
        """
        sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        found = []
        for reading in self.readings:
            at = float(reading.step) if axis is Axis.STEPS else reading.elapsed_s
            if math.isfinite(at) and math.isfinite(reading.value):
                found.append((at, max(-_LIMIT, min(_LIMIT, sign * reading.value))))
        found.sort(key=lambda pair: pair[0])
        return found


def best_by(course: Course, at: float) -> float | None:
    """Return the best value up to a place, that included; None if nothing was reported by then."""
    return max((value for place, value in course if place <= at), default=None)


def may_be_over(trial: Curve, others: Sequence[Curve]) -> bool:
    """Tell whether a trial may have come to its end: then there is nothing to save by stopping it.

    It has come as far as every trial that ended; or, like all of these, it has reported once: who
    does so does it at the end, and may be writing its model. How far is told by steps on either
    axis: who took longer than all that ended need not be at the end, but may be slow.

    Example:
        >>> def told(*steps: int, ended: bool = True) -> Curve:
        ...     readings = tuple(Reading(step=step, value=0.5) for step in steps)
        ...     return Curve(number=1, readings=readings, ended=ended)
        >>> may_be_over(told(1, 2, ended=False), [told(1, 3), told(2)])
        False
        >>> may_be_over(told(3, ended=False), [told(1, 3), told(2)])
        True
        >>> may_be_over(told(1, ended=False), [told(2), told(3)])
        True
    """
    mine = _steps(trial)
    ended = [steps for other in others if other.ended and (steps := _steps(other))]
    once = len(mine) == 1 and all(len(steps) == 1 for steps in ended)
    return once or all(mine and max(steps) <= max(mine) for steps in ended)


def _steps(curve: Curve) -> list[int]:
    return [reading.step for reading in curve.readings if math.isfinite(reading.value)]
