"""Nested lists of JSON ⇄ arrays, whatever their first dimension means."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlengine.runtime.frameworks.tensors import MAX_DIMENSIONS, TensorSpec, integers
from mlengine.runtime.instances import decode_b64, is_number, kind_of
from mlengine.runtime.prediction_error import input_error, output_error

__all__ = ["read", "write"]


def read(value: Any, name: str, spec: TensorSpec | None) -> np.ndarray:
    """Return a nested list as an array; texts become objects of `bytes`.

    Args:
        value: As parsed from JSON; ``{"b64": …}`` stands for bytes.
        name: What messages call the tensor.
        spec: What the model wants there, if it is known.

    Raises:
        PredictionError: Class 1: ragged, or of several types.
    """
    leaf = value
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    if isinstance(leaf, str | dict):
        return _texts(decode_b64(value), name)
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        raise input_error(f"input {name!r} is a ragged list: it is no tensor") from None
    if array.size == 0 and spec is not None:
        return array.astype(object if spec.dtype == "string" else spec.dtype)
    if array.dtype.kind not in "biuf":
        raise input_error(f"input {name!r} has {kind_of(_odd(value))} where numbers are")
    if spec is not None and spec.dtype.startswith(("int", "uint")) and array.dtype.kind == "f":
        whole = np.equal(np.mod(array, 1), 0).all()
        return integers(array, value, spec) if whole else array
    return array


def write(array: np.ndarray, name: str) -> Any:
    """Return an array as nested lists; bytes as text, or base64 under a name with ``_bytes``.

    Raises:
        PredictionError: Class 3: a value that JSON cannot carry.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise output_error(f"the output {name!r} is NaN or infinite, which JSON cannot carry")
    if array.dtype != object:
        return array.tolist()
    return _written(array.tolist(), name)


def _written(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_written(item, name) for item in value]
    if name.endswith("_bytes"):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise output_error(
            f"the output {name!r} holds bytes that are not UTF-8; an output whose name ends "
            "with _bytes is sent as base64"
        ) from None


def _texts(value: Any, name: str) -> np.ndarray:
    shape: list[int] = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0]
    if len(shape) > MAX_DIMENSIONS:
        raise input_error(
            f"input {name!r} has {len(shape)} dimensions, at most {MAX_DIMENSIONS} are read"
        )
    flat: list[bytes] = []
    _collect(value, shape, flat, name)
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array.reshape(shape)


def _collect(value: Any, shape: list[int], flat: list[bytes], name: str) -> None:
    if shape:
        if not isinstance(value, list) or len(value) != shape[0]:
            raise input_error(f"input {name!r} is a ragged list: it is no tensor")
        for item in value:
            _collect(item, shape[1:], flat, name)
    elif isinstance(value, str):
        flat.append(value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes):
        flat.append(value)
    else:
        raise input_error(f"input {name!r} has {kind_of(value)} where strings are")


def _odd(value: Any) -> Any:
    """Find a leaf that is no number."""
    if isinstance(value, list):
        return next((odd for item in value if not is_number(odd := _odd(item))), 0)
    return value
