"""The service's own rule, which it documents in one sentence, among at least three that ended.

"Stop a pending trial whose best objective value is strictly below the median of all completed
trials' running averages, up to the same point" (automatedStoppingConfig of ml.v1; also Golovin et
al., Google Vizier, KDD 2017, section 3.2.2).

The sentence leaves two things open. How many completed trials there must be: here three, as in Ray
Tune and Katib, for the median of fewer is the luck of one or two. And what becomes of who has come
as far as they did: nobody who may be at the end is stopped (`curve.may_be_over`).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import Verdict
from mlengine.tuning.stopping.curve import Axis, Curve, may_be_over

__all__ = ["Median"]

_FEWEST = 3  # trials that ended, with a value up to the same point


class Median:
    """Stop what is below the median of three or more running averages.

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
        if may_be_over(trial, others):
            return Verdict(stop=False, why="no trial that ended came farther")
        ended = [other.course(goal, self._axis) for other in others if other.ended]
        upto = [[value for place, value in other if place <= at] for other in ended]
        averages = [_mean(values) for values in upto if values]
        if len(averages) < _FEWEST:
            why = f"{len(averages)} trials that ended have a value up to here, of {_FEWEST} needed"
            return Verdict(stop=False, why=why)
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
