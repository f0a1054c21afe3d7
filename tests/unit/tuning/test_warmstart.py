"""What old trials say in a space that is not quite theirs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Problem, Scale, Tried, Value
from mlengine.tuning.search import open_search
from mlengine.tuning.space import Space
from mlengine.tuning.warmstart import Earlier, carried

X = Parameter(name="x", kind=Kind.DOUBLE, low=0.0, high=1.0)
N = Parameter(name="n", kind=Kind.INTEGER, low=1, high=8)
KIND = Parameter(name="kind", kind=Kind.CATEGORICAL, values=("a", "b"))
METRICS = (Metric(name="loss", goal=Goal.MINIMIZE),)


def _problem(*parameters: Parameter) -> Problem:
    return Problem(parameters=parameters, metrics=METRICS)


def _tried(*points: dict[str, Value], first: int = 1) -> list[Tried]:
    """Trials whose losses are 1, 2, 3, …"""
    return [
        Tried(number=first + i, point=point, values=(1.0 + i,)) for i, point in enumerate(points)
    ]


def _carried(now: Problem, before: tuple[Parameter, ...], *points: dict[str, Value],
             was: dict[str, str] | None = None, **rest: Any) -> list[Tried]:  # fmt: skip
    earlier = Earlier(parameters=before, trials=_tried(*points), given=was or {})
    return carried(now, [earlier], **rest)


def test_in_the_same_space_nothing_changes() -> None:
    points: list[dict[str, Value]] = [{"x": 0.1, "n": 1}, {"x": 1.0, "n": 8}]
    assert _carried(_problem(X, N), (X, N), *points) == _tried(*points)


def test_what_lies_within_narrower_bounds_is_kept_and_what_lies_far_out_is_not() -> None:
    narrow = Parameter(name="x", kind=Kind.DOUBLE, low=0.0, high=0.4)
    found = _carried(_problem(narrow), (X,), {"x": 0.2}, {"x": 0.45}, {"x": 0.9})
    assert [t.number for t in found] == [1, 2]
    assert found[0].noise == ()
    assert found[1].point == {"x": 0.45}
    assert found[1].noise[0] > 0
    assert not Space([narrow]).contains(found[1].point)


def test_the_farther_beyond_the_bounds_the_less_it_says() -> None:
    narrow = Parameter(name="x", kind=Kind.DOUBLE, low=0.0, high=0.8)
    found = _carried(_problem(narrow), (X,), {"x": 0.85}, {"x": 0.9}, {"x": 0.95})
    noises = [t.noise[0] for t in found]
    assert noises == sorted(noises)
    assert len(set(noises)) == 3


def test_distances_go_by_the_scale() -> None:
    log = Parameter(name="x", kind=Kind.DOUBLE, low=1e-4, high=1.0, scale=Scale.LOG)
    found = _carried(_problem(log), (log,), {"x": 0.8e-4}, {"x": 1e-9})
    assert [t.number for t in found] == [1]


def test_a_value_that_the_earlier_trainer_was_given_is_where_its_trials_lie() -> None:
    (found,) = _carried(_problem(X, N), (X,), {"x": 0.5}, was={"n": "3"})
    assert found == Tried(number=1, point={"x": 0.5, "n": 3}, values=(1.0,))


def test_a_new_parameter_of_which_nothing_is_known_makes_them_uncertain() -> None:
    found = _carried(_problem(X, N), (X,), {"x": 0.5}, {"x": 0.6})
    assert [t.point for t in found] == [{"x": 0.5}, {"x": 0.6}]
    assert all(t.noise[0] > 0 for t in found)


def test_a_parameter_that_is_fixed_now_counts_by_its_distance() -> None:
    old = ({"x": 0.1, "n": 4}, {"x": 0.2, "n": 5}, {"x": 0.3, "n": 8})
    found = _carried(_problem(X), (X, N), *old, given={"n": "4"})
    assert found[0] == Tried(number=1, point={"x": 0.1}, values=(1.0,))
    assert 0 < found[1].noise[0] < found[2].noise[0]
    assert found[1].point == {"x": 0.2, "n": 5}  # the point x = 0.2 was not tried
    assert not Space([X]).contains(found[1].point)


def test_a_choice_that_is_none_any_more() -> None:
    rest = Parameter(name="kind", kind=Kind.CATEGORICAL, values=("b", "c"))
    found = _carried(_problem(X, rest), (X, KIND), {"x": 0.1, "kind": "a"}, {"x": 0.2, "kind": "b"})
    assert found[0].point == {"x": 0.1}
    assert found[0].noise[0] > 0
    assert found[1].point == {"x": 0.2, "kind": "b"}


def test_numbers_become_those_of_the_new_type() -> None:
    now = _problem(Parameter(name="n", kind=Kind.DOUBLE, low=0.0, high=9.0),
                   Parameter(name="x", kind=Kind.INTEGER, low=0, high=1))  # fmt: skip
    (found,) = _carried(now, (X, N), {"x": 1.0, "n": 3})
    assert found.point == {"n": 3.0, "x": 1}
    assert isinstance(found.point["x"], int)
    assert isinstance(found.point["n"], float)


def test_a_number_between_two_integers_takes_neither_of_them() -> None:
    now = _problem(Parameter(name="n", kind=Kind.INTEGER, low=1, high=4))
    before = Parameter(name="n", kind=Kind.DOUBLE, low=1.0, high=4.0)
    (found,) = _carried(now, (before,), {"n": 2.4})
    assert found.point == {"n": 2.4}
    assert found.noise == ()
    seen, grid = [found], open_search("grid")
    while more := grid.suggest(now, seen):
        seen.append(Tried(number=len(seen) + 1, point=more[0].point, values=(1.0,)))
    assert [t.point["n"] for t in seen[1:]] == [1, 2, 3, 4]


def test_what_is_uncertain_is_never_the_best() -> None:
    own = [Tried(number=9, point={"x": 0.5, "n": 2}, values=(7.0,))]
    found = _carried(_problem(X, N), (X,), {"x": 0.5}, {"x": 0.6}, own=own)
    assert all(t.values and t.values[0] > 7.0 for t in found)


def test_values_of_another_scale_are_brought_to_that_of_their_neighbours() -> None:
    points: list[dict[str, Value]] = [{"x": n / 8} for n in range(8)]
    own = [Tried(number=20 + n, point=dict(points[n]), values=(1000.0 + 10 * n,)) for n in range(8)]
    found = _carried(_problem(X), (X,), *points, own=own)
    assert [t.values for t in found] == [t.values for t in own]
    assert [t.noise for t in found] == [(0.0,)] * 8


def test_values_of_the_same_scale_stay() -> None:
    points: list[dict[str, Value]] = [{"x": n / 8} for n in range(8)]
    own = [Tried(number=20 + n, point={"x": n / 8}, values=(1.5 + n,)) for n in range(8)]
    assert _carried(_problem(X), (X,), *points, own=own) == _tried(*points)


def test_what_failed_is_known_only_where_it_was_tried() -> None:
    narrow = Parameter(name="x", kind=Kind.DOUBLE, low=0.0, high=0.6)
    failed = [Tried(number=n, point={"x": x}, infeasible=True) for n, x in enumerate((0.3, 0.9))]
    pending = Tried(number=7, point={"x": 0.3})
    earlier = Earlier(parameters=(X,), trials=[*failed, pending])
    assert carried(_problem(narrow), [earlier]) == failed[:1]


# --- whatever there may be ---

_BOUNDS = st.tuples(st.floats(-5, 5), st.floats(0.1, 5)).map(lambda p: (p[0], p[0] + p[1]))
_NUMERIC = st.builds(
    lambda name, bounds: Parameter(name=name, kind=Kind.DOUBLE, low=bounds[0], high=bounds[1]),
    st.sampled_from("xyz"),
    _BOUNDS,
)
_PARAMETERS = st.lists(
    st.one_of(_NUMERIC, st.just(N), st.just(KIND)),
    min_size=1, max_size=4, unique_by=lambda parameter: parameter.name,
).map(tuple)  # fmt: skip
_VALUES = st.one_of(st.floats(-10, 10), st.floats(), st.none())


@st.composite
def _studies(draw: st.DrawFn) -> tuple[tuple[Parameter, ...], list[Tried]]:
    parameters, chance = draw(_PARAMETERS), draw(st.randoms(use_true_random=False))
    values = draw(st.lists(_VALUES, max_size=8))
    space = Space(parameters)
    return parameters, [
        Tried(number=n, point=space.sample(chance), infeasible=value is None,
              values=None if value is None else (value,))
        for n, value in enumerate(values, start=1)
    ]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(_studies(), _studies(), st.sampled_from(Goal))
def test_any_study_can_be_carried_into_any_other(
    old: tuple[tuple[Parameter, ...], list[Tried]],
    new: tuple[tuple[Parameter, ...], list[Tried]],
    goal: Goal,
) -> None:
    """Only old trials come of it, sound ones stay sound, and only exact ones count as tried."""
    problem = Problem(parameters=new[0], metrics=(Metric(name="m", goal=goal),))
    space = Space(new[0])
    found = carried(problem, [Earlier(parameters=old[0], trials=old[1])], new[1])
    assert len(found) <= len(old[1])
    for trial in found:
        (was,) = [t for t in old[1] if t.number == trial.number]
        assert trial.infeasible == was.infeasible
        assert (trial.values is None) == (was.values is None)
        assert all(math.isfinite(noise) for noise in trial.noise)
        if was.values and math.isfinite(was.values[0]):
            assert trial.values
            assert math.isfinite(trial.values[0])
    for trial in carried(problem, [Earlier(parameters=old[0], trials=old[1])]):
        if trial.noise and trial.noise[0] > 0.0:
            assert not space.contains(trial.point)


@settings(max_examples=30, deadline=None)
@given(_studies())
def test_nothing_is_lost_on_the_way_to_the_same_space(
    study: tuple[tuple[Parameter, ...], list[Tried]],
) -> None:
    earlier = Earlier(parameters=study[0], trials=study[1])
    assert repr(carried(_problem(*study[0]), [earlier])) == repr(study[1])


def test_what_is_not_active_is_nothing_that_is_unknown() -> None:
    depth = Parameter(name="depth", kind=Kind.INTEGER, low=1, high=8, parent="kind", when=("a",))
    points: list[dict[str, Value]] = [{"kind": "a", "depth": 3}, {"kind": "b"}]
    assert _carried(_problem(KIND, depth), (KIND, depth), *points) == _tried(*points)
    free = Parameter(name="depth", kind=Kind.INTEGER, low=1, high=8)
    first, second = _carried(_problem(KIND, free), (KIND, depth), *points)
    assert first.noise == ()
    assert second.noise[0] > 0


def test_a_choice_cannot_be_a_number() -> None:
    now = _problem(X, Parameter(name="kind", kind=Kind.DOUBLE, low=0.0, high=1.0))
    found = _carried(now, (X, KIND), {"x": 0.5, "kind": "a"})
    assert [t.point for t in found] == [{"x": 0.5}]


@pytest.mark.parametrize("text", ["many", "nan", ""])
def test_a_value_that_is_none_is_unknown(text: str) -> None:
    found = _carried(_problem(X, N), (X,), {"x": 0.5}, was={"n": text})
    assert [t.point for t in found] == [{"x": 0.5}]
