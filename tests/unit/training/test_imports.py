"""What is imported ahead is read from the package's own source, and only when it can do no harm."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mlengine.training import sources
from mlengine.training.imports import heavy_modules


def layer(folder: Path, *sources: str, own: bool = True, name: str = "trainer") -> Path:
    package = folder / name
    package.mkdir()
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    record = []
    for index, source in enumerate(sources):
        (package / f"m{index}.py").write_text(source)
        record.append(f"{name}/m{index}.py,,\n")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(record))
    if own:
        (info / "direct_url.json").write_text('{"url": "file:///p.tar.gz"}')
    return folder


SOURCES = {
    "nothing": ("import os, json", []),
    "plain": ("import numpy as np", ["numpy"]),
    "in a function": ("def f():\n    import xgboost", ["xgboost"]),
    "from a part": ("from sklearn.linear_model import Lasso", ["sklearn", "sklearn.pipeline"]),
    "order": ("import pandas, numpy", ["numpy", "pandas"]),
    "lazy attribute": ("import tensorflow as tf\ntf.keras.layers.Dense",
                       ["tensorflow", "tensorflow.keras"]),
    "lazy import": ("from tensorflow import estimator", ["tensorflow", "tensorflow.estimator"]),
    "lazy from": ("from tensorflow.keras.layers import Dense", ["tensorflow", "tensorflow.keras"]),
    "emulated": ("from google.cloud import storage",
                 ["google.auth.transport.requests", "google.api_core.retry"]),
    "relative": ("from . import numpy", []),
    "a name like one": ("import numpyro", []),
    "sets a variable": ("import os\nos.environ['OMP_NUM_THREADS'] = '1'\nimport numpy", []),
    "sets one of SciPy's": ("import os\nos.environ['SCIPY_ARRAY_API'] = '1'\nimport sklearn", []),
    "sets one of NumPy's": ("import os\nos.environ['NPY_PROMOTION_STATE'] = 'weak'\nimport numpy",
                            []),
    "sets it by keyword": ("import os\nos.environ.update(TF_USE_LEGACY_KERAS='1')\nimport keras",
                           []),
    "harmless variables": ("import tensorflow\nV = 'TF_CPP_MIN_LOG_LEVEL', 'TF_CONFIG'",
                           ["tensorflow"]),
    "speaks of one": ('"""Set TF_USE_LEGACY_KERAS first."""\nimport numpy', ["numpy"]),
    "Python 2": ("print 'no'\nimport numpy", []),
    "binary": ("import numpy\n\0", []),
}  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), SOURCES.values(), ids=SOURCES.keys())
def test_heavy_modules(tmp_path: Path, source: str, expected: list[str]) -> None:
    assert heavy_modules(layer(tmp_path, source)) == expected


def test_one_file_that_sets_variables_speaks_for_all(tmp_path: Path) -> None:
    found = heavy_modules(layer(tmp_path, "import numpy", "V = 'KERAS_BACKEND'"))
    assert found == []


def test_what_a_package_requires_is_not_read(tmp_path: Path) -> None:
    layer(tmp_path, "import torch", own=False, name="required")
    assert heavy_modules(layer(tmp_path, "import numpy")) == ["numpy"]


def test_no_layer_needs_nothing(tmp_path: Path) -> None:
    assert heavy_modules(tmp_path / "absent") == []
    assert heavy_modules(tmp_path) == []


def test_two_jobs_never_parse_at_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse, locked = ast.parse, []

    def seen(data: bytes) -> ast.AST:
        locked.append(sources._parsing.locked())
        return parse(data)

    monkeypatch.setattr(sources.ast, "parse", seen)
    assert heavy_modules(layer(tmp_path, "import numpy")) == ["numpy"]
    assert locked == [True]
