"""Scores of runs that were made up: what is 0, what is 100, who is first."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tuning.objectives import Objective
from benchmarks.tuning.report import markdown
from benchmarks.tuning.runs import Run
from benchmarks.tuning.scores import Frame, baseline, frames, rows

ONE = Objective("one", "smooth", (), lambda _point: 0.0, optimum=0.0)
TWO = Objective("two", "models", (), lambda _point: 0.0)  # nobody knows its optimum


def _run(peer: str, objective: str, *values: float, seed: int = 0, error: str = "") -> Run:
    found: list[float | None] = list(values)
    return Run(
        peer=peer, objective=objective, seed=seed, batch=1, budget=len(found), seen=found,
        true=found, cpu_s=[0.5] * len(found), error=error,
    )  # fmt: skip


# A single random try gives 10 in the median.
CHANCE = _run("random", "one", 12, 10, 8)


def _frame(*runs: Run, budget: int = 3) -> Frame:
    (frame,) = frames([ONE, TWO], [CHANCE, *runs], [1], [budget])
    return frame


def test_the_optimum_is_a_hundred_and_the_median_random_try_nought() -> None:
    frame = _frame(_run("best", "one", 3, 0, 5), _run("poor", "one", 10, 99, 99))
    scores = {row.peer: row.score.value for row in rows(frame)}
    assert scores == {"best": 100.0, "random": pytest.approx(20.0), "poor": 0.0}


def test_a_run_is_clipped_so_that_one_disaster_counts_no_more_than_a_random_try() -> None:
    frame = _frame(_run("poor", "one", 1e9, 1e9, 1e9), _run("poor", "one", 0, 0, 0, seed=1))
    (poor,) = (row for row in rows(frame) if row.peer == "poor")
    assert poor.score.value == pytest.approx(50.0)
    assert poor.score.low <= 50.0 <= poor.score.high
    assert poor.seeds == (2, 2)


def test_a_longer_run_counts_for_a_smaller_budget_by_its_first_trials() -> None:
    frame = _frame(_run("late", "one", 10, 5, 0), budget=2)
    (late,) = (row for row in rows(frame) if row.peer == "late")
    assert late.score.value == pytest.approx(50.0)


def test_of_a_noisy_run_counts_the_truth_of_what_looked_best() -> None:
    lucky = Run(
        peer="lucky", objective="one", seed=0, batch=1, budget=2, seen=[-5.0, 1.0],
        true=[7.0, 1.0], cpu_s=[0.1, 0.1],
    )  # fmt: skip
    assert lucky.incumbent(2) == 7.0


def test_what_is_no_number_is_left_out_of_what_chance_gives() -> None:
    chance = msgspec.structs.replace(CHANCE, seen=[None, 12.0, 10.0, 8.0, None])
    chance = msgspec.structs.replace(chance, true=chance.seen)
    assert baseline([ONE], [chance]) == {"one": (10.0, 0.0)}


def test_where_nobody_knows_the_optimum_the_best_ever_seen_counts() -> None:
    chance = _run("random", "two", 6, 4, 2)
    frame = _frame(chance, _run("other", "two", 4, -4, 4))
    (other,) = (row for row in rows(frame) if row.peer == "other")
    assert other.score.value == 100.0


def test_places_are_shared_by_equals_and_only_given_to_who_did_everything() -> None:
    chance = _run("random", "two", 6, 4, 2)
    both = [_run(peer, name, 1, 1, 1) for peer in ("a", "b") for name in ("one", "two")]
    frame = _frame(chance, *both, _run("partial", "one", 0, 0, 0))
    places = {row.peer: row.rank for row in rows(frame)}
    assert places == {"a": 1.5, "b": 1.5, "random": 3.0, "partial": None}


def test_others_are_held_against_ours_over_the_objectives_that_both_have() -> None:
    chance = _run("random", "two", 6, 4, 2)
    mine = [_run("mlengine", "one", 1, 1, 1), _run("mlengine", "two", 4, 4, 4)]
    frame = _frame(chance, *mine, _run("partial", "one", 3, 3, 3))
    (partial,) = (row for row in rows(frame) if row.peer == "partial")
    assert partial.against_ours is not None
    assert partial.against_ours.value == pytest.approx(-20.0)


def test_what_failed_is_counted_and_what_is_absent_is_named() -> None:
    frame = _frame(_run("shaky", "one", 1, 2, 3, error="its process died"))
    (shaky,) = (row for row in rows(frame) if row.peer == "shaky")
    assert shaky.failed == 1
    said = markdown([frame], [ONE, TWO], {"Gone": "not installed: no such wheel"})
    assert "| Gone | not installed: no such wheel |" in said
    assert "| shaky | 1 | 1 | 90.0 (90.0 to 90.0) |" in said


def test_closed_forms_and_trainings_are_weighed_nine_to_seven_of_who_has_all() -> None:
    frame = _frame(
        _run("random", "two", 5, 4, 3), _run("best", "one", 3, 0, 5), _run("best", "two", 1, 0, 2),
        _run("half", "one", 0, 0, 0),
    )  # fmt: skip
    said = markdown([frame], [ONE, TWO], {})
    assert "| searcher | 1 closed forms | 1 real trainings | as 9 to 7 | beyond random |" in said
    assert "| best | 100.0 | 100.0 | 100.0 | 100.0 |" in said
    assert "| random | 20.0 | 25.0 | 22.2 | 0.0 |" in said
    assert "| half | 100.0 |  |" in said
    assert "weighed" not in markdown([frame], [ONE], {})


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=3, max_size=3), st.floats(0.1, 100), st.floats(-50, 50))
def test_scores_do_not_depend_on_an_objectives_units(
    values: list[float], factor: float, offset: float
) -> None:
    def scored(scale: float, shift: float) -> float:
        one = Objective("one", "smooth", (), lambda _point: 0.0, optimum=shift)
        runs = [
            _run("random", "one", *(scale * v + shift for v in (12, 10, 8))),
            _run("it", "one", *(scale * v + shift for v in values)),
        ]
        (frame,) = frames([one], runs, [1], [3])
        return frame.losses["it"]["one"][0]

    assert scored(factor, offset) == pytest.approx(scored(1.0, 0.0), abs=1e-6)
