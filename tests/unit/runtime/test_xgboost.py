"""Boosters that cannot be read: what is said of them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mlengine.environments.catalogue import read_catalogue
from mlengine.runtime.frameworks import xgboost as boosters
from mlengine.runtime.prediction_error import PredictionError

xgboost = pytest.importorskip("xgboost")


def old(objective: bytes, booster: bytes = b"gbtree") -> bytes:
    """Begin a file as XGBoost 0.90 does, with four features."""
    names = [struct.pack("<Q", len(name)) + name for name in (objective, booster)]
    return struct.pack("<fIi", 0.5, 4, 0).ljust(136, b"\0") + b"".join(names) + bytes(200)


def said_of(path: Path) -> str:
    with pytest.raises(PredictionError) as refusal:
        boosters.booster_of(path)
    return refusal.value.detail


@pytest.mark.parametrize("objective", [b"multi:softprob", b"reg:linear", b"rank:ndcg"])
def test_one_of_an_old_xgboost_is_known_and_the_way_out_named(
    tmp_path: Path, objective: bytes
) -> None:
    (tmp_path / "model.bst").write_bytes(old(objective))
    assert said_of(tmp_path / "model.bst") == (
        "model.bst is in the binary format of XGBoost 0.90 to 2.0, which XGBoost "
        f"{xgboost.__version__} does not read. Give --runtime-version 1.15, whose XGBoost does."
    )
    assert "1.15" in [recipe.name for recipe in read_catalogue()]


@pytest.mark.parametrize(
    ("version", "is_told"), [("2.1.4", False), ("3.0.5", False), ("3.1.0", True), ("10.0.0", True)]
)
def test_its_format_is_blamed_only_by_an_xgboost_that_does_not_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_told: bool
) -> None:
    """Where one that reads it cannot, the file is damaged, and XGBoost says how."""
    monkeypatch.setattr(xgboost, "__version__", version)
    (tmp_path / "model.bst").write_bytes(old(b"reg:linear"))
    said = said_of(tmp_path / "model.bst")
    assert ("Give --runtime-version 1.15" in said) is is_told
    assert said.startswith("model.bst cannot be read as a booster: ") is not is_told


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"any bytes", "Invalid model format in: `model.bst`."),
        (b"", "Invalid model format in: `model.bst`."),
        (b'{"a": 1}', "Invalid cast, from Null to Object"),
        (old(b"no objective"), "str[0] == '{' ("),
    ],
)
def test_of_any_other_xgboosts_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.bst").write_bytes(data)
    assert said_of(Path("model.bst")) == f"model.bst cannot be read as a booster: {said}"


def test_who_tries_an_old_one_is_spared_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "model.bst").write_bytes(old(b"reg:linear"))
    done = subprocess.run(
        [sys.executable, "-m", "mlengine.runtime.predict", "--model-dir", str(tmp_path)],
        input='{"instances": [[1, 2, 3, 4]]}', capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "--runtime-version 1.15" in json.loads(done.stdout)["error"]["message"]
    assert done.stderr == ""
