"""Designers of OSS Vizier, by name: `vizier:GP_UCB_PE` is its default.

Vizier is the user's own, installed beside mlengine; it brings JAX, and a model's suggestion takes
it some ten CPU seconds. A designer is made anew from the history for each suggestion. It is told of
no conditions: to it all parameters are always there, and those not active stand in the middle.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlengine.tuning.axis import Axis
from mlengine.tuning.problem import Goal, Kind, Point, Problem, Scale, Tried, Value
from mlengine.tuning.search import How, Suggestion
from mlengine.tuning.search.past import Past, finite
from mlengine.tuning.space import Space

__all__ = ["VizierSearch"]

_DESIGNERS = {
    "EAGLE_STRATEGY": ("eagle_strategy.eagle_strategy", "EagleStrategyDesigner"),
    "GP_UCB_PE": ("gp_ucb_pe", "VizierGPUCBPEBandit"),
    "QUASI_RANDOM_SEARCH": ("quasi_random", "QuasiRandomDesigner"),
}
_ASKED = 4  # times, before a point that is not taken is drawn


class VizierSearch:
    """One of Vizier's designers.

    Args:
        designer: As Vizier's algorithms are called, such as `GP_UCB_PE`: one of those in
            `needs.PLUGGED`.
    """

    def __init__(self, designer: str) -> None:
        self._name = designer
        module, kind = _DESIGNERS[designer]
        self._algorithms: Any = importlib.import_module("vizier.algorithms")
        self._words: Any = importlib.import_module("vizier.pyvizier")
        found: Any = importlib.import_module(f"vizier._src.algorithms.designers.{module}")
        self._make = getattr(found, kind)

    def suggest(
        self, problem: Problem, history: Sequence[Tried], count: int = 1
    ) -> list[Suggestion]:
        past = Past(problem, history)
        source = past.source(self._name)
        designer = self._told(past, source.getrandbits(31))
        found: list[Suggestion] = []
        while len(found) < count and not past.exhausted:
            for _ in range(_ASKED):
                (asked,) = designer.suggest(1)
                point = _point(past.space, asked.parameters.as_dict())
                if not past.is_taken(point):
                    found.append(Suggestion(point=point, how=How.MODEL, why=self._name))
                    break
            else:
                point = past.unused(lambda: past.space.sample(source))
                why = f"{self._name} asked only for points that are taken"
                found.append(Suggestion(point=point, how=How.RANDOM, why=why))
            past.take(point)
        return found

    def _told(self, past: Past, seed: int) -> Any:
        words = self._words
        statement = words.ProblemStatement()
        for i, axis in enumerate(past.space.axes):
            _add(words, statement.search_space.root, i, axis)
        goals = words.ObjectiveMetricGoal
        for metric in past.problem.metrics:
            goal = goals.MINIMIZE if metric.goal is Goal.MINIMIZE else goals.MAXIMIZE
            statement.metric_information.append(
                words.MetricInformation(name=metric.name, goal=goal)
            )
        designer = self._seeded(statement, seed)
        ended: list[Any] = []
        running: list[Any] = []
        for tried in past.trials:
            if past.space.contains(tried.point):
                (running if tried.pending else ended).append(self._trial(past, tried))
        designer.update(
            self._algorithms.CompletedTrials(ended), self._algorithms.ActiveTrials(running)
        )
        return designer

    def _seeded(self, statement: Any, seed: int) -> Any:
        if self._name == "GP_UCB_PE":
            jax: Any = importlib.import_module("jax")
            # As Vizier's own service does: in 32 bits its process yields points that are NaN.
            jax.config.update("jax_enable_x64", True)
            return self._make(statement, rng=jax.random.PRNGKey(seed))
        if self._name == "QUASI_RANDOM_SEARCH":
            return self._make(statement.search_space, seed=seed)
        return self._make(statement, seed=seed)

    def _trial(self, past: Past, tried: Tried) -> Any:
        words, metrics = self._words, past.problem.metrics
        told = {
            _name(i, axis): tried.point[axis.name]
            if past.space.active(i, tried.point)
            else axis.at(0.5)
            for i, axis in enumerate(past.space.axes)
        }
        trial = words.Trial(id=max(1, tried.number), parameters=told)
        if tried.pending:
            return trial
        if finite(tried, len(metrics)):
            pairs = zip(metrics, tried.values or (), strict=True)
            trial.complete(words.Measurement(metrics={m.name: value for m, value in pairs}))
        else:
            trial.complete(words.Measurement(), infeasibility_reason="failed")
        return trial


def _point(space: Space, asked: Mapping[str, Any]) -> Point:
    return space.build(lambda i, axis: _value(axis, asked[_name(i, axis)]))


def _name(index: int, axis: Axis) -> str:
    return f"{index}:{axis.name}"  # two parameters may share a name; to Vizier they may not


def _add(words: Any, root: Any, index: int, axis: Axis) -> None:
    name, parameter = _name(index, axis), axis.parameter
    scale = {
        Scale.LINEAR: words.ScaleType.LINEAR,
        Scale.LOG: words.ScaleType.LOG,
        Scale.REVERSE_LOG: words.ScaleType.REVERSE_LOG,
    }[parameter.scale]
    if axis.kind is Kind.CATEGORICAL:
        root.add_categorical_param(name, list(parameter.values))
    elif axis.kind is Kind.DISCRETE:
        root.add_discrete_param(name, list(parameter.values), scale_type=scale, auto_cast=False)
    elif axis.kind is Kind.INTEGER:
        root.add_int_param(name, int(parameter.low), int(parameter.high), scale_type=scale)
    else:
        root.add_float_param(name, parameter.low, parameter.high, scale_type=scale)


def _value(axis: Axis, value: Any) -> Value:
    """Return Vizier's value as one that the axis holds."""
    if axis.kind is Kind.CATEGORICAL:
        return str(value)
    number = float(value)
    if axis.kind is Kind.INTEGER:
        return math.floor(number + 0.5)
    if axis.kind is Kind.DISCRETE:
        return min(axis.parameter.values, key=lambda known: abs(float(known) - number))
    return min(axis.parameter.high, max(axis.parameter.low, number))
