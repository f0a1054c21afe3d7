"""The engine of this machine: found, started in the background when needed, stopped.

Two commands that need it at once start one: who takes ``run/start.lock`` first starts it, the other
waits for the lock and finds it running.
"""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.client.connections import connector
from mlengine.client.daemoncommand import daemon_argv
from mlengine.client.http import HttpEngine
from mlengine.client.trust import Trust
from mlengine.core.clock import SystemClock
from mlengine.core.errors import EngineError, FailedPrecondition, Unauthenticated, Unavailable
from mlengine.core.system import require_linux
from mlengine.engine import Engine, EngineStatus
from mlengine.engine.home import (
    LOG_NAME,
    Home,
    alone,
    is_owned,
    open_private,
    read_engine_file,
    read_token,
    stranded_engine,
)
from mlengine.engine.settings import Settings
from mlengine.runtime.processes import Process, look, noted

__all__ = [
    "LOG_NAME",
    "Stopped",
    "connect",
    "daemon_argv",
    "find",
    "start",
    "status",
    "stop",
    "token_for",
]

_START_TIMEOUT_S = 60.0
_OTHERS_TIMEOUT_S = 10.0  # for who has the home already to say where it is
_STOP_TIMEOUT_S = 60.0
_HEALTH_TIMEOUT_S = 10.0
_LOOK_S = 0.02
_SHOWN_LOG_LINES = 15
_SHOWN_LOG_BYTES = 16 * 1024

Say = Callable[[str], None]


