"""Asynchronous successive halving: of those that came to a rung, only the best part runs on.

Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (ASHA), in the form
that stops instead of pausing: a trial runs on unless it is known to be outside of the best 1/eta
at the last rung that it came to. The rungs are the longest ended trial's length divided by powers
of eta, so nobody has to say how long a training is. A trial is judged again whenever somebody
asks, also between rungs: others may have come to its rung since, and have been better. Two rungs,
so nobody is judged before a ninth of a training: a third rung saves more epochs and loses trials
that begin slowly (`benchmarks/tuning/README.md`).

Ranks alone lose whatever learns slowly and comes farthest: with a free learning rate, nearly every
winner. So who is outside of the best is stopped only if its curve, too, says that it will hardly
win (`decay.outlook`), and is spared while its curve is too short to say anything. That makes room
for the other side: who is among the best and, by its curve, has all but no chance is stopped, at a
rung or not. Both are measured against the best that anybody has seen, also while running. An end
that was worse than foretold says little of the chance to do better, and weighs a fifth of one here.

Whoever has turned (`turn.py`) has had its best, and is stopped once another has had a better one.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import Verdict
from mlengine.tuning.stopping.curve import Axis, Course, Curve, best_by, may_be_over
from mlengine.tuning.stopping.decay import outlook
from mlengine.tuning.stopping.turn import has_turned

__all__ = ["Asha"]

_SHORT = 0.2  # weight of ends that were worse than foretold
_ROUNDING = 1e-9  # a third of 27 is a step that was reported as 9


class Asha:
    """Stop what is outside of the best 1/eta at the last rung that it came to.

    Args:
        axis: What rungs are counted in.
        eta: One of so many runs on.
        rungs: How many there are below a whole training.
        spare: Who is outside of the best runs on with at least this chance to win.
        hopeless: Whoever has a lower chance is stopped.
    """

    def __init__(
        self,
        axis: Axis = Axis.STEPS,
        *,
        eta: int = 3,
        rungs: int = 2,
        spare: float = 0.3,
        hopeless: float = 0.05,
    ) -> None:
        self._axis, self._eta, self._rungs = axis, eta, rungs
        self._spare, self._hopeless = spare, hopeless

    def judge(self, goal: Goal, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """See `Policy.judge`."""
        if self._is_past(goal, trial, others):
            return Verdict(stop=True, why="past its best, which another has beaten")
        foreseen = outlook(goal, self._axis, trial, others, short=_SHORT)
        if foreseen.chance is None or foreseen.chance >= self._spare:
            return Verdict(stop=False, why=foreseen.why)
        if foreseen.chance < self._hopeless:
            return Verdict(stop=True, why=foreseen.why)
        is_outside, rank = self._rank(goal, trial, others)
        return Verdict(stop=is_outside, why=f"{rank}; {foreseen.why}")

    def _is_past(self, goal: Goal, trial: Curve, others: Sequence[Curve]) -> bool:
        """Whether a trial has turned, and another's best is better."""
        course = trial.course(goal, self._axis)
        if trial.ended or not has_turned(course) or may_be_over(trial, others):
            return False
        mine = max(value for _place, value in course)
        seen = (value for o in others for _place, value in o.course(goal, self._axis))
        return max(seen, default=mine) > mine

    def _rank(self, goal: Goal, trial: Curve, others: Sequence[Curve]) -> tuple[bool, str]:
        """Say whether a trial is outside of the best at its rung, and of how many."""
        course = trial.course(goal, self._axis)
        courses = [(other.ended, other.course(goal, self._axis)) for other in others]
        rung = self._rung(course[-1][0], [c for ended, c in courses if ended and c])
        if rung is None:
            return False, "not at the first rung"
        mine = best_by(course, rung)
        theirs = [
            value
            for _ended, other in courses
            if other and _reaches(other, rung) and (value := best_by(other, rung)) is not None
        ]
        if mine is None or len(theirs) + 1 < self._eta:
            return False, f"{len(theirs)} others came to {rung:g} {self._axis}"
        better = sum(value > mine for value in theirs)
        room = (len(theirs) + 1) // self._eta
        # What a trial has seen since counts for it: it may have come up after the rung.
        risen = max(value for _place, value in course) >= max(theirs)
        return better >= room and not risen, (
            f"at {rung:g} {self._axis} {better} of {len(theirs)} others are better, "
            f"and {room} may run on"
        )

    def _rung(self, at: float, ended: list[Course]) -> float | None:
        """Return the last rung up to a place; a whole training is none."""
        whole = max((course[-1][0] for course in ended), default=0.0)
        for power in range(1, self._rungs + 1):
            rung = whole / float(self._eta) ** power
            if whole > 0 and at >= rung * (1 - _ROUNDING):
                return rung * (1 + _ROUNDING)
        return None


def _reaches(course: Course, rung: float) -> bool:
    return course[-1][0] >= rung * (1 - 2 * _ROUNDING)
