"""A model as named tensors: what TF Serving's columns and the Open Inference Protocol speak of.

TensorFlow, Keras and ONNX models are that by nature: arrays go in and come out as they are. A table
model (scikit-learn, XGBoost) takes rows; its one tensor is the table, or one tensor is one column,
and the rows that it is asked are the very rows that ``instances`` would have held.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from mlengine.runtime.frameworks import Model, ask
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.prediction_error import (
    PredictionError,
    input_error,
    output_error,
    run_error,
)

__all__ = ["OUTPUT", "Signature", "Signed", "TensorModel", "run", "signature_of", "signatures_of"]

OUTPUT = "predict"
"""Name of the one output of a table model."""


class Signature(NamedTuple):
    """What one function of a model takes and gives; no inputs: rows whose types only it knows."""

    name: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]


@runtime_checkable
class Signed(Protocol):
    """A model that knows its tensors."""

    def signatures(self) -> dict[str, Signature]: ...
    def default_signature(self) -> str: ...


@runtime_checkable
class TensorModel(Signed, Protocol):
    """A model that is asked with arrays, and answers with arrays or, in ONNX, lists."""

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]: ...


def signatures_of(model: Model) -> dict[str, Signature]:
    """Return every signature of a model by its name; one without names has ``""``."""
    return model.signatures() if isinstance(model, Signed) else {"": Signature("", [], [])}


def signature_of(model: Model, name: str = "") -> Signature:
    """Return the signature of that name, or the default one.

    Raises:
        PredictionError: Class 1: the model has none of that name.
    """
    found = signatures_of(model)
    if "" in found:
        return found[""]  # without names; as on predict, whatever is asked for is this one
    if not name and isinstance(model, Signed):
        name = model.default_signature()
    if name not in found:
        raise input_error(
            f"No signature found for signature key {name}. "
            f"The model has: {', '.join(sorted(found))}."
        )
    return found[name]


def run(model: Model, arrays: dict[str, np.ndarray], name: str = "") -> dict[str, np.ndarray]:
    """Ask a model with named arrays; texts are objects of `bytes`.

    Raises:
        PredictionError: As `ask`; class 1 names the tensor that does not fit, and what would.
    """
    if not isinstance(model, TensorModel):
        return {OUTPUT: _array(ask(model, _rows(model, arrays), {}), OUTPUT)}
    signature = signature_of(model, name)
    columns = {spec.name: _fit(arrays, spec) for spec in signature.inputs}
    known = [spec.name for spec in signature.inputs]
    if unknown := sorted(set(arrays) - set(known)):
        raise input_error(f"Unexpected tensor name: {unknown[0]}. The inputs are {known}.")
    try:
        outputs = model.run(columns, signature_name=signature.name)
    except (PredictionError, MemoryError):
        raise
    except BaseException as error:  # as in `ask`: a model that exits must not end its worker
        raise run_error(f"{type(error).__name__}: {error}") from error
    return {key: _array(value, key) for key, value in outputs.items()}


def _fit(arrays: dict[str, np.ndarray], spec: TensorSpec) -> np.ndarray:
    """Return the array for an input in the input's own type, if its values have a place there."""
    if spec.name not in arrays:
        raise input_error(f"Input {spec.name} is missing. The tensors are {sorted(arrays)}.")
    array = arrays[spec.name]
    if spec.shape is not None:
        if array.ndim + 1 == len(spec.shape) and spec.shape[-1] == 1:
            array = array[..., np.newaxis]
        if array.ndim != len(spec.shape) or any(
            want is not None and want != got
            for want, got in zip(spec.shape, array.shape, strict=True)
        ):
            wanted = [-1 if size is None else size for size in spec.shape]
            raise input_error(
                f"input {spec.name!r} has the shape {list(array.shape)}, expected {wanted}"
            )
    if spec.dtype == "string":
        if array.dtype != object:
            raise input_error(f"input {spec.name!r} is {array.dtype}, expected strings")
        return array
    return _cast(array, spec)


def _cast(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    want = np.dtype(spec.dtype)
    if array.dtype == want:
        return array
    accepted = {"b": "b", "i": "iu", "u": "iu"}.get(want.kind, "fiu")
    if array.dtype.kind not in accepted:
        came = "strings" if array.dtype == object else str(array.dtype)
        raise input_error(f"input {spec.name!r} is {came}, expected {spec.dtype}")
    with np.errstate(over="ignore"):
        cast = array.astype(want)
    if want.kind in "iu" and not np.array_equal(cast, array):
        raise input_error(f"input {spec.name!r} has an integer that {spec.dtype} cannot hold")
    if array.dtype.kind == "f" and not np.array_equal(np.isfinite(cast), np.isfinite(array)):
        raise input_error(f"input {spec.name!r} has a number that {spec.dtype} cannot hold")
    return cast


def _rows(model: Model, arrays: dict[str, np.ndarray]) -> list[Any]:
    """Return the rows that a table model is asked about."""
    names = model.describe()["inputs"]
    if len(arrays) == 1 and not (len(names) == 1 and next(iter(arrays)) == names[0]):
        (array,) = arrays.values()
        if array.ndim == 0:
            raise input_error("the tensor has no dimension, expected one row for each instance")
        rows: list[Any] = array.tolist()
        return [_texts(row) for row in rows] if array.dtype == object else rows
    columns = {}
    for name, array in arrays.items():
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise input_error(
                f"the column {name!r} has the shape {list(array.shape)}, expected one dimension; "
                "send the whole table as one tensor, or each column as one"
            )
        columns[name] = _texts(array.tolist()) if array.dtype == object else array.tolist()
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) != 1:
        raise input_error(f"the columns differ in length: {counts}")
    if not names:
        raise input_error(
            f"the model knows no names of columns, and got {sorted(columns)}; send one tensor"
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise input_error("a string is not UTF-8; this model takes texts") from None


def _array(value: Any, name: str) -> np.ndarray:
    """Return an output as an array: numbers as they are, whatever else as objects of `bytes`."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        from mlengine.runtime.answers import plain
        from mlengine.runtime.strictjson import StrictJsonError, dumps

        try:  # ONNX's maps, such as class → probability: no tensor but their text
            return _objects([dumps(plain({str(k): v for k, v in row.items()})) for row in value])
        except StrictJsonError as error:
            raise output_error(f"the output {name!r}: {error}") from None
    try:
        array = np.asarray(value)
    except ValueError:
        raise output_error(f"the output {name!r} is ragged: it is no tensor") from None
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    flat = _objects([_bytes(item, name) for item in array.ravel().tolist()])
    return flat.reshape(array.shape)


def _objects(items: list[bytes]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _bytes(item: Any, name: str) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        return item.encode("utf-8", "surrogatepass")
    raise output_error(f"the output {name!r} holds a {type(item).__name__}: it is no tensor")
