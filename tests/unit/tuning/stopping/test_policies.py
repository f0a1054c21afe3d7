"""The contract of `Policy`, on every rule and both axes, for whatever curves there may be."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import POLICIES, Axis, Curve, Policy, Reading, open_policy

VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, 1e300, -1e300, 1e-300, math.nan, math.inf]),
    st.floats(0, 1),
)
READINGS = st.builds(
    Reading,
    value=VALUES,
    step=st.one_of(st.integers(0, 30), st.integers(-(2**63), 2**63 - 1)),
    elapsed_s=st.one_of(st.floats(0, 30), st.floats()),
)
# Curves as trainings make them, beside the wild ones: many readings, one after the other.
STEADY = st.lists(VALUES, max_size=30).map(
    lambda values: [
        Reading(value=v, step=n, elapsed_s=float(n)) for n, v in enumerate(values, start=1)
    ]
)
CURVES = st.builds(
    Curve,
    number=st.integers(2, 1000),
    readings=st.one_of(STEADY, st.lists(READINGS, max_size=12)).map(tuple),
    ended=st.booleans(),
)
OTHERS = st.lists(CURVES, max_size=8, unique_by=lambda curve: curve.number)
RUNNING = CURVES.map(lambda curve: msgspec.structs.replace(curve, number=1, ended=False))
POLICY = st.builds(open_policy, st.sampled_from(POLICIES), st.sampled_from(Axis))
GOAL = st.sampled_from(Goal)
UNHURRIED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _usable(curve: Curve) -> list[float]:
    return [
        reading.value
        for reading in curve.readings
        if math.isfinite(reading.value) and math.isfinite(reading.elapsed_s)
    ]


@UNHURRIED
@given(POLICY, GOAL, RUNNING, OTHERS)
def test_any_curves_get_a_verdict_with_its_reason(
    policy: Policy, goal: Goal, trial: Curve, others: list[Curve]
) -> None:
    assert policy.judge(goal, trial, others).why


@UNHURRIED
@given(POLICY, GOAL, CURVES, OTHERS)
def test_what_ended_or_said_nothing_is_not_stopped(
    policy: Policy, goal: Goal, trial: Curve, others: list[Curve]
) -> None:
    ended = msgspec.structs.replace(trial, number=1, ended=True)
    silent = Curve(number=1, readings=(Reading(value=math.nan, step=3, elapsed_s=3.0),))
    assert not policy.judge(goal, ended, others).stop
    assert not policy.judge(goal, silent, others).stop
    assert not policy.judge(goal, Curve(number=1), others).stop


@UNHURRIED
@given(POLICY, GOAL, RUNNING, OTHERS)
def test_while_no_other_ended_nothing_is_stopped(
    policy: Policy, goal: Goal, trial: Curve, others: list[Curve]
) -> None:
    running = [msgspec.structs.replace(other, ended=False) for other in others]
    assert not policy.judge(goal, trial, running).stop


@UNHURRIED
@given(POLICY, GOAL, RUNNING, OTHERS, st.randoms(use_true_random=False))
def test_the_order_of_the_others_does_not_matter(
    policy: Policy, goal: Goal, trial: Curve, others: list[Curve], chance: object
) -> None:
    mixed = list(others)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    one, two = policy.judge(goal, trial, others), policy.judge(goal, trial, mixed)
    assert one.stop == two.stop


@UNHURRIED
@given(POLICY, GOAL, RUNNING, OTHERS)
def test_the_best_so_far_is_not_stopped(
    policy: Policy, goal: Goal, trial: Curve, others: list[Curve]
) -> None:
    every = [value for other in others for value in _usable(other)]
    top = (max if goal is Goal.MAXIMIZE else min)(every, default=0.0)
    seen = Reading(value=top, step=0, elapsed_s=0.0)
    best = msgspec.structs.replace(trial, readings=(seen, *trial.readings))
    assert not policy.judge(goal, best, others).stop


@UNHURRIED
@given(POLICY, GOAL, RUNNING, OTHERS, st.floats(-1, 1), st.floats(0, 30))
def test_who_came_as_far_as_all_that_ended_is_not_stopped(
    policy: Policy, goal: Goal, trial: Curve, others: list[Curve], value: float, elapsed_s: float
) -> None:
    """However quickly: the end is told by steps, also where curves are drawn over time."""
    step = max((r.step for o in (*others, trial) for r in o.readings), default=1)
    end = Reading(value=value, step=step, elapsed_s=elapsed_s)
    at_its_end = msgspec.structs.replace(trial, readings=(*trial.readings, end))
    assert not policy.judge(goal, at_its_end, others).stop


@pytest.mark.parametrize("name", POLICIES)
def test_who_is_at_the_last_step_in_less_time_is_not_stopped(name: str) -> None:
    ended = [_curve(number, 0.8 + number / 100) for number in range(2, 8)]
    hopeless = _curve(1, 0.2, ended=False)
    swift = [msgspec.structs.replace(r, elapsed_s=r.elapsed_s / 2) for r in hopeless.readings]
    at_its_end = msgspec.structs.replace(hopeless, readings=tuple(swift))
    before = msgspec.structs.replace(hopeless, readings=tuple(swift[:-1]))
    policy = open_policy(name, Axis.ELAPSED)
    assert not policy.judge(Goal.MAXIMIZE, at_its_end, ended).stop
    assert policy.judge(Goal.MAXIMIZE, before, ended).stop


@pytest.mark.parametrize("axis", Axis)
@pytest.mark.parametrize("name", POLICIES)
def test_where_all_report_once_nobody_is_stopped(name: str, axis: Axis) -> None:
    """It is at their end that they do, at whatever step that is."""

    def once(number: int, value: float, step: int) -> Curve:
        reading = Reading(value=value, step=step, elapsed_s=step / 2)
        return Curve(number=number, readings=(reading,), ended=number > 1)

    others = [once(number, 0.9, number) for number in range(2, 12)]
    assert not open_policy(name, axis).judge(Goal.MAXIMIZE, once(1, 0.1, 9), others).stop


@UNHURRIED
@given(POLICY, RUNNING, OTHERS)
def test_a_goal_turned_round_is_the_same_question(
    policy: Policy, trial: Curve, others: list[Curve]
) -> None:
    def turned(curve: Curve) -> Curve:
        readings = [msgspec.structs.replace(r, value=-r.value) for r in curve.readings]
        return msgspec.structs.replace(curve, readings=tuple(readings))

    up = policy.judge(Goal.MAXIMIZE, trial, others)
    down = policy.judge(Goal.MINIMIZE, turned(trial), [turned(other) for other in others])
    assert up.stop == down.stop


# --- what each rule is for ---


def _curve(number: int, limit: float, steps: int = 27, ended: bool = True) -> Curve:
    """A curve that rises towards a limit; half a second a step."""
    readings = [
        Reading(value=limit * (1 - math.exp(-n / 5)), step=n, elapsed_s=n / 2)
        for n in range(1, steps + 1)
    ]
    return Curve(number=number, readings=tuple(readings), ended=ended)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("axis", Axis)
def test_a_hopeless_trial_is_stopped_and_a_good_one_is_not(name: str, axis: Axis) -> None:
    policy = open_policy(name, axis)
    ended = [_curve(number, 0.8 + number / 100) for number in range(2, 8)]
    bad, good = _curve(1, 0.2, 12, ended=False), _curve(1, 0.9, 12, ended=False)
    verdict = policy.judge(Goal.MAXIMIZE, bad, ended)
    assert verdict.stop
    assert any(character.isdigit() for character in verdict.why)
    assert not policy.judge(Goal.MAXIMIZE, good, ended).stop


def test_an_unknown_policy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"'medium'.*median, decay-curve, asha"):
        open_policy("medium")
