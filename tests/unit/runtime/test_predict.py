from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import pytest

from mlengine.runtime.frameworks import pickles

NOISY = """
from sklearn.base import BaseEstimator
print("imported")
class Noisy(BaseEstimator):
    def predict(self, instances):
        print("predicting"); return [1 for _ in instances]
"""


def predict(model_dir: Path, text: str, *args: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "mlengine.runtime.predict", "--model-dir", str(model_dir), *args],
        input=text, capture_output=True, text=True, timeout=60, cwd=model_dir,
    )  # fmt: skip


def test_the_answer_is_all_that_stdout_has(iris_model: Path) -> None:
    done = predict(iris_model, '{"instances": [[5.1, 3.5, 1.4, 0.2]]}', "--framework=SCIKIT_LEARN")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"predictions": [0]})


def test_what_the_model_prints_goes_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04\x8c\x05noisy\x8c\x05Noisy\x93)\x81.")
    done = predict(tmp_path, '{"instances": ["a"]}')
    assert done.stdout == '{"predictions":[1]}\n'
    assert "imported" in done.stderr and "predicting" in done.stderr


def test_a_bad_request_is_an_error_and_exit_1(iris_model: Path) -> None:
    done = predict(iris_model, '{"instances": [[1]]}')
    assert done.returncode == 1
    assert "expected 4" in json.loads(done.stdout)["error"]["message"]


def test_a_directory_without_a_model_is_an_error_and_exit_1(tmp_path: Path) -> None:
    done = predict(tmp_path, '{"instances": []}')
    assert done.returncode == 1
    assert "Could not find a model file in" in json.loads(done.stdout)["error"]["message"]


def test_a_sklearn_model_needs_no_tensorflow(iris_model: Path) -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from pathlib import Path\n"
        "from mlengine.runtime.frameworks import ask, load\n"
        "print(ask(load(Path(sys.argv[1])), [[5.1, 3.5, 1.4, 0.2]], {}))\n"
        "print(sorted(m for m in ('xgboost', 'onnxruntime') if m in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(iris_model)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["[0]", "[]"], done.stderr


def test_a_missing_library_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from pathlib import Path\n"
        "from mlengine.runtime.frameworks import load\n"
        "load(Path(sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert "Failed to load model: " in done.stderr
    assert "pip install 'mlengine[tensorflow]'" in done.stderr


def test_an_old_sklearns_own_joblib_reads_what_it_wrote(
    iris_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = joblib.load
    monkeypatch.setattr(joblib, "load", lambda _path: {}[0])
    with pytest.raises(Exception, match="cannot be read as a pickle"):
        pickles.load(iris_model / "model.joblib")
    monkeypatch.setitem(sys.modules, "sklearn.externals.joblib", SimpleNamespace(load=read))
    assert pickles.load(iris_model / "model.joblib").predict([[5.1, 3.5, 1.4, 0.2]]) == [0]
