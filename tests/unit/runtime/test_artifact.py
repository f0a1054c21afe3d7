from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.artifact import Artifact, Kind, detect
from mlengine.runtime.prediction_error import ErrorClass, PredictionError

FOUND = {
    "joblib": (["model.joblib"], "", Artifact(Kind.PICKLE, "model.joblib")),
    "pickle": (["model.pkl", "notes.txt"], "", Artifact(Kind.PICKLE, "model.pkl")),
    "booster": (["model.bst"], "", Artifact(Kind.BOOSTER, "model.bst")),
    "UBJSON booster": (["model.ubj"], "", Artifact(Kind.BOOSTER, "model.ubj")),
    "JSON booster": (["model.json"], "", Artifact(Kind.BOOSTER, "model.json")),
    "a model.json beside a model is only a note": (
        ["model.json", "model.joblib"], "", Artifact(Kind.PICKLE, "model.joblib")),
    "SavedModel": (
        ["saved_model.pb", "variables/variables.index"], "",
        Artifact(Kind.SAVED_MODEL, "saved_model.pb")),
    "SavedModel as text": (
        ["saved_model.pbtxt"], "", Artifact(Kind.SAVED_MODEL, "saved_model.pbtxt")),
    "Keras": (["model.keras"], "TENSORFLOW", Artifact(Kind.KERAS, "model.keras")),
    "the only Keras file": (["census.keras"], "", Artifact(Kind.KERAS, "census.keras")),
    "ONNX": (["model.onnx"], "", Artifact(Kind.ONNX, "model.onnx")),
    "the only ONNX file": (["iris.onnx"], "", Artifact(Kind.ONNX, "iris.onnx")),
    "unspecified is empty": (
        ["model.pkl"], "FRAMEWORK_UNSPECIFIED", Artifact(Kind.PICKLE, "model.pkl")),
    "the framework chooses among several": (
        ["model.bst", "model.joblib", "saved_model.pb"], "SCIKIT_LEARN",
        Artifact(Kind.PICKLE, "model.joblib")),
    "joblib is looked for before pickle": (
        ["model.pkl", "model.joblib"], "SCIKIT_LEARN", Artifact(Kind.PICKLE, "model.joblib")),
    "a booster is looked for before a pickle": (
        ["model.pkl", "model.bst"], "XGBOOST", Artifact(Kind.BOOSTER, "model.bst")),
    "XGBoost may be pickled": (["model.pkl"], "XGBOOST", Artifact(Kind.PICKLE, "model.pkl")),
}  # fmt: skip


@pytest.mark.parametrize(("names", "framework", "found"), FOUND.values(), ids=FOUND.keys())
def test_detects(names: list[str], framework: str, found: Artifact) -> None:
    assert detect(names, framework, where="gs://b/m") == found


REFUSED = {
    "two models": (
        ["model.joblib", "model.pkl"], "",
        "Multiple model files are found in the model_path: gs://b/m"),
    "a SavedModel and a booster": (
        ["saved_model.pb", "model.bst"], "", "(model.bst, saved_model.pb)"),
    "nothing": ([], "", "The directory is empty"),
    "nothing of use": (["readme.md"], "", "Found: readme.md."),
    "no pickle": (
        ["model.bst"], "SCIKIT_LEARN",
        "Could not find either model.joblib or model.pkl in gs://b/m"),
    "no Keras": (["model.pkl"], "KERAS", "Could not find model.keras"),
    "no ONNX": (["a.onnx", "b.onnx"], "ONNX", "Could not find model.onnx"),
    "no SavedModel": (
        ["model.pkl"], "TENSORFLOW",
        ("With v1 endpoint, the model directory gs://b/m is expected to contain exactly one of the "
        "following: 'saved_model.pb' file or 'saved_model.pbtxt' file. Please use SavedModel.")),
    "no booster": (["saved_model.pb"], "XGBOOST", "Could not find any of model.bst"),
    "two Keras files of other names": (["a.keras", "b.keras"], "", "Found: a.keras, b.keras"),
    "the parent of the export": (
        ["export/1553709421/saved_model.pb"], "", "name the directory export/1553709421/ itself"),
    "an unknown framework": (["model.pkl"], "PYTORCH", "'PYTORCH' is not known"),
}  # fmt: skip


@pytest.mark.parametrize(("names", "framework", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses(names: list[str], framework: str, text: str) -> None:
    with pytest.raises(PredictionError) as caught:
        detect(names, framework, where="gs://b/m")
    assert caught.value.error_class is ErrorClass.LOAD
    assert str(caught.value).startswith("Failed to load model: ")
    assert text in str(caught.value)


@given(
    st.lists(st.text(max_size=20)),
    st.sampled_from(["", "SCIKIT_LEARN", "XGBOOST", "TENSORFLOW", "KERAS", "ONNX"]),
)
def test_any_names_give_one_of_them_or_a_load_error(names: list[str], framework: str) -> None:
    try:
        assert detect(names, framework, where="d").file in names
    except PredictionError as error:
        assert error.error_class is ErrorClass.LOAD
