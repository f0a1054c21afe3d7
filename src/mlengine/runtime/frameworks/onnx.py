"""ONNX models, run by onnxruntime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlengine.runtime.frameworks import Description, Model
from mlengine.runtime.frameworks.onnxsession import open_session
from mlengine.runtime.frameworks.signatures import Signature, TensorModel
from mlengine.runtime.frameworks.tensors import TensorSpec, in_batches, is_raw_text
from mlengine.runtime.prediction_error import input_error, load_error, run_error

__all__ = ["OnnxModel", "load", "texts"]

_TENSOR = re.compile(r"tensor\((\w+)\)")
_DTYPES = {"float": "float32", "double": "float64"}


def load(path: Path) -> Model:
    """Open an ONNX file on the CPU.

    Raises:
        PredictionError: Class 0: no onnxruntime, unreadable, or an input that is no tensor.
    """
    session = open_session(path)
    import onnxruntime

    return OnnxModel(session, version=str(onnxruntime.__version__))


class OnnxModel:
    """An inference session; a classifier's answer is its label and its probabilities."""

    def __init__(self, session: Any, *, version: str) -> None:
        self._session = session
        self._version = version
        self._inputs = [_spec(node) for node in session.get_inputs()]
        self._outputs = [node.name for node in session.get_outputs()]
        self._signature = Signature("", self._inputs, [_output(n) for n in session.get_outputs()])

    def predict(self, instances: list[Any], /, **kwargs: Any) -> list[Any]:
        kwargs.pop("signature_name", None)  # TensorFlow's
        if kwargs:
            raise input_error(f"The request has the unknown key {sorted(kwargs)[0]!r}.")
        return in_batches(instances, self._inputs, self.run)

    def describe(self) -> Description:
        return {
            "framework": "ONNX",
            "library_version": self._version,
            "inputs": [spec.name for spec in self._inputs],
            "raw_text": is_raw_text(self._inputs),
            "warnings": [],
        }

    def signatures(self) -> dict[str, Signature]:
        return {"": self._signature}

    def default_signature(self) -> str:
        return ""

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        columns = {name: texts(name, column) for name, column in columns.items()}
        try:
            outputs = self._session.run(self._outputs, columns)
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime has a class for each status, none public
            raise run_error(f"Exception during ONNX prediction: {error}") from error
        return dict(zip(self._outputs, outputs, strict=True))


def _spec(node: Any) -> TensorSpec:
    found = _TENSOR.fullmatch(node.type)
    if found is None:
        raise load_error(f"The input {node.name!r} is a {node.type}; only tensors can be sent.")
    # A named size, such as "batch", is any size; a rank that is not given is an empty list.
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, _DTYPES.get(found[1], found[1]), shape or None)


def texts(name: str, column: Any) -> Any:
    """Return strings as onnxruntime takes them: of bytes it would read what Python shows."""
    if column.dtype != object:
        return column
    found = column.copy()
    try:
        found.flat = [t.decode() if isinstance(t, bytes) else t for t in column.flat]
    except UnicodeDecodeError:
        raise input_error(
            f"input {name!r} has a string that is not UTF-8; onnxruntime takes no other"
        ) from None
    return found


def _output(node: Any) -> TensorSpec:
    """Describe an output; one that is a list of maps is told as the texts of these."""
    found = _TENSOR.fullmatch(node.type)
    if found is None:
        return TensorSpec(node.name, "string", (None,))
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, _DTYPES.get(found[1], found[1]), shape or None)


_: type[Model] = OnnxModel
_tensors: type[TensorModel] = OnnxModel
