"""Runs one attempt of a job and writes down how it ended; outlives the engine.

    python -I -S path/to/supervisor.py ATTEMPT_DIR [LOCK_FD [KEYS_FD]]

Run as a file, with the standard library alone, so that it starts in a few hundredths of a second.
The files of ATTEMPT_DIR (see `attemptfiles`) are its whole interface: it reads ``spec.json``, shows
that it lives by holding a lock on ``supervisor.lock``, watches for ``cancel``, and writes
``started.json`` and ``exit.json``. LOCK_FD is a descriptor of the lock file that the launcher has
locked already, so that there is no moment between "asked for" and "alive". KEYS_FD is an envelope
(`envelope`) for helpers; with one, the supervisor closes itself to others of its user.

Standard library only, Python >= 3.7, Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlengine.runtime.forkstart import ForkStart
    from mlengine.runtime.gang import Gang
    from mlengine.runtime.logfile import LogFile

__all__ = ["Signals", "become_reaper", "main"]

_PR_SET_CHILD_SUBREAPER = 36
_DEFAULT_QUOTA_BYTES = 256 * 1024 * 1024

EXIT_ALREADY_RUNNING = 4


def main(arguments: list[str], fork: ForkStart | None = None) -> int:
    """Run the attempt in the given folder; return the supervisor's own exit code.

    Args:
        fork: Forks the replicas from this interpreter; default: they are executed.
    """
    from mlengine.runtime import attemptfiles, failpoints

    folder = Path(arguments[0]).resolve()
    keys = _keys(int(arguments[2])) if len(arguments) > 2 else None
    lock = _lock(folder, int(arguments[1]) if len(arguments) > 1 else -1)
    if lock < 0 or os.fstat(lock).st_size or (folder / attemptfiles.EXIT).exists():
        return EXIT_ALREADY_RUNNING  # another supervisor has, or had, this attempt
    become_reaper()
    signals = Signals()
    failpoints.hit("supervisor.before-identity")
    tag = _identify(lock, folder)
    failpoints.hit("supervisor.after-identity")
    started = time.time()
    record, address = _supervise(folder, tag, signals, fork, keys)
    record.setdefault("started", started)
    record["ended"] = time.time()
    failpoints.hit("supervisor.before-exit")
    _insist(folder, record)
    failpoints.hit("supervisor.after-exit")
    attemptfiles.notify(address, {"event": "exited", "attempt_dir": str(folder)})
    return 0


class Signals:
    """SIGTERM and SIGINT ask for the end; SIGCHLD only wakes."""

    def __init__(self) -> None:
        self.cancelled = False
        self.wake_descriptor, write_end = os.pipe()
        for descriptor in (self.wake_descriptor, write_end):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._cancel)
        # Handlers, not SIG_IGN: an ignored signal would stay ignored in the replicas.
        for signum in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(signum, lambda _signum, _frame: None)

    def _cancel(self, _signum: int, _frame: object) -> None:
        self.cancelled = True


def _supervise(
    folder: Path, tag: str, signals: Signals, fork: ForkStart | None, keys: socket.socket | None
) -> tuple[dict[str, Any], str]:
    """Run the replicas; whatever goes wrong here becomes a record too."""
    from mlengine.runtime import attemptfiles

    address = ""
    gang: Gang | None = None
    try:
        spec = attemptfiles.read_json(folder / attemptfiles.SPEC)
        if spec is None:
            raise ValueError(f"{attemptfiles.SPEC} is missing")
        address = str(spec.get("notify", ""))
        gang, replicas = _gang(spec, folder, signals, fork, keys)
        if gang.start(tag):
            _note_started(folder, replicas)
            attemptfiles.notify(address, {"event": "started", "attempt_dir": str(folder)})
        return gang.run(), address
    except Exception as error:
        traceback.print_exc()
        if gang is not None:
            gang.kill()
        text = f"The job's supervisor failed: {type(error).__name__}: {error}"
        return {"outcome": "failed", "replicas": [], "message": text}, address


def _gang(
    spec: dict[str, Any], folder: Path, signals: Signals, fork: ForkStart | None,
    keys: socket.socket | None,
) -> tuple[Gang, list[Any]]:  # fmt: skip
    from mlengine.runtime.gang import Gang
    from mlengine.runtime.replica import Replica
    from mlengine.runtime.sidecar import Sidecars, with_keys

    entries = spec["replicas"]
    if not entries:
        raise ValueError("the specification has no replicas")
    if spec.get("agent"):
        spec["sidecars"] = with_keys(spec.get("sidecars") or [], keys)
        return _remote_gang(spec, folder, signals)
    sidecars = Sidecars(spec.get("sidecars") or [], folder, keys)
    for entry in entries:
        entry["env"] = {**sidecars.variables, **entry["env"]}
    refusal = fork.refusal() if fork is not None else ""
    replicas = [
        Replica(entries[number], log, fork=None if refusal else fork)
        for number, log in enumerate(_logs(spec, folder))
    ]
    gang = Gang(
        spec, folder, replicas, sidecars=sidecars,
        wake_descriptor=signals.wake_descriptor, cancel_signalled=lambda: signals.cancelled,
        note_started=lambda: _note_started(folder, replicas),
    )  # fmt: skip
    if refusal:
        replicas[0].say("INFO", f"It is not started warm: {refusal}.")
    return gang, replicas


def _remote_gang(spec: dict[str, Any], folder: Path, signals: Signals) -> tuple[Gang, list[Any]]:
    from mlengine.runtime.remote import RemoteGang, RemoteReplica

    replicas = [
        RemoteReplica(spec["replicas"][number], log, number)
        for number, log in enumerate(_logs(spec, folder))
    ]
    gang = RemoteGang(
        spec, folder, replicas,
        wake_descriptor=signals.wake_descriptor, cancel_signalled=lambda: signals.cancelled,
    )  # fmt: skip
    return gang, replicas


def _logs(spec: dict[str, Any], folder: Path) -> list[LogFile]:
    """Open the replicas' logs; each may take its share of the attempt's quota."""
    from mlengine.runtime.logfile import LogFile

    entries = spec["replicas"]
    quota_bytes = int(spec.get("log_quota_bytes") or _DEFAULT_QUOTA_BYTES) // len(entries)
    return [
        LogFile(folder, str(e["task"]), trial=str(e.get("trial", "")), quota_bytes=quota_bytes)
        for e in entries
    ]


def _note_started(folder: Path, replicas: list[Any]) -> None:
    """Write down which processes lead the attempt's sessions."""
    from mlengine.runtime import attemptfiles, failpoints

    failpoints.hit("supervisor.before-started")
    with contextlib.suppress(OSError):  # disk full: running matters more than saying so
        attemptfiles.write_json(folder / attemptfiles.STARTED, {
            "pid": os.getpid(), "time": time.time(),
            "replicas": [r.place() for r in replicas],
        })  # fmt: skip
    failpoints.hit("supervisor.after-started")


