"""Searches of other packages, by name: `optuna:TPESampler` is Optuna's sampler of that name.

The package is the user's own, installed beside mlengine. A study of it is made anew from the
history for each suggestion, so that these searches keep the port's promises as the others do:
points are checked against the space, and one that is taken is asked for again, then drawn.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from mlengine.tuning.axis import Axis
from mlengine.tuning.problem import Goal, Kind, Point, Problem, Scale, Tried, Value
from mlengine.tuning.search import How, Suggestion
from mlengine.tuning.search.past import Past, finite
from mlengine.tuning.space import Space

__all__ = ["OptunaSearch"]

_ASKED = 8  # times, before a point that is not taken is drawn


class OptunaSearch:
    """A sampler of `optuna.samplers`.

    Args:
        sampler: Its class, such as `TPESampler`: one of those in `needs.PLUGGED`.
    """

    def __init__(self, sampler: str) -> None:
        self._optuna: Any = importlib.import_module("optuna")
        self._name, self._make = sampler, getattr(self._optuna.samplers, sampler)
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)

    def suggest(
        self, problem: Problem, history: Sequence[Tried], count: int = 1
    ) -> list[Suggestion]:
        past = Past(problem, history)
        source = past.source(self._name)
        study = self._study(past, self._make(seed=source.getrandbits(32)))
        found: list[Suggestion] = []
        while len(found) < count and not past.exhausted:
            for _ in range(_ASKED):
                point = self._asked_point(study, past.space)
                if not past.is_taken(point):
                    found.append(Suggestion(point=point, how=How.MODEL, why=self._name))
                    break
            else:
                point = past.unused(lambda: past.space.sample(source))
                why = f"{self._name} asked only for points that are taken"
                found.append(Suggestion(point=point, how=How.RANDOM, why=why))
            past.take(point)
        return found

    def _asked_point(self, study: Any, space: Space) -> Point:
        trial = study.ask()
        return space.build(lambda i, axis: _asked(trial, i, axis))

    def _study(self, past: Past, sampler: Any) -> Any:
        optuna, metrics = self._optuna, past.problem.metrics
        directions = ["minimize" if m.goal is Goal.MINIMIZE else "maximize" for m in metrics]
        study = optuna.create_study(sampler=sampler, directions=directions)
        states = optuna.trial.TrialState
        for tried in past.trials:
            if not past.space.contains(tried.point):
                continue
            ended = finite(tried, len(metrics))
            state = states.COMPLETE if ended else states.RUNNING if tried.pending else states.FAIL
            told, spread = {}, {}
            for i, axis in enumerate(past.space.axes):
                if past.space.active(i, tried.point):
                    name = _name(i, axis)
                    told[name] = _told(axis, tried.point[axis.name])
                    spread[name] = _distribution(optuna, axis)
            study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    params=told,
                    distributions=spread,
                    values=list(tried.values or ()) if ended else None,
                )
            )
        return study


def _name(index: int, axis: Axis) -> str:
    return f"{index}:{axis.name}"  # two parameters may share a name; to Optuna they may not


def _asked(trial: Any, index: int, axis: Axis) -> Value:
    """Ask for one parameter's value."""
    name, parameter = _name(index, axis), axis.parameter
    low, high = parameter.low, parameter.high
    if axis.kind is Kind.CATEGORICAL:
        return str(trial.suggest_categorical(name, list(parameter.values)))
    if axis.kind is Kind.DISCRETE:
        return parameter.values[int(trial.suggest_int(name, 0, len(parameter.values) - 1))]
    log, mirrored = parameter.scale is not Scale.LINEAR, parameter.scale is Scale.REVERSE_LOG
    if axis.kind is Kind.INTEGER:
        whole = int(trial.suggest_int(name, int(low), int(high), log=log))
        return int(low) + int(high) - whole if mirrored else whole
    value = float(trial.suggest_float(name, low, high, log=log))
    return min(high, max(low, high - value + low)) if mirrored else value


def _told(axis: Axis, value: Value) -> Value:
    """Return `value` as Optuna was asked for it."""
    parameter = axis.parameter
    if isinstance(value, str):
        return value
    if axis.kind is Kind.DISCRETE:
        return parameter.values.index(value)
    if parameter.scale is not Scale.REVERSE_LOG:
        return value
    if axis.kind is Kind.INTEGER:
        return int(parameter.low) + int(parameter.high) - int(value)
    return min(parameter.high, max(parameter.low, parameter.high - value + parameter.low))


def _distribution(optuna: Any, axis: Axis) -> Any:
    kinds, parameter = optuna.distributions, axis.parameter
    if axis.kind is Kind.CATEGORICAL:
        return kinds.CategoricalDistribution(list(parameter.values))
    if axis.kind is Kind.DISCRETE:
        return kinds.IntDistribution(0, len(parameter.values) - 1)
    log = parameter.scale is not Scale.LINEAR
    if axis.kind is Kind.INTEGER:
        return kinds.IntDistribution(int(parameter.low), int(parameter.high), log=log)
    return kinds.FloatDistribution(parameter.low, parameter.high, log=log)
