from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.studies import Measurement, MetricValue, Trial
from mlengine.store import TrialRecord
from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Point, Problem, Tried
from mlengine.tuning.reports import best_of, curve_of, parameters_of, point_of

_X = Parameter(name="x", kind=Kind.DOUBLE, low=0, high=1)
_VALUES = st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1) | st.text(min_size=1)


@given(st.dictionaries(st.text(min_size=1), _VALUES))
def test_a_point_comes_back_as_it_was_written(point: Point) -> None:
    found = point_of(Trial(parameters=parameters_of(point)))
    assert list(found.items()) == list(point.items())
    assert [type(value) for value in found.values()] == [type(value) for value in point.values()]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12),
    st.tuples(st.sampled_from(Goal), st.sampled_from(Goal)),
)
def test_the_front_is_what_nothing_beats(
    values: list[tuple[int, int]], goals: tuple[Goal, Goal]
) -> None:
    metrics = tuple(Metric(name=name, goal=goal) for name, goal in zip("ab", goals, strict=True))
    problem = Problem(parameters=(_X,), metrics=metrics)
    history = [
        Tried(number=number, point={}, values=tuple(map(float, pair)))
        for number, pair in enumerate(values)
    ]

    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        sides = [
            (a, b) if goal is Goal.MAXIMIZE else (-a, -b)
            for a, b, goal in zip(one, other, goals, strict=True)
        ]
        return all(a >= b for a, b in sides) and one != other

    wanted = {
        number
        for number, pair in enumerate(values)
        if not any(beats(other, pair) for other in values)
    }
    assert best_of(problem, history) == wanted


def test_of_one_metric_the_best_and_its_equals_are_the_front() -> None:
    problem = Problem(parameters=(_X,), metrics=(Metric(name="a", goal=Goal.MINIMIZE),))
    values = [(2.0,), (1.0,), None, (1.0,)]
    tried = [Tried(number=n, point={}, values=v) for n, v in enumerate(values, 1)]
    assert best_of(problem, tried) == {2, 4}
    assert best_of(problem, []) == set()


def test_measurements_without_steps_are_counted_as_a_tuning_jobs_reports_are() -> None:
    measured = [
        Measurement(elapsed_time="0s", metrics=[MetricValue(metric=name, value=value)])
        for name, value in [("a", 1.0), ("b", 9.0), ("a", math.nan), ("a", 2.0)]
    ]
    record = TrialRecord(
        seq=1, project="p", location="local", study_id="s", number=1, trial=Trial(state="ACTIVE")
    )
    curve = curve_of(record, measured, "a")
    assert [(reading.step, reading.value) for reading in curve.readings] == [(0, 1.0), (1, 2.0)]
