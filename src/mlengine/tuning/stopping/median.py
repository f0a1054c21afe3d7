"""The service's own rule, which it documents in one sentence.

"Stop a pending trial whose best objective value is strictly below the median of all completed
trials' running averages, up to the same point" (automatedStoppingConfig of ml.v1; also Golovin et
al., Google Vizier, KDD 2017, section 3.2.2).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import Verdict
from mlengine.tuning.stopping.curve import Axis, Curve

__all__ = ["Median"]


class Median:
    """Stop what is below the median of the others' running averages.

    Args:
        axis: What "the same point" means.
    """

    def __init__(self, axis: Axis = Axis.STEPS) -> None:
        self._axis = axis

    def judge(self, goal: Goal, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """See `Policy.judge`."""
        course = trial.course(goal, self._axis)
        if trial.ended or not course:
            return Verdict(stop=False, why="it ended" if trial.ended else "nothing reported yet")
        at = course[-1][0]
        best = max(value for _place, value in course)
        averages = []
        for other in others:
            values = [v for place, v in other.course(goal, self._axis) if place <= at]
            if other.ended and values:
                averages.append(_mean(values))
        if not averages:
            return Verdict(stop=False, why="no trial that ended has a value up to here")
        median = _mean(_middle(averages))
        sign = 1.0 if goal is Goal.MAXIMIZE else -1.0
        return Verdict(
            stop=best < median,
            why=f"at {at:g} {self._axis}: best {sign * best:g}, median of the running averages of "
            f"{len(averages)} ended trials {sign * median:g}",
        )


def _middle(values: list[float]) -> list[float]:
    """Return the value in the middle, or the two."""
    return [statistics.median_low(values), statistics.median_high(values)]


def _mean(values: list[float]) -> float:
    """Return the mean, which is not above the largest by a rounding: that one is never stopped."""
    size = len(values)
    return min(max(values), sum(value / size for value in values))
