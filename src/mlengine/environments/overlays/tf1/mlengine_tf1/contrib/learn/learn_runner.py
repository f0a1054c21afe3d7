"""`learn_runner.run`: make an experiment and run what this task's role in the cluster asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .experiment import Experiment
from .run_config import RunConfig

__all__ = ["run"]

__path__: list[str] = []

SCHEDULES = {"ps": "run_std_server", "worker": "train", "evaluator": "evaluate"}
"""What a task of a cluster does when it is not told; any other trains and evaluates."""


def run(
    experiment_fn: Callable[..., Any],
    output_dir: str | None = None,
    schedule: str | None = None,
    run_config: Any = None,
    hparams: Any = None,
) -> Any:
    """Make the experiment and call its method named `schedule`.

    Args:
        experiment_fn: Of the output folder, or of a `RunConfig` and hyperparameters where
            `run_config` is given.
        output_dir: The folder, for the former.
        schedule: A method of `Experiment`; by default the one for this task.
        run_config: The configuration, for the latter.
        hparams: Handed on with it.

    Raises:
        ValueError: Both or neither of `output_dir` and `run_config`, or no such schedule.
        TypeError: `experiment_fn` made something else than an experiment.
    """
    if (output_dir is None) == (run_config is None):
        raise ValueError("Must provide exactly one of `output_dir` and `run_config`.")
    if run_config is not None:
        if not run_config.model_dir:
            raise ValueError("Must specify a model directory `model_dir` in `run_config`.")
        experiment, config = experiment_fn(run_config, hparams), run_config
    else:
        experiment, config = experiment_fn(output_dir), RunConfig(model_dir=output_dir)
    if not isinstance(experiment, Experiment):
        raise TypeError(f"Experiment builder did not return an Experiment instance: {experiment}")
    return _method(experiment, schedule or _default(config))()


def _default(config: Any) -> str:
    if not config.cluster_spec.as_dict():
        return "train_and_evaluate"
    return SCHEDULES.get(config.task_type, "train_and_evaluate")


def _method(experiment: Experiment, schedule: str) -> Callable[[], Any]:
    method = getattr(experiment, schedule, None)
    if schedule.startswith("_") or not callable(method):
        schedules = sorted(n for n in dir(experiment) if callable(getattr(experiment, n)))
        raise ValueError(
            f"Schedule {schedule!r} is none of an experiment's: "
            f"{[n for n in schedules if not n.startswith('_')]}"
        )
    found: Callable[[], Any] = method
    return found