def _keys(descriptor: int) -> socket.socket:
    from mlengine.runtime.concealment import conceal

    conceal()
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


def _lock(folder: Path, descriptor: int) -> int:
    """Return a descriptor of the locked lock file, or -1 when somebody else holds it."""
    from mlengine.runtime import attemptfiles

    if descriptor < 0:
        path = str(folder / attemptfiles.LOCK)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.set_inheritable(descriptor, False)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return -1
    return descriptor


def become_reaper() -> None:
    """Lead a session, and have every orphan below become a child of this process."""
    with contextlib.suppress(OSError):  # the launcher may have made it a session leader already
        os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _identify(lock: int, folder: Path) -> str:
    """Write down who supervises, before the first replica exists; return the attempt's tag.

    And where: a copy of the folder supervises nothing, whatever stands in it.
    """
    from mlengine.runtime import processes

    tag = f"{folder.parent.name}/{folder.name}/{os.urandom(8).hex()}"
    identity = {**processes.note(os.getpid(), lock), "tag": tag, "folder": str(folder)}
    os.write(lock, json.dumps(identity).encode("ascii"))
    os.fsync(lock)
    return tag


def _insist(folder: Path, record: dict[str, Any]) -> None:
    """Write the exit record, waiting for room on a full disk; give up when the folder is gone."""
    from mlengine.runtime import attemptfiles

    while folder.exists():
        try:
            attemptfiles.write_json(folder / attemptfiles.EXIT, record)
            return
        except OSError:
            select.select([], [], [], 1.0)


if __name__ == "__main__":
    # Isolated mode leaves this package's own folder off the path; it goes last, so that the
    # standard library cannot be shadowed.
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    sys.exit(main(sys.argv[1:]))
