"""`Experiment`: an estimator with its inputs, run by `tf.estimator.train_and_evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from .estimator import hooks_of, with_metrics

__all__ = ["Experiment"]

estimator_api = tf.compat.v1.estimator


class Experiment:
    """What is to be trained, on what, for how long, and what comes of it."""

    def __init__(
        self,
        estimator: Any,
        train_input_fn: Callable[[], Any],
        eval_input_fn: Callable[[], Any],
        eval_metrics: Any = None,
        train_steps: int | None = None,
        eval_steps: int | None = 100,
        train_monitors: Any = None,
        eval_hooks: Any = None,
        local_eval_frequency: int | None = None,
        eval_delay_secs: int = 120,
        continuous_eval_throttle_secs: int = 60,
        min_eval_frequency: int | None = None,
        delay_workers_by_global_step: bool = False,
        export_strategies: Any = None,
        train_steps_per_iteration: int | None = None,
        checkpoint_and_export: bool = False,
        saving_listeners: Any = None,
        check_interval_secs: int = 5,
    ) -> None:
        self._estimator = estimator
        self._inputs = (train_input_fn, eval_input_fn)
        self._eval_metrics = eval_metrics
        self._train_steps = train_steps
        self._eval_steps = eval_steps
        self._monitors = list(train_monitors or [])
        self._eval_hooks = list(eval_hooks or [])
        self._eval_delay_secs = eval_delay_secs
        self._throttle_secs = continuous_eval_throttle_secs
        self._saving_listeners = tuple(saving_listeners or ())
        self.reset_export_strategies(export_strategies)

    @property
    def estimator(self) -> Any:
        """Return the estimator."""
        return self._estimator

    @property
    def eval_metrics(self) -> Any:
        """Return the metrics beside the estimator's own."""
        return self._eval_metrics

    @property
    def train_steps(self) -> int | None:
        """Return at which global step training ends."""
        return self._train_steps

    @property
    def eval_steps(self) -> int | None:
        """Return how many batches an evaluation takes."""
        return self._eval_steps

    def extend_train_hooks(self, additional_hooks: Any) -> None:
        """Add hooks to training."""
        self._monitors.extend(additional_hooks)

    def reset_export_strategies(self, new_export_strategies: Any = None) -> Any:
        """Replace the export strategies; return those there were."""
        before = getattr(self, "_strategies", [])
        given = new_export_strategies or []
        self._strategies = list(given) if isinstance(given, (list, tuple)) else [given]
        return before

    def train(self, delay_secs: int | None = None) -> Any:
        """Train until the global step is `train_steps`; as a task of a cluster, in it."""
        if self._in_cluster():
            return self.train_and_evaluate()
        return self._estimator.train(
            input_fn=self._inputs[0],
            max_steps=self._train_steps,
            hooks=self._hooks(),
            saving_listeners=self._saving_listeners or None,
        )

    def evaluate(self, delay_secs: int | None = None, name: str | None = None) -> Any:
        """Evaluate the latest checkpoint; as a task of a cluster, each one until the last."""
        if self._in_cluster() and self._estimator.config.task_type == "evaluator":
            return self.train_and_evaluate()
        return self._measured().evaluate(
            input_fn=self._inputs[1], steps=self._eval_steps, hooks=self._eval_hooks, name=name
        )

    def train_and_evaluate(self) -> Any:
        """Train, evaluate at checkpoints and at the end, and export; as this task's role asks."""
        return estimator_api.train_and_evaluate(
            self._measured(),
            estimator_api.TrainSpec(
                self._inputs[0], max_steps=self._train_steps, hooks=self._hooks()
            ),
            estimator_api.EvalSpec(
                self._inputs[1],
                steps=self._eval_steps,
                hooks=self._eval_hooks,
                exporters=[strategy.exporter() for strategy in self._strategies] or None,
                start_delay_secs=self._eval_delay_secs,
                throttle_secs=self._throttle_secs,
            ),
        )

    local_run = train_and_evaluate

    def continuous_train_and_eval(self, continuous_eval_predicate_fn: Any = None) -> Any:
        """Train and evaluate until `train_steps`."""
        if continuous_eval_predicate_fn is not None:
            raise ValueError("continuous_eval_predicate_fn is not in the TensorFlow 1 overlay")
        return self.train_and_evaluate()

    def run_std_server(self) -> Any:
        """Serve as a parameter server until the cluster ends."""
        return self.train_and_evaluate()

    def test(self) -> Any:
        """Train for one step, evaluate one batch, export."""
        self._estimator.train(input_fn=self._inputs[0], steps=1, hooks=self._hooks())
        result = self._measured().evaluate(input_fn=self._inputs[1], steps=1)
        folder = f"{self._estimator.model_dir}/export"
        return result, [s.export(self._estimator, f"{folder}/{s.name}") for s in self._strategies]

    def _in_cluster(self) -> bool:
        return bool(self._estimator.config.cluster_spec.as_dict())

    def _hooks(self) -> list[Any]:
        return hooks_of(self._monitors, self._estimator)

    def _measured(self) -> Any:
        return with_metrics(self._estimator, self._eval_metrics)