def say_to_stderr(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


class Running(NamedTuple):
    """An engine that runs on this machine."""

    pid: int
    url: str


class Stopped(NamedTuple):
    """What `stop` did: the engine's pid, and what it was looking after (None: not known).

    The pid is 0 if the engine was gone, and only what it left was there to be stopped.
    """

    pid: int
    status: EngineStatus | None


def connect(settings: Settings, *, start: bool = True, say: Say = say_to_stderr) -> Engine:
    """Return the engine that commands talk to: the setting ``endpoint``, else the local one.

    Args:
        settings: Where it is.
        start: Start the local engine when it does not run.
        say: Told, in a line, that an engine is being started.

    Raises:
        FailedPrecondition: No engine runs and none was started, or can be on this system.
        Unavailable: It was started and did not come up; with the last lines of its log.
        Unauthenticated: An endpoint without a token.
    """
    if settings.endpoint:
        token = settings.token or token_for(settings)
        return HttpEngine(settings.endpoint, token, trust=Trust(ca=settings.ca))
    running = find(settings.home)
    if running is None:
        if not start:
            raise FailedPrecondition(
                f"No engine runs on {settings.home}.", "Start one with 'mlengine up'."
            )
        running = _start(settings, say)
    token = settings.token or read_token(settings.home)
    return HttpEngine(running.url, token, trust=_own(settings.home, running.url))


def token_for(settings: Settings) -> str:
    """Return the home's own token if the endpoint is its engine; it goes to nobody else.

    Raises:
        Unauthenticated: The endpoint is another engine.
    """
    facts = read_engine_file(settings.home) or {}
    if str(facts.get("url", "")).rstrip("/") == settings.endpoint.rstrip("/"):
        return read_token(settings.home)
    raise Unauthenticated(
        f"There is no token for {settings.endpoint}.", "Set MLENGINE_TOKEN to that engine's token."
    )


def _own(home: Path, url: str) -> Trust:
    """Return the trust in the engine of a home: in the very certificate that it was given."""
    if not url.startswith("https:"):
        return Trust()
    from mlengine.prediction.control import read_gateway

    gateway = read_gateway(home / "run")
    return Trust(pinned=gateway.doors.tls_cert if gateway else "")


def find(home: Path) -> Running | None:
    """Return the engine that runs on a home folder, or None."""
    running = _published(home)
    # The lock is looked at last: looking takes it for a moment, which a starting engine may meet.
    return running if running and is_owned(home) else None


def _published(home: Path) -> Running | None:
    """Return who says that it is the engine here, if it lives; a copy has what another said."""
    try:
        facts: dict[str, Any] = read_engine_file(home) or {}
    except OSError:
        return None  # whoever wants to start an engine there is told why it cannot be
    if "pid" in facts and "process" not in facts:
        process = _of_before(facts["pid"], home)
    else:
        process = noted(facts.get("process") or {}, home / "run")
    return Running(process.pid, str(facts.get("url"))) if process else None


def _of_before(pid: int, home: Path) -> Process | None:
    """Return an engine that was started before mlengine was upgraded and noted only its number."""
    process = look(pid)
    try:
        is_engine = b"mlengine" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    return process if is_engine and is_owned(home) else None


# --- starting -----------------------------------------------------------------------------------


def start(settings: Settings, *, say: Say = say_to_stderr) -> Running:
    """Start the local engine in the background, unless it runs; return once it answers."""
    return find(settings.home) or _start(settings, say)


def _start(settings: Settings, say: Say) -> Running:
    require_linux("The engine")  # before a folder is made, and something said to start
    home = settings.home
    try:
        open_private(home)  # before anything lies in it: what is empty may be closed
        for folder in (home / "run", home / "logs"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(home / "run" / "start.lock"):  # the right to start it
            running = find(home)
            if running is None:
                say("Starting the engine (mlengine up) ...")
                running = _launch(home)
    except OSError as error:
        raise FailedPrecondition(
            f"The engine cannot use the folder {home}: {error.strerror}.",
            "Choose another with MLENGINE_HOME or --home.",
        ) from None
    return running


def _launch(home: Path) -> Running:
    log = home / "logs" / LOG_NAME
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as out:
        said_before_bytes = os.fstat(descriptor).st_size
        process = subprocess.Popen(
            daemon_argv("--home", str(home)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=home,
            start_new_session=True,
        )
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + _START_TIMEOUT_S
    while clock.monotonic_s() < deadline_s:
        running = find(home)
        if running and _is_healthy(running, home):
            # It outlives this command on purpose: nobody is to warn that it was not waited for.
            process.returncode = 0
            return running
        if _ended(process):
            if not is_owned(home):
                raise Unavailable(
                    f"The engine ended at once.{_tail(log, said_before_bytes)}",
                    "Mend that, then try again.",
                )
            return _other(home, _tail(log, said_before_bytes))
    process.terminate()
    raise Unavailable(
        f"The engine did not answer within {_START_TIMEOUT_S:g} seconds."
        f"{_tail(log, said_before_bytes)}",
        "Try 'mlengine up' in a terminal to see more.",
    )


def _other(home: Path, said: str) -> Running:
    """Return the engine that has the home, so that ours ended; it may be only just starting."""
    clock, pause = SystemClock(), threading.Event()
    deadline_s = clock.monotonic_s() + _OTHERS_TIMEOUT_S
    while clock.monotonic_s() < deadline_s:
        running = find(home)
        if running and _is_healthy(running, home):
            return running
        pause.wait(_LOOK_S)
    raise Unavailable(
        f"Another engine has {home}, and does not answer.{said}",
        "Try again; if that stays so, stop it with 'mlengine down'.",
    )


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Wait a moment for the process to end; this is what paces the look-out for its answer."""
    try:
        process.wait(_LOOK_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _is_healthy(running: Running, home: Path) -> bool:
    import http.client

    trust = _own(home, running.url)
    connection = connector(running.url, trust)(_HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/api/v1/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(log: Path, since_bytes: int) -> str:
    """Return the last lines of a log, as the end of a message; none of an earlier start's."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            since = since_bytes if since_bytes <= end else 0  # somebody rotated it
            file.seek(max(since, end - _SHOWN_LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-_SHOWN_LOG_LINES:]
    except OSError:
        return ""
    if not lines:
        return f" It said nothing in {log}."
    return f" The end of {log}:\n" + "".join(f"  {line}\n" for line in lines)


# --- looking and stopping -----------------------------------------------------------------------


def status(settings: Settings) -> EngineStatus:
    """Return what the engine says of itself; never starts one.

    Raises:
        FailedPrecondition: No engine runs.
    """
    return connect(settings, start=False).status()


def stop(settings: Settings, *, timeout_s: float = _STOP_TIMEOUT_S) -> Stopped:
    """Stop the local engine and what it serves; running jobs go on for the next engine.

    Gateway and workers outlive an engine that is killed: they are stopped where it is gone.

    Raises:
        FailedPrecondition: Nothing of an engine runs on this home.
        DeadlineExceeded: It did not end.
    """
    home = settings.home
    running = _to_stop(home)
    if running is None:
        if is_owned(home):
            raise FailedPrecondition(
                f"An engine has {home} and does not say where it is: it is starting or ending.",
                f"Try again; if that stays so, end who holds {home / 'run' / 'lock'} (fuser -v).",
            )
        if not _stop_left(home):
            raise FailedPrecondition(f"No engine runs on {home}.", "There is nothing to stop.")
        return Stopped(0, None)
    try:
        # A descriptor of the process, not its number: the number may go to another one meanwhile.
        process = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return Stopped(running.pid, None)
    try:
        if _to_stop(home) != running:  # it ended before there was a descriptor of it
            return Stopped(running.pid, None)
        # Of the engine that is stopped, whatever other one commands talk to.
        last = _last_status(dataclasses.replace(settings, endpoint="", token=""))
        signal.pidfd_send_signal(process, signal.SIGTERM)
        _wait(process, running.pid, timeout_s)
    finally:
        os.close(process)
    if not is_owned(home):
        _stop_left(home)  # of a home that was moved it finds its own gateway no more
    return Stopped(running.pid, last)


def _to_stop(home: Path) -> Running | None:
    stranded = stranded_engine(home)
    return find(home) or (Running(stranded.pid, "") if stranded else None)


def _stop_left(home: Path) -> bool:
    """Stop the gateway and workers of an engine that is gone; return whether there were any."""
    from mlengine.prediction.control import GatewayControl, gateway_process
    from mlengine.prediction.workers.launch import read_process
    from mlengine.prediction.workers.pool import WorkerPool

    run = home / "run"
    workers = [read_process(folder) for folder in (run / "workers").glob("*")]
    if gateway_process(run) is None and not any(worker and worker.look() for worker in workers):
        return False
    owned = Home(home)  # the next engine adopts what we end, or finds it ended: nothing between
    try:
        GatewayControl(run).shutdown()  # first, as an engine does: its answers are still out then
        pool = WorkerPool(home, gpus=None)
        pool.adopt()
        for uid in pool.uids():
            pool.stop(uid)
    finally:
        owned.close()
    return True


def _last_status(settings: Settings) -> EngineStatus | None:
    try:
        return status(settings)
    except EngineError:
        return None


def _wait(process: int, pid: int, timeout_s: float) -> None:
    from mlengine.core.errors import DeadlineExceeded

    ended = select.poll()
    ended.register(process, select.POLLIN)
    if not ended.poll(timeout_s * 1000):
        raise DeadlineExceeded(
            f"The engine (process {pid}) did not end within {timeout_s:g} seconds.",
            "It may be finishing an upload; look at its log, or try again.",
        )
