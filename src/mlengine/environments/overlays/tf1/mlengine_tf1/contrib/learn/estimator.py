"""Estimators with contrib's methods and arguments, over those of `tf.estimator`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from .input_fn_utils import receiver_fn
from .metric_spec import MODERN_KEYS, metric_fn
from .model_fn import SOLE, modern

__all__ = [
    "Estimator",
    "Methods",
    "SKCompat",
    "hooks_of",
    "infer_real_valued_columns_from_input",
    "infer_real_valued_columns_from_input_fn",
    "with_metrics",
]

api = tf.compat.v1.estimator


def infer_real_valued_columns_from_input(x: Any) -> list[Any]:
    """Return the numeric column of an array's rows."""
    shape = np.shape(x)[1:]
    return [tf.compat.v1.feature_column.numeric_column(SOLE, shape=shape or (1,))]


def infer_real_valued_columns_from_input_fn(input_fn: Callable[[], Any]) -> list[Any]:
    """Return the numeric columns of the features that an input function gives."""
    with tf.Graph().as_default():
        features, _ = input_fn()
        if not isinstance(features, dict):
            features = {SOLE: features}
        return [
            tf.compat.v1.feature_column.numeric_column(name, shape=tensor.shape.as_list()[1:] or 1)
            for name, tensor in sorted(features.items())
        ]


def hooks_of(monitors: Any, estimator: Any) -> list[Any]:
    """Return monitors as hooks, those that evaluate told what."""
    hooks = list(monitors) if isinstance(monitors, (list, tuple)) else [monitors] * bool(monitors)
    for hook in hooks:
        if hasattr(hook, "set_estimator"):
            hook.set_estimator(estimator)
    return hooks


def with_metrics(estimator: Any, metrics: Any) -> Any:
    """Return the estimator, with contrib's metrics beside its own."""
    return api.add_metrics(estimator, metric_fn(metrics)) if metrics else estimator


class Methods:
    """`fit`, and the arguments that contrib's `evaluate` and `predict` took.

    Mixed in before an estimator class, which keeps `tf.estimator`'s own calls working.
    """

    _sole_output = ""
    """What `predict` yields alone, where a canned estimator is not asked for more."""

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        input_fn: Any = None,
        steps: int | None = None,
        batch_size: int | None = None,
        monitors: Any = None,
        max_steps: int | None = None,
    ) -> Any:
        """Train on arrays or on an input function; return the estimator."""
        source = _input_fn(x, y, input_fn, batch_size, training=True)
        hooks = hooks_of(monitors, self)
        return self.train(source, hooks=hooks, steps=steps, max_steps=max_steps)  # type: ignore[attr-defined]

    partial_fit = fit

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        input_fn: Any = None,
        feed_fn: Any = None,
        batch_size: int | None = None,
        steps: int | None = None,
        metrics: Any = None,
        name: str | None = None,
        checkpoint_path: str | None = None,
        hooks: Any = None,
        log_progress: bool = True,
    ) -> Any:
        """Evaluate on arrays or on an input function."""
        if feed_fn is not None:
            raise ValueError("evaluate(feed_fn=) is not in the TensorFlow 1 overlay: use input_fn")
        if callable(x):  # tf.estimator's own order
            x, input_fn = None, x
        source = _input_fn(x, y, input_fn, batch_size)
        if metrics:
            return with_metrics(self, metrics).evaluate(
                input_fn=source,
                steps=steps,
                name=name,
                checkpoint_path=checkpoint_path,
                hooks=hooks,
            )
        return super().evaluate(  # type: ignore[misc]
            source, steps=steps, hooks=hooks, checkpoint_path=checkpoint_path, name=name
        )

    def predict(
        self,
        x: Any = None,
        input_fn: Any = None,
        batch_size: int | None = None,
        outputs: Any = None,
        as_iterable: bool = True,
        **modern_options: Any,
    ) -> Any:
        """Predict for arrays or an input function.

        Returns:
            A row's predictions at a time; all rows' as arrays where `as_iterable` is false. A row
            is a dictionary, but for canned estimators: those give the class, or the value.
        """
        if callable(x):
            x, input_fn = None, x
        rows = self._rows(_input_fn(x, None, input_fn, batch_size), outputs, **modern_options)
        if self._sole_output and not outputs:
            rows = (row[self._sole_output] for row in rows)
        return rows if as_iterable else _stacked(rows)

    def _rows(self, source: Any, outputs: Any, **modern_options: Any) -> Any:
        keys = [MODERN_KEYS.get(key, key) for key in outputs] if outputs else None
        rows = super().predict(source, predict_keys=keys, **modern_options)  # type: ignore[misc]
        return (_contrib_keys(row) for row in rows)

    def predict_classes(self, x: Any = None, input_fn: Any = None, as_iterable: bool = True) -> Any:
        """Predict classes alone."""
        return self._one("classes", x, input_fn, as_iterable)

    def predict_proba(self, x: Any = None, input_fn: Any = None, as_iterable: bool = True) -> Any:
        """Predict probabilities alone."""
        return self._one("probabilities", x, input_fn, as_iterable)

    def predict_scores(self, x: Any = None, input_fn: Any = None, as_iterable: bool = True) -> Any:
        """Predict a regressor's values alone."""
        return self._one("scores", x, input_fn, as_iterable)

    def export_savedmodel(
        self, export_dir_base: str, serving_input_fn: Any, *more: Any, **options: Any
    ) -> Any:
        """Export a SavedModel; its inputs may be `InputFnOps`."""
        options.pop("default_output_alternative_key", None)
        return super().export_savedmodel(  # type: ignore[misc]
            export_dir_base, receiver_fn(serving_input_fn), *more, **options
        )

    def _one(self, key: str, x: Any, input_fn: Any, as_iterable: bool) -> Any:
        rows = (row[key] for row in self.predict(x, input_fn, outputs=[key]))
        return rows if as_iterable else np.asarray(list(rows))


