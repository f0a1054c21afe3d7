"""Canned estimators with contrib's arguments, defaults and signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from .estimator import Methods
from .input_fn_utils import is_raw

__all__ = [
    "DNNClassifier",
    "DNNEstimator",
    "DNNLinearCombinedClassifier",
    "DNNLinearCombinedRegressor",
    "DNNRegressor",
    "LinearClassifier",
    "LinearRegressor",
]

api = tf.compat.v1.estimator
train = tf.compat.v1.train
DNNEstimator = api.DNNEstimator


def _canned(modern_class: Any, name: str, order: Sequence[str]) -> Any:
    """Return a canned estimator that takes contrib's arguments, by position in this order."""

    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        given = dict(zip(order, positional))
        given.update(named)
        super(made, self).__init__(**_as_contrib_trained(_modern_arguments(given)))
        self._model_fn = _exporting(self._model_fn)

    made: Any = type(
        name,
        (Methods, modern_class),
        {
            "__init__": __init__,
            "__doc__": modern_class.__doc__,
            "_sole_output": "classes" if name.endswith("Classifier") else "scores",
        },
    )
    return made


RENAMED = {"weight_column_name": "weight_column", "label_keys": "label_vocabulary"}
REFUSED = (
    "enable_centered_bias",
    "feature_engineering_fn",
    "gradient_clip_norm",
    "embedding_lr_multipliers",
    "joint_weights",
    "_joint_weights",
)
DROPPED = ("fix_global_step_increment_bug", "input_layer_min_slice_size")
"""What changed no result, or mends what is mended."""


def _modern_arguments(given: dict[str, Any]) -> dict[str, Any]:
    arguments = {}
    for name, value in given.items():
        if name in REFUSED:
            if value:
                raise ValueError(
                    f"{name}= of a tf.contrib.learn estimator is not in the TensorFlow "
                    f"1 overlay; runtime 1.15 on Python 3.7 has it"
                )
        elif name not in DROPPED:
            arguments[RENAMED.get(name, name)] = value
    return {name: value for name, value in arguments.items() if value is not None}


def _exporting(model_fn: Any) -> Any:
    """Return the model function with contrib's default signature, for inputs that are no Examples.

    `tf.estimator` has none for such inputs, and calls the one that there is `predict`.
    """

    def call(features: Any, labels: Any, mode: str, config: Any) -> Any:
        spec = model_fn(features, labels, mode, config)
        if not spec.export_outputs or not is_raw():
            return spec
        outputs = dict(spec.export_outputs)
        outputs["serving_default"] = api.export.PredictOutput(_served(spec.predictions))
        return spec._replace(export_outputs=outputs)

    return call


def _served(predictions: Any) -> dict[str, Any]:
    if "probabilities" in predictions:
        return {
            "classes": predictions["all_classes"],
            "probabilities": predictions["probabilities"],
        }
    return {"scores": tf.squeeze(predictions["predictions"], -1)}


OPTIMIZERS = {
    "Adagrad": train.AdagradOptimizer,
    "Adam": train.AdamOptimizer,
    "Ftrl": train.FtrlOptimizer,
    "Momentum": lambda rate: train.MomentumOptimizer(rate, 0.9),
    "RMSProp": train.RMSPropOptimizer,
    "SGD": train.GradientDescentOptimizer,
}
DEEP_RATE = 0.05
WIDE_RATE = 0.2


def _as_contrib_trained(arguments: dict[str, Any]) -> dict[str, Any]:
    """Set what contrib had other defaults for: the mean of a batch's losses, and its rates."""
    arguments.setdefault("loss_reduction", tf.compat.v1.losses.Reduction.SUM_OVER_BATCH_SIZE)
    wide = arguments.get("linear_feature_columns") or arguments.get("feature_columns") or ()
    wide_rate = min(WIDE_RATE, 1 / len(list(wide)) ** 0.5) if wide else WIDE_RATE
    if "dnn_feature_columns" in arguments:
        _set_optimizer(arguments, "dnn_optimizer", "Adagrad", DEEP_RATE)
    if "linear_feature_columns" in arguments:
        _set_optimizer(arguments, "linear_optimizer", "Ftrl", wide_rate)
    if "feature_columns" in arguments:
        deep = "hidden_units" in arguments
        rate = DEEP_RATE if deep else wide_rate
        _set_optimizer(arguments, "optimizer", "Adagrad" if deep else "Ftrl", rate)
    return arguments


def _set_optimizer(arguments: dict[str, Any], name: str, usual: str, rate: float) -> None:
    """Make the optimizer where it was left out or named; called where its graph is."""
    chosen = arguments.get(name, usual)
    if isinstance(chosen, str):
        arguments[name] = lambda: OPTIMIZERS[chosen](rate)


DNN = ("hidden_units", "feature_columns", "model_dir")
LINEAR = ("feature_columns", "model_dir")
WIDE_AND_DEEP = ("model_dir",)

DNNClassifier = _canned(api.DNNClassifier, "DNNClassifier", (*DNN, "n_classes"))
DNNRegressor = _canned(api.DNNRegressor, "DNNRegressor", DNN)
LinearClassifier = _canned(api.LinearClassifier, "LinearClassifier", (*LINEAR, "n_classes"))
LinearRegressor = _canned(api.LinearRegressor, "LinearRegressor", LINEAR)
DNNLinearCombinedClassifier = _canned(
    api.DNNLinearCombinedClassifier, "DNNLinearCombinedClassifier", WIDE_AND_DEEP
)
DNNLinearCombinedRegressor = _canned(
    api.DNNLinearCombinedRegressor, "DNNLinearCombinedRegressor", WIDE_AND_DEEP
)
