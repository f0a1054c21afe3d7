"""`mlengine tensorboard`: the real TensorBoard, on jobs of this machine's engine.

It reads a folder of links, one per job, so its runs are called ``JOB/train`` and the like. It has
no access control of its own, so it listens on the loopback interface and nowhere else.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import click

from mlengine.cli.commands.event_copies import EventCopies
from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.names import check_id
from mlengine.core.resources import Job

__all__ = ["tensorboard"]

_MAX_JOBS = 10
_LOOKED_AT = 200
_READY = re.compile(r"TensorBoard \S+ at (?P<url>http\S+)")
_STOP_S = 5.0
_NAME_DIGITS = 32  # of an environment's digest name its folder
_PR_SET_PDEATHSIG = 1
_LOOPBACK = ("", "localhost", "127.0.0.1", "::1")


@click.command(cls=Command)
@click.argument("jobs", nargs=-1)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port on 127.0.0.1; default: 6006, or the next."
)
@click.option(
    "--logdir", metavar="DIR", help="Show this folder instead of jobs.", type=click.Path()
)
@pass_session
def tensorboard(
    session: Session, jobs: tuple[str, ...], port: int | None, logdir: str | None
) -> None:
    """Look at JOBS with TensorBoard, until Ctrl-C; default: the newest that have event files."""
    if jobs and logdir is not None:
        raise click.UsageError(
            "argument --logdir: At most one of JOBS | --logdir can be specified."
        )
    if logdir is not None and not Path(logdir).is_dir():
        raise CommandError(f"The folder [{logdir}] does not exist.")
    python = _python(session)
    with tempfile.TemporaryDirectory(prefix="mlengine-tensorboard-") as folder:
        if logdir is None:
            _link(session, jobs, Path(folder))
        _run(session, python, Path(logdir or folder), port)


# --- what it shows ------------------------------------------------------------------------------


def _link(session: Session, jobs: tuple[str, ...], folder: Path) -> None:
    """Fill a folder with a link to the directory of each job."""
    places = _Places(session)
    if jobs:
        for name in dict.fromkeys(check_id(job, kind="job", field="JOB") for job in jobs):
            job = session.engine.get_job(session.project, name)
            place = places.of(job)
            if place is None:
                raise CommandError(places.why_not(job))
            place.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(place)
        return
    found = 0
    for job in _newest(session):
        place = places.of(job)
        if place is not None and _has_events(place):
            (folder / job.job_id).symlink_to(place)
            found += 1
            if found == _MAX_JOBS:
                break
    if not found:
        raise CommandError(
            f"None of the newest jobs of project [{session.project}] has written event files to "
            "its job directory. Name jobs to wait for theirs."
        )
    session.say(f"Showing the newest jobs that have event files ({found}).")


def _newest(session: Session) -> Iterator[Job]:
    engine, project = session.engine, session.project
    jobs = session.walk(
        lambda size, token: engine.list_jobs(project, page_size=size, page_token=token)
    )
    for _number, job in zip(range(_LOOKED_AT), jobs, strict=False):
        yield job


def _has_events(folder: Path) -> bool:
    from mlengine.training.eventfiles import find_event_files

    return bool(find_event_files(folder, limit=1, entries=10_000))


class _Places:
    """Where job directories lie, as seen from this machine."""

    def __init__(self, session: Session) -> None:
        host = urlsplit(session.settings.endpoint).hostname or ""
        is_near = session.settings.endpoint.startswith("unix:") or host in _LOOPBACK
        # Elsewhere than on Linux, what answers at localhost is an engine in a virtual machine.
        self._here = is_near and sys.platform == "linux"
        status = session.engine.status()
        self._root = Path(status.shared or status.home) / "buckets"
        self._backings = {b.name: b.backing for b in session.engine.list_buckets()}
        self._copies = EventCopies(session)

    def of(self, job: Job) -> Path | None:
        """Return a job's directory, existing or not; None when it is not on this machine.

        Of one in an object store it is a folder with copies of its event files. What answers at
        127.0.0.1 may be the end of a tunnel, or run in a container: its folders are not here.
        """
        uri = job.training_input.job_dir if job.training_input else ""
        if not uri or not self._here:
            return None
        if not uri.startswith("gs://"):
            return Path(uri) if _is_folder(self._root) else None
        bucket, _slash, name = uri.removeprefix("gs://").partition("/")
        backing = self._backings.get(bucket)
        if backing is None:
            return None
        if backing and not backing.startswith("file://"):
            return self._copies.of(uri)
        folder = Path(backing.removeprefix("file://")) if backing else self._root / bucket
        return folder / name if _is_folder(folder) else None

    def why_not(self, job: Job) -> str:
        """Say why a job cannot be looked at."""
        uri = job.training_input.job_dir if job.training_input else ""
        if not uri:
            return f"Job [{job.job_id}] has no job directory, so it has no event files."
        where = "is not on this machine"
        return (
            f"The job directory [{uri}] of job [{job.job_id}] {where}. Copy it with 'mlengine "
            "storage cp -r', then use --logdir."
        )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:  # of another user's engine
        return False


# --- the program --------------------------------------------------------------------------------


def _python(session: Session) -> str:
    """Return an interpreter that has TensorBoard: this one, or that of a runtime."""
    if importlib.util.find_spec("tensorboard") is not None:
        return sys.executable
    home = Path(session.engine.status().home)
    for runtime in session.engine.list_runtimes():
        root = home / "environments" / runtime.digest[:_NAME_DIGITS]
        if runtime.built and any(root.glob("lib/python*/site-packages/tensorboard")):
            return str(root / "bin" / "python")
    raise CommandError(
        "TensorBoard is not installed. Install it next to mlengine (pip install tensorboard), or "
        "build a runtime that has it (mlengine runtimes build 2.21)."
    )


def _run(session: Session, python: str, logdir: Path, port: int | None) -> None:
    argv = [python, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1"]
    argv += ["--port", str(port)] if port is not None else []
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        try:
            said = _pass_on(session, process.stderr)
            status = process.wait()
        except KeyboardInterrupt:
            return
        finally:
            _stop(process)
    raise CommandError(f"TensorBoard ended (exit {status}): {said}")


def _pass_on(session: Session, lines: IO[str]) -> str:
    """Put TensorBoard's address on stdout and the rest on stderr; return its last line."""
    last, ready = "", False
    for line in lines:
        text = line.strip()
        last = text or last
        match = _READY.match(text)
        if match and not ready:
            ready = True
            session.write(match["url"] + "\n")
            sys.stdout.flush()
            session.say("TensorBoard runs until Ctrl-C.")
        elif ready and text:
            session.say(text)
    return last


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
