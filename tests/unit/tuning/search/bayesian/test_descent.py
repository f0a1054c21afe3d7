"""Descent in a box: every start comes to the ground of its valley, within the bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlengine.tuning.search.bayesian.descent import Array, descend

Which = NDArray[np.intp]


def _valley(rows: Array, _which: Which) -> tuple[Array, Array]:
    """Rosenbrock's, in two dimensions."""
    x, y = rows[:, 0], rows[:, 1]
    value = 100 * (y - x * x) ** 2 + (1 - x) ** 2
    slope = np.column_stack([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)])
    return value, slope


def _box(low: float, high: float, width: int = 2) -> tuple[Array, Array]:
    return np.full(width, low), np.full(width, high)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_crooked_valley_is_followed_from_every_start(seed: int) -> None:
    starts = np.random.default_rng(seed).uniform(-2, 2, (5, 2))
    at, value = descend(_valley, starts, *_box(-2, 2), steps=300, enough=1e-12)
    assert (value < 1e-6).all()
    assert np.allclose(at, 1.0, atol=1e-2)


def test_the_lowest_point_of_the_box_is_at_its_edge() -> None:
    at, value = descend(_valley, np.zeros((1, 2)), *_box(-0.5, 0.5), steps=300, enough=1e-12)
    assert np.allclose(at, [[0.5, 0.25]], atol=1e-4)
    assert np.isclose(value[0], 0.25, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_nothing_outside_of_the_box_is_asked_for_and_no_row_gets_worse(seed: int) -> None:
    source = np.random.default_rng(seed)
    centre, low, high = source.uniform(-3, 3, 4), *_box(-1, 1, 4)

    def bowl(rows: Array, which: Which) -> tuple[Array, Array]:
        assert (rows >= low).all() and (rows <= high).all()
        assert len(rows) == len(which)
        weight = 1.0 + which[:, None]  # of the start that a row comes from
        return (weight * (rows - centre) ** 2).sum(1), 2 * weight * (rows - centre)

    starts = source.uniform(-1, 1, (3, 4))
    at, value = descend(bowl, starts, low, high, steps=60, enough=1e-12)
    assert np.allclose(at, np.clip(centre, low, high), atol=1e-3)
    assert (value <= bowl(starts, np.arange(3))[0] + 1e-9).all()


def test_a_start_that_has_no_value_stays_and_holds_up_no_other() -> None:
    def half(rows: Array, which: Which) -> tuple[Array, Array]:
        value, slope = _valley(rows, which)
        return np.where(rows[:, 0] < 0, np.nan, value), slope

    starts = np.array([[-1.0, 0.0], [0.5, 0.0]])
    at, value = descend(half, starts, *_box(-2, 2), steps=300, enough=1e-12)
    assert (at[0] == starts[0]).all() and value[0] == np.inf
    assert value[1] < 1e-6
