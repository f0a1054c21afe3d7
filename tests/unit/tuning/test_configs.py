from __future__ import annotations

from typing import Any

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.core.studies import StudyConfig
from mlengine.core.wire import decode
from mlengine.tuning.configs import algorithm_of, check_config, policy_of, problem_of
from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Scale
from tests.unit.tuning.studycases import DOUBLE, GRID, config

CHILD: dict[str, Any] = {
    "parameter": "opt",
    "type": "CATEGORICAL",
    "categoricalValueSpec": {"values": ["sgd", "adam"]},
    "childParameterSpecs": [
        {
            "parameter": "layers",
            "type": "INTEGER",
            "integerValueSpec": {"minValue": "1", "maxValue": "3"},
            "parentCategoricalValues": {"values": ["adam"]},
            "childParameterSpecs": [
                {
                    "parameter": "width",
                    "type": "DISCRETE",
                    "discreteValueSpec": {"values": [8, 16.5]},
                    "parentIntValues": {"values": ["2", "3"]},
                    "childParameterSpecs": [
                        {
                            "parameter": "rate",
                            "type": "DOUBLE",
                            "scaleType": "UNIT_LOG_SCALE",
                            "doubleValueSpec": {"minValue": 0.001, "maxValue": 1},
                            "parentDiscreteValues": {"values": [16.5]},
                        }
                    ],
                }
            ],
        }
    ],
}


def read(**fields: Any) -> StudyConfig:
    return decode(StudyConfig, {**config(DOUBLE), **fields}, at="study.study_config")


def test_a_tree_of_parameters_is_read_parents_before_children() -> None:
    found = read(parameters=[CHILD])
    check_config(found)
    problem = problem_of(found, uid="a")
    assert problem.metrics == (Metric(name="loss", goal=Goal.MINIMIZE),)
    opt, layers, width, rate = problem.parameters
    assert opt == Parameter(name="opt", kind=Kind.CATEGORICAL, values=("sgd", "adam"))
    assert (layers.low, layers.high, layers.parent, layers.when) == (1, 3, "opt", ("adam",))
    assert (width.values, width.parent, width.when) == ((8.0, 16.5), "layers", (2, 3))
    assert (rate.scale, rate.parent, rate.when) == (Scale.LOG, "width", (16.5,))


def test_the_seed_follows_from_the_study_alone() -> None:
    one, two = problem_of(read(), uid="a"), problem_of(read(), uid="b")
    assert one == problem_of(read(), uid="a")
    assert one.seed != two.seed


@pytest.mark.parametrize(
    ("written", "search"),
    [
        ("", "bayesian"),
        ("ALGORITHM_UNSPECIFIED", "bayesian"),
        ("GAUSSIAN_PROCESS_BANDIT", "bayesian"),
        ("GRID_SEARCH", "grid"),
        ("RANDOM_SEARCH", "random"),
        ("QUASI_RANDOM_SEARCH", "quasi-random"),
        ("optuna:TPESampler", "optuna:TPESampler"),
        ("vizier:GP_UCB_PE", "vizier:GP_UCB_PE"),
    ],
)
def test_an_algorithm_is_a_search(written: str, search: str) -> None:
    assert algorithm_of(read(algorithm=written)) == search


def test_a_search_of_one_metric_is_not_given_two() -> None:
    two = [{"metric": name, "goal": "MINIMIZE"} for name in ("a", "b")]
    with pytest.raises(InvalidArgument, match="one metric, and the study has 2") as caught:
        check_config(read(algorithm="vizier:EAGLE_STRATEGY", metrics=two))
    assert caught.value.field == "study.study_config.algorithm"


def test_a_stopping_rule_is_a_policy() -> None:
    assert policy_of(read()) is None
    assert policy_of(read(automatedStoppingConfig={})) is None
    decay = {"decayCurveStoppingConfig": {"useElapsedTime": True}}
    assert policy_of(read(automatedStoppingConfig=decay)) == ("decay-curve", True)
    median: dict[str, Any] = {"medianAutomatedStoppingConfig": {}}
    assert policy_of(read(automatedStoppingConfig=median)) == ("median", False)
    assert policy_of(read(automatedStoppingConfig={"ashaStoppingConfig": {}})) == ("asha", False)


