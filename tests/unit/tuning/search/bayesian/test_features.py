"""A space as columns: the same points, places and activity as `Space` says, row for row."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.tuning.problem import Kind, Parameter, Scale
from mlengine.tuning.search.bayesian.features import Features
from mlengine.tuning.space import Space
from tests.fakes.spaces import spaces

SPACE = Space(
    [
        Parameter(name="x", kind=Kind.DOUBLE, low=0, high=1),
        Parameter(name="kind", kind=Kind.CATEGORICAL, values=("a", "b", "c")),
        Parameter(name="n", kind=Kind.INTEGER, low=1, high=9, scale=Scale.LOG),
        Parameter(name="d", kind=Kind.DISCRETE, values=(1.0, 2.0, 5.0), parent="kind", when=("a",)),
    ]
)


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_drawn_rows_are_points_and_points_are_rows(space: Space, seed: int) -> None:
    features = Features(space)
    rows = features.draw(8, np.random.default_rng(seed))
    points = [space.nearest(row.tolist()) for row in rows]
    for point in points:
        space.check(point)
    back = features.rows(points)
    chosen = [*features.numeric, *features.choices]
    assert np.allclose(back[:, chosen], rows[:, chosen], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_snapping_a_row_of_a_point_changes_nothing(space: Space, seed: int) -> None:
    features = Features(space)
    rows = features.rows([space.sample(random.Random(seed))])
    chosen = [*features.numeric, *features.choices]
    assert np.allclose(features.snapped(rows)[:, chosen], rows[:, chosen], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_a_step_changes_the_point(space: Space, seed: int) -> None:
    features = Features(space)
    point = space.sample(random.Random(seed))
    row = features.rows([point])[0]
    for step in features.steps(row):
        found = space.nearest(step.tolist())
        space.check(found)
        assert found != point


def test_two_categories_are_one_apart_whichever_they_are() -> None:
    features = Features(SPACE)
    embedded = features.embed(features.rows([_point(kind=kind) for kind in "bc"]))
    assert np.isclose(((embedded[0] - embedded[1]) ** 2).sum(), 1.0)


def test_what_is_not_active_says_nothing() -> None:
    features = Features(SPACE)
    rows = features.snapped(np.array([[0.5, 1.0, 0.5, 0.0], [0.5, 1.0, 0.5, 1.0]]))
    assert (rows[0] == rows[1]).all()


def test_a_step_is_one_category_or_one_notch() -> None:
    steps = Features(SPACE).steps(Features(SPACE).rows([_point(kind="b")])[0])
    assert [SPACE.nearest(step.tolist()) for step in steps] == [
        _point(kind="a", d=2.0),
        _point(kind="c"),
        _point(kind="b", n=2),
        _point(kind="b", n=4),
    ]


def _point(kind: str, n: int = 3, **rest: Any) -> dict[str, Any]:
    return {"x": 0.25, "kind": kind, "n": n, **rest}


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_rows_that_lie_apart_stand_for_all(space: Space, seed: int) -> None:
    features = Features(space)
    rows = features.draw(40, np.random.default_rng(seed))
    apart = features.apart(rows)
    near = features.apart(np.vstack([rows[apart], rows[~apart]]))
    assert apart[0] and near[: apart.sum()].all() and not near[apart.sum() :].any()
    assert features.apart(np.vstack([rows, rows])).sum() == apart.sum()


def test_categories_lie_apart_and_so_do_tenths_of_ranges() -> None:
    features = Features(Space(SPACE.parameters[:2]))
    rows = features.rows([
        {"x": 0.5, "kind": "a"}, {"x": 0.6, "kind": "a"}, {"x": 0.5, "kind": "b"},
        {"x": 0.7, "kind": "a"}, {"x": 0.5, "kind": "a"},
    ])  # fmt: skip
    assert features.apart(rows).tolist() == [True, False, True, True, False]
