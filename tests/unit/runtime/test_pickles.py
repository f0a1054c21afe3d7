"""What is said of pickles that other versions of the libraries have written."""

from __future__ import annotations

import copyreg
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from mlengine.environments.catalogue import read_catalogue
from mlengine.environments.interpreters import Interpreter
from mlengine.environments.resolution import Choice, Wish, choose
from mlengine.models.surroundings import OLDEST_PYTHON
from mlengine.runtime.frameworks import pickles
from mlengine.runtime.prediction_error import PredictionError

VERSION = b"}X\x10\x00\x00\x00_sklearn_versionX\x06\x00\x00\x000.20.4sb"


def said_of(path: Path) -> str:
    with pytest.raises(PredictionError) as caught:
        pickles.load(path)
    return str(caught.value)


def estimator(folder: Path, module: str, name: str, *, state: bytes = VERSION) -> Path:
    path = folder / "model.pkl"
    path.write_bytes(b"\x80\x02c%s\n%s\n)\x81%s." % (module.encode(), name.encode(), state))
    return path


def test_an_old_estimator_names_what_saved_it_what_is_here_and_the_way_out(tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn")
    said = said_of(estimator(tmp_path, "sklearn.feature_selection.univariate_selection", "Best"))
    assert (
        "model.pkl was saved by scikit-learn 0.20.4 and cannot be read by scikit-learn "
        f"{sklearn.__version__}: it needs the module "
        "'sklearn.feature_selection.univariate_selection', which is not there."
    ) in said
    assert (
        "if it ran on a Python before 3.10, train again with --runtime-version 1.15 "
        "--python-version 3.11, and deploy it with the same."
    ) in said
    assert "pip install" not in said


def test_a_class_that_a_library_no_longer_has_is_not_the_users_to_define(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    said = said_of(estimator(tmp_path, "sklearn.preprocessing", "Imputer"))
    assert "was saved by scikit-learn 0.20.4" in said and "trainer package" not in said
    said = said_of(estimator(tmp_path, "json", "Imputer"))
    assert "Define it in a module of the trainer package" in said


def test_an_unknown_version_is_another_one(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    said = said_of(estimator(tmp_path, "sklearn.nowhere", "Nothing", state=b""))
    assert "was saved by another version and cannot be read by scikit-learn" in said


def test_a_library_that_is_not_there_at_all_is_to_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    def read(_path: Path) -> None:
        raise missing

    monkeypatch.setattr(pickles, "_read", read)
    assert "pip install 'mlengine[sklearn]'" in said_of(tmp_path / "model.pkl")
    missing.name = "trainer.features"
    assert "Give the package that holds it in package_uris" in said_of(tmp_path / "model.pkl")


class OldBooster:
    """Pickles as XGBoost before 1.0 did: its own bytes, in no format that a newer one reads."""

    def __reduce__(self) -> tuple[Any, ...]:
        import xgboost

        state = {"handle": bytearray(b"binf" * 50), "feature_names": None, "feature_types": None}
        return copyreg._reconstructor, (xgboost.Booster, object, None), state  # type: ignore[attr-defined]


def test_an_old_booster_is_told_of_too(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(OldBooster(), protocol=2))
    note = {"python": "3.7.9", "libraries": {"xgboost": "0.90", "sklearn": "0.20.4"}}
    (tmp_path / "golden.libraries.json").write_text(json.dumps(note))
    said = said_of(tmp_path / "model.pkl")
    here = f"XGBoost {xgboost.__version__}: it is a pickle of an older XGBoost."
    assert f"was saved by XGBoost 0.90 and cannot be read by {here}" in said
    assert "Stack trace" not in said


def test_an_old_booster_is_known_by_the_words_of_xgboost_2_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_path: Path) -> None:
        raise ValueError("[10:00:00] learner.cc:1: Check failed: header == serialisation_header_:")

    monkeypatch.setattr(pickles, "_read", read)
    assert "it is a pickle of an older XGBoost" in said_of(tmp_path / "model.pkl")


def test_the_way_out_is_a_runtime_that_workers_have_too() -> None:
    assert pickles._OLDEST_PYTHON == OLDEST_PYTHON
    _, runtime, _, python = pickles._WAY_OUT.split()
    found = [Interpreter(Path("/py", v), v) for v in ("3.7.16", "3.10.13", "3.11.7", "3.13.0")]

    def find(wanted: SpecifierSet) -> Interpreter | None:
        return next((one for one in found if one.version in wanted), None)

    def chosen(oldest: str) -> Choice:
        wish = Wish(runtime, python, oldest_python=oldest)
        return choose(read_catalogue(), wish, find=find, own_version="3.13.0")

    job, worker = chosen(""), chosen(OLDEST_PYTHON)
    assert (job.recipe, job.interpreter) == (worker.recipe, worker.interpreter)
    assert job.interpreter is not None and job.interpreter.version.startswith(python)
