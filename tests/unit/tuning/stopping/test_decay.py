"""What is foreseen of curves whose ends are known."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import Curve, Reading
from mlengine.tuning.stopping.decay import DecayCurve, _beyond, _foresee


def _power(limit: float, height: float, number: int = 1, until: int = 100) -> Curve:
    """A loss that comes down as an inverse power, over a hundred steps."""
    readings = [Reading(value=limit + height / math.sqrt(n), step=n) for n in range(1, until + 1)]
    return Curve(number=number, readings=tuple(readings), ended=until == 100)


ENDED = [_power(0.1 + n / 20, 1 + n / 5, n) for n in range(2, 8)]  # the best ends at 0.34


def _judge(trial: Curve) -> bool:
    return DecayCurve().judge(Goal.MINIMIZE, trial, ENDED).stop


def test_a_late_riser_runs_on_where_its_value_alone_would_stop_it() -> None:
    """At step 20 it is worse than others were; its slope says where it goes."""
    riser = _power(0.05, 2.5, until=20)
    now = [curve.readings[19].value for curve in ENDED]
    assert riser.readings[-1].value > sorted(now)[1]
    assert not _judge(riser)


def test_what_flattens_out_above_the_best_is_stopped() -> None:
    assert _judge(_power(0.9, 1.0, until=30))


@pytest.mark.parametrize("until", [1, 2])
def test_a_few_readings_say_nothing(until: int) -> None:
    assert not _judge(_power(5.0, 1.0, until=until))


def test_a_trial_as_long_as_the_longest_runs_out() -> None:
    whole = _power(5.0, 1.0)
    late = Curve(number=1, readings=whole.readings)
    assert not _judge(late)


def test_few_witnesses_make_it_careful() -> None:
    """One ended trial cannot show how far predictions are off; it takes more to be stopped."""
    chance = random.Random(3)

    def noisy(limit: float, until: int, number: int) -> Curve:
        readings = [
            Reading(value=limit + 1 / math.sqrt(n) + chance.gauss(0, 0.05), step=n)
            for n in range(1, until + 1)
        ]
        return Curve(number=number, readings=tuple(readings), ended=until == 100)

    others = [noisy(0.1, 100, number) for number in range(2, 14)]
    trial = noisy(0.3, 25, 1)
    assert DecayCurve().judge(Goal.MINIMIZE, trial, others).stop
    assert not DecayCurve().judge(Goal.MINIMIZE, trial, others[:1]).stop


@settings(deadline=None)
@given(st.floats(0.1, 1.0), st.floats(0.2, 2.0))
def test_a_curve_of_the_family_is_foreseen(limit: float, height: float) -> None:
    course = [(n / 100, limit + height * math.exp(-5 * n / 100)) for n in range(1, 40)]
    whole = [(n / 100, limit + height * math.exp(-5 * n / 100)) for n in range(1, 101)]
    foreseen = _foresee(course, [whole], 1.0)
    assert foreseen is not None
    assert foreseen[0] == pytest.approx(whole[-1][1], abs=0.05 * height)


@settings(deadline=None)
@given(st.floats(-50, 50), st.integers(1, 16))
def test_the_tails_of_student(t: float, freedom: int) -> None:
    """Both sides make one, and a larger value is less likely to be exceeded."""
    assert _beyond(t, freedom) + _beyond(-t, freedom) == pytest.approx(1.0)
    assert _beyond(t, freedom) >= _beyond(t + 1, freedom) - 1e-12
    assert _beyond(1.812461, 10) == pytest.approx(0.05, abs=1e-6)  # from printed tables
    assert _beyond(6.313752, 1) == pytest.approx(0.05, abs=1e-6)


def test_who_ended_better_than_foretold_widens_the_spread_more_than_who_ended_worse() -> None:
    flat = [(float(n), 0.5) for n in range(1, 10)]
    course = [(float(n), 0.4) for n in range(1, 6)]
    spreads = []
    for end in (0.75, 0.25):
        foreseen = _foresee(course, [[*flat, (10.0, end)]], 10.0)
        assert foreseen is not None
        assert foreseen[0] == pytest.approx(0.4)
        spreads.append(foreseen[1])
    assert spreads[0] > spreads[1] > 0
