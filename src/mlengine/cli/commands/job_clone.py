"""`mlengine jobs clone`: the same packages, arguments and runtime once more, under a new id."""

from __future__ import annotations

import hashlib
import re

import click
import msgspec

from mlengine.cli.after_submit import JOB_FORMAT, report
from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.resources import Job, TrainingInput

__all__ = ["clone"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


@click.command(cls=Command, form=JOB_FORMAT)
@click.argument("job")
@click.argument("new")
@click.option(
    "--job-dir", metavar="URI", help="Default: NEW beside JOB's; an empty one gives it none."
)
@click.option("--stream-logs", is_flag=True, help="Wait for the end and show the log.")
@pass_session
def clone(session: Session, job: str, new: str, job_dir: str | None, stream_logs: bool) -> None:
    """Submit the training job JOB again, as NEW, with the very same packages."""
    old = session.engine.get_job(session.project, job)
    spec = old.training_input
    if spec is None:
        raise CommandError(
            f"Job [{job}] is a batch prediction. Submit it again with jobs submit prediction."
        )
    _check_packages(session, old, spec)
    place = _beside(spec.job_dir, new) if job_dir is None else job_dir
    if place and job_dir is None:
        session.say(f"Job directory: {place}")
    _warn_of_args(session, spec)
    again = Job(
        job_id=new,
        training_input=msgspec.structs.replace(spec, job_dir=place),
        labels=old.labels,
        options=old.options,
    )
    report(session, session.engine.create_job(session.project, again), stream_logs=stream_logs)


def _beside(job_dir: str, new: str) -> str:
    """Return the sibling of a job directory that has the new job's name; it is never shared.

    Example:
        >>> _beside("gs://mine/jobs/census_1/", "census_2"), _beside("gs://mine", "census_2")
        ('gs://mine/jobs/census_2', 'gs://mine/census_2')
    """
    if not job_dir:
        return ""
    bare = job_dir.rstrip("/")
    parent = bare.rpartition("/")[0]
    return f"{bare if parent.endswith(':/') else parent}/{new}"


def _warn_of_args(session: Session, spec: TrainingInput) -> None:
    old = spec.job_dir.rstrip("/")
    for arg in spec.args if old else ():
        if old in arg:
            session.warn(f"The argument [{arg}] still names the job directory of the old job.")


# --- the same packages --------------------------------------------------------------------------


def _check_packages(session: Session, old: Job, spec: TrainingInput) -> None:
    """Refuse packages that are not what the old job ran.

    `jobs submit` uploads into a folder named by the digest of its packages: there the bytes are
    compared. Of any other package it is known whether it was written after the job.
    """
    by_digest: dict[str, list[str]] = {}
    for uri in spec.package_uris:
        digest = next((part for part in uri.split("/") if _DIGEST.fullmatch(part)), "")
        if digest:
            by_digest.setdefault(digest, []).append(uri)
        else:
            _check_age(session, old, uri)
    for digest, uris in by_digest.items():
        if _digest_of(session, uris) != digest:
            raise CommandError(
                f"The packages of job [{old.job_id}] are no longer what it ran: "
                f"{', '.join(uris)} differ from the digest in their path. Submit them again with "
                "jobs submit training."
            )


def _check_age(session: Session, old: Job, uri: str) -> None:
    bucket, _slash, name = uri.removeprefix("gs://").partition("/")
    updated = session.engine.stat_object(bucket, name).updated
    if _moment(updated) > _moment(old.create_time):
        raise CommandError(
            f"The package {uri} was written at {updated}, after job [{old.job_id}] was created: it "
            "may not be what that job ran. Submit it again with jobs submit training."
        )


def _digest_of(session: Session, uris: list[str]) -> str:
    """Return what `training.packaging.package_digest` says of files, for objects."""
    total = hashlib.sha256()
    for uri in uris:
        bucket, _slash, name = uri.removeprefix("gs://").partition("/")
        for piece in session.engine.read_object(bucket, name):
            total.update(piece)
    return total.hexdigest()


def _moment(text: str) -> str:
    """Return an RFC 3339 time so that texts compare as times do."""
    whole, _dot, fraction = text.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:<09}"
