"""`mlengine studies`, against an engine of dictionaries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlengine.core.resources import Operation
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run

CONFIG = """
metrics:
- metric: loss
  goal: MINIMIZE
parameters:
- parameter: opt
  type: CATEGORICAL
  categoricalValueSpec: {values: [sgd, adam]}
  childParameterSpecs:
  - parameter: layers
    type: INTEGER
    integerValueSpec: {minValue: 1, maxValue: 9}
    parentCategoricalValues: {values: [adam]}
- parameter: rate
  type: DOUBLE
  doubleValueSpec: {minValue: 0.001, maxValue: 1}
"""
AT = ("--study", "census")


@pytest.fixture
def study(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(CONFIG)
    name = "projects/default/locations/local/studies/census"
    done = run("studies", "create", "census", "--config", str(file))
    assert done == (0, "", f"Created study [{name}].\n")


@pytest.mark.usefixtures("study")
def test_a_study_is_listed_described_and_deleted(run: Run, engine: FakeEngine) -> None:
    listed = run("studies", "list").out.splitlines()
    assert listed[0].split() == ["NAME", "STATE", "METRICS", "CREATE_TIME"]
    assert listed[1].split()[:3] == ["census", "ACTIVE", "loss"]
    found = json.loads(run("studies", "describe", "census", "--format=json").out)
    assert found["studyConfig"]["parameters"][0]["childParameterSpecs"][0]["parameter"] == "layers"
    assert run("studies", "list", "--location", "elsewhere").err == "Listed 0 items.\n"
    assert run("studies", "delete", "census", "-q").code == 0
    assert not engine.studies


def test_a_config_may_stand_below_its_name_and_come_from_stdin(
    run: Run, engine: FakeEngine
) -> None:
    text = json.dumps({"studyConfig": {"metrics": [{"metric": "auc"}]}})
    assert run("studies", "create", "s", "--config", "-", stdin=text).code == 0
    (made,) = engine.studies.values()
    assert made.study_config is not None
    assert made.study_config.metrics[0].metric == "auc"
    wrong = run("studies", "create", "t", "--config", "-", stdin="metrix: []")
    assert wrong.code == 1
    assert "Unknown name \"metrix\" at 'study.study_config'" in wrong.err


@pytest.mark.parametrize("key", ["studyConfig", "study_config"])
def test_what_stands_beside_a_config_is_a_studys_or_refused(
    run: Run, engine: FakeEngine, key: str
) -> None:
    study = {"name": "old", "state": "ACTIVE", key: {"metrics": [{"metric": "auc"}]}}
    wrong = run("studies", "create", "s", "--config", "-",
                stdin=json.dumps(study | {"priorStudies": ["old"]}))  # fmt: skip
    assert wrong.code == 1 and "Unknown name \"priorStudies\" at 'study'" in wrong.err
    # What `studies describe` shows is a Study; what only an engine says of it is dropped.
    done = run("studies", "create", "s", "--config", "-", "--prior=old", stdin=json.dumps(study))
    assert done.code == 0, done.err
    (made,) = engine.studies.values()
    assert made.study_config is not None and made.study_config.prior_studies == ["old"]


def test_values_of_a_parent_are_text_whatever_they_look_like(run: Run, engine: FakeEngine) -> None:
    child = ("{parameter: rate, type: DOUBLE, doubleValueSpec: {minValue: .5e-3, maxValue: 1},"
             " parentCategoricalValues: {values: [1]}}")  # fmt: skip
    text = (
        "parameters: [{parameter: layers, type: CATEGORICAL, categoricalValueSpec: "
        f"{{values: [1, 2]}}, childParameterSpecs: [{child}]}}]"
    )
    done = run("studies", "create", "s", "--config", "-", stdin=text)
    assert done.code == 0, done.err
    (made,) = engine.studies.values()
    assert made.study_config is not None
    (layers,) = made.study_config.parameters
    assert layers.categorical_value_spec is not None
    assert layers.categorical_value_spec.values == ["1", "2"]
    (rate,) = layers.child_parameter_specs
    assert rate.parent_categorical_values is not None and rate.double_value_spec is not None
    assert rate.parent_categorical_values.values == ["1"]
    assert rate.double_value_spec.min_value == 0.0005


@pytest.mark.usefixtures("study")
def test_priors_are_added_to_those_of_the_config(run: Run, engine: FakeEngine) -> None:
    text = json.dumps({"metrics": [{"metric": "auc"}], "priorStudies": ["a"]})
    words = ("--config", "-", "--prior", "b", "--prior=census")
    assert run("studies", "create", "next", *words, stdin=text).code == 0
    made = [s.study_config for s in engine.studies.values() if s.name.endswith("/next")]
    assert made[0] is not None
    assert made[0].prior_studies == ["a", "b", "census"]


@pytest.mark.usefixtures("study")
def test_a_trial_goes_all_the_way(run: Run) -> None:
    words = ("--param", "opt=adam", "--param", "layers=3", "--param", "rate=0.5")
    made = json.loads(run("studies", "trials", "create", *AT, *words, "--format=json").out)
    assert made["state"] == "REQUESTED"
    assert made["parameters"] == [
        {"parameter": "opt", "stringValue": "adam"},
        {"parameter": "layers", "intValue": "3"},
        {"parameter": "rate", "floatValue": 0.5},
    ]
    asked = run("studies", "suggest", "census", "--client-id", "me")
    assert asked.err == "Asking study [census]...done.\n"
    assert asked.out.splitlines()[1].split() == ["2", "ACTIVE", "me"]
    assert run("studies", "trials", "measure", "2", *AT, "--metric", "loss=1", "--step=3").code == 0
    assert run("studies", "trials", "check", "2", *AT).out == "continue\n"
    assert run("studies", "trials", "stop", "2", *AT).code == 0
    assert run("studies", "trials", "check", "2", *AT).out == "stop\n"
    full = "projects/default/locations/local/studies/census/trials/2"
    done = run("studies", "trials", "complete", full, *AT, "--metric", "loss=0", "--format=json")
    assert json.loads(done.out)["finalMeasurement"]["metrics"] == [{"metric": "loss", "value": 0.0}]
    assert run("studies", "optimal", "census").out.splitlines()[1].split()[-1] == "loss=0"
    listed = run("studies", "trials", "list", *AT).out.splitlines()
    assert "opt=adam, layers=3, rate=0.5" in listed[1]
    described = json.loads(run("studies", "trials", "describe", "2", *AT, "--format=json").out)
    assert described["measurements"][0]["stepCount"] == "3"
    assert run("studies", "trials", "delete", "2", *AT, "-q").code == 0
    assert "has no trial 2" in run("studies", "trials", "describe", "2", *AT).err


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("COMPLETED", "is COMPLETED: each point of its space was tried or is handed out; "),
        ("INACTIVE", "is INACTIVE; "),
        ("", "has no more; "),
    ],
)
def test_why_fewer_trials_come_than_were_asked_for_is_said(
    run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, state: str, said: str
) -> None:
    suggest = engine.suggest_trials

    def exhausted(*args: Any) -> Operation:
        ended = suggest(*args)
        response = {**(ended.response or {}), "trials": [], "studyState": state}
        return msgspec.structs.replace(ended, response=response)

    monkeypatch.setattr(engine, "suggest_trials", exhausted)
    asked = run("studies", "suggest", "census", "--count=2")
    assert (asked.code, asked.out) == (0, "")
    assert asked.err.endswith(f"Listed 0 items.\nStudy [census] {said}0 of 2 trials came.\n")


@pytest.mark.usefixtures("study")
def test_trials_as_csv_have_the_columns_of_the_table(run: Run) -> None:
    run("studies", "trials", "create", *AT, "--param", "rate=0.5", "--metric", "loss=0")
    assert run("studies", "trials", "list", *AT, "--format=csv").out == (
        "TRIAL,STATE,CLIENT,PARAMETERS,RESULT,ORIGIN\n1,COMPLETED,,rate=0.5,loss=0,\n"
    )


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("opt=adam", "size=3"), {"intValue": "3"}),
        (("opt=sgd", "size=3"), {"floatValue": 3.0}),
        (("size=3", "opt=sgd"), {"floatValue": 3.0}),
        (("opt=none", "n=2", "size=3"), {"stringValue": "3"}),
        (("opt=none", "n=5", "size=3"), {"floatValue": 3.0}),
    ],
)
def test_of_children_with_one_name_the_active_one_says_the_type(
    run: Run, words: tuple[str, ...], value: dict[str, object]
) -> None:
    def size(kind: str, where: str, parent: object) -> dict[str, object]:
        return {"parameter": "size", "type": kind, where: {"values": [parent]}}

    sizes = [size("DOUBLE", "parentIntValues", 5), size("CATEGORICAL", "parentIntValues", 2)]
    n = {"parameter": "n", "type": "INTEGER", "childParameterSpecs": sizes,
         "parentCategoricalValues": {"values": ["none"]}}  # fmt: skip
    below = "parentCategoricalValues"
    children = [size("INTEGER", below, "adam"), n, size("DOUBLE", below, "sgd")]
    opt = {"parameter": "opt", "type": "CATEGORICAL", "childParameterSpecs": children}
    run("studies", "create", "s", "--config", "-", stdin=json.dumps({"parameters": [opt]}))
    flags = [flag for word in words for flag in ("--param", word)]
    made = run("studies", "trials", "create", "--study=s", *flags, "--format=json")
    found = {p.pop("parameter"): p for p in json.loads(made.out)["parameters"]}
    assert found["size"] == value


@pytest.mark.usefixtures("study")
def test_what_was_tried_elsewhere_and_what_cannot_work(run: Run, engine: FakeEngine) -> None:
    tried = run("studies", "trials", "create", *AT, "--param", "rate=1", "--metric", "loss=NaN")
    assert tried.code == 0
    run("studies", "suggest", "census")
    assert run("studies", "trials", "complete", "2", *AT, "--infeasible", "too large").code == 0
    listed = run("studies", "trials", "list", *AT).out.splitlines()
    assert "loss=nan" in listed[1]
    assert "infeasible: too large" in listed[2]
    first, second = next(iter(engine.trials.values())).values()
    assert (first.state, second.trial_infeasible) == ("COMPLETED", True)


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "--param", "layers=many"), "layers is INTEGER, and 'many' is not"),
        (("create", "--param", "layers"), "'layers' is not NAME=VALUE"),
        (("measure", "1", "--metric", "loss=low"), "'low' is not a number"),
        (("complete", "1", "--metric", "loss=1", "--infeasible", "x"), "At most one of"),
        (("complete", "1", "--step", "7"), "--step: --metric must go with it"),
        (("complete", "1", "--step=7", "--infeasible", "x"), "--step: --metric must go with it"),
        (("describe", "one"), "The trial id 'one' is not valid"),
    ],
)
def test_a_wrong_word_is_told(run: Run, words: tuple[str, ...], said: str) -> None:
    done = run("studies", "trials", *words, *AT)
    assert done.code
    assert said in done.err
