"""Explains models that are asked with named tensors: TensorFlow, Keras, ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from mlengine.runtime.explain.baselines import middle_array, zero_array
from mlengine.runtime.explain.metadata import FILE, Input, Metadata, find_name
from mlengine.runtime.explain.outputs import Scores, choose, table_of
from mlengine.runtime.explain.subject import Mixed
from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.signatures import TensorModel, signature_of
from mlengine.runtime.frameworks.tensors import TensorSpec, columns
from mlengine.runtime.prediction_error import PredictionError, load_error, run_error

__all__ = ["ArrayCase", "ArraySubject", "Differentiable"]


@runtime_checkable
class Differentiable(TensorModel, Protocol):
    """A model of TensorFlow's: tensors go in and come out, with a gradient tape between them."""

    def tensors(self, inputs: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]: ...


class ArraySubject:
    """A model asked with arrays, by its default signature.

    Args:
        model: As loaded.
        metadata: What lies beside it.
        golden: Instances of its golden rows.
        gradients: Whether only inputs that have a gradient are explained.

    Raises:
        PredictionError: Class 0: the metadata do not fit the model, or it has no such input.
    """

    def __init__(
        self, model: TensorModel, metadata: Metadata, golden: Sequence[Any], *,
        gradients: bool = False,
    ) -> None:  # fmt: skip
        self.model = model
        self.signature = signature_of(cast("Model", model))
        specs = {spec.name: spec for spec in self.signature.inputs}
        self.inputs = _inputs(metadata.inputs, specs, gradients=gradients)
        outputs = [spec.name for spec in self.signature.outputs]
        self.output_name = metadata.output_name
        self.output = metadata.output_tensor
        if self.output:
            self.output = find_name(self.output, outputs, "output")
        _check_output(model, self.signature.outputs, self.output)
        fixed = {spec.shape[0] for spec in specs.values() if spec.shape} - {None}
        if fixed - {1}:
            raise load_error(f"A model that takes {fixed.pop()} rows at a time is not explained.")
        self.most_rows = 1 if fixed else 0
        self.baselines = _baselines(self.inputs, specs, _middles(golden, self.signature.inputs))

    def cases(self, instances: list[Any]) -> list[ArrayCase]:
        """Take instances apart.

        Raises:
            PredictionError: Class 1: they are not what the model takes.
        """
        # By `[row, ...]`, which leaves an array of no dimensions where `[row]` gives bare bytes.
        arrays = columns(instances, self.signature.inputs)
        return [
            ArrayCase(self, {name: array[row, ...] for name, array in arrays.items()})
            for row in range(len(instances))
        ]

    def width(self, instance: Any, most: int) -> int:
        (case,) = self.cases([instance])  # an array is counted by its shape
        return case.players * case.baselines

    def scores(self, mixed: Sequence[Mixed]) -> Scores:
        pieces = [one.case.arrays(one.masks, one.baseline) for one in mixed]
        arrays = joined(pieces)
        count = sum(len(one.masks) for one in mixed)
        try:
            outputs = self.model.run(arrays, signature_name=self.signature.name)
        except (PredictionError, MemoryError):
            raise
        except BaseException as error:  # as in `ask`: a model that exits must not end its worker
            raise run_error(f"{type(error).__name__}: {error}") from error
        tables = {name: table_of(value) for name, value in outputs.items()}
        return {n: t for n, t in tables.items() if t is not None and len(t) == count}


class ArrayCase:
    """One instance: an array for each input, without the batch."""

    def __init__(self, subject: ArraySubject, values: dict[str, np.ndarray]) -> None:
        self.values = values
        self._subject = subject
        self.players = sum(values[one.tensor].size for one in subject.inputs)
        self.baselines = max([1, *(len(rows) for rows in subject.baselines.values())])

    def baseline(self, tensor: str, number: int) -> np.ndarray:
        """Return a baseline of an input, in the instance's own shape."""
        like, rows = self.values[tensor], self._subject.baselines[tensor]
        if not rows:
            return zero_array(like)
        row = rows[number % len(rows)]
        try:
            return np.broadcast_to(row, like.shape)
        except ValueError:
            raise run_error(
                f"the baseline of {tensor!r} has the shape {list(row.shape)}, the instance has "
                f"{list(like.shape)}"
            ) from None

    def form(self, values: np.ndarray) -> dict[str, Any]:
        made, at = {}, 0
        for one in self._subject.inputs:
            like = self.values[one.tensor]
            made[one.name] = values[at : at + like.size].reshape(like.shape).tolist()
            at += like.size
        return made

    def arrays(self, masks: np.ndarray, baseline: int) -> dict[str, np.ndarray]:
        """Put rows together, one for each row of `masks`."""
        made, at = {}, 0
        for one in self._subject.inputs:
            value = self.values[one.tensor]
            mask = masks[:, at : at + value.size].reshape(len(masks), *value.shape)
            made[one.tensor] = np.where(mask, value, self.baseline(one.tensor, baseline))
            at += value.size
        return {**self.held(len(masks)), **made}

    def held(self, count: int) -> dict[str, np.ndarray]:
        """Return so many rows of the inputs that keep their values."""
        explained = {one.tensor for one in self._subject.inputs}
        return {
            name: np.broadcast_to(value, (count, *value.shape))
            for name, value in self.values.items()
            if name not in explained
        }


