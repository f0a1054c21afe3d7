"""Golden rows: saved by a trainer, replayed by the worker before it serves."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from mlengine.runtime import opening, save_golden
from mlengine.runtime.frameworks import load
from mlengine.runtime.prediction_error import ErrorClass, PredictionError
from mlengine.runtime.rehearsal import differs, read_rows, rehearse
from mlengine.runtime.routine import RoutineModel


@pytest.fixture
def model_dir(tmp_path: Path, iris_model: Path) -> Path:
    return Path(shutil.copytree(iris_model, tmp_path / "model"))


def _iris_rows() -> np.ndarray:
    from sklearn.datasets import load_iris

    rows: np.ndarray = load_iris().data[::10]
    return rows


def _save_right_ones(folder: Path) -> None:
    rows = _iris_rows()
    save_golden(folder, rows, joblib.load(folder / "model.joblib").predict(rows))


SHAPES = {
    "arrays": (np.array([[1.5, math.nan]]), np.array([2]), [1.5, None], 2),
    "lists": ([[1, "x"]], [0.5], [1, "x"], 0.5),
    "columns": ({"a": np.array([1.0]), "b": [b"x"]}, {"p": np.array([[0.5]])},
                {"a": 1.0, "b": "x"}, {"p": [0.5]}),
    "a table": (pd.DataFrame({"a": [1], "b": ["x"]}), np.array(["yes"]), {"a": 1, "b": "x"}, "yes"),
    "bytes": ([{"image": b"\xff"}], [1], {"image": {"b64": "/w=="}}, 1),
}  # fmt: skip


@pytest.mark.parametrize(
    ("instances", "predictions", "instance", "prediction"), SHAPES.values(), ids=SHAPES.keys()
)
def test_what_trainers_have_is_saved_as_requests_hold_it(
    tmp_path: Path, instances: Any, predictions: Any, instance: Any, prediction: Any
) -> None:
    assert save_golden(tmp_path / "new", instances, predictions) == 1
    assert read_rows(tmp_path / "new") == [(1, instance, prediction)]
    assert "numpy" in json.loads((tmp_path / "new/golden.libraries.json").read_text())["libraries"]


@pytest.mark.parametrize(
    ("instances", "predictions"),
    [([1, 2], [1]), ([], []), ([1], [math.nan]), ({"a": [1], "b": [1, 2]}, [1])],
    ids=str,
)
def test_rows_that_prove_nothing_are_not_saved(
    tmp_path: Path, instances: Any, predictions: Any
) -> None:
    with pytest.raises(ValueError, match=r"predictions for|length|compliant"):
        save_golden(tmp_path, instances, predictions)
    assert not (tmp_path / "golden.jsonl").exists()


def test_a_model_that_answers_as_its_trainer_did_is_served(model_dir: Path) -> None:
    _save_right_ones(model_dir)
    rows, notes = rehearse(load(model_dir), model_dir)
    assert len(rows) == 15
    assert notes == []


def test_another_library_is_named_and_the_rows_decide(model_dir: Path) -> None:
    _save_right_ones(model_dir)
    file = model_dir / "golden.libraries.json"
    saved = json.loads(file.read_text())
    saved["libraries"]["sklearn"] = "0.22.1"
    file.write_text(json.dumps(saved))
    _, notes = rehearse(load(model_dir), model_dir)
    (note,) = notes
    assert note.startswith("The model was saved with sklearn 0.22.1, and is served with 1.")
    assert note.endswith("golden rows come out right.")
    _spoil(lambda row: row | {"prediction": 2})(model_dir / "golden.jsonl")
    with pytest.raises(PredictionError, match=r"saved 2, the model answers 0.*sklearn 0\.22\.1"):
        rehearse(load(model_dir), model_dir)


def _spoil(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        lines[3] = change(lines[3])
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return spoil


BAD = {
    "another prediction": (
        lambda r: r | {"prediction": 2},
        "golden row 4 comes out otherwise: the trainer saved 2, the model answers 0"),
    "another type": (
        lambda r: r | {"prediction": "0"}, 'the trainer saved "0", the model answers 0'),
    "a row that the model refuses": (lambda r: r | {"instance": [1]}, "golden row 4 was refused"),
    "no golden row": (lambda r: [1], 'golden.jsonl, line 4: expected an object with "instance"'),
}  # fmt: skip


@pytest.mark.parametrize(("change", "text"), BAD.values(), ids=BAD.keys())
def test_a_row_that_comes_out_otherwise_is_named(
    model_dir: Path, change: Callable[[Any], Any], text: str
) -> None:
    _save_right_ones(model_dir)
    _spoil(change)(model_dir / "golden.jsonl")
    with pytest.raises(PredictionError) as caught:
        rehearse(load(model_dir), model_dir)
    assert caught.value.error_class is ErrorClass.LOAD
    assert text in caught.value.detail


class TwoSignatures(RoutineModel):
    """Doubles by its own default, and triples for who chooses so at loading."""

    def __init__(self) -> None:
        super().__init__(self, "t.TwoSignatures")

    def predict(self, instances: list[Any], **kwargs: Any) -> list[Any]:
        times = {"twice": 2, "thrice": 3}[kwargs.get("signature_name", "thrice")]
        return [times * instance for instance in instances]

    def own_signature(self) -> str:
        return "twice"


def test_rows_are_of_the_own_signature_where_a_job_chooses_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_golden(tmp_path, [1, 2], [2, 4])
    monkeypatch.setattr(opening, "load_model", lambda spec: TwoSignatures())
    opened = opening.open_model({"artifact": str(tmp_path), "signature_name": "thrice"})
    assert opened.model.predict([1]) == [3]


class Emptying:
    """A routine that takes out of its instances what it reads."""

    def predict(self, instances: list[Any]) -> list[Any]:
        return [one.pop("x") for one in instances]


def test_a_routine_that_edits_its_instances_is_asked_and_told_of_whole_ones(
    tmp_path: Path,
) -> None:
    model = RoutineModel(Emptying(), "t.Emptying")
    save_golden(tmp_path, [{"x": 1}, {"x": 2}], [1, 0])
    with pytest.raises(PredictionError, match=r'the model answers 2 \(instance \{"x": 2\}\)'):
        rehearse(model, tmp_path)
    save_golden(tmp_path, [{"x": 1}, {"y": 2}], [1, 2])
    with pytest.raises(PredictionError, match="golden row 2 was refused"):
        rehearse(model, tmp_path)


SAME = [(1, 1.0), (0.1, 0.1000001), (1e20, 1.000001e20), ({"a": [1]}, {"a": [1]}), (None, None)]
OTHER = [(1, 2), (1, True), (0.1, 0.1001), (1e20, 1.0001e20), ("1", 1), ([1], [1, 1]),
         ({"a": 1}, {"b": 1}), (None, 0), (10**9, 10**9 + 1)]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME, ids=str)
def test_the_same_answers(one: Any, other: Any) -> None:
    assert not differs(one, other)


@pytest.mark.parametrize(("one", "other"), OTHER, ids=str)
def test_different_answers(one: Any, other: Any) -> None:
    assert differs(one, other)


def test_a_worker_says_which_row_before_it_is_ready(model_dir: Path, start_worker: Any) -> None:
    _save_right_ones(model_dir)
    ready = start_worker(model_dir).wait_ready()
    assert ready["way"].startswith("direct: LogisticRegression")
    _spoil(lambda row: row | {"prediction": 1})(model_dir / "golden.jsonl")
    failed = start_worker(model_dir).wait_failed()
    assert "golden row 4 comes out otherwise" in failed["message"]
