"""The default search as a whole: it finds things, and nothing that it is told can hurt it."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Point, Problem, Scale, Tried
from mlengine.tuning.search import How, Suggestion, bayesian, open_search
from mlengine.tuning.search.bayesian import BayesianSearch
from mlengine.tuning.space import Space

SEARCH = BayesianSearch()


def _problem(*parameters: Parameter, metrics: int = 1, goal: Goal = Goal.MINIMIZE) -> Problem:
    named = tuple(Metric(name=f"m{i}", goal=goal) for i in range(metrics))
    return Problem(parameters=parameters, metrics=named, seed=11)


def _doubles(count: int) -> tuple[Parameter, ...]:
    return tuple(Parameter(name=f"x{i}", kind=Kind.DOUBLE, low=0, high=1) for i in range(count))


def _run(
    problem: Problem,
    value: Callable[[Point], tuple[float, ...] | None],
    trials: int,
    batch: int = 1,
    history: list[Tried] | None = None,
) -> list[Tried]:
    """Return the history after `trials`; a value of None is an infeasible trial."""
    history = list(history or [])
    while len(history) < trials:
        found = SEARCH.suggest(problem, history, batch)
        if not found:
            break
        for suggestion in found:
            told = value(suggestion.point)
            history.append(
                Tried(
                    number=len(history) + 1,
                    point=suggestion.point,
                    values=told,
                    infeasible=told is None,
                )
            )
    return history


def _random(
    problem: Problem, count: int, value: Callable[[Point], tuple[float, ...]]
) -> list[Tried]:
    space, source = Space(problem.parameters), random.Random(3)
    points = [space.sample(source) for _ in range(count)]
    return [Tried(number=i, point=point, values=value(point)) for i, point in enumerate(points, 1)]


def _bowl(point: Point) -> tuple[float]:
    return (sum((float(x) - 0.3) ** 2 for x in point.values()),)


def _sum(point: Point) -> float:
    return sum(map(float, point.values()))


def _only(found: list[Suggestion]) -> Suggestion:
    (one,) = found
    return one


class TestItFinds:
    def test_the_bottom_of_a_bowl(self) -> None:
        history = _run(_problem(*_doubles(3)), _bowl, 22)
        assert min(t.values[0] for t in history if t.values) < 5e-3

    def test_the_top_of_a_hill_four_at_a_time(self) -> None:
        problem = _problem(*_doubles(2), goal=Goal.MAXIMIZE)
        history = _run(problem, lambda p: (-_bowl(p)[0],), 24, batch=4)
        assert max(t.values[0] for t in history if t.values) > -5e-3

    def test_the_right_branch_category_and_number(self) -> None:
        parameters = (
            Parameter(name="kind", kind=Kind.CATEGORICAL, values=("a", "b", "c", "d")),
            Parameter(name="rate", kind=Kind.DOUBLE, low=1e-5, high=1, scale=Scale.LOG),
            Parameter(name="depth", kind=Kind.INTEGER, low=1, high=20, parent="kind", when=("c",)),
        )

        def loss(point: Point) -> tuple[float]:
            branch = {"a": 3.0, "b": 2.0, "c": 0.0, "d": 1.0}[str(point["kind"])]
            deep = abs(float(point.get("depth", 7)) - 7) / 10
            return (branch + deep + (math.log10(float(point["rate"])) + 3) ** 2,)

        history = _run(_problem(*parameters), loss, 35)
        best = min((t for t in history if t.values), key=lambda t: t.values or (0.0,))
        assert best.point["kind"] == "c"
        assert best.values is not None and best.values[0] < 0.6

    def test_both_ends_of_a_front(self) -> None:
        problem = _problem(*_doubles(2), metrics=2)

        def two(point: Point) -> tuple[float, float]:
            x, y = float(point["x0"]), float(point["x1"])
            return (x * x + y, (x - 1) ** 2 + y)

        history = _run(problem, two, 30)
        front = [t.values for t in history if t.values and float(t.point["x1"]) < 0.1]
        assert min(v[0] for v in front) < 0.1 and min(v[1] for v in front) < 0.1

    def test_what_is_left_of_a_finite_space_once_all_near_the_best_is_taken(self) -> None:
        sizes = [Parameter(name=name, kind=Kind.INTEGER, low=0, high=9) for name in "ab"]
        problem = _problem(*sizes)
        history: list[Tried] = []
        while len(history) < 60:
            suggestion = _only(SEARCH.suggest(problem, history))
            assert suggestion.how is not How.RANDOM, suggestion.why
            a, b = (float(suggestion.point[name]) for name in "ab")
            told = ((a - 3) ** 2 + (b - 6) ** 2,)
            history.append(Tried(number=len(history) + 1, point=suggestion.point, values=told))

    def test_a_way_around_what_fails(self) -> None:
        problem = _problem(*_doubles(2))
        history = _run(problem, lambda p: _bowl(p) if float(p["x0"]) > 0.5 else None, 30)
        late = [tried for tried in history[15:] if tried.infeasible]
        assert len(late) < 11
        assert min(t.values[0] for t in history if t.values) < 0.15

    @pytest.mark.parametrize("seed", range(4))
    def test_the_best_that_lies_beside_what_fails(self, seed: int) -> None:
        def loss(point: Point) -> tuple[float] | None:
            x, y = float(point["x0"]), float(point["x1"])
            return None if x + y > 1 else ((x - 0.7) ** 2 + (y - 0.25) ** 2 - 0.5 * x,)

        problem = replace(_problem(*_doubles(2)), seed=seed)
        history = _run(problem, loss, 30)
        assert min(t.values[0] for t in history if t.values) < -0.36  # of -0.3925

    @pytest.mark.parametrize("penalty", [1e6, 3.4028234663852886e38, sys.float_info.max])
    @pytest.mark.parametrize("goal", Goal)
    def test_the_bottom_of_a_bowl_of_which_a_part_is_forbidden_by_a_penalty(
        self, penalty: float, goal: Goal
    ) -> None:
        problem = _problem(*_doubles(2), goal=goal)
        sign = 1.0 if goal is Goal.MINIMIZE else -1.0

        def loss(point: Point) -> tuple[float]:
            return (sign * (penalty if _sum(point) > 1.2 else _bowl(point)[0]),)

        history = _run(problem, loss, 18)
        assert min(sign * t.values[0] for t in history if t.values) < 1e-3

    @pytest.mark.parametrize("penalty", [1e6, sys.float_info.max])
    def test_the_bottom_of_a_bowl_of_which_most_is_forbidden(self, penalty: float) -> None:
        def loss(point: Point) -> tuple[float]:
            return (penalty if _sum(point) > 0.8 else _bowl(point)[0],)

        history = _run(_problem(*_doubles(2)), loss, 18)
        assert min(t.values[0] for t in history if t.values) < 1e-3


class TestWhatItSays:
    def test_first_comes_the_middle_then_an_even_design_then_the_model(self) -> None:
        problem = _problem(*_doubles(2))
        history: list[Tried] = []
        said = []
        for number in range(1, 8):
            found = _only(SEARCH.suggest(problem, history))
            said.append(found.how)
            history.append(Tried(number=number, point=found.point, values=_bowl(found.point)))
        assert history[0].point == {"x0": 0.5, "x1": 0.5}
        assert said == [How.INITIAL] * 4 + [How.MODEL] * 3
        early = _only(SEARCH.suggest(problem, history[:2]))
        assert early.why == "a model needs 4 trials, there are 2"

    def test_of_many_at_once_the_first_are_the_models_and_the_rest_even(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        problem = _problem(*_doubles(2))
        history = _run(problem, _bowl, 6)
        usual = SEARCH.suggest(problem, history, 3)
        monkeypatch.setattr(bayesian, "_MODELLED", 3)
        assert SEARCH.suggest(problem, history, 3) == usual
        found = SEARCH.suggest(problem, history, 8)
        assert found[:3] == usual
        why = "beyond the first 3 that are asked for at once"
        assert [(one.how, one.why) for one in found[3:]] == [(How.INITIAL, why)] * 5
        assert len({tuple(one.point.values()) for one in found}) == 8

    def test_what_it_expects_is_in_the_metrics_units(self) -> None:
        problem = _problem(*_doubles(1), goal=Goal.MAXIMIZE)
        history = _run(problem, lambda p: (1000 - 100 * _bowl(p)[0],), 12)
        found = _only(SEARCH.suggest(problem, history))
        true = 1000 - 100 * _bowl(found.point)[0]
        assert found.spread is not None and 0 <= found.spread < 50
        assert found.mean == pytest.approx(true, abs=1 + 4 * found.spread)

    def test_a_constant_metric_is_said_to_be_one(self) -> None:
        problem = _problem(*_doubles(2))
        found = _only(SEARCH.suggest(problem, _run(problem, lambda _: (5.0,), 12)))
        assert (found.how, found.why) == (How.INITIAL, "all values are equal")

    @pytest.mark.parametrize("told", [None, (math.nan,), (math.inf,)])
    def test_so_is_a_history_without_a_value(self, told: tuple[float] | None) -> None:
        problem = _problem(*_doubles(2))
        history = _run(problem, lambda _: told, 12)
        assert len({tuple(t.point.items()) for t in history}) == 12
        found = _only(SEARCH.suggest(problem, history))
        assert (found.how, found.why) == (How.INITIAL, "0 of 12 trials have a value")


class TestItBearsAnything:
    @pytest.mark.parametrize("count", [1, 50])
    def test_few_and_many_parameters(self, count: int) -> None:
        problem = _problem(*_doubles(count))
        assert _only(SEARCH.suggest(problem, _random(problem, 30, _bowl))).how is How.MODEL

    def test_thousands_of_trials(self) -> None:
        problem = _problem(*_doubles(4))
        found = _only(SEARCH.suggest(problem, _random(problem, 1500, _bowl)))
        assert found.how is How.MODEL
        assert _bowl(found.point)[0] < 0.1

    @pytest.mark.parametrize("huge", [1e300, -1e300, 1e-300])
    def test_a_huge_or_tiny_value_among_others(self, huge: float) -> None:
        problem = _problem(*_doubles(2))
        history = _random(problem, 14, _bowl)
        history.append(Tried(number=15, point={"x0": 0.9, "x1": 0.9}, values=(huge,)))
        found = _only(SEARCH.suggest(problem, history))
        assert found.how is How.MODEL
        assert found.mean is not None and math.isfinite(found.mean)

    def test_the_same_point_many_times(self) -> None:
        problem = _problem(*_doubles(2))
        point: Point = {"x0": 0.5, "x1": 0.5}
        history = [Tried(number=i, point=point, values=(float(i % 3),)) for i in range(1, 31)]
        assert _only(SEARCH.suggest(problem, history)).point != point

    def test_points_of_another_space(self) -> None:
        """Warm start: other bounds, a parameter more, a parameter less."""
        problem = _problem(*_doubles(2))
        wide: list[Point] = [{"x0": i / 5, "x1": -0.5 + i / 5, "other": "z"} for i in range(12)]
        wide += [{"x0": 0.1}, {}]
        history = [
            Tried(number=i, point=point, values=(float(len(point)) + i / 10,))
            for i, point in enumerate(wide, 1)
        ]
        assert _only(SEARCH.suggest(problem, history)).how is How.MODEL

    @pytest.mark.parametrize("noise", [0.2, math.nan, math.inf])
    def test_known_noise(self, noise: float) -> None:
        problem = _problem(*_doubles(2))
        history = [
            Tried(number=t.number, point=t.point, values=t.values, noise=(noise,))
            for t in _random(problem, 14, _bowl)
        ]
        assert _only(SEARCH.suggest(problem, history)).how is How.MODEL

    def test_trials_that_run_are_kept_away_from(self) -> None:
        problem = _problem(*_doubles(2))
        history = _random(problem, 14, _bowl)
        apart = [found.point for found in SEARCH.suggest(problem, history, 4)]
        running = [Tried(number=15 + i, point=point) for i, point in enumerate(apart)]
        for found in SEARCH.suggest(problem, history + running, 4):
            assert found.point not in apart


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from mlengine.core.errors import FailedPrecondition

    for name in [name for name in sys.modules if name.startswith("mlengine.tuning.search.bay")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'mlengine\[tune\]'"):
        open_search("bayesian")
