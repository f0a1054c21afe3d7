"""Rows of JSON ⇄ named tensors: what TensorFlow, Keras and ONNX models have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlengine.runtime.answers import plain
from mlengine.runtime.instances import decode_b64, is_number, kind_of
from mlengine.runtime.prediction_error import input_error, output_error

__all__ = [
    "MAX_DIMENSIONS", "TensorSpec", "columns", "in_batches", "integers", "is_raw_text", "rows",
]  # fmt: skip

MAX_DIMENSIONS = 32
"""Of a tensor that is read: no release of numpy holds fewer."""


class TensorSpec(NamedTuple):
    """A named input. `shape` has the batch first and None for any size; None for any shape.

    `dtype` is numpy's name, or ``string``.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


def is_raw_text(inputs: Sequence[TensorSpec]) -> bool:
    """One string input: a line of a text file can be the instance as it stands."""
    return len(inputs) == 1 and inputs[0].dtype == "string"


def columns(instances: list[Any], inputs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    """Stack instances to one array per input.

    A model with one input takes bare values or ``{input: value}``; with several, objects.

    Raises:
        PredictionError: Class 1, naming the input, and what was expected and got.
    """
    if any(spec.dtype == "string" for spec in inputs):
        instances = decode_b64(instances)
    if len(inputs) == 1:
        name = inputs[0].name
        values = {name: [_only_value(row, name) for row in instances]}
    else:
        values = _values_by_name(instances, [spec.name for spec in inputs])
    return {spec.name: _stack(values[spec.name], spec) for spec in inputs}


def in_batches(
    instances: list[Any],
    inputs: Sequence[TensorSpec],
    run: Callable[[dict[str, np.ndarray]], Mapping[str, Any]],
) -> list[Any]:
    """Run a model over instances; a model that was exported for batches of one gets them singly."""
    fixed = {spec.shape[0] for spec in inputs if spec.shape} - {None}
    if fixed == {1} and len(instances) > 1:
        return [in_batches([row], inputs, run)[0] for row in instances]
    if fixed and fixed != {len(instances)}:
        raise input_error(
            f"the model takes exactly {sorted(fixed, key=str)[0]} instances at a time, "
            f"got {len(instances)}"
        )
    return rows(run(columns(instances, inputs)), count=len(instances))


def rows(outputs: Mapping[str, Any], *, count: int) -> list[Any]:
    """Turn named outputs into one object ``{output: value}`` per instance.

    Bytes are text, unless the output's name ends with ``_bytes``: then ``{"b64": …}``.

    Raises:
        PredictionError: Class 3: outputs of another length, or a value that is not finite.
    """
    lists = [_output_rows(name, value, count) for name, value in outputs.items()]
    names = list(outputs)
    if len(names) == 1:
        return [{names[0]: value} for value in lists[0]]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def integers(array: np.ndarray, values: Any, spec: TensorSpec) -> np.ndarray:
    """Turn an array of whole floats into integers: 1.0 is one in JSON.

    Args:
        array: `values` as numpy reads them.
        values: Nested lists. From 2**53 on they are read anew, for integers lie between floats.
        spec: What the model wants there.

    Raises:
        PredictionError: Class 1: a value that does not fit.
    """
    if (np.abs(array) < 1 << 53).all():
        return array.astype(np.int64)
    exact: np.ndarray = np.vectorize(int, otypes=[object])(np.array(values, dtype=object))
    try:
        return exact.astype("uint64" if spec.dtype.startswith("u") else "int64")
    except OverflowError:
        raise input_error(
            f"input {spec.name!r} has an integer that {spec.dtype} cannot hold"
        ) from None


def _output_rows(name: str, value: Any, count: int) -> list[Any]:
    if isinstance(value, list):  # ONNX's sequences, such as one map of probabilities per row
        _same_length(name, len(value), count)
        return [plain(item) for item in value]
    array = np.asarray(value)
    if array.ndim == 0:
        array = array.reshape(1)
    _same_length(name, len(array), count)
    is_float = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    if is_float and not np.isfinite(array).all():
        finite = np.isfinite(array.reshape(count, -1)).all(axis=1)
        raise output_error(
            f"the output {name!r} for instance {int(np.argmin(finite))} is NaN or infinite, "
            "which JSON cannot carry"
        )
    if array.dtype.kind in "OSU":
        return [_texts(item, name) for item in array.tolist()]
    as_list: list[Any] = array.tolist()
    return as_list


def _same_length(name: str, got: int, count: int) -> None:
    if got != count:
        raise output_error(
            f"the output {name!r} has {got} rows for {count} instances; the first dimension of "
            "every output must be the batch"
        )


def _texts(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_texts(item, name) for item in value]
    if isinstance(value, bytes) and not name.endswith("_bytes"):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise output_error(
                f"the output {name!r} holds bytes that are not UTF-8; an output whose name ends "
                "with _bytes is sent as base64"
            ) from None
    if isinstance(value, str) and name.endswith("_bytes"):
        return plain(value.encode())
    return plain(value)


def _only_value(row: Any, name: str) -> Any:
    if not isinstance(row, dict):
        return row
    if list(row) != [name]:
        raise input_error(f"Expected tensor name: {name}, got tensor name: {list(row)}.")
    return row[name]


def _values_by_name(instances: list[Any], names: list[str]) -> dict[str, list[Any]]:
    known = set(names)
    for index, row in enumerate(instances):
        if not isinstance(row, dict):
            raise input_error(
                f"instance {index} is {kind_of(row)}, expected an object with the inputs {names}"
            )
        for key in row:
            if key not in known:
                raise input_error(f"Unexpected tensor name: {key}. The inputs are {names}.")
    for name in names:
        if any(name not in row for row in instances):
            raise input_error(f"Input {name} was missing in at least one input instance.")
    return {name: [row[name] for row in instances] for name in names}


def _stack(values: list[Any], spec: TensorSpec) -> np.ndarray:
    try:
        array = np.array(values, dtype=object) if spec.dtype == "string" else np.array(values)
    except (ValueError, OverflowError):
        raise input_error(_misfit(values, spec)) from None
    array = _cast(array, values, spec)
    if spec.shape is None:
        return array
    if array.ndim + 1 == len(spec.shape) and spec.shape[-1] == 1:
        array = array[..., np.newaxis]  # a bare number for a column of width one
    fits = array.ndim == len(spec.shape) and all(
        want is None or want == got
        for want, got in zip(spec.shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise input_error(
            f"each instance of input {spec.name!r} has the shape {list(array.shape[1:])}, "
            f"expected {_shape_text(spec)}"
        )
    return array


def _cast(array: np.ndarray, values: list[Any], spec: TensorSpec) -> np.ndarray:
    kind = array.dtype.kind
    if spec.dtype == "string":
        if not all(isinstance(leaf, str | bytes) for leaf in array.flat):
            raise input_error(_misfit(values, spec))
        return array
    want = np.dtype(spec.dtype)
    if array.size == 0:
        return array.astype(want)
    if want.kind in "iu" and kind == "f" and np.equal(np.mod(array, 1), 0).all():
        array = integers(array, values, spec)
        kind = array.dtype.kind
    accepted = {"b": "b", "i": "iu", "u": "iu"}.get(want.kind, "fiu")
    if kind not in accepted:
        raise input_error(_misfit(values, spec))
    with np.errstate(over="ignore"):
        cast = array.astype(want)
    if kind in "iu" and want.kind in "iu" and not np.array_equal(cast, array):
        raise input_error(f"input {spec.name!r} has an integer that {spec.dtype} cannot hold")
    if kind == "f" and not np.isfinite(cast).all():
        raise input_error(f"input {spec.name!r} has a number that {spec.dtype} cannot hold")
    return cast


def _misfit(values: list[Any], spec: TensorSpec) -> str:
    """Name the first instance whose value is of the wrong type, or of another shape."""
    wanted = {"string": "strings", "bool": "booleans"}.get(spec.dtype, f"{spec.dtype} numbers")
    first_shape = _shape_of(values[0])
    for index, value in enumerate(values):
        bad = _first_bad_leaf(value, spec.dtype)
        if bad is not None:
            return f"input {spec.name!r} of instance {index} has {bad}, expected {wanted}"
        shape = _shape_of(value)
        if shape is None:
            return f"input {spec.name!r} of instance {index} is a ragged list, expected " + (
                _shape_text(spec)
            )
        if shape != first_shape:
            return (
                f"input {spec.name!r} of instance {index} has the shape {list(shape)}, "
                f"instance 0 has {list(first_shape or ())}; expected {_shape_text(spec)}"
            )
    return f"input {spec.name!r} does not fit {wanted} of the shape {_shape_text(spec)}"


def _first_bad_leaf(value: Any, dtype: str) -> str | None:
    if isinstance(value, list):
        return next((bad for item in value if (bad := _first_bad_leaf(item, dtype))), None)
    if dtype == "string":
        good = isinstance(value, str | bytes)
    elif dtype == "bool":
        good = isinstance(value, bool)
    elif dtype.startswith(("int", "uint")):
        good = not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    else:
        good = is_number(value)
    if good:
        return None
    return f"the fraction {value}" if isinstance(value, float) else kind_of(value)


def _shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of a nested list; None when it is ragged."""
    if not isinstance(value, list):
        return ()
    shapes = {_shape_of(item) for item in value}
    if not shapes:
        return (0,)
    only = shapes.pop()
    return None if shapes or only is None else (len(value), *only)


def _shape_text(spec: TensorSpec) -> str:
    if spec.shape is None:
        return "any shape"
    sizes = ", ".join("?" if size is None else str(size) for size in spec.shape[1:])
    return f"[{sizes}]"
