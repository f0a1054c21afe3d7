"""`mlengine jobs`: submit, watch and stop jobs."""

from __future__ import annotations

from datetime import datetime

import click

from mlengine.cli.flags import label_updates, updated_labels
from mlengine.cli.logs import LOG_FORMAT, SINCE, show_log
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Branch, Group, command
from mlengine.core.resources import Job
from mlengine.core.wire import encode

__all__ = ["jobs", "submit"]

jobs = Group(
    "jobs",
    help="Submit, watch and stop jobs.",
    branches={
        "clone": Branch("mlengine.cli.commands.job_clone:clone", "Submit a job once more."),
        "metrics": Branch(
            "mlengine.cli.commands.job_metrics:metrics", "Show what a job has reported."
        ),
        "submit": Branch("mlengine.cli.commands.jobs:submit", "Submit a job."),
        "trials": Branch(
            "mlengine.cli.commands.job_trials:trials", "Show the trials of a tuning job."
        ),
    },
)
submit = Group(
    "submit",
    help="Submit a job.",
    branches={
        "prediction": Branch(
            "mlengine.cli.commands.submit_prediction:prediction", "Predict over files."
        ),
        "training": Branch("mlengine.cli.commands.submit_training:training", "Train a package."),
    },
)

_LIST_FORMAT = (
    "table(jobId.basename():label=JOB_ID, state:label=STATUS, "
    "createTime.date(tz=LOCAL):label=CREATED)"
)


@command(jobs, "list", form=_LIST_FORMAT, lists=True)
@pass_session
def list_jobs(session: Session) -> None:
    """List jobs, newest first."""
    engine, project = session.engine, session.project
    session.show_all(
        session.walk(
            lambda size, token: engine.list_jobs(project, page_size=size, page_token=token)
        )
    )


@command(jobs, "describe")
@click.argument("job")
@click.option("--summarize", is_flag=True, help="Show tables for people instead.")
@pass_session
def describe(session: Session, job: str, summarize: bool) -> None:
    """Show everything about JOB."""
    found = encode(session.engine.get_job(session.project, job))
    if summarize:
        from mlengine.cli.summary import summary

        if session.is_format_given:
            session.warn("--format is ignored when --summarize is present")
        session.write(summary(found))
        return
    session.show(found)
    session.say(f"\nView logs with: mlengine jobs stream-logs {job}")


@command(jobs, "cancel")
@click.argument("job")
@pass_session
def cancel(session: Session, job: str) -> None:
    """Ask JOB to stop."""
    session.engine.cancel_job(session.project, job)


@command(jobs, "update")
@click.argument("job")
@label_updates
@pass_session
def update(
    session: Session,
    job: str,
    update_labels: tuple[dict[str, str], ...],
    clear_labels: bool,
    remove_labels: tuple[list[str], ...],
) -> None:
    """Change the labels of JOB."""
    old = session.engine.get_job(session.project, job)
    labels = updated_labels(
        old.labels,
        update_labels=update_labels,
        clear_labels=clear_labels,
        remove_labels=remove_labels,
    )
    if labels is None:
        session.say("No update to perform.")
        return
    # The etag makes it one change: labels that somebody sets meanwhile are not lost.
    session.engine.update_job(
        session.project, job, Job(labels=labels, etag=old.etag), update_mask="labels,etag"
    )
    session.say(f"Updated ml engine job [{job}].")


@command(jobs, "stream-logs", form=LOG_FORMAT)
@click.argument("job")
@click.option(
    "--polling-interval",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Longest wait of one look at the log, 30 at most; lines are shown at once anyway.",
)
@click.option("--allow-multiline-logs", is_flag=True, help="Keep messages of several lines whole.")
@click.option("--task-name", default="", help="Only this task, such as master-replica-0.")
@click.option("--since", type=SINCE, help="Only lines from then on: 10m ago, or a timestamp.")
@click.option("--follow/--no-follow", default=True, help="Wait for what is yet to be written.")
@pass_session
def stream_logs(
    session: Session,
    job: str,
    polling_interval: float | None,
    allow_multiline_logs: bool,
    task_name: str,
    since: datetime | None,
    follow: bool,
) -> None:
    """Show the log of JOB as it is written, until the job has ended."""
    out = session.stream(LOG_FORMAT)
    show_log(
        session,
        job,
        out,
        task_name=task_name,
        since=since,
        multiline=allow_multiline_logs,
        wait=follow,
        look_s=polling_interval or 0.0,
    )
    out.close()
