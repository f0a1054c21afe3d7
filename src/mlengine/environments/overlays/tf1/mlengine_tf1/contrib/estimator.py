"""`tf.contrib.estimator`: what became `tf.estimator`, and `forward_features`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from . import names_from

__all__ = [
    "binary_classification_head",
    "clip_gradients_by_norm",
    "forward_features",
    "multi_class_head",
    "multi_head",
    "multi_label_head",
    "regression_head",
]

__path__: list[str] = []
__getattr__ = names_from(
    "estimator",
    "tensorflow_estimator.python.estimator.api._v1.estimator",
    "tensorflow_estimator.python.estimator.api._v1.estimator.experimental",
)

estimator = tf.compat.v1.estimator

binary_classification_head = estimator.BinaryClassHead
multi_class_head = estimator.MultiClassHead
multi_label_head = estimator.MultiLabelHead
regression_head = estimator.RegressionHead
multi_head = estimator.MultiHead


def forward_features(
    estimator: Any, keys: str | Sequence[str] | None = None, sparse_default_values: Any = None
) -> Any:
    """Return an estimator whose predictions also hold these features, such as a row's key."""
    wanted = [keys] if isinstance(keys, str) else keys
    defaults = sparse_default_values or {}

    def model_fn(features: Any, labels: Any, mode: Any, config: Any) -> Any:
        spec = estimator._call_model_fn(features, labels, mode, config)
        if not spec.predictions:
            return spec
        forwarded = {
            name: _dense(features[name], defaults.get(name))
            for name in (wanted if wanted is not None else sorted(features))
        }
        predictions = {**spec.predictions, **forwarded}
        return spec._replace(
            predictions=predictions, export_outputs=_also(spec.export_outputs, forwarded)
        )

    return tf.compat.v1.estimator.Estimator(
        model_fn=model_fn, model_dir=estimator.model_dir, config=estimator.config
    )


def clip_gradients_by_norm(optimizer: Any, clip_norm: float) -> Any:
    """Return an optimizer that clips each gradient to this norm before it applies it."""
    return _clipping(type(optimizer), clip_norm)(optimizer)


def _dense(feature: Any, default: Any) -> Any:
    if not isinstance(feature, tf.SparseTensor):
        return feature
    return tf.sparse.to_dense(feature, default_value=default)


def _also(outputs: Any, forwarded: dict[str, Any]) -> Any:
    """Add features to those exported outputs that are dictionaries of predictions."""
    kind = tf.compat.v1.estimator.export.PredictOutput
    return outputs and {
        name: kind({**output.outputs, **forwarded}) if isinstance(output, kind) else output
        for name, output in outputs.items()
    }


def _clipping(kind: Any, clip_norm: float) -> Callable[[Any], Any]:
    class Clipping(kind):
        """The same optimizer, clipping."""

        def apply_gradients(self, grads_and_vars: Any, *more: Any, **named: Any) -> Any:
            clipped = [
                (None if gradient is None else tf.clip_by_norm(gradient, clip_norm), variable)
                for gradient, variable in grads_and_vars
            ]
            return super().apply_gradients(clipped, *more, **named)

    def wrap(optimizer: Any) -> Any:
        optimizer.__class__ = Clipping
        return optimizer

    return wrap
