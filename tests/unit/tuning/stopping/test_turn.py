"""When a curve is past its best, and when that may be chance or a plateau."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.tuning.stopping.turn import has_turned

VALUES = st.floats(-1e300, 1e300)
PLACES = st.floats(allow_nan=False, allow_infinity=False)


def _course(*values: float) -> list[tuple[float, float]]:
    return [(float(n), value) for n, value in enumerate(values)]


def test_a_curve_that_falls_since_its_best_has_turned() -> None:
    assert has_turned(_course(0.1, 0.5, 0.9, 0.8, 0.7, 0.6))
    assert has_turned(_course(0.9, 0.8, 0.7, 0.6)), "also one that only ever fell"


@pytest.mark.parametrize(
    "values",
    [
        (),
        (0.5,),
        (0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
        (0.1, 0.5, 0.9, 0.8, 0.7),  # for too short a while
        (0.1, 0.5, 0.9, 0.5, 0.1, 0.6, 0.85),  # it fell, and comes back
        (*(n / 100 for n in range(40)), 0.38, 0.37, 0.36),  # a seventh of its way would be six
    ],
)
def test_what_may_yet_rise_has_not_turned(values: tuple[float, ...]) -> None:
    assert not has_turned(_course(*values))


def test_the_noise_of_a_plateau_is_seldom_taken_for_a_turn() -> None:
    source = random.Random(5)
    plateaus = [
        [1 - 0.5**n + source.gauss(0, 0.01) for n in range(30)] for _curve in range(200)
    ]  # fmt: skip
    assert sum(has_turned(_course(*plateau)) for plateau in plateaus) < 40


@given(st.lists(st.tuples(PLACES, VALUES), max_size=20).map(sorted))
def test_any_course_is_judged(course: list[tuple[float, float]]) -> None:
    assert has_turned(course) in (True, False)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_units_do_not_matter(values: list[float]) -> None:
    course = _course(*(round(value, 3) for value in values))
    other = [(place * 2, value * 4) for place, value in course]
    assert has_turned(other) == has_turned(course)
