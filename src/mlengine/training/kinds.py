"""What differs between kinds of jobs: a trainer package, a batch prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mlengine.core.errors import Unavailable
from mlengine.core.resources import Job, PredictionOutput, TrainingInput, TrainingOutput
from mlengine.store import JobRecord
from mlengine.training import notes
from mlengine.training.admission import Demand
from mlengine.training.launchers import AttemptSpec, ExitRecord
from mlengine.training.plan import plan_replicas

__all__ = ["JobKind", "NotYet", "Preparation", "all_ran_s", "consumption", "demand_of",
           "hours_of", "kind_of", "ml_units"]  # fmt: skip


def _keep_nothing(**_details: Any) -> None:
    """Let what is reported go."""


class Preparation(msgspec.Struct, frozen=True):
    """What `prepare` may use.

    Attributes:
        record: The job, in PREPARING.
        attempt_dir: The attempt's own folder, empty; the supervisor will run there.
        log: Writes one line into the job's log.
        cancelled: Whether to give up; asked between and during long steps.
        warn: Like `log`, for what the user should see and may have to act on.
        report: Takes attributes of `JobDetails` by name, such as ``environment_seconds=1.2``.
        gpus: Ids of the GPUs that are this job's alone, for all its replicas together.
    """

    record: JobRecord
    attempt_dir: Path
    log: Callable[[str], None]
    cancelled: Callable[[], bool]
    warn: Callable[[str], None]
    report: Callable[..., None] = _keep_nothing
    gpus: tuple[str, ...] = ()


class NotYet(Unavailable):
    """What an attempt made cannot be put where it belongs now; it is tried again."""


class JobKind(Protocol):
    """Contract, held by `tests/unit/training` and `tests/unit/prediction` for each kind:

    1. `check` raises `InvalidArgument` (or `NotFound`, `FailedPrecondition`) for what can never
       run, and returns what its user should be told of the rest; it creates nothing.
    2. `prepare` may be called again for the same attempt after a crash; it raises an `EngineError`
       that becomes the job's error message.
    3. `collect` is called once no process of the attempt is left; what it returns are the
       attributes of `Job` to set at the end: an `error_message` among them fails a job that
       exited with 0, and `warnings` go to its log and details, as do the `judge_seconds` that it
       took to judge what it made. It may be called again after a crash, and is after it has
       raised `NotYet`.
    4. `tidy` is called after the job is over, whatever became of it, with the folder of all its
       attempts; what it cannot remove it leaves.
    """

    def check(self, project: str, job: Job) -> Sequence[str]: ...
    def prepare(self, preparation: Preparation) -> AttemptSpec: ...
    def collect(
        self, record: JobRecord, attempt_dir: Path, exit_record: ExitRecord
    ) -> dict[str, Any]: ...
    def progress(self, record: JobRecord, attempt_dir: Path) -> dict[str, Any]:
        """Return the live outputs of a running attempt, or nothing."""
        ...

    def tidy(self, record: JobRecord, job_dir: Path) -> None: ...


def kind_of(job: Job) -> str:
    """Return ``training`` or ``prediction``."""
    return "training" if job.training_input is not None else "prediction"


def demand_of(job: Job) -> Demand:
    """Return what a job asks for, all replicas together.

    Raises:
        InvalidArgument: Its training input asks for machines that do not exist.

    Example:
        >>> demand_of(Job(training_input=TrainingInput(scale_tier="STANDARD_1"))).replicas
        8
    """
    strict = job.options is not None and job.options.strict_resources
    if job.training_input is None:
        return Demand(strict=strict)
    plan = plan_replicas(job.training_input)
    return Demand(
        replicas=plan.replicas,
        cpus=float(plan.cpus),
        memory_bytes=plan.memory_bytes,
        gpus=plan.gpus,
        strict=strict,
    )


def all_ran_s(record: JobRecord, attempt_dir: Path, exit_record: ExitRecord | None) -> float:
    """Return how long a job ran in all its attempts together, in seconds, without the pauses.

    Args:
        record: The job.
        attempt_dir: The folder of its newest attempt.
        exit_record: How that one ended; None if it never ran, or was lost.
    """
    newest_s = exit_record.ended - exit_record.started if exit_record else 0.0
    return notes.earlier_ran_s(attempt_dir.parent, record.attempt) + max(newest_s, 0.0)


def ml_units(job: Job, ran_s: float) -> float:
    """Return what a job consumed: hours, weighted by price, an hour of BASIC being one.

    Example:
        >>> ml_units(Job(training_input=TrainingInput(scale_tier="BASIC")), 3600.0)
        1.0
    """
    return _weighted(job, hours_of(ran_s))


def consumption(job: Job, ran_s: float) -> dict[str, Any]:
    """Return the attribute of a job that says what it consumed, after so many seconds.

    The rest of its output stays; `collect` counts the same of a job that was not cut.

    Example:
        >>> job = Job(training_input=TrainingInput(scale_tier="BASIC"))
        >>> consumption(job, 3600.0)["training_output"].consumed_m_l_units
        1.0
    """
    hours = hours_of(ran_s)
    if job.training_input is not None:
        trained = job.training_output or TrainingOutput()
        units = _weighted(job, hours)
        return {"training_output": msgspec.structs.replace(trained, consumed_m_l_units=units)}
    predicted = job.prediction_output or PredictionOutput()
    return {"prediction_output": msgspec.structs.replace(predicted, node_hours=hours)}


def hours_of(ran_s: float) -> float:
    """Return seconds in hours of one machine, to a microhour.

    Example:
        >>> hours_of(36.0)
        0.01
    """
    return round(ran_s / 3600.0, 6)


def _weighted(job: Job, hours: float) -> float:
    if job.training_input is None:
        return hours
    basic = plan_replicas(TrainingInput(scale_tier="BASIC")).usd_per_hour
    return round(hours * plan_replicas(job.training_input).usd_per_hour / basic, 6)
