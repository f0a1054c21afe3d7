"""The trials of a tuning job as the API shows it: best first, and what each was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from mlengine.cli.errors import CommandError
from mlengine.core.resources import Job
from mlengine.training.trials.reasons import Reason, grouped

__all__ = [
    "Trial",
    "is_lost",
    "is_minimized",
    "objective",
    "ranked",
    "reasons",
    "seconds",
    "trials_of",
]

Trial = Mapping[str, Any]


def trials_of(job: Job) -> Sequence[Trial]:
    """Return a job's trials as it lists them.

    Raises:
        CommandError: It is no tuning job.
    """
    spec = job.training_input
    if spec is None or spec.hyperparameters is None:
        raise CommandError(
            f"Job [{job.job_id}] is no tuning job: its trainingInput has no hyperparameters."
        )
    return job.training_output.trials if job.training_output else []


def is_minimized(job: Job) -> bool:
    """Return whether less is better."""
    asked = job.training_input.hyperparameters if job.training_input else None
    return str((asked or {}).get("goal", "")) == "MINIMIZE"


def objective(trial: Trial) -> float | None:
    """Return a trial's last value of the objective, or None."""
    value = (trial.get("finalMetric") or {}).get("objectiveValue")
    return None if value is None else float(value)


def is_lost(trial: Trial) -> bool:
    """Return whether a trial failed or was cancelled: whatever it measured does not count."""
    return trial.get("state") in ("FAILED", "CANCELLED")


def ranked(job: Job) -> list[Trial]:
    """Return a job's trials best first; those that have no value, or failed, come last."""
    sign = 1.0 if is_minimized(job) else -1.0

    def rank(trial: Trial) -> tuple[bool, float, int]:
        value = objective(trial)
        counts = value is not None and not is_lost(trial)
        turned = sign * value if counts and value is not None else 0.0
        return not counts, turned, int(trial["trialId"])

    return sorted(trials_of(job), key=rank)


def reasons(trials: Iterable[Trial]) -> list[Reason]:
    """Return why trials did not succeed, those with like reasons together."""
    lost = filter(is_lost, trials)
    return grouped((int(t["trialId"]), t["state"], str(t.get("errorMessage", ""))) for t in lost)


def seconds(trial: Trial) -> int | None:
    """Return how long a trial took, to a second; None of one that is not over."""
    if not trial.get("startTime") or not trial.get("endTime"):
        return None
    begun, ended = (datetime.fromisoformat(trial[name]) for name in ("startTime", "endTime"))
    return round((ended - begun).total_seconds())
