"""What a tuning job may ask for, and what its trainer is told."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import TrainingInput
from mlengine.training.trials.hyperparameters import (
    HyperparameterSpec,
    check_hyperparameters,
    flags,
    texts,
)

# As it was shown on stage.
OF_THE_TALK = """
trainingInput:
  hyperparameters:
    goal: MAXIMIZE
    hyperparameterMetricTag: accuracy
    maxTrials: 4
    maxParallelTrials: 2
    params:
      - parameterName: first-layer-size
        type: INTEGER
        minValue: 50
        maxValue: 500
        scaleType: UNIT_LINEAR_SCALE
      - parameterName: num-layers
        type: INTEGER
        minValue: 1
        maxValue: 15
        scaleType: UNIT_LINEAR_SCALE
      - parameterName: scale-factor
        type: DOUBLE
        minValue: 0.1
        maxValue: 1.0
        scaleType: UNIT_REVERSE_LOG_SCALE
"""

DOUBLE = {"parameterName": "rate", "type": "DOUBLE", "minValue": 0.1, "maxValue": 1}
INTEGER = {"parameterName": "size", "type": "INTEGER", "minValue": 1, "maxValue": 9}
WORD = {"parameterName": "how", "type": "CATEGORICAL", "categoricalValues": ["a", "b"]}
POINT = {"parameterName": "at", "type": "DISCRETE", "discreteValues": [0.5, 1, 64]}


def asked(*params: dict[str, Any], **fields: Any) -> HyperparameterSpec:
    given = {"params": list(params or (DOUBLE,)), "maxTrials": 4, **fields}
    return check_hyperparameters(TrainingInput(hyperparameters=given))


def test_the_talks_own_file_is_read_as_it_is() -> None:
    body = yaml.safe_load(OF_THE_TALK)["trainingInput"]["hyperparameters"]
    spec = check_hyperparameters(TrainingInput(hyperparameters=body))
    assert (spec.trials, spec.parallel, spec.tag, spec.maximize) == (4, 2, "accuracy", True)
    point = {"first-layer-size": 70, "num-layers": 3, "scale-factor": 1.0}
    assert flags(spec, point) == ["--first-layer-size=70", "--num-layers=3", "--scale-factor=1.0"]


def test_what_is_left_out_is_as_the_service_had_it() -> None:
    spec = check_hyperparameters(TrainingInput(hyperparameters={"params": [DOUBLE]}))
    assert (spec.trials, spec.parallel, spec.maximize) == (1, 1, True)
    assert spec.tag == "training/hptuning/metric"
    assert not asked(goal="MINIMIZE").maximize
    assert asked(maxFailedTrials=0).max_failed_trials == 0  # the engine decides


def test_every_kind_becomes_a_flag_in_the_services_spelling() -> None:
    spec = asked(DOUBLE, INTEGER, WORD, POINT)
    found = texts(spec, {"rate": 4.3704164028167725, "size": 1892, "how": "a b", "at": 0.5})
    assert found == {"rate": "4.3704164028167725", "size": "1892", "how": "a b", "at": "0.5"}
    # `type=int` must take a whole point, and `type=float` any.
    assert texts(spec, {"at": 64.0, "rate": 1e-07}) == {"at": "64", "rate": "1e-07"}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no parameter": ({"params": []}, "params", "no parameter"),
    "too many": (
        {"params": [{**DOUBLE, "parameterName": f"p{n}"} for n in range(17)]}, "params", "17",
    ),
    "unknown field": ({"maxTrails": 3}, "", "maxTrails"),
    "goal": ({"goal": "MAX"}, "goal", "'MAX'"),
    "algorithm": ({"algorithm": "BAYESIAN"}, "algorithm", "'BAYESIAN'"),
    "a sampler": ({"algorithm": "optuna:TPE"}, "algorithm", "Did you mean 'optuna:TPESampler'"),
    "trials": ({"maxTrials": -1}, "max_trials", "-1"),
    "no trials": ({"maxTrials": 0}, "max_trials", "maxTrials is 0."),
    "too many trials": ({"maxTrials": 10_001}, "max_trials", "10001"),
    "parallel": (
        {"maxParallelTrials": 5}, "max_parallel_trials",
        "maxParallelTrials is 5, maxTrials is 4.",
    ),
    "none at one time": ({"maxParallelTrials": 0}, "max_parallel_trials", "maxParallelTrials is 0"),
    "parallel of how many": (
        {"maxTrials": None, "maxParallelTrials": 2}, "max_parallel_trials",
        "maxParallelTrials is 2, maxTrials is not set, so 1.",
    ),
    "failed": ({"maxFailedTrials": -2}, "max_failed_trials", "-2"),
    "twice": ({"params": [DOUBLE, DOUBLE]}, "params[1].parameter_name", "'rate'"),
    "nameless": ({"params": [{"type": "DOUBLE"}]}, "params[0].parameter_name", "''"),
    "a name with a value": (
        {"params": [{**DOUBLE, "parameterName": "a=b"}]}, "params[0].parameter_name", "'a=b'",
    ),
    "our own flag": (
        {"params": [{**DOUBLE, "parameterName": "job-dir"}]}, "params[0].parameter_name", "job-dir",
    ),
    "type": ({"params": [{**DOUBLE, "type": "FLOAT"}]}, "params[0].type", "'FLOAT'"),
    "scale": ({"params": [{**DOUBLE, "scaleType": "LOG"}]}, "params[0].scale_type", "'LOG'"),
    "no bound": ({"params": [{**DOUBLE, "minValue": None}]}, "params[0].min_value", "minValue"),
    "bounds exchanged": ({"params": [{**DOUBLE, "minValue": 3}]}, "params[0].min_value", "3"),
    "beyond what is exact": (
        {"params": [{**INTEGER, "maxValue": 9223372036854775807}]},
        "params[0].max_value",
        "9223372036854775808 is too far",
    ),
    "half an integer": ({"params": [{**INTEGER, "maxValue": 2.5}]}, "params[0].max_value", "2.5"),
    "log of zero": (
        {"params": [{**DOUBLE, "minValue": 0, "scaleType": "UNIT_LOG_SCALE"}]},
        "params[0].scale_type", "UNIT_LOG_SCALE",
    ),
    "log of a negative point": (
        {"params": [{**POINT, "discreteValues": [-1, 1], "scaleType": "UNIT_REVERSE_LOG_SCALE"}]},
        "params[0].scale_type", "-1",
    ),
    "values of a range": (
        {"params": [{**DOUBLE, "discreteValues": [1]}]}, "params[0].type", "DOUBLE",
    ),
    "no categories": (
        {"params": [{**WORD, "categoricalValues": []}]}, "params[0].categorical_values", "'how'",
    ),
    "a category twice": (
        {"params": [{**WORD, "categoricalValues": ["a", "a"]}]},
        "params[0].categorical_values", "'a'",
    ),
    "a scale of words": (
        {"params": [{**WORD, "scaleType": "UNIT_LOG_SCALE"}]}, "params[0].scale_type", "no scale",
    ),
    "no points": ({"params": [{**POINT, "discreteValues": []}]}, "params[0].discrete_values", "at"),
    "points out of order": (
        {"params": [{**POINT, "discreteValues": [2, 1]}]}, "params[0].discrete_values", "1 follows",
    ),
    "too many points": (
        {"params": [{**POINT, "discreteValues": list(range(1, 1002))}]},
        "params[0].discrete_values", "1001",
    ),
    "a grid without end": ({"algorithm": "GRID_SEARCH"}, "params[0].type", "GRID_SEARCH"),
    "a text for a number": ({"maxTrials": "many"}, "max_trials", "many"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_by_name(name: str) -> None:
    fields, at, word = REFUSED[name]
    with pytest.raises(InvalidArgument) as caught:
        asked(**fields)
    assert word in caught.value.description
    if at and name != "a text for a number":
        assert caught.value.field == f"training_input.hyperparameters.{at}"
