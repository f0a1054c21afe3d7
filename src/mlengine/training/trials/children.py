"""A trial of a tuning job as a job of its own: what it runs, and what its record says.

    parent   census_1      args ARGS                 jobDir gs://b/census_1
    child    census_1/7    args ARGS --NAME=VALUE …  jobDir gs://b/census_1/7

A child is queued, admitted, launched, retried, stopped and collected like any job, on every
launcher. Its id is its parent's, a slash and the trial's number; nobody can ask for it by that.
What it has measured stands in its own record, as the only entry of `trainingOutput.trials`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mlengine.core.resources import Job, TrainingInput
from mlengine.core.states import JobState
from mlengine.store import JobRecord
from mlengine.training.trials.hyperparameters import HyperparameterSpec, flags, hyperparameters_of
from mlengine.training.trials.lifecycle import ENDED_FIRST, STOPPED_EARLY
from mlengine.tuning.problem import Point

__all__ = [
    "base_input",
    "child_job",
    "child_uid",
    "given_values",
    "is_cut",
    "measured",
    "own_id",
    "state_of",
    "stopped_early",
    "trial_of",
    "trial_output",
]

_CUT = "cut"  # no word of `HyperparameterOutput`: it stays in the child's record


def child_job(
    parent: JobRecord, number: int, point: Point, asked: HyperparameterSpec, *, create_time: str
) -> Job:
    """Return the job that tries a point.

    Args:
        parent: The tuning job.
        number: The trial's.
        point: What it tries.
        asked: The parent's specification.
        create_time: When it is added.
    """
    spec = parent.job.training_input or TrainingInput()
    scheduling = spec.scheduling
    if scheduling is not None:  # how long one may wait was said of the whole
        scheduling = msgspec.structs.replace(scheduling, max_wait_time="")
    own = msgspec.structs.replace(
        spec,
        args=[*spec.args, *flags(asked, point)],
        job_dir=f"{spec.job_dir.rstrip('/')}/{number}" if spec.job_dir else "",
        scheduling=scheduling,
    )
    return Job(
        job_id=f"{parent.job_id}/{number}",
        training_input=own,
        labels=dict(parent.job.labels),
        options=parent.job.options,
        create_time=create_time,
        state="QUEUED",
    )


def child_uid(parent_uid: str, number: int) -> str:
    """Return the uid of a child: known before it exists, so that it is added once."""
    return f"{parent_uid}-{number}"


def trial_of(record: JobRecord) -> str:
    """Return the number of the trial that a job is; empty for a job of its own."""
    return record.job_id.rpartition("/")[2] if record.parent else ""


def own_id(record: JobRecord) -> str:
    """Return the id by which people know a job: a trial's is that of its tuning job."""
    return record.job_id.rpartition("/")[0] if record.parent else record.job_id


def base_input(record: JobRecord) -> TrainingInput:
    """Return what the job's user wrote: what trainers are told of their job, in every trial."""
    spec = record.job.training_input or TrainingInput()
    trial = trial_of(record)
    if not trial:
        return spec
    tuned = len(hyperparameters_of(spec).params)
    return msgspec.structs.replace(
        spec,
        args=spec.args[: len(spec.args) - tuned],
        job_dir=spec.job_dir.removesuffix(f"/{trial}"),
    )


def given_values(record: JobRecord) -> dict[str, str]:
    """Return what a child was given to try, by parameter, as its trainer reads it."""
    spec = record.job.training_input or TrainingInput()
    tuned = len(hyperparameters_of(spec).params)
    pairs = (flag.removeprefix("--").partition("=") for flag in spec.args[len(spec.args) - tuned :])
    return {name: value for name, _equals, value in pairs}


def trial_output(
    record: JobRecord, points: Sequence[tuple[int, float]], *, cut: bool = False
) -> dict[str, Any]:
    """Return what a child has measured, in the words of `HyperparameterOutput`.

    Args:
        record: The child.
        points: By step.
        cut: There was too much to read: the last point may not be the last that it reported.
    """
    found: dict[str, Any] = {"trialId": trial_of(record), "hyperparameters": given_values(record)}
    if points:
        metrics = [{"trainingStep": str(s), "objectiveValue": v} for s, v in points]
        found |= {"finalMetric": metrics[-1], "allMetrics": metrics}
    return found | ({_CUT: True} if cut else {})


def measured(record: JobRecord) -> list[tuple[int, float]]:
    """Return the points that a child's record holds, by step."""
    output = record.job.training_output
    trials = output.trials if output else []
    metrics = trials[0].get("allMetrics", []) if trials else []
    return [(int(m["trainingStep"]), float(m["objectiveValue"])) for m in metrics]


def is_cut(record: JobRecord) -> bool:
    """Tell whether a child's last value may not be the last that it reported."""
    output = record.job.training_output
    return bool(output and output.trials and output.trials[0].get(_CUT))


def state_of(record: JobRecord) -> JobState:
    """Return what a child came to: one that was stopped early has done what it was for."""
    done = record.job.error_message.startswith((STOPPED_EARLY, ENDED_FIRST))
    return JobState.SUCCEEDED if record.state is JobState.CANCELLED and done else record.state


def stopped_early(record: JobRecord) -> bool:
    """Tell whether a child was stopped because its trial need not go on."""
    return record.job.error_message.startswith(STOPPED_EARLY)
