"""Rungs, and who may run on from them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import Curve, Reading
from mlengine.tuning.stopping.asha import Asha

ASHA = Asha(eta=3, rungs=3)


def _flat(number: int, value: float, steps: int, *, ended: bool = False) -> Curve:
    """A curve of one value, reported at each step."""
    readings = [Reading(value=value, step=n) for n in range(1, steps + 1)]
    return Curve(number=number, readings=tuple(readings), ended=ended)


WHOLE = _flat(100, 0.5, 27, ended=True)  # so that the rungs are 1, 3 and 9


def _stops(trial: Curve, *others: Curve) -> bool:
    return ASHA.judge(Goal.MAXIMIZE, trial, [WHOLE, *others]).stop


def test_with_fewer_than_eta_at_a_rung_all_run_on() -> None:
    assert not _stops(_flat(1, 0.1, 3), _flat(2, 0.9, 1))
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
    others = [Curve(number=n, readings=(Reading(value=0.9, step=4),)) for n in (2, 3)]
    late = Curve(number=1, readings=(Reading(value=0.1, step=4),))
    assert not ASHA.judge(Goal.MAXIMIZE, late, [tenth, *others]).stop  # nothing said by 3.33
    assert _stops(_flat(1, 0.1, 9), _flat(2, 0.9, 9), _flat(3, 0.8, 9))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40, unique=True), st.integers(1, 26))
def test_as_many_run_on_as_the_rung_has_room_for(values: list[float], steps: int) -> None:
    worst = _flat(100, -1.0, 27, ended=True)
    trials = [_flat(number, value, steps) for number, value in enumerate(values, start=1)]
    on = set()
    for trial in trials:
        others = [worst, *(other for other in trials if other is not trial)]
        if not ASHA.judge(Goal.MAXIMIZE, trial, others).stop:
            on.add(trial.readings[0].value)
    came = len(values) + 1
    room = came // 3 if came >= 3 else len(values)
    assert on == set(sorted(values, reverse=True)[:room])
