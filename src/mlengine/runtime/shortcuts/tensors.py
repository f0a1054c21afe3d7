"""TensorFlow, Keras and ONNX models: the rows of many callers in one call of the model.

The decoder is made from the model's own inputs, so that a body is either exactly what the model
takes or goes the general way. A neural network multiplies matrices, and the library rounds the
sum of a row differently when other rows stand beside it; it does so among the rows of one caller
already. Floats are therefore the general way's within `TOLERANCE`; whole numbers and texts are its.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from mlengine.runtime.frameworks.signatures import TensorModel, signature_of
from mlengine.runtime.frameworks.tensors import TensorSpec, rows
from mlengine.runtime.shortcuts import Shortcut
from mlengine.runtime.shortcuts.kernel import NoKernel
from mlengine.runtime.shortcuts.simd import FEW_BYTES, Arrays
from mlengine.runtime.strictjson import dumps

__all__ = ["TOLERANCE", "Tensors"]

TOLERANCE = 1e-5
"""Largest difference of two floats, relative to the larger one or to 1."""

_EXACT = 2.0**53  # beyond it, integers and floats of JSON are no longer the same numbers
_MAX_BOUND = 2**53 - 1


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
        self._single = len(self.inputs) == 1
        values = [_value_type(spec) for spec in self.inputs]
        self._decode_bare = _decoder(values[0]) if self._single else None
        self._decode_objects = _decoder(_object_type(self.inputs, values))
        self._arrays, self._arrays_of_objects = _arrays(self.inputs)

    def read(self, body: bytes) -> Any | None:
        objects = not self._single or body.count(b"{", 0, 64) > 1
        simple = self._arrays_of_objects if objects else self._arrays
        if simple is not None and len(body) >= FEW_BYTES:
            arrays = simple.read(body)
            if arrays is not None:
                return _Columns(arrays)
        decode = self._decode_objects if objects else self._decode_bare
        assert decode is not None
        try:
            instances = decode(body).instances
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if not instances:
            return None
        keys = 1 + len(instances) * len(self.inputs) if objects else 1
        if body.count(b":") != keys:  # a key given twice, or a text with a colon
            return None
        return [msgspec.structs.astuple(row) for row in instances] if objects else (
            [(value,) for value in instances]
        )  # fmt: skip

    def count(self, asked: Any) -> int:
        return len(asked)

    def answer(self, asked: Sequence[Any]) -> list[bytes | None]:
        if self._together or len(asked) == 1:
            return self._answer(asked)
        return [answer for one in asked for answer in self._answer([one])]

    def _answer(self, asked: Sequence[Any]) -> list[bytes | None]:
        try:
            columns = self._columns(asked)
            outputs = self._model.run(columns, signature_name=self._signature)
            predictions = rows(outputs, count=sum(map(len, asked)))
            answers: list[bytes | None] = []
            end = 0
            for one in asked:
                start, end = end, end + len(one)
                answers.append(dumps({"predictions": predictions[start:end]}))
        except MemoryError:
            raise
        except Exception:  # the general way finds whose instance it is
            return [None] * len(asked)
        return answers

    def _columns(self, asked: Sequence[Any]) -> dict[str, np.ndarray]:
        """Put the instances of requests together."""
        if not any(isinstance(one, _Columns) for one in asked):
            instances = asked[0] if len(asked) == 1 else [row for one in asked for row in one]
            values: Any = zip(*instances, strict=True)
        else:
            each = [
                one.arrays if isinstance(one, _Columns)
                else [np.array(given, dtype=np.float64) for given in zip(*one, strict=True)]
                for one in asked
            ]  # fmt: skip
            values = [np.concatenate(given) for given in zip(*each, strict=True)]
        return {
            spec.name: _column(given, spec) for spec, given in zip(self.inputs, values, strict=True)
        }


class _Columns:
    """The instances of a request, as an array for each input."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])


def _arrays(inputs: Sequence[TensorSpec]) -> tuple[Arrays | None, Arrays | None]:
    """Return who reads bodies of lists, and of objects, where all inputs are lists of floats."""
    shapes = [tuple(size or 0 for size in (spec.shape or ())[1:]) for spec in inputs]
    # A column of one value is written as that value.
    if any(not shape or shape == (1,) for shape in shapes):
        return None, None
    if any(spec.dtype not in ("float32", "float64") for spec in inputs):
        return None, None
    names = [spec.name for spec in inputs]
    return Arrays(shapes) if len(inputs) == 1 else None, Arrays(shapes, names)


def _column(values: Sequence[Any] | np.ndarray, spec: TensorSpec) -> np.ndarray:
    if spec.dtype == "string":
        column = np.array(values, dtype=object)
    elif spec.dtype.startswith("float"):
        # Both float32 and float64 hold whatever is within these bounds.
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


def _object_type(inputs: Sequence[TensorSpec], values: Sequence[Any]) -> Any:
    fields = [(f"c{index}", value) for index, value in enumerate(values)]
    wire = {f"c{index}": spec.name for index, spec in enumerate(inputs)}
    return msgspec.defstruct("Row", fields, rename=wire, forbid_unknown_fields=True, gc=False)


def _decoder(instance: Any) -> Any:
    body = msgspec.defstruct("Body", [("instances", list[instance])], forbid_unknown_fields=True)
    return msgspec.json.Decoder(body).decode


_: type[Shortcut] = Tensors
