"""Where the model lies that a job made: what ``versions create --from-job`` deploys."""

from __future__ import annotations

from typing import NamedTuple

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session
from mlengine.cli.trials import objective, ranked
from mlengine.core.resources import Job, Object
from mlengine.core.states import TERMINAL_JOB_STATES
from mlengine.runtime.artifact import detect
from mlengine.runtime.prediction_error import PredictionError

__all__ = ["origin_of_job"]

_DONE = "SUCCEEDED"


class _Export(NamedTuple):
    """A folder that is a model; the newest of its files was written at `updated`.

    `folder` is relative to the job's, and empty for that one itself.
    """

    folder: str
    updated: str


def origin_of_job(session: Session, job_id: str, *, trial: str = "") -> str:
    """Return the folder of the model that a job left in its job directory.

    Args:
        session: Who asks.
        job_id: The job; of a tuning job the best trial is taken.
        trial: A trial instead of the best.

    Raises:
        CommandError: It did not succeed, or there is no model.
    """
    job = session.engine.get_job(session.project, job_id)
    where = _job_dir(job)
    is_tuned = job.training_input is not None and job.training_input.hyperparameters is not None
    if trial and not is_tuned:
        raise CommandError(f"Job [{job_id}] is no tuning job: it has no trials.")
    if is_tuned:
        number = trial or _best(job)
        _check_trial(job, number)
        where = f"{where}/{number}"
        if not trial and job.state not in TERMINAL_JOB_STATES:
            session.warn(f"Job [{job_id}] is {job.state}: this is the best trial so far.")
        session.say(f"Deploying trial {number} of job [{job_id}].")
    elif job.state != _DONE:
        raise CommandError(f"Job [{job_id}] is {job.state}; only what succeeded is deployed.")
    return _model_below(session, where)


def _job_dir(job: Job) -> str:
    uri = job.training_input.job_dir if job.training_input else ""
    if not uri:
        raise CommandError(f"Job [{job.job_id}] has no job directory, so it left no model.")
    if not uri.startswith("gs://"):
        raise CommandError(
            f"The job directory [{uri}] of job [{job.job_id}] is in no bucket; give the model's "
            "folder with --origin."
        )
    return uri.rstrip("/")


def _best(job: Job) -> str:
    for trial in ranked(job):
        if objective(trial) is not None and trial.get("state") == _DONE:
            return str(trial["trialId"])
    none = f"Job [{job.job_id}] is {job.state}: no trial has succeeded with a value"
    if job.state in TERMINAL_JOB_STATES:
        raise CommandError(f"{none}. See 'mlengine jobs trials {job.job_id}' for what they did.")
    raise CommandError(f"{none} so far. Wait with 'mlengine jobs stream-logs {job.job_id}'.")


def _check_trial(job: Job, number: str) -> None:
    known = {str(trial["trialId"]): trial for trial in ranked(job)}
    if number not in known:
        raise CommandError(f"Job [{job.job_id}] has no trial [{number}].")
    state = known[number].get("state")
    if state != _DONE:
        raise CommandError(f"Trial {number} of job [{job.job_id}] is {state}.")


def _model_below(session: Session, where: str) -> str:
    bucket, _slash, path = where.removeprefix("gs://").partition("/")
    prefix = f"{path}/" if path else ""  # the job directory may be the bucket itself
    objects: list[Object] = list(
        session.walk(
            lambda size, token: session.engine.list_objects(
                bucket, prefix=prefix, page_size=size, page_token=token
            )
        )
    )
    folders: dict[str, list[Object]] = {}
    for found in objects:
        folders.setdefault(found.name.removeprefix(prefix).rpartition("/")[0], []).append(found)
    exports = [
        _Export(folder, max(item.updated for item in inside))
        for folder, inside in folders.items()
        if _is_model([item.name.rpartition("/")[2] for item in inside])
    ]
    if not exports:
        raise CommandError(
            f"There is no model below [{where}/]: no folder with a saved_model.pb, model.joblib, "
            "model.pkl, model.bst, model.keras or model.onnx."
        )
    chosen = max(exports, key=_preference)
    origin = f"{where}/{chosen.folder}" if chosen.folder else where
    if len(exports) > 1:
        session.warn(
            f"There are {len(exports)} models below [{where}/]; this one is deployed: [{origin}]."
        )
    return origin


def _preference(export: _Export) -> tuple[bool, str, str]:
    """Prefer what was exported over checkpoints, and then what is newer.

    Only the job's own folders say which is which: those above may be called anything.
    """
    parts = export.folder.split("/")
    is_meant = any(part == "model" or part.startswith("export") for part in parts)
    return is_meant, export.updated, export.folder


def _is_model(names: list[str]) -> bool:
    try:
        detect(names, where="")
    except PredictionError:
        return False
    return True