class Estimator(Methods, tf.compat.v1.estimator.Estimator):
    """An estimator of a contrib model function."""

    def __init__(
        self,
        model_fn: Callable[..., Any],
        model_dir: str | None = None,
        config: Any = None,
        params: Any = None,
        feature_engineering_fn: Any = None,
    ) -> None:
        called = modern(model_fn)
        if feature_engineering_fn is not None:
            called = _engineered(called, feature_engineering_fn)
        super().__init__(model_fn=called, model_dir=model_dir, config=config, params=params)


def _engineered(called: Callable[..., Any], engineer: Callable[..., Any]) -> Callable[..., Any]:
    def call(features: Any, labels: Any, mode: str, params: Any, config: Any) -> Any:
        features, labels = engineer(features, labels)
        return called(features, labels, mode, params, config)

    return call


class SKCompat:
    """An estimator with scikit-learn's methods: arrays in, arrays out."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int = 128,
        steps: int | None = None,
        max_steps: int | None = None,
        monitors: Any = None,
    ) -> SKCompat:
        """Train on arrays."""
        self._estimator.fit(
            x=x, y=y, batch_size=batch_size, steps=steps, max_steps=max_steps, monitors=monitors
        )
        return self

    def score(
        self,
        x: Any,
        y: Any,
        batch_size: int = 128,
        steps: int | None = None,
        metrics: Any = None,
        name: str | None = None,
    ) -> Any:
        """Evaluate on arrays."""
        return self._estimator.evaluate(
            x=x, y=y, batch_size=batch_size, steps=steps, metrics=metrics, name=name
        )

    def predict(self, x: Any, batch_size: int = 128, outputs: Any = None) -> Any:
        """Predict for arrays: one array a key."""
        rows = self._estimator._rows(_input_fn(x, None, None, batch_size), outputs)
        found = _stacked(rows)
        named = {key: found[key] for key in outputs or CANNED_OUTPUTS if key in found}
        return named or found


CANNED_OUTPUTS = ("classes", "logits", "probabilities", "scores")
"""What contrib's canned estimators predicted; those underneath have more to say."""


def _input_fn(
    x: Any, y: Any, input_fn: Any, batch_size: int | None = None, training: bool = False
) -> Any:
    """Return an input function for arrays: all rows in order, or shuffled without end."""
    if (x is None) == (input_fn is None):
        raise ValueError("Either x or input_fn must be given, and not both")
    if input_fn is not None:
        return input_fn
    rows = {SOLE: np.asarray(x)} if not isinstance(x, dict) else x
    return api.inputs.numpy_input_fn(
        rows,
        y if y is None or isinstance(y, dict) else np.asarray(y),
        batch_size=batch_size or (len(next(iter(rows.values())))),
        num_epochs=None if training else 1,
        shuffle=training,
    )


def _contrib_keys(row: Any) -> Any:
    """Return a row's predictions with contrib's names beside, a class as its number."""
    if not isinstance(row, dict):
        return row
    found = dict(row)
    if "class_ids" in row:
        found["classes"] = np.asarray(row["class_ids"]).reshape(-1)[0]
    if "predictions" in row and "scores" not in row:
        found["scores"] = np.asarray(row["predictions"]).reshape(-1)[0]
    return found


def _stacked(rows: Iterable[Any]) -> Any:
    listed = list(rows)
    if listed and isinstance(listed[0], dict):
        return {key: np.stack([row[key] for row in listed]) for key in listed[0]}
    return np.asarray(listed)
