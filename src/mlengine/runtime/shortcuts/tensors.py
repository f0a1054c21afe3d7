"""TensorFlow, Keras and ONNX models: the rows of many callers in one call of the model.

The decoder is made from the model's own inputs, so that a body is either exactly what the model
takes or goes the general way. A neural network multiplies matrices, and the library rounds the
sum of a row differently when other rows stand beside it; it does so among the rows of one caller
already. Floats are therefore the general way's within `TOLERANCE`; whole numbers and texts are its.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from mlengine.runtime.frameworks.signatures import TensorModel, signature_of
from mlengine.runtime.frameworks.tensors import TensorSpec, rows
from mlengine.runtime.shortcuts import Shortcut
from mlengine.runtime.shortcuts.kernel import NoKernel
from mlengine.runtime.shortcuts.reading import body_decoder, object_type, reader
from mlengine.runtime.strictjson import dumps

__all__ = ["TOLERANCE", "Tensors"]

TOLERANCE = 1e-5
"""Largest difference of two floats, relative to the larger one or to 1."""

_EXACT = 2.0**53  # beyond it, integers and floats of JSON are no longer the same numbers
_MAX_BOUND = 2**53 - 1

_encode_lines = msgspec.json.Encoder().encode_lines

_Read = Callable[[bytes], Any | None]
_Columns = dict[str, np.ndarray]


class Tensors:
    """The shortcut of a model of named tensors.

    Args:
        model: The loaded model.
        together: All requests are one call; otherwise each has its own.

    Raises:
        NoKernel: An input has no fixed shape, or a type that is not plain JSON.
    """

    def __init__(self, model: TensorModel, *, together: bool = True) -> None:
        signature = signature_of(model)  # type: ignore[arg-type]  # it is a Model as well
        self.inputs = signature.inputs
        if not self.inputs:
            raise NoKernel("the model has no inputs")
        self._model = model
        self._signature = signature.name
        self._together = together
        # A network in plain numbers takes rows as they were read.
        self._of_rows = getattr(model, "of_rows", {}).get(signature.name)
        self._form = _Floats(self.inputs) if _are_floats(self.inputs) else _Values(self.inputs)

    def read(self, body: bytes) -> Any | None:
        form = self._form
        if form.read_bare is not None and body.count(b"{", 0, 64) == 1:
            return form.read_bare(body)
        return form.read_objects(body)

    def count(self, asked: Any) -> int:
        return self._form.count(asked)

    def answer(self, asked: Sequence[Any]) -> list[bytes | None]:
        if self._together or len(asked) == 1:
            return self._answer(asked)
        return [answer for one in asked for answer in self._answer([one])]

    def _answer(self, asked: Sequence[Any]) -> list[bytes | None]:
        try:
            counts = self._form.counts(asked)
            outputs = self._outputs(asked)
            predictions = rows(outputs, count=sum(counts))
            if len(predictions) == len(asked):
                return _one_each(predictions)
            answers: list[bytes | None] = []
            end = 0
            for count in counts:
                start, end = end, end + count
                answers.append(dumps({"predictions": predictions[start:end]}))
        except MemoryError:
            raise
        except Exception:  # the general way finds whose instance it is
            return [None] * len(asked)
        return answers

    def _outputs(self, asked: Sequence[Any]) -> dict[str, Any]:
        if self._of_rows is not None and isinstance(self._form, _Floats):
            outputs: dict[str, Any] = self._of_rows(self._form.table(asked))
            return outputs
        return self._model.run(self._form.columns(asked), signature_name=self._signature)


class _Floats:
    """Reads instances of floats alone: a table for each request, the columns of all inputs in it.

    Attributes:
        read_bare: Reads instances that are the only input; None: there are several.
        read_objects: Reads instances that name their inputs.
    """

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        shapes = [_shape(spec) for spec in inputs]
        self._inputs = [
            (spec.name, spec.dtype, _sizes(spec), math.prod(shape))
            for spec, shape in zip(inputs, shapes, strict=True)
        ]
        self._width = sum(map(math.prod, shapes))
        self.read_bare: _Read | None = reader(shapes) if len(inputs) == 1 else None
        self.read_objects: _Read = reader(shapes, [spec.name for spec in inputs])

    def count(self, asked: bytes) -> int:
        return len(asked) // (8 * self._width)

    def counts(self, asked: Sequence[bytes]) -> list[int]:
        row_bytes = 8 * self._width
        return [len(one) // row_bytes for one in asked]

    def table(self, asked: Sequence[bytes]) -> np.ndarray:
        """Put the instances of requests together, all inputs side by side."""
        return np.frombuffer(b"".join(asked), np.float64).reshape(-1, self._width)

    def columns(self, asked: Sequence[bytes]) -> _Columns:
        """Put the instances of requests together."""
        table = self.table(asked)
        columns, end = {}, 0
        for name, dtype, sizes, size in self._inputs:
            start, end = end, end + size
            columns[name] = table[:, start:end].astype(dtype, order="C").reshape(-1, *sizes)
        return columns


class _Values:
    """Reads instances of other types; see `_Floats`. What it has read is a row of values each."""

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self._inputs = inputs
        values = [_value_type(spec) for spec in inputs]
        self.read_bare: _Read | None = None
        if len(inputs) == 1:
            decode_bare = body_decoder(values[0])
            self.read_bare = lambda body: _read_values(decode_bare, body, members=0)
        decode = body_decoder(object_type([spec.name for spec in inputs], values))
        self.read_objects: _Read = lambda body: _read_values(decode, body, members=len(inputs))

    def count(self, asked: Sequence[Any]) -> int:
        return len(asked)

    def counts(self, asked: Sequence[Sequence[Any]]) -> list[int]:
        return list(map(len, asked))

    def columns(self, asked: Sequence[Any]) -> _Columns:
        """Put the instances of requests together."""
        values = zip(*[row for one in asked for row in one], strict=True)
        return {
            spec.name: _column(given, spec)
            for spec, given in zip(self._inputs, values, strict=True)
        }


def _one_each(predictions: list[Any]) -> list[bytes | None]:
    """Return the answers of requests with one prediction each, as `dumps` would write them."""
    lines = _encode_lines(predictions)
    if b"null" in lines:  # one that is no number, perhaps: whose, the slow way finds
        return [dumps({"predictions": [one]}) for one in predictions]
    return [b'{"predictions":[%b]}' % line for line in lines.splitlines()]


def _are_floats(inputs: Sequence[TensorSpec]) -> bool:
    # Both hold whatever number is read.
    return all(
        _value_type(spec) is not None and spec.dtype in ("float32", "float64") for spec in inputs
    )


def _shape(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of a value in JSON: a column of one value is written as that value."""
    sizes = _sizes(spec)
    return () if sizes == (1,) else sizes


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size or 0 for size in (spec.shape or ())[1:])


