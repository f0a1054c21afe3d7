"""A metric in little memory: its sums are of all points, its points are thinned."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.training import curves
from mlengine.training.curves import MAX_POINTS, MOST_KEPT, Curve, Series, Total, ordered
from mlengine.training.eventfiles import Scalar


def curve_of(*points: tuple[int, float], is_whole: bool = False) -> Series:
    curve = Curve(is_whole=is_whole)
    for time_s, (step, value) in enumerate(points):
        curve.add(step, value, float(time_s))
    return curve.series("m", ".", "log")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "MAX_POINTS", 10)
    monkeypatch.setattr(curves, "MOST_KEPT", 16)


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from((0.0, 1.0))), min_size=1))
def test_of_one_step_printed_at_once_the_last_value_counts(told: list[tuple[int, float]]) -> None:
    found = ordered(Scalar("m", step, value, 1.0) for step, value in told)
    assert [(p.step, p.value) for p in found] == sorted(dict(told).items())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1))
def test_values_without_steps_are_all_kept_by_their_time(told: list[tuple[int, int]]) -> None:
    told.sort(key=lambda pair: pair[0])  # a log's times never fall
    points = [Scalar("m", 0, float(value), float(at)) for at, value in told]
    assert ordered(points) == points


def test_a_short_series_is_kept_as_it_is() -> None:
    series = curve_of((2, 0.5), (1, math.nan), (3, math.inf))
    assert [p.step for p in series.points] == [1, 2, 3]
    assert (series.thinned_from, series.total) == (None, Total(3, 0.5, 0.5))
    assert curve_of((1, math.nan)).total == Total(1, None, None)


@pytest.mark.parametrize("count", [MAX_POINTS, MAX_POINTS + 1, MOST_KEPT + 1, 300_000])
def test_a_long_series_is_thinned_and_summed_up_exactly(count: int) -> None:
    curve = Curve()
    for step in range(count):
        value = 0.001 if step == 6_003 else 9.0 if step == 7_001 else 1.0
        curve.add(step, value, float(step))
    series = curve.series("m", ".", "log")
    steps = [p.step for p in series.points]
    assert (len(steps), steps[0], steps[-1]) == (min(count, MAX_POINTS), 0, count - 1)
    gaps = [after - before for before, after in pairwise(steps)][:-1]
    assert max(gaps) <= 3 * min(gaps), "evenly"
    assert series.total == Total(count, 0.001, 9.0)


def test_four_times_as_many_points_are_held_in_as_little_memory() -> None:
    curve = Curve()
    tracemalloc.start()
    for step in range(60_000):
        curve.add(step, 1.0, 1.0)
    few_bytes = tracemalloc.get_traced_memory()[1]
    for step in range(60_000, 240_000):
        curve.add(step, 1.0, 1.0)
    many_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert many_bytes < min(1.2 * few_bytes, 8_000_000)
    assert curve.kept <= MOST_KEPT + 2 * MAX_POINTS


def test_a_series_of_which_all_is_asked_is_whole() -> None:
    series = curve_of(*((step, 1.0) for step in range(MOST_KEPT + 5)), is_whole=True)
    assert len(series.points) == MOST_KEPT + 5 and series.thinned_from is None


@pytest.mark.usefixtures("small")
@given(st.lists(st.integers(-9, 9), min_size=1))
def test_sums_of_rising_steps_are_those_of_all_points(values: list[int]) -> None:
    found = curve_of(*((step, float(value)) for step, value in enumerate(values)))
    assert found.total == Total(len(values), min(values), max(values))
    assert (found.points[0].step, found.last.step) == (0, len(values) - 1)
    assert found.last.value == values[-1]


@pytest.mark.usefixtures("small")
def test_a_step_that_ran_again_soon_counts_once_in_a_long_series() -> None:
    told = [(step, 1.0) for step in range(100)] + [(step, 2.0) for step in range(95, 200)]
    assert curve_of(*told).total == Total(200, 1.0, 2.0)
    slow = [(step // 5, float(step)) for step in range(500)]
    assert curve_of(*slow).total == Total(100, 4.0, 499.0)


@pytest.mark.usefixtures("small")
def test_steps_that_ran_again_from_long_before_are_said() -> None:
    told = [(step, 1.0) for step in range(10, 100)] + [(step, 2.0) for step in range(50)]
    found = curve_of(*told)
    assert found.total == Total(140, 1.0, 2.0, has_repeats=True)
    steps = [p.step for p in found.points]
    assert (steps[0], steps[-1]) == (0, 99) and steps == sorted(set(steps))


@pytest.mark.usefixtures("small")
def test_a_long_series_without_steps_keeps_its_order() -> None:
    found = curve_of(*((0, float(n)) for n in range(200)))
    values = [p.value for p in found.points]
    assert found.total == Total(200, 0.0, 199.0)
    assert (values[0], values[-1]) == (0.0, 199.0) and values == sorted(set(values))