def joined(pieces: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the rows of several pieces as one."""
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _inputs(
    named: Sequence[Input], specs: dict[str, TensorSpec], *, gradients: bool
) -> list[Input]:
    if named:
        found = [one._replace(tensor=find_name(one.tensor, specs, "input")) for one in named]
    else:
        found = [Input(name, name, []) for name in specs]
    if not gradients:
        return found
    smooth = [one for one in found if specs[one.tensor].dtype.startswith(("float", "bfloat"))]
    if rough := [one.name for one in found if one not in smooth and named]:
        raise load_error(
            f"{FILE}: the input {rough[0]!r} has no gradient: it is "
            f"{specs[next(o.tensor for o in found if o.name == rough[0])].dtype}. "
            "Leave it out, and it keeps its value; or use sampledShapleyAttribution."
        )
    if not smooth:
        raise load_error(
            "Integrated gradients need an input of floating-point numbers; the model has "
            f"{', '.join(f'{s.name} ({s.dtype})' for s in specs.values())}. "
            "Use sampledShapleyAttribution."
        )
    return smooth


def _check_output(model: TensorModel, outputs: Sequence[TensorSpec], wanted: str) -> None:
    """Refuse what every explanation would be refused for, as far as the signature tells.

    It does not of an output without a batch, nor of texts unless they are TensorFlow's: in ONNX
    maps of scores are told as texts.

    Raises:
        PredictionError: Class 0: as `choose`.
    """
    known: dict[str, np.ndarray] = {}
    doubtful = False
    for spec in outputs:
        is_float = spec.dtype.startswith(("float", "bfloat"))
        if is_float or spec.dtype.startswith(("int", "uint", "bool")):
            known[spec.name] = np.empty((0, 1), dtype=float if is_float else int)
            is_batch = spec.shape is not None and spec.shape[:1] == (None,)
            doubtful = doubtful or not is_batch
        else:
            doubtful = doubtful or not isinstance(model, Differentiable)
    if doubtful:
        return  # what is asked for tells
    try:
        choose(known, wanted)
    except PredictionError as error:
        raise load_error(error.detail) from None


def _middles(golden: Sequence[Any], specs: Sequence[TensorSpec]) -> dict[str, np.ndarray]:
    if not golden:
        return {}
    try:
        return {name: middle_array(a) for name, a in columns(list(golden), specs).items()}
    except PredictionError:  # rows of several shapes have no middle
        return {}


def _baselines(
    inputs: Sequence[Input], specs: dict[str, TensorSpec], middles: dict[str, np.ndarray]
) -> dict[str, list[np.ndarray]]:
    made = {}
    for one in inputs:
        rows = [_array(baseline, specs[one.tensor], one.name) for baseline in one.baselines]
        middle = middles.get(one.tensor)
        made[one.tensor] = rows or ([] if middle is None else [middle])
    counts = {len(one.baselines) for one in inputs} - {0, 1}
    if len(counts) > 1:
        raise load_error(f"{FILE}: inputs have {sorted(counts)} baselines; give as many to each")
    return made


def _array(baseline: Any, spec: TensorSpec, name: str) -> np.ndarray:
    """Read a baseline; one number or text is that everywhere."""
    if not isinstance(baseline, list):
        spec = spec._replace(shape=None)
    try:
        return columns([baseline], [spec])[spec.name][0, ...]
    except PredictionError as error:
        raise load_error(f"{FILE}: a baseline of {name!r}: {error.detail}") from None
