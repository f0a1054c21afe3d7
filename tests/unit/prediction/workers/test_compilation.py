"""Compiling in a process of its own: what it leaves beside a model, whatever becomes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression

from mlengine.core.errors import Cancelled
from mlengine.prediction.workers.compilation import compile_artifact
from mlengine.prediction.workers.warmth import _modules_of
from mlengine.runtime.compiled import ABOUT_FILE, FOLDER
from mlengine.runtime.opening import open_model

_LONGEST_S = 280.0


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "models" / "u1" / "artifact"
    folder.mkdir(parents=True)
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), folder / "model.joblib")
    return folder


def _compile(artifact: Path, *, timeout_s: float = _LONGEST_S, cancelled: bool = False) -> str:
    home = artifact.parents[2]
    try:
        compile_artifact(
            home, artifact, uid="u1", framework="", memory_bytes=0, timeout_s=timeout_s,
            cancelled=lambda: cancelled,
        )  # fmt: skip
    finally:
        assert not list((home / "run" / "compilations").iterdir())  # nothing is left behind
    problem: str = json.loads((artifact / FOLDER / ABOUT_FILE).read_bytes())["problem"]
    return problem


def test_a_model_that_is_not_compiled_says_why_and_is_not_asked_again(artifact: Path) -> None:
    joblib.dump(DummyRegressor().fit([[0.0], [1.0]], [0, 1]), artifact / "model.joblib")
    assert _compile(artifact) == "DummyRegressor has no direct way"
    before = (artifact / FOLDER / ABOUT_FILE).stat().st_mtime_ns
    home = artifact.parents[2]
    compile_artifact(
        home, artifact, uid="u1", framework="", python="no such interpreter", memory_bytes=0,
        timeout_s=_LONGEST_S, cancelled=lambda: False,
    )  # fmt: skip
    assert (artifact / FOLDER / ABOUT_FILE).stat().st_mtime_ns == before
    assert "sklearn" in _modules_of(artifact, "")


def test_a_compiler_that_takes_too_long_is_ended(artifact: Path) -> None:
    assert _compile(artifact, timeout_s=0.0) == "it was not compiled within 0 s"


def test_who_cancels_waits_for_no_compiler(artifact: Path) -> None:
    with pytest.raises(Cancelled):
        _compile(artifact, cancelled=True)
    assert not (artifact / FOLDER).exists()


def test_a_compiler_that_cannot_run_is_told_in_its_own_words(artifact: Path) -> None:
    home = artifact.parents[2]
    compile_artifact(
        home, artifact, uid="u1", framework="NO SUCH", python=sys.executable, memory_bytes=0,
        timeout_s=_LONGEST_S, cancelled=lambda: False,
    )  # fmt: skip
    said = json.loads((artifact / FOLDER / ABOUT_FILE).read_bytes())
    assert "NO SUCH" in said["problem"]


def test_a_compiled_form_that_cannot_be_opened_leaves_the_original(artifact: Path) -> None:
    (artifact / FOLDER).mkdir()
    (artifact / FOLDER / ABOUT_FILE).write_bytes(b'{"way": "\xff"}')
    opened = open_model({"artifact": str(artifact)})
    assert opened.model.predict([[1.0]]) == [1]
    assert any("The compiled form is not used" in said for said in opened.about["warnings"])


def test_workers_of_a_compiled_model_are_forked_from_what_they_import(artifact: Path) -> None:
    folder = artifact / FOLDER
    folder.mkdir()
    (folder / "0.onnx").touch()
    assert "onnxruntime" in _modules_of(artifact, "")
    (folder / "0.pb").touch()  # a part of it is TensorFlow's: the worker imports that
    assert "onnxruntime" not in _modules_of(artifact, "")
    for file in folder.iterdir():
        file.unlink()
    (folder / "0.npz").touch()  # plain numbers need no library at all
    assert not {"onnxruntime", "sklearn", "tensorflow"} & set(_modules_of(artifact, ""))


def test_a_model_is_compiled_by_a_confined_process(artifact: Path) -> None:
    assert _compile(artifact) == ""
    opened = open_model({"artifact": str(artifact)})
    assert opened.about["way"].startswith("compiled: LogisticRegression in plain numbers, equal")
    assert not {"onnxruntime", "sklearn", "tensorflow"} & set(_modules_of(artifact, ""))
