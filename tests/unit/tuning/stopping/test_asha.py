"""Rungs, who may run on from them, and whom its curve saves or dooms."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import Axis, Curve, Reading
from mlengine.tuning.stopping.asha import Asha

RANKS = Asha(eta=3, rungs=3, spare=math.inf, hopeless=0.0)  # as if no curve said anything


def _flat(number: int, value: float, steps: int, *, ended: bool = False) -> Curve:
    """A curve of one value, reported at each step."""
    readings = [Reading(value=value, step=n) for n in range(1, steps + 1)]
    return Curve(number=number, readings=tuple(readings), ended=ended)


WHOLE = _flat(100, 0.5, 27, ended=True)  # so that the rungs are 1, 3 and 9


def _stops(trial: Curve, *others: Curve) -> bool:
    return RANKS.judge(Goal.MAXIMIZE, trial, [WHOLE, *others]).stop


def test_with_fewer_than_eta_at_a_rung_all_run_on() -> None:
    assert not _stops(_flat(1, 0.1, 3), _flat(2, 0.9, 2))
    assert _stops(_flat(1, 0.1, 3), _flat(2, 0.9, 3))


def test_one_of_three_runs_on() -> None:
    others = (_flat(2, 0.4, 3), _flat(3, 0.3, 3), _flat(4, 0.2, 3), _flat(5, 0.1, 3))
    assert not _stops(_flat(1, 0.45, 3), *others)  # second of six
    assert _stops(_flat(1, 0.35, 3), *others)  # third


def test_the_last_rung_counts_and_who_is_below_it_does_not() -> None:
    others = [_flat(number, 0.9, 8) for number in range(2, 9)]
    assert _stops(_flat(1, 0.1, 8), *others)
    assert not _stops(_flat(1, 0.1, 9), *others)  # only the whole one came to 9


def test_what_was_seen_after_the_rung_counts_for_a_trial() -> None:
    others = (_flat(2, 0.6, 3), _flat(3, 0.7, 3))
    readings = (*_flat(1, 0.1, 3).readings, Reading(value=0.7, step=4))
    assert _stops(_flat(1, 0.1, 4), *others)
    assert not _stops(Curve(number=1, readings=readings), *others)


def test_who_stands_exactly_on_a_rung_has_come_to_it() -> None:
    tenth = _flat(100, 0.5, 10, ended=True)  # rungs at 10/27, 10/9 and 10/3
    others = [_late(number, 0.9) for number in (2, 3)]
    assert not RANKS.judge(Goal.MAXIMIZE, _late(1, 0.1), [tenth, *others]).stop
    assert _stops(_flat(1, 0.1, 9), _flat(2, 0.9, 9), _flat(3, 0.8, 9))


def _late(number: int, value: float) -> Curve:
    """Nothing is said by the rung at 3.33."""
    readings = [Reading(value=value, step=n) for n in (4, 5, 6)]
    return Curve(number=number, readings=tuple(readings))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20, unique=True), st.integers(3, 26))
def test_as_many_run_on_as_the_rung_has_room_for(values: list[float], steps: int) -> None:
    worst = _flat(100, -1.0, 27, ended=True)
    trials = [_flat(number, value, steps) for number, value in enumerate(values, start=1)]
    on = set()
    for trial in trials:
        others = [worst, *(other for other in trials if other is not trial)]
        if not RANKS.judge(Goal.MAXIMIZE, trial, others).stop:
            on.add(trial.readings[0].value)
    came = len(values) + 1
    room = came // 3 if came >= 3 else len(values)
    assert on == set(sorted(values, reverse=True)[:room])


# --- the curve has a say --------------------------------------------------------------------------


def _rising(number: int, limit: float, pace: float, steps: int, *, ended: bool = False) -> Curve:
    readings = [
        Reading(value=limit * (1 - math.exp(-pace * n)), step=n) for n in range(1, steps + 1)
    ]
    return Curve(number=number, readings=tuple(readings), ended=ended)


QUICK = [_rising(number, 0.5 + number / 100, 0.3, 27, ended=True) for number in range(2, 9)]


def test_who_learns_slowly_and_will_come_farther_is_spared() -> None:
    slow = _rising(1, 1.0, 0.05, 9)
    verdict = RANKS.judge(Goal.MAXIMIZE, slow, QUICK)
    assert verdict.stop
    assert "others are better" in verdict.why
    assert not Asha().judge(Goal.MAXIMIZE, slow, QUICK).stop


def test_who_is_among_the_best_and_cannot_win_is_stopped_at_no_rung_too() -> None:
    behind = [_rising(number, 0.1 + number / 100, 0.3, 27, ended=True) for number in range(2, 9)]
    others, second = [_rising(9, 0.9, 0.3, 27, ended=True), *behind], _rising(1, 0.6, 0.3, 20)
    assert not RANKS.judge(Goal.MAXIMIZE, second, others).stop
    verdict = Asha().judge(Goal.MAXIMIZE, second, others)
    assert verdict.stop
    assert "chance to beat" in verdict.why


def test_what_others_have_seen_while_they_run_is_to_be_beaten() -> None:
    trial, running = _rising(1, 0.7, 0.1, 12), _rising(20, 1.0, 0.3, 12)
    assert not Asha().judge(Goal.MAXIMIZE, trial, QUICK).stop
    assert Asha().judge(Goal.MAXIMIZE, trial, [*QUICK, running]).stop


def test_a_curve_too_short_to_say_anything_stops_nobody() -> None:
    """By ranks alone this one would go: it is the worst of all that came so far."""
    assert not Asha(rungs=3).judge(Goal.MAXIMIZE, _rising(1, 0.1, 0.3, 2), QUICK).stop


def test_who_is_past_its_best_is_stopped_once_another_was_better() -> None:
    readings = [Reading(value=0.9 - abs(n - 4) / 10, step=n) for n in range(1, 9)]
    trial = Curve(number=1, readings=tuple(readings))
    ended = _flat(2, 0.5, 27, ended=True)
    assert not Asha().judge(Goal.MAXIMIZE, trial, [ended]).stop, "none was better"
    better = Asha().judge(Goal.MAXIMIZE, trial, [ended, _flat(3, 0.91, 2)])
    assert better.stop
    assert "past its best" in better.why
    short = _flat(2, 0.5, 8, ended=True)
    at_its_end = Asha().judge(Goal.MAXIMIZE, trial, [short, _flat(3, 0.91, 2)])
    assert not at_its_end.stop, "it has come as far as who ended"
    still = Curve(number=1, readings=tuple(readings[:5]))
    assert not Asha().judge(Goal.MAXIMIZE, still, [ended, _flat(3, 0.91, 2)]).stop


def test_who_is_past_its_best_is_stopped_also_if_it_took_longer_than_all_that_ended() -> None:
    readings = [
        Reading(value=0.9 - abs(n - 4) / 10, step=n, elapsed_s=20.0 * n) for n in range(1, 9)
    ]
    trial = Curve(number=1, readings=tuple(readings))
    ended = [
        Reading(value=0.95, step=n, elapsed_s=float(n)) for n in range(1, 28)
    ]  # in 27 s; the trial has run for 160 s
    others = [Curve(number=2, readings=tuple(ended), ended=True)]
    assert Asha(Axis.ELAPSED).judge(Goal.MAXIMIZE, trial, others).stop
