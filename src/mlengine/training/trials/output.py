"""`trainingOutput` of a tuning job, made of the records of its trials; nothing of it is kept twice.

While the job runs it is made whenever somebody asks; when it ends it is written once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from mlengine.core.errors import EngineError
from mlengine.core.resources import TrainingInput, TrainingOutput
from mlengine.core.states import JobState
from mlengine.store import JobRecord
from mlengine.training.plan import plan_replicas
from mlengine.training.trials.children import given_values, state_of, stopped_early, trial_of
from mlengine.training.trials.hyperparameters import HyperparameterSpec

__all__ = ["Rest", "by_objective", "rest_of", "seconds_of", "training_output", "value_of"]

_METRICS = ("finalMetric", "allMetrics")


class Rest(NamedTuple):
    """What is still to come: trials, seconds, and US dollars by the price list."""

    trials: int
    seconds: float
    usd: float


def training_output(
    asked: HyperparameterSpec, children: Sequence[JobRecord], *, finished: bool
) -> TrainingOutput:
    """Return what a tuning job has come to.

    Args:
        asked: The job's specification.
        children: Its trials' jobs, by number.
        finished: The job is over: the best trial comes first.
    """
    ordered = by_objective(asked, children) if finished else list(children)
    consumed = [c.job.training_output.consumed_m_l_units for c in children if c.job.training_output]
    return TrainingOutput(
        completed_trial_count=sum(state_of(c) is JobState.SUCCEEDED for c in children),
        trials=[_trial(child) for child in ordered],
        consumed_m_l_units=round(math.fsum(consumed), 6),
        is_hyperparameter_tuning_job=True,
        hyperparameter_metric_tag=asked.tag,
    )


def by_objective(asked: HyperparameterSpec, children: Sequence[JobRecord]) -> list[JobRecord]:
    """Return trials best first; those without a value, and those that failed, come last."""

    def rank(child: JobRecord) -> tuple[bool, float, int]:
        value = value_of(child)
        counts = value is not None and state_of(child) is JobState.SUCCEEDED
        turned = 0.0 if value is None else -value if asked.maximize else value
        return not counts, turned if counts else 0.0, int(trial_of(child))

    return sorted(children, key=rank)


def rest_of(
    asked: HyperparameterSpec,
    spec: TrainingInput,
    children: Sequence[JobRecord],
    *,
    room: int | None,
) -> Rest | None:
    """Estimate what the other trials take, from those that ran; None before the first.

    Args:
        asked: The job's specification.
        spec: What each trial runs on.
        children: Its trials' jobs.
        room: How many trials there are points for; None if for any number.
    """
    ran_s = [seconds for child in children if (seconds := seconds_of(child)) is not None]
    over = sum(child.state.terminal for child in children)
    left = (asked.trials if room is None else min(asked.trials, room)) - over
    if not ran_s or left <= 0:
        return None
    each_s = math.fsum(ran_s) / len(ran_s)
    rounds = math.ceil(left / asked.parallel)
    try:
        price = plan_replicas(spec).usd_per_hour
    except EngineError:  # an older mlengine knew its machine type
        price = 0.0
    return Rest(left, round(rounds * each_s, 3), round(left * each_s / 3600 * price, 4))


def value_of(child: JobRecord) -> float | None:
    """Return a trial's final value of the objective, or None."""
    final = _measured(child).get("finalMetric")
    return None if final is None else float(final["objectiveValue"])


def seconds_of(child: JobRecord) -> float | None:
    """Return how long a trial that is over ran, in seconds; None of one that never did."""
    if not child.job.start_time or not child.job.end_time:
        return None
    if child.job.details is not None and child.job.details.run_seconds:
        return child.job.details.run_seconds
    begun, ended = (datetime.fromisoformat(t) for t in (child.job.start_time, child.job.end_time))
    return max((ended - begun).total_seconds(), 0.0)


def _trial(child: JobRecord) -> dict[str, Any]:
    job, state = child.job, state_of(child)
    done = state is JobState.SUCCEEDED
    found = {
        "trialId": trial_of(child),
        "hyperparameters": given_values(child),
        **{name: value for name, value in _measured(child).items() if name in _METRICS},
        "state": str(state),
        "startTime": job.start_time,
        "endTime": job.end_time,
        "isTrialStoppedEarly": done and stopped_early(child),
        # Beyond ml.v1: why it failed.
        "errorMessage": "" if done or stopped_early(child) else job.error_message,
    }
    return {name: value for name, value in found.items() if value not in ("", False)}


def _measured(child: JobRecord) -> dict[str, Any]:
    output = child.job.training_output
    return dict(output.trials[0]) if output and output.trials else {}