def parameter(**fields: Any) -> dict[str, Any]:
    return {"parameters": [{**DOUBLE, **fields}]}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no metric": ({"metrics": []}, "metrics", "needs a metric"),
    "no goal": ({"metrics": [{"metric": "a"}]}, "metrics[0].goal", "MAXIMIZE, MINIMIZE"),
    "a metric without a name": ({"metrics": [{"goal": "MINIMIZE"}]}, "metrics[0].metric", "empty"),
    "a metric twice": (
        {"metrics": [{"metric": "a", "goal": "MINIMIZE"}] * 2}, "metrics[1].metric", "'a'",
    ),
    "no parameter": ({"parameters": []}, "parameters", "no parameters"),
    "an unknown algorithm": ({"algorithm": "MAGIC"}, "algorithm", "'MAGIC'"),
    "a grid of floats": ({"algorithm": "GRID_SEARCH"}, "parameters", "'x' is DOUBLE"),
    "no name": (parameter(parameter=""), "parameters[0].parameter", "no name"),
    "no type": (parameter(type=""), "parameters[0].type", "CATEGORICAL"),
    "a scale of ours": (parameter(scaleType="LOG"), "parameters[0].scale_type", "'LOG'"),
    "two kinds of values": (
        parameter(integerValueSpec={"minValue": 1, "maxValue": 2}),
        "parameters[0].integer_value_spec", "is DOUBLE and has a integer_value_spec",
    ),
    "no values": (
        parameter(doubleValueSpec=None), "parameters[0].double_value_spec", "has no values",
    ),
    "an open end": (
        parameter(doubleValueSpec={"minValue": 0}), "parameters[0].double_value_spec", "open end",
    ),
    "a range upside down": (
        parameter(doubleValueSpec={"minValue": 1, "maxValue": 0}), "parameters", "'x'",
    ),
    "an infinite range": (
        parameter(doubleValueSpec={"minValue": 0, "maxValue": "Infinity"}), "parameters", "'x'",
    ),
    "a parent that is none": (
        parameter(parentIntValues={"values": [1]}), "parameters[0].parent_int_values", "'x'",
    ),
    "a child of another type": (
        {"parameters": [{**GRID, "childParameterSpecs": [
            {**DOUBLE, "parentCategoricalValues": {"values": ["a"]}}]}]},
        "parameters[0].child_parameter_specs[0].parent_categorical_values", "parent_int_values",
    ),
    "a child that is never there": (
        {"parameters": [{**GRID, "childParameterSpecs": [
            {**DOUBLE, "parentIntValues": {"values": ["25"]}}]}]},
        "parameters", "which it never is",
    ),
    "two rules": (
        {"automatedStoppingConfig": {
            "decayCurveStoppingConfig": {}, "medianAutomatedStoppingConfig": {}}},
        "automated_stopping_config", "2 stopping rules",
    ),
    "a rule for two metrics": (
        {"metrics": [{"metric": m, "goal": "MINIMIZE"} for m in "ab"],
         "automatedStoppingConfig": {"medianAutomatedStoppingConfig": {}}},
        "automated_stopping_config", "has 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_by_its_name(case: str) -> None:
    fields, field, said = REFUSED[case]
    with pytest.raises(InvalidArgument) as caught:
        check_config(read(**fields))
    assert caught.value.field == f"study.study_config.{field}"
    assert said in str(caught.value)


def test_a_study_without_a_configuration_and_a_tower_of_children_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="needs a configuration"):
        check_config(None)
    spec: dict[str, Any] = {**GRID}
    for _level in range(30):
        spec = {**GRID, "childParameterSpecs": [{**spec, "parentIntValues": {"values": ["1"]}}]}
    with pytest.raises(InvalidArgument, match="more than 20 levels"):
        check_config(read(parameters=[spec]))
