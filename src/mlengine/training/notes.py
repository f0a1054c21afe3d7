"""What the engine itself writes down in a job's folder, to be found by the engine after it.

    <job>/claim.json              the GPUs that are the job's alone, while it is not over
    <job>/<attempt>/details.json  what preparing the attempt told (environment, warnings, when)
    <job>/<attempt>/environment   the folder of what it will run in, until its spec.json says so
    <job>/<attempt>/retry.json    the attempt is over and another follows: since when, what pause

Whether a job runs is never here: that is the store's and the supervisor's to say.
"""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mlengine.core.resources import Job, JobDetails
from mlengine.runtime import attemptfiles
from mlengine.runtime.wholefile import write_whole

__all__ = [
    "PreparedNote",
    "RetryNote",
    "claimed_gpus",
    "details_of",
    "earlier_ran_s",
    "environment_note",
    "prepared_note",
    "ran_s",
    "retry_note",
    "started_at",
    "write_claimed_gpus",
    "write_environment_note",
    "write_prepared_note",
    "write_retry_note",
]

_CLAIM, _DETAILS, _RETRY = "claim.json", "details.json", "retry.json"
_ENVIRONMENT = "environment"
_Note = TypeVar("_Note")


class PreparedNote(msgspec.Struct, frozen=True):
    """What preparing an attempt told.

    Attributes:
        prepared: When it was ready to start, in wall-clock seconds since the epoch.
        details: Attributes of `JobDetails`.
    """

    prepared: float = 0.0
    details: dict[str, Any] = {}


class RetryNote(msgspec.Struct, frozen=True):
    """Another attempt follows this one.

    Attributes:
        since: When the attempt was seen to be over, in wall-clock seconds since the epoch.
        pause_s: How long to wait from then on.
        line: What was told about it.
    """

    since: float
    pause_s: float
    line: str


def write_claimed_gpus(job_dir: Path, ids: tuple[str, ...]) -> None:
    """Write down, durably, which GPUs a job has."""
    job_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    attemptfiles.write_json(job_dir / _CLAIM, {"gpus": list(ids)})


def claimed_gpus(job_dir: Path) -> tuple[str, ...]:
    """Return the GPUs that a job was given; none if nothing was written."""
    found = attemptfiles.read_json(job_dir / _CLAIM)
    return tuple(found["gpus"]) if found else ()


def write_environment_note(attempt_dir: Path, environment: Path) -> None:
    """Write down what an attempt will run in, so that nobody removes it meanwhile."""
    (attempt_dir / _ENVIRONMENT).write_text(str(environment))


def environment_note(attempt_dir: Path) -> str:
    """Return the folder of what an attempt will run in; empty before that is known."""
    with contextlib.suppress(OSError):
        return (attempt_dir / _ENVIRONMENT).read_text()
    return ""


def write_prepared_note(attempt_dir: Path, note: PreparedNote) -> None:
    """Write down what preparing told: whole or not, but not synced, for it is only told."""
    with contextlib.suppress(OSError):
        write_whole(attempt_dir / _DETAILS, msgspec.json.encode(note))


def details_of(job: Job, attempt_dir: Path, **more: Any) -> JobDetails:
    """Return a job's details with what preparing an attempt told, and more."""
    details = job.details or JobDetails()
    told = dict(prepared_note(attempt_dir).details)
    fresh = [w for w in told.pop("warnings", []) if w not in details.warnings]
    return msgspec.structs.replace(
        details, **{"warnings": [*details.warnings, *fresh], **told, **more}
    )


def prepared_note(attempt_dir: Path) -> PreparedNote:
    """Return what preparing told; an empty note if nothing was kept."""
    return _read(attempt_dir / _DETAILS, PreparedNote) or PreparedNote()


def write_retry_note(attempt_dir: Path, note: RetryNote) -> None:
    """Decide, durably, that another attempt follows this one."""
    attemptfiles.write_json(attempt_dir / _RETRY, msgspec.to_builtins(note))


def retry_note(attempt_dir: Path) -> RetryNote | None:
    """Return the decision that another attempt follows; None before it was taken."""
    return _read(attempt_dir / _RETRY, RetryNote)


def started_at(attempt_dir: Path) -> float:
    """Return when the last replica of the attempt was started; 0 if that is not known."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return float(attemptfiles.read_json(attempt_dir / attemptfiles.STARTED)["time"])
    return 0.0


def ran_s(attempt_dir: Path, *, now: float) -> float:
    """Return how long an attempt has run by `now`, or ran if it is over; 0 if it never did.

    Args:
        now: Wall-clock seconds since the epoch, as its supervisor noted them.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        over = attemptfiles.read_json(attempt_dir / attemptfiles.EXIT)
        if over is not None:
            return max(float(over["ended"]) - float(over["started"]), 0.0)
    started = started_at(attempt_dir)
    return max(now - started, 0.0) if started else 0.0


def earlier_ran_s(job_dir: Path, attempt: int) -> float:
    """Return how long the attempts before one ran together.

    One whose supervisor left no record counts nothing: nobody knows when it ended.
    """
    return math.fsum(ran_s(job_dir / str(number), now=0.0) for number in range(1, attempt))


def _read(path: Path, kind: type[_Note]) -> _Note | None:
    try:
        return msgspec.convert(attemptfiles.read_json(path), kind | None)
    except (OSError, json.JSONDecodeError, msgspec.ValidationError):
        return None  # cut short by a full disk or a power cut
