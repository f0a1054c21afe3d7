"""TF Serving's classify and regress: features by name, as `tf.Example`, into a signature for them.

A feature is a value or a list; integers make an int64 list, fractions a float list, texts and
``{"b64": …}`` a bytes list. What ``context`` holds is added to every example.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlengine.runtime.dialects import CallError
from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.signatures import Signature, TensorModel, run, signatures_of
from mlengine.runtime.instances import decode_b64, kind_of
from mlengine.runtime.prediction_error import output_error

__all__ = ["results"]

_OUTPUTS = {"classify": ("classes", "scores"), "regress": ("outputs",)}


def results(model: Model, operation: str, name: str, asked: dict[str, Any]) -> list[Any]:
    """Return one result an example: ``[[label, score], …]`` or a number.

    Raises:
        CallError: No such signature, or the examples are none.
        PredictionError: As `ask`.
    """
    signature = _signature(model, operation, name)
    examples = asked.get("examples")
    if not isinstance(examples, list) or not examples:
        raise CallError(f'"examples" is {kind_of(examples)}, expected a list of at least one')
    context = asked.get("context", {})
    texts = np.empty(len(examples), dtype=object)
    texts[:] = [_example(example, context, index) for index, example in enumerate(examples)]
    outputs = run(model, {signature.inputs[0].name: texts}, signature.name)
    _check_shapes(operation, outputs, len(examples))
    if operation == "regress":
        values: list[Any] = outputs["outputs"].reshape(len(examples)).tolist()
        return values
    scores = outputs["scores"].tolist() if "scores" in outputs else None
    classes = outputs["classes"].tolist() if "classes" in outputs else None
    return [
        [
            [_label(classes[row][i]) if classes else "", scores[row][i] if scores else 0.0]
            for i in range(len((classes or scores or [])[row]))
        ]
        for row in range(len(examples))
    ]


def _check_shapes(operation: str, outputs: dict[str, np.ndarray], count: int) -> None:
    shapes = [array.shape for array in outputs.values()]
    if operation == "regress":
        good = shapes[0] in ((count,), (count, 1))
    else:
        good = len(set(shapes)) == 1 and len(shapes[0]) == 2 and shapes[0][0] == count
    if not good:
        shown = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
        wanted = "[examples]" if operation == "regress" else "[examples, classes], all alike"
        raise output_error(
            f"the outputs have the shapes {shown} for {count} examples, expected {wanted}"
        )


def _signature(model: Model, operation: str, name: str) -> Signature:
    if isinstance(model, TensorModel):
        found = signatures_of(model)
        name = name or model.default_signature()
        signature = found.get(name)
        if signature and _serves(signature, operation):
            return signature
        fitting = sorted(key for key, other in found.items() if _serves(other, operation))
        if fitting:
            raise CallError(f"The signature {name!r} cannot {operation}; these can: {fitting}.")
    raise CallError(
        f"The model cannot {operation}: that takes a SavedModel with a signature that reads "
        f"serialized tf.Examples and gives {' and '.join(_OUTPUTS[operation])}. Use predict."
    )


def _serves(signature: Signature, operation: str) -> bool:
    names = {spec.name for spec in signature.outputs}
    reads = len(signature.inputs) == 1 and signature.inputs[0].dtype == "string"
    return reads and bool(names) and names <= set(_OUTPUTS[operation])


def _example(example: Any, context: Any, index: int) -> bytes:
    import tensorflow as tf

    if not isinstance(example, dict) or not isinstance(context, dict):
        raise CallError(f"example {index} is {kind_of(example)}, expected an object of features")
    features = {
        name: _feature(tf, name, decode_b64(value))
        for name, value in {**context, **example}.items()
    }
    made: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return made


def _feature(tf: Any, name: str, value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    kinds = {_kind(item) for item in values}
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1 or None in kinds:
        raise CallError(f"the feature {name!r} must be numbers or strings, of one type")
    if kinds == {int}:
        if any(not -(2**63) <= item < 2**63 for item in values):
            raise CallError(f"the feature {name!r} has an integer that 64 bits cannot hold")
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if kinds == {float}:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    texts = [item.encode() if isinstance(item, str) else item for item in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))


def _kind(item: Any) -> type | None:
    if isinstance(item, str | bytes):
        return bytes
    if isinstance(item, bool) or not isinstance(item, int | float):
        return None
    return int if isinstance(item, int) else float


def _label(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
