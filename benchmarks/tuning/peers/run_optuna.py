"""Optuna by its ask-and-tell interface; conditions are its own, by definition while it runs."""

from __future__ import annotations

import json
import warnings
from typing import Any

import line
import optuna

_POPULATION = 10  # of NSGA-II: with the usual 50, some tens of trials would all be its first


def _sampler(setup: line.Setup) -> optuna.samplers.BaseSampler:
    seed = setup["seed"]
    if setup["option"] == "gp":
        import torch  # noqa: F401  or the first suggestion would, and pay for it

        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
    if setup["option"] == "cmaes":
        import cmaes  # noqa: F401

        return optuna.samplers.CmaEsSampler(seed=seed)
    if setup["option"] == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION)
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=True, constant_liar=setup["batch"] > 1
    )


class _Optuna:
    def __init__(self, setup: line.Setup) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        self._space = setup["space"]
        directions = ["minimize"] * setup.get("metrics", 1)
        self._study = optuna.create_study(directions=directions, sampler=_sampler(setup))
        self._open: dict[str, list[optuna.trial.Trial]] = {}

    def ask(self, count: int) -> list[dict[str, Any]]:
        return [self._one() for _ in range(count)]

    def _one(self) -> dict[str, Any]:
        trial = self._study.ask()
        point: dict[str, Any] = {}
        for each in self._space:
            if not each["parent"] or point.get(each["parent"]) in each["when"]:
                point[each["name"]] = _choose(trial, each)
        self._open.setdefault(json.dumps(point), []).append(trial)
        return point

    def tell(self, points: list[dict[str, Any]], values: list[Any]) -> None:
        for point, value in zip(points, values, strict=True):
            self._study.tell(self._open[json.dumps(point)].pop(0), value)


def _choose(trial: optuna.trial.Trial, each: line.Setup) -> Any:
    log = each["scale"] == "LOG"
    if each["kind"] == "DOUBLE":
        return trial.suggest_float(each["name"], each["low"], each["high"], log=log)
    if each["kind"] == "INTEGER":
        return trial.suggest_int(each["name"], int(each["low"]), int(each["high"]), log=log)
    if each["kind"] == "DISCRETE":  # by number: Optuna has no ordered choice
        return each["values"][trial.suggest_int(each["name"], 0, len(each["values"]) - 1)]
    return trial.suggest_categorical(each["name"], each["values"])


if __name__ == "__main__":
    line.serve(_Optuna)
