"""The method table says what Google's own discovery document says."""

from __future__ import annotations

import importlib.resources
import json
import re
from typing import Any

from mlengine.engine import Engine
from mlengine.rest.documents import discovery_document
from mlengine.rest.ml_v1 import METHODS, ROUTES

_TEXT_FORMATS = {"google-datetime", "google-duration", "byte", None}


def _methods(resource: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {m["id"]: m for m in resource.get("methods", {}).values()}
    for below in resource.get("resources", {}).values():
        found |= _methods(below)
    return found


def _google() -> dict[str, Any]:
    documents = importlib.resources.files("googleapiclient.discovery_cache.documents")
    found: dict[str, Any] = json.loads((documents / "ml.v1.json").read_text())
    return found


def test_there_are_46_methods_with_google_s_paths_parameters_and_schemas() -> None:
    theirs = _methods(_google())
    ours = _methods(discovery_document("http://localhost/"))
    assert ours.keys() == theirs.keys()
    assert len(METHODS) == 46
    for id, method in theirs.items():
        for key in (
            "httpMethod", "path", "flatPath", "request", "response", "parameterOrder", "scopes",
        ):  # fmt: skip
            assert ours[id].get(key) == method.get(key), (id, key)
        assert ours[id]["parameters"].keys() == method["parameters"].keys(), id
        for name, parameter in method["parameters"].items():
            for key in ("location", "type", "format", "pattern", "required"):
                assert ours[id]["parameters"][name].get(key) == parameter.get(key), (id, name)


# What this engine says beyond ml.v1 (ADR 8).
OURS = {
    ("GoogleCloudMlV1__AutomatedStoppingConfig", "ashaStoppingConfig"),
    ("GoogleCloudMlV1__HyperparameterOutput", "errorMessage"),
    ("GoogleCloudMlV1__Job", "options"),
    ("GoogleCloudMlV1__Job", "details"),
    ("GoogleCloudMlV1__StudyConfig", "priorStudies"),
    ("GoogleCloudMlV1__Trial", "details"),
    ("GoogleCloudMlV1__Version", "options"),
    ("GoogleCloudMlV1__Version", "details"),
}


def test_every_field_of_a_described_resource_is_google_s() -> None:
    theirs = _google()["schemas"]
    for name, schema in discovery_document("http://localhost/")["schemas"].items():
        if name not in theirs:
            continue
        known = theirs[name].get("properties", {})
        for field, described in schema["properties"].items():
            if (name, field) in OURS:
                continue
            assert field in known, (name, field)
            if "type" in known[field] and described["type"] != "object":
                assert described["type"] == known[field]["type"], (name, field)
                formats = {described.get("format"), known[field].get("format")}
                assert len(formats - _TEXT_FORMATS) <= 1, (name, field)
    main = (
        "Job", "TrainingInput", "TrainingOutput", "PredictionInput", "Model", "Version",
        "Study", "StudyConfig", "Trial", "Measurement", "SuggestTrialsRequest",
        "SuggestTrialsResponse", "CompleteTrialRequest", "CheckTrialEarlyStoppingStateResponse",
        "HyperparameterSpec", "ParameterSpec", "HyperparameterOutput", "ExplanationConfig",
        "PredictRequest", "ExplainRequest", "GetConfigResponse", "Location",
    )  # fmt: skip
    ours = discovery_document("http://localhost/")["schemas"]
    for name in (f"GoogleCloudMlV1__{short}" for short in main):
        own = {field for owner, field in OURS if owner == name}
        assert theirs[name]["properties"].keys() | own == ours[name]["properties"].keys(), name
    named = set(re.findall(r'"\$ref": "(\w+)"', json.dumps(ours)))
    assert named <= ours.keys()


def test_every_method_names_a_verb_of_the_engine() -> None:
    for method in METHODS:
        assert callable(getattr(Engine, method.verb)), method.id
    assert len(ROUTES) == 46 + 2  # predict and explain take a model's or a version's name
