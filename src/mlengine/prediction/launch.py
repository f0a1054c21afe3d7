"""Starts one worker process, and knows it again after the engine was restarted."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlengine.runtime.processes import Process, boot_id, look, snapshot

__all__ = [
    "WorkerProcess",
    "find_strays",
    "last_lines",
    "launch",
    "read_process",
    "worker_command",
    "write_whole",
]

_PROCESS_FILE = "process.json"
# The kernel's first victims when memory ends: a worker is restarted, an engine is missed.
_OOM_SCORE_ADJ = 500
_TAIL_BYTES = 8192
_PASSED_ON = (
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
)  # fmt: skip


class WorkerProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Which process serves a worker folder; `started` is in clock ticks since boot `boot`."""

    pid: int
    started: int
    boot: str

    def look(self) -> Process | None:
        """Return the live process, or None when it is gone, dead or another's by now."""
        if self.boot != boot_id():
            return None
        found = look(self.pid)
        alive = found is not None and found.started == self.started and found.alive
        return found if alive else None


def worker_command(python: str, worker_dir: Path) -> Sequence[str]:
    """Return the command of a real worker."""
    return [python, "-m", "mlengine.runtime.worker", str(worker_dir)]


def launch(
    argv: Sequence[str], worker_dir: Path, *, log: Path
) -> tuple[WorkerProcess, subprocess.Popen[bytes]]:
    """Start a worker that outlives us; note who it is.

    It gets a session of its own, no secret from our environment, a home folder of its own and no
    open file of ours. Its output goes to `log`; that of its predecessor is kept beside it.

    Raises:
        OSError: The process cannot be started.
    """
    for name in ("ready.json", "failed.json", _PROCESS_FILE):
        (worker_dir / name).unlink(missing_ok=True)
    scratch = worker_dir / "home"
    scratch.mkdir(exist_ok=True, mode=0o700)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        log.rename(log.with_name(log.name + ".1"))
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"HOME": str(scratch), "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1"}
    with open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
        child = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=scratch,
            env=environment, start_new_session=True, umask=0o077,
        )  # fmt: skip
    with contextlib.suppress(OSError):
        Path(f"/proc/{child.pid}/oom_score_adj").write_text(str(_OOM_SCORE_ADJ))
    row = look(child.pid)
    process = WorkerProcess(pid=child.pid, started=row.started if row else 0, boot=boot_id())
    write_whole(worker_dir / _PROCESS_FILE, msgspec.json.encode(process))
    return process, child


def read_process(worker_dir: Path) -> WorkerProcess | None:
    """Return which process was started last for a worker folder."""
    try:
        data = (worker_dir / _PROCESS_FILE).read_bytes()
        return msgspec.json.decode(data, type=WorkerProcess)
    except (OSError, msgspec.MsgspecError):
        return None


def find_strays(worker_dir: Path, *, known: WorkerProcess | None) -> list[Process]:
    """Return live processes that serve a worker folder but were never noted.

    An engine that is killed between the start and the note leaves one.
    """
    wanted = os.fsencode(worker_dir)
    found = []
    for pid, row in snapshot().items():
        if row.alive and not (known and pid == known.pid and row.started == known.started):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if wanted in words:
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


def write_whole(path: Path, data: bytes) -> None:
    """Write a small private file that is never seen half-written."""
    aside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
    aside.rename(path)
