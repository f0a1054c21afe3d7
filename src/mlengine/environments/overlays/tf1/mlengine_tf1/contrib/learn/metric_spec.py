"""`MetricSpec`: a metric, and which predictions, labels and weights it is of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["MetricSpec", "PredictionKey", "metric_fn"]

MODERN_KEYS = {"classes": "class_ids", "scores": "predictions"}
"""What the same predictions are called by the estimators underneath."""


class PredictionKey:
    """Names of predictions."""

    CLASSES = "classes"
    PROBABILITIES = "probabilities"
    LOGITS = "logits"
    LOGISTIC = "logistic"
    SCORES = "scores"
    TOP_K = "top_k"
    GENERIC = "output"


class MetricSpec:
    """A metric function, and the keys of what it is to be called with."""

    def __init__(
        self,
        metric_fn: Callable[..., Any],
        prediction_key: str | None = None,
        label_key: str | None = None,
        weight_key: str | None = None,
    ) -> None:
        self.metric_fn = metric_fn
        self.prediction_key = prediction_key
        self.label_key = label_key
        self.weight_key = weight_key

    def create_metric_ops(self, inputs: Any, labels: Any, predictions: Any) -> Any:
        """Return the metric's value and update operations."""
        predicted = _choose(predictions, self.prediction_key)
        label = _choose(labels, self.label_key)
        named = {"weights": _choose(inputs, self.weight_key)} if self.weight_key else {}
        takes = inspect.signature(self.metric_fn).parameters
        predicted, label = _same_rank(predicted, label)
        if "predictions" in takes and "labels" in takes:
            return self.metric_fn(predictions=predicted, labels=label, **named)
        if "labels" in takes or "targets" in takes:
            return self.metric_fn(predicted, label, **named)
        return self.metric_fn(predicted, **named)


def metric_fn(metrics: Mapping[Any, Any]) -> Callable[..., dict[str, Any]]:
    """Return the function that `tf.estimator.add_metrics` wants, for contrib's dictionary.

    Its keys are names or (name, prediction key); its values metrics or functions of predictions
    and labels.
    """

    def call(features: Any, labels: Any, predictions: Any) -> dict[str, Any]:
        found = {}
        for key, metric in metrics.items():
            name, of = key if isinstance(key, tuple) else (key, None)
            spec = metric if isinstance(metric, MetricSpec) else MetricSpec(metric, of)
            found[str(name)] = spec.create_metric_ops(features, labels, predictions)
        return found

    return call


def _choose(tensors: Any, key: str | None) -> Any:
    if not isinstance(tensors, Mapping):
        return tensors
    if key is None:
        if len(tensors) == 1:
            return next(iter(tensors.values()))
        raise ValueError(f"MetricSpec without key, and there are several: {sorted(tensors)}")
    modern = MODERN_KEYS.get(key, key)
    return tensors[modern if modern in tensors else key]


def _same_rank(predicted: Any, label: Any) -> tuple[Any, Any]:
    """Drop a last dimension of one that only one of the two has."""
    ranks = [getattr(t, "shape", None) is not None and t.shape.rank for t in (predicted, label)]
    if None in ranks or ranks[0] == ranks[1]:
        return predicted, label
    import tensorflow as tf

    if ranks[0] == ranks[1] + 1 and predicted.shape[-1] == 1:
        return tf.squeeze(predicted, -1), label
    if ranks[1] == ranks[0] + 1 and label.shape[-1] == 1:
        return predicted, tf.squeeze(label, -1)
    return predicted, label
