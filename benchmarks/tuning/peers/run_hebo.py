"""HEBO as its authors run it; it knows no conditions, so all parameters are always there."""

from __future__ import annotations

import warnings
from typing import Any

import line
import numpy as np
import pandas
import torch
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO


class _Hebo:
    def __init__(self, setup: line.Setup) -> None:
        warnings.simplefilter("ignore")
        np.random.seed(setup["seed"])
        torch.manual_seed(setup["seed"])
        self._space = setup["space"]
        parsed = DesignSpace().parse([_parameter(each) for each in self._space])
        self._hebo = HEBO(parsed, model_name=setup["option"], scramble_seed=setup["seed"])
        self._asked = pandas.DataFrame()

    def ask(self, count: int) -> list[dict[str, Any]]:
        self._asked = self._hebo.suggest(n_suggestions=count)
        rows = self._asked.to_dict("records")
        return [line.active(self._space, {
            each["name"]: _value(each, row[each["name"]]) for each in self._space
        }) for row in rows]  # fmt: skip

    def tell(self, points: list[dict[str, Any]], values: list[float]) -> None:
        self._hebo.observe(self._asked, np.array(values).reshape(-1, 1))


def _parameter(each: line.Setup) -> dict[str, Any]:
    name, kind, log = each["name"], each["kind"], each["scale"] == "LOG"
    if kind == "DOUBLE":
        return {
            "name": name,
            "type": "pow" if log else "num",
            "lb": each["low"],
            "ub": each["high"],
        }
    if kind == "INTEGER":
        low, high = int(each["low"]), int(each["high"])
        return {"name": name, "type": "pow_int" if log else "int", "lb": low, "ub": high}
    if kind == "DISCRETE":  # by number: HEBO has no ordered choice
        return {"name": name, "type": "int", "lb": 0, "ub": len(each["values"]) - 1}
    return {"name": name, "type": "cat", "categories": list(each["values"])}


def _value(each: line.Setup, value: Any) -> Any:
    if each["kind"] == "DISCRETE":
        return each["values"][int(value)]
    if each["kind"] == "INTEGER":
        return min(int(each["high"]), max(int(each["low"]), int(value)))
    if each["kind"] == "DOUBLE":
        return min(each["high"], max(each["low"], float(value)))
    return str(value)


if __name__ == "__main__":
    line.serve(_Hebo)
