"""Explains a model directory at once, as a worker does step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mlengine.runtime.explain.calls import Pace
from mlengine.runtime.explain.methods import open_method
from mlengine.runtime.frameworks import load


def explain(
    directory: Path, instances: list[Any], method: str = "sampled-shapley", steps: int = 50, *,
    most: int = 256, keys: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    way = open_method(load(directory), method, steps, directory)
    going = way(instances, keys or {}, Pace(most))
    while True:
        try:
            next(going)
        except StopIteration as end:
            json.dumps(end.value, allow_nan=False)
            return [found for (found,) in (one["attributions_by_label"] for one in end.value)]


def total(found: dict[str, Any]) -> float:
    return sum(np.sum(part) for part in found["attributions"].values())


def adds_up(found: dict[str, Any]) -> bool:
    missing = total(found) - (found["example_score"] - found["baseline_score"])
    return bool(abs(missing) <= found["approx_error"] + 1e-6)


def scores_of(prediction: Any) -> Any:
    """The scores among what a model predicts; None where it predicts labels."""
    if isinstance(prediction, dict):
        values = [v for v in prediction.values() if isinstance(v, dict | list)]
        prediction = values[0] if values else None
    if isinstance(prediction, dict):
        prediction = list(prediction.values())
    return prediction if isinstance(prediction, list) else None
