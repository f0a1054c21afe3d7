"""Port: decide whether a trial that runs is worth running on.

One rule a sibling file; `open_policy(name)` finds it. A policy keeps no books and has no clock: all
that it knows are the curves it is given, so that any process can ask again and hears the same.

    median        the service's own rule: below the median of the others' running averages
    decay-curve   the curve's own course says that it will not beat the best
    asha          not among the best of those that came as far as it did
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from mlengine.core.errors import InvalidArgument
from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping.curve import Axis, Curve, Reading

__all__ = ["POLICIES", "Axis", "Curve", "Policy", "Reading", "Verdict", "open_policy"]

POLICIES = ("median", "decay-curve", "asha")
"""The names that `open_policy` knows."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to stop, and the figures that decided it, for the log."""

    stop: bool
    why: str


class Policy(Protocol):
    """Contract, held by `tests/unit/tuning/stopping/test_policies.py` on every rule:

    1. A trial that ended, or that has no usable reading yet, is not stopped.
    2. Where no other trial ended, nothing is stopped: there is nothing to measure it by.
    3. The same curves give the same verdict, in whatever order the other trials stand.
    4. A trial that has seen a value as good as the best of all others is not stopped.
    5. Turning the goal round and every value's sign gives the same verdict.
    6. A trial that may be at its end is not stopped: on either axis, it came to as high a step as
       every one that ended, or has reported once as each of them did. Nothing is left to save but
       its model.
    7. No curve makes it raise: none, one reading, NaN and infinities (skipped), constants, steps
       that repeat or run backwards, 1e300 beside 1e-300.
    """

    def judge(self, goal: Goal, trial: Curve, others: Sequence[Curve]) -> Verdict:
        """Say whether a trial should stop now.

        Args:
            goal: Which way the objective is better.
            trial: The one in question, with all that it reported so far.
            others: The study's other trials with their curves: those that run and those that
                ended well, also early. Infeasible and failed trials are left out by the caller.
        """
        ...


def open_policy(name: str, axis: Axis = Axis.STEPS) -> Policy:
    """Return a policy by its name, with the defaults that `benchmarks/tuning` measures.

    Raises:
        InvalidArgument: There is none of that name.

    Example:
        >>> slow = Curve(number=2, readings=(Reading(step=1, value=0.1),))
        >>> told = (Reading(step=1, value=0.7), Reading(step=2, value=0.9))
        >>> good = [Curve(number=number, readings=told, ended=True) for number in (1, 3, 4)]
        >>> open_policy("median").judge(Goal.MAXIMIZE, slow, good).stop
        True
    """
    from mlengine.tuning.stopping.asha import Asha
    from mlengine.tuning.stopping.decay import DecayCurve
    from mlengine.tuning.stopping.median import Median

    known: dict[str, Callable[[Axis], Policy]] = {
        "median": Median, "decay-curve": DecayCurve, "asha": Asha,
    }  # fmt: skip
    if name not in known:
        raise InvalidArgument(
            f"There is no early stopping policy {name!r}.",
            f"Use one of {', '.join(POLICIES)}.",
        )
    return known[name](axis)
