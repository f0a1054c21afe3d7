"""SMAC3 by ask and tell: its forest for tuning, or its Gaussian process; conditions are its own."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import ConfigSpace
import line
from smac import BlackBoxFacade, HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue


class _Smac:
    def __init__(self, setup: line.Setup) -> None:
        warnings.simplefilter("ignore")
        self._space = setup["space"]
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-smac-")
        scenario = Scenario(
            _space(self._space, setup["seed"]), deterministic=True, n_trials=setup["budget"],
            seed=setup["seed"], output_directory=Path(self._folder.name),
        )  # fmt: skip
        facade = BlackBoxFacade if setup["option"] == "blackbox" else (
            HyperparameterOptimizationFacade
        )  # fmt: skip
        self._smac = facade(
            scenario, target_function=lambda config, seed=0: 0.0, overwrite=True,
            logging_level=False, intensifier=facade.get_intensifier(scenario, max_config_calls=1),
        )  # fmt: skip
        self._open: dict[str, list[TrialInfo]] = {}

    def ask(self, count: int) -> list[dict[str, Any]]:
        return [self._one() for _ in range(count)]

    def _one(self) -> dict[str, Any]:
        info = self._smac.ask()
        found = dict(info.config)
        point = {
            each["name"]: _value(each, found[each["name"]])
            for each in self._space
            if each["name"] in found
        }
        self._open.setdefault(json.dumps(point), []).append(info)
        return point

    def tell(self, points: list[dict[str, Any]], values: list[float]) -> None:
        for point, value in zip(points, values, strict=True):
            self._smac.tell(self._open[json.dumps(point)].pop(0), TrialValue(cost=value))


def _space(space: list[line.Setup], seed: int) -> ConfigSpace.ConfigurationSpace:
    found = ConfigSpace.ConfigurationSpace(seed=seed)
    for each in space:
        found.add(_parameter(each))
        if each["parent"]:
            parent, child = found[each["parent"]], found[each["name"]]
            found.add(ConfigSpace.InCondition(child, parent, list(each["when"])))
    return found


def _parameter(each: line.Setup) -> Any:
    name, kind, log = each["name"], each["kind"], each["scale"] == "LOG"
    if kind == "DOUBLE":
        return ConfigSpace.Float(name, (each["low"], each["high"]), log=log)
    if kind == "INTEGER":
        return ConfigSpace.Integer(name, (int(each["low"]), int(each["high"])), log=log)
    return ConfigSpace.Categorical(name, each["values"], ordered=kind == "DISCRETE")


def _value(each: line.Setup, value: Any) -> Any:
    value = line.plain(value)
    return str(value) if each["kind"] == "CATEGORICAL" else value


if __name__ == "__main__":
    line.serve(_Smac)
