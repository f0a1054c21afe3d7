"""What a pool knows of one worker: its folder's files, its process, its deaths."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from mlengine.prediction.workers.backoff import Deaths
from mlengine.prediction.workers.launch import WorkerProcess, last_lines

__all__ = ["Worker", "WorkerSpec", "why_it_ended"]

_LOG_LINES = 5


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker serves, as its ``spec.json`` says it.

    `artifact_uri` is only shown, in errors; what follows it is for the pool. Without a
    `max_batch_size` the worker has its own.
    """

    artifact: str
    framework: str
    socket: str
    version_name: str
    max_body_bytes: int
    max_batch_size: int = 0
    batch_deadline_ms: int = 0
    artifact_uri: str = ""
    python: str = ""
    uid: str = ""
    threads: int = 1
    gpus: list[str] = []


class Worker:
    """One worker; `pool` says what becomes of it."""

    def __init__(self, spec: WorkerSpec, folder: Path, log: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.log = log
        self.process: WorkerProcess | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        self.deaths = Deaths()
        self.counted = True  # whether the last death was counted
        self.was_ready = False

    def is_alive(self) -> bool:
        """Tell whether its process lives."""
        if self.child is not None and self.child.poll() is not None:
            return False  # and reaped: no zombie is left
        return self.process is not None and self.process.look() is not None

    def file(self, name: str) -> dict[str, Any] | None:
        """Read one of its files; None when it is not there, or not whole."""
        try:
            found: dict[str, Any] = msgspec.json.decode((self.folder / name).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None
        return found


def why_it_ended(worker: Worker) -> str:
    """Say in the worker's own words, or the kernel's, why its process ended."""
    failed = worker.file("failed.json")
    if failed is not None:
        return str(failed.get("message") or "it gave no reason")
    lines = last_lines(worker.log, _LOG_LINES)
    said = " Its last lines: " + " | ".join(lines) if lines else ""
    status = worker.child.returncode if worker.child is not None else None
    if status is None:
        return f"its process is gone.{said}"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-status).name}.{said}"
    return f"its process exited with status {status}.{said}"
