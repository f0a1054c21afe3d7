"""`mlengine jobs trials`: the trials of a tuning job, as a table, as data, or as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.cli.trials import Trial, is_minimized, objective, ranked, reasons, seconds, trials_of
from mlengine.core.resources import Job
from mlengine.training.trials.reasons import told

__all__ = ["trials"]

_FORMAT = (
    "table(trialId:label=TRIAL, state:label=STATE, objective:label=OBJECTIVE, step:label=STEP, "
    "seconds:label=SECONDS)"
)


@click.command(cls=Command, form=_FORMAT, lists=True, has_uris=False)
@click.argument("job")
@click.option("--plot", metavar="FOLDER",
              help="Draw the search there, or in gs://BUCKET/FOLDER, as SVG pictures.")  # fmt: skip
@pass_session
def trials(session: Session, job: str, plot: str | None) -> None:
    """Show the trials of the tuning job JOB, best first, also while it runs.

    Why trials failed is said once for all that have the same reason; --format=json has each's own.
    """
    found = session.engine.get_job(session.project, job)
    rows = [_row(trial) for trial in ranked(found)]
    if plot is not None:
        if session.is_format_given:
            session.warn("--format is ignored when --plot is present")
        _draw(session, found, plot)
        return
    parameters = _columns(rows)
    if session.has_own_columns and session.form is not None:
        # Parameters are columns of their own, whatever they are called.
        session.form = session.form._replace(columns=session.form.columns + parameters)
    session.show_all(rows, keys=parameters)
    if session.flags.format in ("", "table") and (lost := told(reasons(trials_of(found)))):
        session.say(lost)


def _row(trial: Trial) -> dict[str, Any]:
    """Return a trial with what a table shows; JSON and YAML show all of it."""
    final = trial.get("finalMetric") or {}
    value = objective(trial)
    return {
        **trial,
        "trialId": int(trial["trialId"]),
        "objective": value,
        "step": int(final["trainingStep"]) if "trainingStep" in final else None,
        "seconds": seconds(trial),
        "state": "STOPPED_EARLY" if trial.get("isTrialStoppedEarly") else trial.get("state"),
    }


def _columns(rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    from mlengine.cli.output.projection import Column

    names = dict.fromkeys(name for row in rows for name in row.get("hyperparameters") or {})
    return tuple(Column(path=("hyperparameters", name), label=name) for name in names)


def _draw(session: Session, job: Job, folder: str) -> None:
    from mlengine.cli.trialpictures import pictures
    from mlengine.storage.paths import is_uri, parse_uri

    place = parse_uri(folder.rstrip("/") + "/", field="--plot") if is_uri(folder) else None
    drawn = pictures(ranked(job), minimize=is_minimized(job), tag=_tag(job))
    if not drawn:
        raise CommandError(f"No trial of job [{job.job_id}] has reported its objective so far.")
    for name, text in drawn.items():
        if place:
            session.engine.write_object(place.bucket, place.name + name, [text.encode()])
            session.write(f"{place}{name}\n")
        else:
            session.write(f"{_written(Path(folder), name, text)}\n")


def _written(folder: Path, name: str, text: str) -> Path:
    """Write a picture into a folder, which is made; return where it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"[{folder}] cannot be written: {error.strerror}.") from None
    return folder / name


def _tag(job: Job) -> str:
    return job.training_output.hyperparameter_metric_tag if job.training_output else ""
