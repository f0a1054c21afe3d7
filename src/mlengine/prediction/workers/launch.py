"""Starts one worker process, and knows it again after the engine was restarted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from mlengine.prediction.workers.workerfolder import make_anew
from mlengine.runtime import confine
from mlengine.runtime.boot import boot_command
from mlengine.runtime.process import QUIET, THREADS
from mlengine.runtime.processes import Process, is_of, living, note, snapshot
from mlengine.runtime.wholefile import write_whole
from mlengine.training.inventory import visible

__all__ = [
    "WorkerProcess",
    "find_by_words",
    "find_strays",
    "last_lines",
    "launch",
    "launch_forked",
    "read_process",
    "worker_command",
    "worker_environment",
]

_PROCESS_FILE = "process.json"
# The kernel's first victims when memory ends: a worker is restarted, an engine is missed.
_OOM_SCORE_ADJ = 500
_TAIL_BYTES = 8192
_FORK_ANSWER_S = 30.0
_PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH",
    "OMP_NUM_THREADS",
)  # fmt: skip


class WorkerProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Which process serves a worker folder: what `runtime.processes.note` says of it."""

    pid: int
    started: int
    boot_id: str
    device: int
    inode: int
    place: str = ""

    def look(self) -> Process | None:
        """Return the live process, or None when it is gone."""
        return living(self.pid, self.started)


def worker_command(python: str, worker_dir: Path) -> Sequence[str]:
    """Return the command of a real worker."""
    return boot_command(python, "mlengine.runtime.worker", str(worker_dir))


def worker_environment(
    *, threads: int = 1, python: str = sys.executable, gpus: Sequence[str] = ()
) -> dict[str, str]:
    """Return the environment of a worker, but for its home folder: no secret of ours is in it.

    Args:
        threads: How many cores its libraries may use for one call.
        python: Its interpreter; one with libraries of its own is not pointed to the engine's.
        gpus: Ids of the GPUs that it sees; without any it sees none, however many there are.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    for name in THREADS:
        environment.setdefault(name, str(threads))
    fixed = {"PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1"}
    return environment | visible(gpus) | fixed | QUIET


def launch(
    argv: Sequence[str], folder: Path, *, log: Path, env: Mapping[str, str],
    listener: str, plan: Mapping[str, Any],
) -> tuple[WorkerProcess, subprocess.Popen[bytes]]:  # fmt: skip
    """Start a worker that outlives us; note who it is.

    It gets a session of its own, a folder of its own and no open file of ours. Its output
    goes to `log`; that of its predecessor is kept beside it.

    Args:
        argv: The worker's command; it is executed by a process that has confined itself.
        folder: The worker's; its `own` is the one that it is told of.
        listener: Path of the socket that it is given, bound, as its standard input.
        plan: How it is confined.

    Raises:
        OSError: The process cannot be started.
    """
    variables = _make_ready(folder)
    written = folder / "confinement.json"
    write_whole(written, msgspec.json.encode(plan))
    with _open_log(log) as out, _bound(listener) as given:
        child = subprocess.Popen(
            confine.command(sys.executable, written, argv), cwd=variables["HOME"],
            stdin=given.fileno(), stdout=out, stderr=out, env={**env, **variables},
            start_new_session=True, umask=0o077,
        )  # fmt: skip
    return _note(child.pid, folder), child


def launch_forked(
    claim: socket.socket, folder: Path, *, log: Path, listener: str, plan: Mapping[str, Any]
) -> WorkerProcess | None:
    """Let a zygote's fork be the worker, as `launch` would start it; None if the fork is gone.

    Raises:
        OSError: It took the order and does not say who it is.
    """
    variables = _make_ready(folder)
    order = {"worker_dir": str(folder / "own"), "variables": variables, "confinement": plan}
    claim.settimeout(_FORK_ANSWER_S)
    with _open_log(log) as out, _bound(listener) as given:
        try:
            text = json.dumps(order).encode("ascii")
            socket.send_fds(claim, [text], [out.fileno(), given.fileno()])
            said = claim.recv(64)
        except (BrokenPipeError, ConnectionResetError):
            return None
    return _note(int(said), folder) if said else None


def read_process(folder: Path) -> WorkerProcess | None:
    """Return which process was started last for a worker folder since the machine was."""
    try:
        data = (folder / _PROCESS_FILE).read_bytes()
        process = msgspec.json.decode(data, type=WorkerProcess)
    except (OSError, msgspec.MsgspecError):
        return None
    return process if is_of(folder, msgspec.structs.asdict(process)) else None


def _make_ready(folder: Path) -> dict[str, str]:
    """Make the worker's own folder anew; return the variables that tell it where to write."""
    (folder / _PROCESS_FILE).unlink(missing_ok=True)
    own = folder / "own"
    make_anew(own)
    shutil.copyfile(folder / "spec.json", own / "spec.json")
    scratch = own / "home"
    scratch.mkdir(mode=0o700)
    return {"HOME": str(scratch), "TMPDIR": str(scratch)}


def _bound(path: str) -> socket.socket:
    """Return a socket that is bound and does not listen yet: nobody is let in, nobody is lost."""
    Path(path).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(made.fileno(), 0o600)  # it must never exist with wider rights
        made.bind(path)
    except OSError:
        made.close()
        raise
    return made


def _open_log(log: Path) -> IO[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        log.rename(log.with_name(log.name + ".1"))
    return open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600))


def _note(pid: int, folder: Path) -> WorkerProcess:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(_OOM_SCORE_ADJ))
    process = WorkerProcess(**note(pid, folder))
    write_whole(folder / _PROCESS_FILE, msgspec.json.encode(process))
    return process


def find_strays(folder: Path, *, known: WorkerProcess | None) -> list[Process]:
    """Return live processes that serve a worker folder but were never noted.

    An engine that is killed between the start and the note leaves one.
    """
    return [
        row
        for row in find_by_words(str(folder / "own"))
        if not (known and row.pid == known.pid and row.started == known.started)
    ]


def find_by_words(*wanted: str) -> list[Process]:
    """Return live processes whose command has each of these words."""
    found = []
    for pid, row in snapshot().items():
        with contextlib.suppress(OSError):
            # A forked worker shows its words with blanks between them.
            shown = Path(f"/proc/{pid}/cmdline").read_bytes()
            words = {*shown.replace(b" ", b"\0").split(b"\0"), *shown.split(b"\0")}
            if row.alive and words.issuperset(os.fsencode(word) for word in wanted):
                found.append(row)
    return found


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log that are not blank."""
    try:
        with open(log, "rb") as lines:
            lines.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
            text = lines.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]
