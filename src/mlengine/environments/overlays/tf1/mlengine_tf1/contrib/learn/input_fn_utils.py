"""Inputs of an exported model, as contrib's `InputFnOps`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

__all__ = [
    "InputFnOps",
    "build_default_serving_input_fn",
    "build_parsing_serving_input_fn",
    "is_raw",
    "receiver_fn",
]

v1 = tf.compat.v1
RAW = "mlengine/raw_inputs"
"""The collection that marks such a graph."""


class InputFnOps(NamedTuple):
    """Features of a request, no labels, and the placeholders that they come from."""

    features: Any
    labels: Any
    default_inputs: Any


def receiver_fn(serving_input_fn: Callable[[], Any]) -> Callable[[], Any]:
    """Return the same inputs as a `ServingInputReceiver`."""

    def call() -> Any:
        inputs = serving_input_fn()
        if hasattr(inputs, "receiver_tensors"):
            return inputs
        features, _, placeholders = inputs
        (first, *more) = placeholders.values()
        if more or first.dtype != tf.string:
            v1.add_to_collection(RAW, first)
        return v1.estimator.export.ServingInputReceiver(features, placeholders)

    return call


def build_parsing_serving_input_fn(
    feature_spec: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], InputFnOps]:
    """Return inputs that are serialized `tf.Example`s."""

    def serving_input_fn() -> InputFnOps:
        examples = v1.placeholder(tf.string, [default_batch_size], name="input_example_tensor")
        features = v1.parse_example(examples, dict(feature_spec))
        return InputFnOps(features, None, {"examples": examples})

    return serving_input_fn


def is_raw() -> bool:
    """Say whether the graph being exported gets features, and not serialized Examples."""
    return bool(v1.get_collection(RAW))


def build_default_serving_input_fn(
    features: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], InputFnOps]:
    """Return inputs that are the features themselves, of any batch size."""

    def serving_input_fn() -> InputFnOps:
        placeholders = {
            name: v1.placeholder(
                tensor.dtype, [default_batch_size, *tensor.shape.as_list()[1:]], name=tensor.op.name
            )
            for name, tensor in features.items()
        }
        return InputFnOps(placeholders, None, placeholders)

    return serving_input_fn
