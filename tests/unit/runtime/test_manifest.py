"""A deployed model is loaded only as it was deployed, and the file that differs is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlengine.runtime.manifest import check_files, manifest_of
from mlengine.runtime.opening import open_model
from mlengine.runtime.prediction_error import PredictionError


@pytest.fixture
def deployed(tmp_path: Path, iris_model: Path) -> Path:
    artifact = tmp_path / "artifact"
    shutil.copytree(iris_model, artifact)
    (artifact / "assets").mkdir()
    (artifact / "assets" / "words.txt").write_bytes(b"one\ntwo\n")
    _note(artifact)
    return artifact


def _note(artifact: Path, **more: object) -> None:
    files = [path for path in sorted(artifact.rglob("*")) if path.is_file()]
    rows = [
        (path.relative_to(artifact).as_posix(), path.stat().st_size,
         hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    ]  # fmt: skip
    said = {"digest": "sha256:0", "files": rows, "packages": [], **more}
    manifest_of(artifact).write_text(json.dumps(said))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit": (lambda a: _flip(a / "model.joblib"), "'model.joblib' has other contents"),
    "a bit of what is read late": (
        lambda a: _flip(a / "assets" / "words.txt"), "'assets/words.txt' has other contents"),
    "longer": (
        lambda a: (a / "assets" / "words.txt").write_bytes(b"one\ntwo\nthree\n"),
        "'assets/words.txt' has other contents"),
    "shorter": (lambda a: (a / "model.joblib").write_bytes(b""), "'model.joblib' has other"),
    "gone": (lambda a: (a / "model.joblib").unlink(), "'model.joblib' cannot be read: No such"),
    "no manifest left": (lambda a: manifest_of(a).write_bytes(b""), "manifest.json cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_file_is_named_before_anything_is_loaded(
    deployed: Path, change: Callable[[Path], object], said: str
) -> None:
    change(deployed)
    with pytest.raises(PredictionError) as caught:
        open_model({"artifact": str(deployed)})
    assert said in caught.value.detail
    assert caught.value.error_class.code == 0


def test_what_is_as_it_was_deployed_is_loaded_whatever_lies_beside(deployed: Path) -> None:
    (deployed / "__pycache__").mkdir()
    (deployed / "__pycache__" / "helper.pyc").write_bytes(b"made when it was imported")
    assert open_model({"artifact": str(deployed)}).about["framework"] == "SCIKIT_LEARN"


def test_a_folder_without_a_manifest_is_nobodys_version(deployed: Path) -> None:
    manifest_of(deployed).unlink()
    _flip(deployed / "assets" / "words.txt")
    check_files(deployed)
