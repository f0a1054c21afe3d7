"""What a training job may ask for: every field is honoured, recorded, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlengine.core.clock import parse_duration_s
from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.names import check_id, check_labels
from mlengine.core.resources import Job, JobOptions, ReplicaConfig, Scheduling, TrainingInput
from mlengine.core.wire import encode, snake
from mlengine.training.fields import refused
from mlengine.training.plan import ROLE_FIELDS, plan_replicas
from mlengine.training.trials.hyperparameters import check_hyperparameters
from mlengine.training.verdict import FINDINGS

__all__ = [
    "MAX_RETRIES",
    "MODULE",
    "check_job",
    "check_region",
    "check_supported",
    "check_training_input",
    "running_limit_s",
    "wait_limit_s",
]

MAX_RETRIES = 20
MAX_PACKAGES = 100
MIN_WAIT_S = 1800.0
DEFAULT_RUNNING_S = 604_800.0
_REGION = re.compile(r"local|[a-z]+-[a-z]+[0-9]+", re.ASCII)
MODULE = re.compile(r"\w[\w-]*(\.\w[\w-]*)*")
"""What `python -m` takes: its parts name files, and `trainer.2-input` is one."""

_REFUSED = refused("TrainingInput")
_REFUSED_OF_REPLICAS = refused("ReplicaConfig")


def check_job(job: Job) -> None:
    """Check what training and prediction jobs have in common.

    Raises:
        InvalidArgument: Bad id, labels or options, or not exactly one input.
    """
    check_id(job.job_id, kind="job", field="job.job_id")
    check_labels(job.labels, field="job.labels")
    if job.options is not None:
        _check_options(job.options)
    if (job.training_input is None) == (job.prediction_input is None):
        raise InvalidArgument(
            "A job has exactly one of trainingInput and predictionInput.",
            "Send one of the two.",
            field="job",
        )


def check_region(region: str, *, field: str) -> None:
    """Raise unless `region` is spelled like a region; this machine answers to all of them."""
    if not region:
        raise InvalidArgument(
            "The region is missing.", "Send one, such as 'us-central1' or 'local'.", field=field
        )
    if not _REGION.fullmatch(region):
        raise InvalidArgument(
            f"{region!r} is not a region.", "Write it like 'us-central1', or 'local'.", field=field
        )


def check_training_input(spec: TrainingInput) -> None:
    """Check everything about a training input that needs no look at a bucket.

    Its hyperparameters are written anew, as every other field is answered: camelCase and numbers.

    Raises:
        InvalidArgument: The message names the field and what to write instead.
    """
    check_supported(spec)
    plan_replicas(spec)
    check_region(spec.region, field="training_input.region")
    _check_program(spec)
    if spec.hyperparameters is not None:
        spec.hyperparameters = encode(check_hyperparameters(spec))
    if spec.scheduling:
        _check_scheduling(spec.scheduling)


def check_supported(spec: TrainingInput) -> None:
    """Raise if the input names a field that is refused, whatever else it lacks yet.

    Raises:
        InvalidArgument: The message names the field and what to do instead.
    """
    for attribute, remedy in _REFUSED.items():
        if getattr(spec, attribute):
            raise _bad(attribute, f"This engine does not support '{attribute}'.", remedy)
    for start in ROLE_FIELDS.values():
        _check_config(f"{start}_config", getattr(spec, f"{start}_config"))


def _check_options(options: JobOptions) -> None:
    if not -1 <= options.max_retries <= MAX_RETRIES:
        raise InvalidArgument(
            f"maxRetries is {options.max_retries}.",
            f"Use 0 to {MAX_RETRIES}, or -1 for the engine's setting.",
            field="job.options.max_retries",
        )
    for word in options.allow:
        if word not in FINDINGS:
            hint = did_you_mean(word, FINDINGS)
            raise InvalidArgument(
                f"{word!r} is nothing that can be allowed.",
                f"{hint}Use any of: {', '.join(FINDINGS)}.",
                field="job.options.allow",
            )


def _check_config(path: str, config: ReplicaConfig | None) -> None:
    for attribute, remedy in _REFUSED_OF_REPLICAS.items():
        if config and getattr(config, attribute):
            raise _bad(
                f"{path}.{attribute}", f"This engine does not support '{attribute}'.", remedy
            )


def _check_program(spec: TrainingInput) -> None:
    if not spec.python_module:
        raise _bad("python_module", "There is no module to run.", "Set it to the module of the "
                   "package that trains, such as 'trainer.task'.")  # fmt: skip
    if not MODULE.fullmatch(spec.python_module):
        raise _bad("python_module", f"{spec.python_module!r} is not a module name.",
                   "Write it with dots, such as 'trainer.task'.")  # fmt: skip
    if not spec.package_uris:
        raise _bad("package_uris", "Non-custom jobs must have packages.",
                   "Submit with --package-path or --packages.")  # fmt: skip
    if len(spec.package_uris) > MAX_PACKAGES:
        raise _bad("package_uris", f"{len(spec.package_uris)} packages are too many.",
                   f"Use at most {MAX_PACKAGES}.")  # fmt: skip
    _check_namesakes(spec.package_uris)
    for text in [spec.python_module, spec.job_dir, *spec.args]:
        if "\0" in text:
            raise _bad("args", f"{text!r} holds a NUL character.", "Remove it.")


def _check_namesakes(uris: Sequence[str]) -> None:
    """Raise if two packages would be fetched into one file."""
    of: dict[str, str] = {}
    for index, uri in enumerate(uris):
        name = uri.rpartition("/")[2]
        if of.setdefault(name, uri) != uri:
            raise _bad(f"package_uris[{index}]", f"{of[name]} and {uri} have the same file name.",
                       "Give one of them another name.")  # fmt: skip


def _check_scheduling(scheduling: Scheduling) -> None:
    if not 0 <= scheduling.priority <= 1000:
        raise _bad("scheduling.priority", f"The priority {scheduling.priority} is out of range.",
                   "Use 0 to 1000; higher goes first.")  # fmt: skip
    running_s = _duration(scheduling.max_running_time, "scheduling.max_running_time")
    if running_s is not None and running_s <= 0:
        raise _bad("scheduling.max_running_time", f"{scheduling.max_running_time!r} is no time.",
                   "Use a positive duration such as '7200s'.")  # fmt: skip
    waiting_s = _duration(scheduling.max_wait_time, "scheduling.max_wait_time")
    if waiting_s is not None and waiting_s < MIN_WAIT_S:
        raise _bad("scheduling.max_wait_time", f"{scheduling.max_wait_time!r} is too short.",
                   "Use at least '1800s', or leave it out.")  # fmt: skip


def _duration(text: str, attribute: str) -> float | None:
    if not text:
        return None
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise _bad(attribute, f"{error}.", "Write seconds and an 's'.") from None


def running_limit_s(spec: TrainingInput) -> float:
    """Return how long the job may run, in seconds; a week unless it says otherwise."""
    limit = spec.scheduling.max_running_time if spec.scheduling else ""
    return parse_duration_s(limit) if limit else DEFAULT_RUNNING_S


def wait_limit_s(spec: TrainingInput | None) -> float | None:
    """Return how long the job may stay queued and preparing, in seconds; None is for ever."""
    limit = spec.scheduling.max_wait_time if spec and spec.scheduling else ""
    return parse_duration_s(limit) if limit else None


def _bad(attribute: str, problem: str, remedy: str) -> InvalidArgument:
    return InvalidArgument(problem, remedy, field=f"training_input.{snake(attribute)}")
