"""The service's sentence, word by word, and what it leaves open."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import Axis, Curve, Reading
from mlengine.tuning.stopping.median import Median


def _curve(values: list[float], *, number: int = 1, ended: bool = True) -> Curve:
    readings = [Reading(value=v, step=n, elapsed_s=10.0 * n) for n, v in enumerate(values, 1)]
    return Curve(number=number, readings=tuple(readings), ended=ended)


# Averages by the second step: 2, 4, 7 and 5.
ENDED = [_curve([1, 3, 100], number=2), _curve([4, 4, 100], number=3), _curve([7, 7], number=4)]
FOUR = [*ENDED, _curve([5, 5, 5], number=5)]


def _stops(*values: float, others: list[Curve] = ENDED, goal: Goal = Goal.MAXIMIZE) -> bool:
    return Median().judge(goal, _curve(list(values), ended=False), others).stop


def test_the_best_counts_and_only_strictly_below_is_stopped() -> None:
    assert _stops(3.9, 0.0)
    assert _stops(0.0, 3.9)
    assert not _stops(0.0, 4.0)
    assert not _stops(4.0, -50.0)


def test_the_median_of_four_lies_between_two_of_them() -> None:
    assert _stops(0.0, 4.4, others=FOUR)
    assert not _stops(0.0, 4.5, others=FOUR)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_median_of_fewer_than_three_stops_nobody(count: int) -> None:
    late = Curve(number=6, readings=(Reading(value=50.0, step=3),), ended=True)
    verdict = Median().judge(Goal.MAXIMIZE, _curve([0, 0], ended=False), [*ENDED[:count], late])
    assert not verdict.stop
    assert verdict.why == f"{count} trials that ended have a value up to here, of 3 needed"


def test_who_is_at_the_last_step_of_those_that_ended_is_not_stopped() -> None:
    assert _stops(0.0, 0.0)
    assert not _stops(0.0, 0.0, 0.0)


def test_by_time_too_who_is_at_the_end_is_told_by_steps() -> None:
    """Four that ended took a minute; one is at its second of ten steps after more than two."""
    quick = [
        Curve(
            number=number, ended=True,
            readings=tuple(Reading(value=n / 11, step=n, elapsed_s=6.0 * n) for n in range(1, 11)),
        )
        for number in range(2, 6)
    ]  # fmt: skip
    slow = Curve(number=1, readings=(
        Reading(value=0.1, step=1, elapsed_s=70.0), Reading(value=0.11, step=2, elapsed_s=140.0),
    ))  # fmt: skip
    assert Median(Axis.ELAPSED).judge(Goal.MAXIMIZE, slow, quick).stop
    swift = Curve(number=1, readings=tuple(
        Reading(value=0.01, step=n, elapsed_s=float(n)) for n in range(1, 11)
    ))  # fmt: skip
    verdict = Median(Axis.ELAPSED).judge(Goal.MAXIMIZE, swift, quick)
    assert not verdict.stop
    assert verdict.why == "no trial that ended came farther"


def test_running_trials_are_no_measure_and_later_values_neither() -> None:
    running = _curve([50, 50], number=5, ended=False)
    assert not _stops(0.0, 4.0, others=[*ENDED, running])
    late = Curve(number=6, readings=(Reading(value=50.0, step=3),), ended=True)
    assert not _stops(0.0, 4.0, others=[*ENDED, late])


def test_a_goal_that_is_minimised_is_stopped_above() -> None:
    assert _stops(5.0, 4.1, goal=Goal.MINIMIZE)
    assert not _stops(5.0, 4.0, goal=Goal.MINIMIZE)


def test_elapsed_time_looks_at_time_and_not_at_steps() -> None:
    slow = Curve(number=1, readings=(Reading(value=3.0, step=1, elapsed_s=20.0),))
    assert Median(Axis.ELAPSED).judge(Goal.MAXIMIZE, slow, ENDED).stop
    assert Median(Axis.STEPS).judge(Goal.MAXIMIZE, slow, ENDED).stop  # 3 < 4, by the first step
    first = [_curve([1, 9, 9], number=number) for number in (2, 3, 4)]
    assert Median(Axis.ELAPSED).judge(Goal.MAXIMIZE, slow, first).stop
    assert not Median(Axis.STEPS).judge(Goal.MAXIMIZE, slow, first).stop


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_who_is_better_is_not_stopped_where_who_is_worse_goes_on(
    values: list[float], value: float, more: float
) -> None:
    others = [_curve(values, number=number) for number in (2, 3, 4)]
    assert _stops(value, others=others) or not _stops(value + more, others=others)