def _read_values(decode: Callable[[bytes], Any], body: bytes, *, members: int) -> Any | None:
    try:
        instances = decode(body).instances
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    # A key given twice, or a text with a colon.
    if not instances or body.count(b":") != 1 + len(instances) * members:
        return None
    return [msgspec.structs.astuple(row) if members else (row,) for row in instances]


def _column(values: Sequence[Any], spec: TensorSpec) -> np.ndarray:
    if spec.dtype == "string":
        column = np.array(values, dtype=object)
    elif spec.dtype.startswith("float"):
        exact = np.asarray(values, dtype=np.float64)
        if not (exact.max() < _EXACT and exact.min() > -_EXACT):
            raise OverflowError(spec.name)
        column = exact.astype(spec.dtype)
    else:
        column = np.array(values, dtype=spec.dtype)
    if spec.shape is not None and len(spec.shape) == 2 and spec.shape[1] == 1:
        return column[:, np.newaxis]
    return column


def _value_type(spec: TensorSpec) -> Any:
    """Return what `msgspec` is to expect of one value of an input."""
    if spec.shape is None or spec.shape[0] is not None:
        raise NoKernel(f"the input {spec.name!r} has a batch of its own size")
    if spec.dtype == "string":
        kind: Any = str
    elif spec.dtype == "bool":
        kind = bool
    elif spec.dtype in ("float32", "float64"):
        kind = float
    elif spec.dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        info = np.iinfo(spec.dtype)
        low, high = max(int(info.min), -_MAX_BOUND), min(int(info.max), _MAX_BOUND)
        kind = Annotated[int, msgspec.Meta(ge=low, le=high)]
    else:
        raise NoKernel(f"the input {spec.name!r} is of the type {spec.dtype}")
    inner = spec.shape[1:]
    if inner == (1,):
        return kind  # a bare value; [value] goes the general way
    for size in reversed(inner):
        if not size:
            raise NoKernel(f"the input {spec.name!r} has no fixed shape")
        kind = Annotated[list[kind], msgspec.Meta(min_length=size, max_length=size)]
    return kind


_: type[Shortcut] = Tensors
