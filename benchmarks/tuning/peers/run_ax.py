"""Ax by its client, with the generation strategy that it chooses by itself."""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

import line
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig


class _Ax:
    """Conditions are Ax's own, but where a child hangs on several values of its parent.

    Those Ax takes for a cycle; all parameters are then always there, for this space.
    """

    def __init__(self, setup: line.Setup) -> None:
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        self._space = setup["space"]
        self._trees = all(len(each["when"]) < 2 for each in self._space)
        self._client = Client(random_seed=setup["seed"])
        self._client.configure_experiment([self._config(each) for each in self._space])
        self._client.configure_optimization(objective="-loss")
        self._client.configure_generation_strategy(
            method=setup["option"], initialization_random_seed=setup["seed"]
        )
        self._open: dict[str, list[int]] = {}

    def _config(self, each: line.Setup) -> RangeParameterConfig | ChoiceParameterConfig:
        if each["kind"] in ("DOUBLE", "INTEGER"):
            kind = "float" if each["kind"] == "DOUBLE" else "int"
            bounds = (each["low"], each["high"]) if kind == "float" else (
                int(each["low"]), int(each["high"])
            )  # fmt: skip
            return RangeParameterConfig(
                name=each["name"], bounds=bounds, parameter_type=kind,
                scaling="log" if each["scale"] == "LOG" else "linear",
            )  # fmt: skip
        children: dict[Any, list[str]] = {}
        for child in self._space:
            if self._trees and child["parent"] == each["name"]:
                for value in child["when"]:
                    children.setdefault(value, []).append(child["name"])
        ordered = each["kind"] == "DISCRETE"
        return ChoiceParameterConfig(
            name=each["name"], values=each["values"], is_ordered=ordered,
            parameter_type="float" if ordered else "str", dependent_parameters=children or None,
        )  # fmt: skip

    def ask(self, count: int) -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = []
        while len(points) < count:  # it may give fewer at a time
            for index, found in self._client.get_next_trials(
                max_trials=count - len(points)
            ).items():
                full = {name: line.plain(value) for name, value in found.items()}
                point = line.active(self._space, full)
                self._open.setdefault(json.dumps(point), []).append(index)
                points.append(point)
        return points

    def tell(self, points: list[dict[str, Any]], values: list[float]) -> None:
        for point, value in zip(points, values, strict=True):
            index = self._open[json.dumps(point)].pop(0)
            self._client.complete_trial(trial_index=index, raw_data={"loss": value})


if __name__ == "__main__":
    line.serve(_Ax)
