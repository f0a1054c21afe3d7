"""OSS Vizier's default designer (GP-UCB-PE); it knows no conditions, so all are always there."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import line
from vizier import algorithms
from vizier import pyvizier as vz
from vizier._src.algorithms.designers import gp_ucb_pe


class _Vizier:
    def __init__(self, setup: line.Setup) -> None:
        warnings.simplefilter("ignore")
        # As Vizier's own service does: in 32 bits it suggests points without values.
        jax.config.update("jax_enable_x64", True)
        self._space = setup["space"]
        problem = vz.ProblemStatement()
        for each in self._space:
            _add(problem.search_space.root, each)
        goal = vz.ObjectiveMetricGoal.MINIMIZE
        problem.metric_information.append(vz.MetricInformation(name="loss", goal=goal))
        self._designer = gp_ucb_pe.VizierGPUCBPEBandit(
            problem, rng=jax.random.PRNGKey(setup["seed"])
        )
        self._asked: list[vz.Trial] = []
        self._count = 0

    def ask(self, count: int) -> list[dict[str, Any]]:
        self._asked = []
        for suggestion in self._designer.suggest(count):
            self._count += 1
            self._asked.append(suggestion.to_trial(self._count))
        return [line.active(self._space, {
            each["name"]: _value(each, trial.parameters.get_value(each["name"]))
            for each in self._space
        }) for trial in self._asked]  # fmt: skip

    def tell(self, points: list[dict[str, Any]], values: list[float]) -> None:
        for trial, value in zip(self._asked, values, strict=True):
            trial.complete(vz.Measurement(metrics={"loss": value}))
        done = algorithms.CompletedTrials(self._asked)
        self._designer.update(done, algorithms.ActiveTrials())


def _add(root: vz.SearchSpaceSelector, each: line.Setup) -> None:
    name, kind = each["name"], each["kind"]
    scale = vz.ScaleType.LOG if each["scale"] == "LOG" else (
        vz.ScaleType.REVERSE_LOG if each["scale"] == "REVERSE_LOG" else vz.ScaleType.LINEAR
    )  # fmt: skip
    if kind == "DOUBLE":
        root.add_float_param(name, each["low"], each["high"], scale_type=scale)
    elif kind == "INTEGER":
        root.add_int_param(name, int(each["low"]), int(each["high"]), scale_type=scale)
    elif kind == "DISCRETE":
        root.add_discrete_param(name, each["values"], scale_type=scale, auto_cast=False)
    else:
        root.add_categorical_param(name, each["values"])


def _value(each: line.Setup, value: Any) -> Any:
    if each["kind"] == "INTEGER":
        return int(value)
    return str(value) if each["kind"] == "CATEGORICAL" else float(value)


if __name__ == "__main__":
    line.serve(_Vizier)
