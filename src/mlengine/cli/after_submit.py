"""What every submitted job prints: where it stands, or its log until it has ended."""

from __future__ import annotations

import sys

from mlengine.cli.errors import CommandFailed
from mlengine.cli.logs import LOG_FORMAT, show_log
from mlengine.cli.output import Stream, parse_format
from mlengine.cli.session import Session
from mlengine.core.resources import Job
from mlengine.core.wire import encode

__all__ = ["JOB_FORMAT", "report"]

JOB_FORMAT = "yaml(jobId, state, startTime.date(tz=LOCAL), endTime.date(tz=LOCAL))"

_ACTIVE = """\
Your job is still active. You may view the status of your job with the command

  $ mlengine jobs describe {job}

or continue streaming the logs with the command

  $ mlengine jobs stream-logs {job}"""


def report(session: Session, job: Job, *, stream_logs: bool) -> None:
    """Say that the job was submitted; with `stream_logs` wait for its end.

    Raises:
        CommandFailed: It was waited for and did not succeed, or not yet when Ctrl-C came.
    """
    session.say(f"Job [{job.job_id}] submitted successfully.")
    for warning in job.details.warnings if job.details else ():
        session.warn(warning)
    if not stream_logs:
        session.say(_ACTIVE.format(job=job.job_id))
        session.show(encode(job), form=JOB_FORMAT)
        return
    try:
        show_log(session, job.job_id, Stream(parse_format(LOG_FORMAT), _to_stderr))
    except KeyboardInterrupt:
        session.say("Received keyboard interrupt.")
        session.say(_ACTIVE.format(job=job.job_id))
    ended = session.engine.get_job(session.project, job.job_id)
    session.show(encode(ended), form=JOB_FORMAT)
    if ended.state != "SUCCEEDED":
        if ended.error_message:
            session.say(f"ERROR: ({session.command}) Job [{job.job_id}]: {ended.error_message}")
        raise CommandFailed


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
