"""Monitors: hooks of a training session, of which contrib had its own kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

__all__ = ["LoggingTrainable", "PrintTensor", "StopAtStep", "ValidationMonitor"]

train = tf.compat.v1.train


class ValidationMonitor(tf.compat.v1.train.SessionRunHook):
    """Evaluates the newest checkpoint every so many steps, and stops when it no longer improves."""

    def __init__(
        self,
        x: Any = None,
        y: Any = None,
        input_fn: Callable[[], Any] | None = None,
        batch_size: int | None = None,
        eval_steps: int | None = None,
        every_n_steps: int = 100,
        metrics: Any = None,
        hooks: Any = None,
        early_stopping_rounds: int | None = None,
        early_stopping_metric: str = "loss",
        early_stopping_metric_minimize: bool = True,
        name: str | None = None,
    ) -> None:
        self._source = {"x": x, "y": y, "input_fn": input_fn, "batch_size": batch_size}
        self._how = {"steps": eval_steps, "metrics": metrics, "hooks": hooks, "name": name}
        self._every = every_n_steps
        self._patience = early_stopping_rounds
        self._metric = early_stopping_metric
        self._sign = 1 if early_stopping_metric_minimize else -1
        self._estimator: Any = None
        self._checkpoint = ""
        self._best: tuple[float, int] | None = None
        self._last_step = 0

    def set_estimator(self, estimator: Any) -> None:
        """Say whose checkpoints these are."""
        self._estimator = estimator

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Start to count from where training starts."""
        self._last_step = session.run(train.get_global_step(session.graph))

    def before_run(self, run_context: Any) -> Any:
        """Ask for the step."""
        return train.SessionRunArgs(train.get_global_step(run_context.session.graph))

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Evaluate, when it is time and there is a new checkpoint."""
        step = run_values.results
        if step - self._last_step < self._every:
            return
        self._last_step = step
        newest = train.latest_checkpoint(self._estimator.model_dir)
        if newest is None or newest == self._checkpoint:
            return
        self._checkpoint = newest
        results = self._estimator.evaluate(**self._source, **self._how)
        value = self._sign * float(results[self._metric])
        if self._best is None or value < self._best[0]:
            self._best = (value, step)
        elif self._patience is not None and step - self._best[1] >= self._patience:
            tf.compat.v1.logging.info(
                "Stopping: %s was best at step %d", self._metric, self._best[1]
            )
            run_context.request_stop()

    @property
    def best_value(self) -> float | None:
        """Return the best value of the metric so far."""
        return None if self._best is None else self._sign * self._best[0]


def PrintTensor(tensor_names: Any, every_n: int = 100, first_n: int = 1) -> Any:
    """Return a hook that logs tensors."""
    return train.LoggingTensorHook(tensor_names, every_n_iter=every_n)


def StopAtStep(num_steps: int | None = None, last_step: int | None = None) -> Any:
    """Return a hook that stops training."""
    return train.StopAtStepHook(num_steps=num_steps, last_step=last_step)


def LoggingTrainable(scope: str | None = None, every_n: int = 100, first_n: int = 1) -> Any:
    """Return a hook that logs the trainable variables of a scope."""

    class Hook(tf.compat.v1.train.LoggingTensorHook):
        """Finds its tensors when the graph is there."""

        def __init__(self) -> None:
            super().__init__(["none:0"], every_n_iter=every_n)

        def begin(self) -> None:
            tensors = {v.name: v for v in tf.compat.v1.trainable_variables(scope)}
            self._tensors = self._current_tensors = tensors
            self._tag_order = list(tensors)
            self._timer.reset()
            self._iter_count = 0

    return Hook()
