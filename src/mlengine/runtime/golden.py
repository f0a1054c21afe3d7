"""`save_golden`: one line with which a trainer says what its model is to answer.

    import mlengine.runtime

    mlengine.runtime.save_golden(model_dir, rows[:20], model.predict(rows[:20]))

It leaves two files beside the model. A worker asks the model for every row of ``golden.jsonl``
before it serves; ``golden.libraries.json`` says which versions of which libraries were there when
it was saved, and explains what a worker finds.

Python >= 3.7 and its standard library; arrays are taken by their own `tolist`.
"""

from __future__ import annotations

import base64
import json
import math
import os
import platform
import sys
from pathlib import Path
from typing import Any

__all__ = ["LIBRARIES_FILE", "MAX_ROWS", "ROWS_FILE", "save_golden"]

ROWS_FILE = "golden.jsonl"
LIBRARIES_FILE = "golden.libraries.json"
MAX_ROWS = 256

_LIBRARIES = ("joblib", "keras", "lightgbm", "numpy", "onnx", "onnxruntime", "pandas", "sklearn",
              "tensorflow", "torch", "xgboost")  # fmt: skip


def save_golden(model_dir: Any, instances: Any, predictions: Any) -> int:
    """Save instances and what the model answers to them, beside the model.

    Args:
        model_dir: The directory that is exported.
        instances: Rows as a request holds them: lists, arrays, objects, or an object of columns.
        predictions: What the service is to answer to each: as `predict` returns it, or an object
            of columns by the name of the model's output.

    Returns:
        How many rows were saved: the first `MAX_ROWS` at most.

    Raises:
        ValueError: As many predictions as instances are needed, at least one, and finite ones.
    """
    asked, answers = _rows(instances), _rows(predictions)
    if len(asked) != len(answers) or not asked:
        raise ValueError("%d predictions for %d instances" % (len(answers), len(asked)))  # noqa: UP031
    lines = [
        json.dumps({"instance": _missing_as_null(one), "prediction": answer}, allow_nan=False)
        for one, answer in list(zip(asked, answers))[:MAX_ROWS]  # noqa: B905 - Python 3.7
    ]
    folder = Path(str(model_dir))
    _write(folder / LIBRARIES_FILE, json.dumps(_environment(), sort_keys=True) + "\n")
    _write(folder / ROWS_FILE, "".join(line + "\n" for line in lines))
    return len(lines)


def _rows(value: Any) -> list[Any]:
    if isinstance(value, dict):
        columns = {str(name): _rows(column) for name, column in value.items()}
        counts = {len(column) for column in columns.values()}
        if len(counts) != 1:
            raise ValueError("the columns are not of one length: %s" % sorted(counts))  # noqa: UP031
        return [{name: column[i] for name, column in columns.items()} for i in range(counts.pop())]
    if hasattr(value, "numpy"):
        value = value.numpy()  # a tensor
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return [_plain(row) for row in value.to_dict("records")]  # a table with column names
    return [_plain(row) for row in value]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):  # Python 3.7
        return [_plain(item) for item in value]
    return _plain(value.tolist()) if hasattr(value, "tolist") else value


def _missing_as_null(value: Any) -> Any:
    if isinstance(value, list):
        return [_missing_as_null(item) for item in value]
    if isinstance(value, dict):
        return {name: _missing_as_null(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _environment() -> dict[str, Any]:
    found = {}
    for name in _LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version:
            found[name] = str(version)
    return {"python": platform.python_version(), "libraries": found}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name("%s.%d.tmp" % (path.name, os.getpid()))  # noqa: UP031
    staged.write_text(text, encoding="utf-8")
    os.replace(str(staged), str(path))  # noqa: PTH105
