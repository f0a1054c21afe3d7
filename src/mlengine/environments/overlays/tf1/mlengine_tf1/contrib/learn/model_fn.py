"""What a contrib model function returns, and how it becomes an `EstimatorSpec`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

__all__ = ["ModeKeys", "ModelFnOps", "modern"]

estimator = tf.compat.v1.estimator


class ModeKeys:
    """What a model function is called for; the same words as `tf.estimator.ModeKeys`."""

    TRAIN = "train"
    EVAL = "eval"
    INFER = "infer"


class ModelFnOps(NamedTuple):
    """What a contrib model function returns."""

    mode: str
    predictions: Any = None
    loss: Any = None
    train_op: Any = None
    eval_metric_ops: Any = None
    output_alternatives: Any = None
    training_chief_hooks: Any = None
    training_hooks: Any = None
    scaffold: Any = None


def modern(model_fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a model function of `tf.estimator` that calls one of contrib's.

    Contrib matched `features` and labels by position, whatever their names, and took a bare
    `(predictions, loss, train_op)` for an answer.
    """
    names = list(inspect.signature(model_fn).parameters)

    def call(features: Any, labels: Any, mode: str, params: Any, config: Any) -> Any:
        bare = features[SOLE] if isinstance(features, dict) and [*features] == [SOLE] else features
        offered = {"mode": mode, "params": params, "config": config}
        named = {name: offered[name] for name in names[2:] if name in offered}
        return _spec(model_fn(bare, labels, **named), mode)

    return call


SOLE = "x"
"""The key of features that came as one array: a contrib model function gets the tensor itself."""


def _spec(returned: Any, mode: str) -> Any:
    if isinstance(returned, estimator.EstimatorSpec):
        return returned
    if not isinstance(returned, ModelFnOps):
        predictions, loss, train_op = returned
        returned = ModelFnOps(mode, predictions, loss, train_op)
    metrics = {name: _metric(value) for name, value in (returned.eval_metric_ops or {}).items()}
    return estimator.EstimatorSpec(
        mode=mode,
        predictions=returned.predictions,
        loss=returned.loss,
        train_op=returned.train_op,
        eval_metric_ops=metrics,
        export_outputs=_outputs(returned) if mode == ModeKeys.INFER else None,
        training_chief_hooks=returned.training_chief_hooks,
        training_hooks=returned.training_hooks,
        scaffold=returned.scaffold,
    )


def _metric(value: Any) -> Any:
    return value if isinstance(value, (tuple, list)) else (value, tf.no_op())


def _outputs(returned: ModelFnOps) -> dict[str, Any]:
    """Return what an export answers with; a contrib model gives it as (problem, tensors)."""
    export = estimator.export
    if not returned.output_alternatives:
        return {"serving_default": export.PredictOutput(_named(returned.predictions))}
    found = {
        str(name or "serving_default"): export.PredictOutput(_named(tensors))
        for name, (_, tensors) in returned.output_alternatives.items()
    }
    return (
        found
        if len(found) > 1 or "serving_default" in found
        else {"serving_default": next(iter(found.values()))}
    )


def _named(tensors: Any) -> dict[str, Any]:
    return dict(tensors) if isinstance(tensors, dict) else {"output": tensors}
