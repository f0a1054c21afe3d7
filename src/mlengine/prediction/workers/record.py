"""What a pool knows of one worker: its folder's files, its process, its deaths."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlengine.prediction.workers.backoff import Deaths
from mlengine.prediction.workers.confinement import group_tag, limits_of
from mlengine.prediction.workers.greed import Greed
from mlengine.prediction.workers.launch import WorkerProcess, last_lines
from mlengine.prediction.workers.workerfolder import read_plain
from mlengine.runtime.processes import Process, descendants, freeze_and_kill, look, snapshot

__all__ = ["Worker", "WorkerSpec", "out_of_memory", "said", "why_it_ended"]

_LOG_LINES = 5
_MOST_SAID = 4000
_REAPED_S = 5.0
_GREEDY_SHARE = 1 / 8
_ON_ALL_CPUS = ("TENSORFLOW", "KERAS")
_POLL_S = 0.005
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker serves, as its ``spec.json`` says it.

    `artifact_uri` and `package_uris` are only shown, in errors; what follows them is for the pool.
    Without a `max_batch_size` the worker has its own, without an `explanation` it explains nothing.
    `version_request` is what user code finds in its environment, `notes` are for the version's log;
    `gpus` are the ids of those that are its alone.
    """

    artifact: str
    framework: str
    socket: str
    version_name: str
    max_body_bytes: int
    max_batch_size: int = 0
    batch_deadline_ms: int = 0
    explanation: dict[str, Any] = {}
    artifact_uri: str = ""
    prediction_class: str = ""
    package_uris: Sequence[str] = ()
    version_request: str = ""
    notes: Sequence[str] = ()
    python: str = ""
    uid: str = ""
    threads: int = 1
    memory_bytes: int = 0
    network: bool = False
    gpus: Sequence[str] = ()


class Worker:
    """One worker; `pool` says what becomes of it.

    Its folder is the engine's; it has `own` in it for itself.
    """

    def __init__(self, spec: WorkerSpec, folder: Path, log: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.own = folder / "own"
        self.log = log
        self.limits = limits_of(memory_bytes=spec.memory_bytes)
        self.process: WorkerProcess | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.started_s = time.monotonic()  # or taken over from an engine before us
        self.ready_s: float | None = None  # when it was first seen to be, since its last start
        self.deaths = Deaths()
        self.counted = True  # whether the last death was counted
        self.was_ready = False  # since whichever start
        self.offence = ""  # for what the engine ended it
        self.last_end = ""  # why it ended the last time, without what it printed
        self._greed = Greed(_own_cpus(spec))
        self._counts_less: bool | None = None  # nobody knows what an engine before us said
        self._was_greedy = False  # since it was started the last time

    def is_alive(self) -> bool:
        """Tell whether its process lives."""
        if self.child is not None and self.child.poll() is not None:
            return False  # and reaped: no zombie is left
        return self.process is not None and self.process.look() is not None

    def note_loaded(self) -> bool:
        """Note when it is first seen to have loaded its model since its last start; tell if it has.

        How long it lived is counted from then: to load a model may take longer than that.
        """
        if self.ready_s is None and self.file("ready.json") is not None:
            self.ready_s = time.monotonic()
            self.was_ready = True
        return self.ready_s is not None

    def file(self, name: str) -> dict[str, Any] | None:
        """Read one of the files that it wrote; None when it is not there, or not whole."""
        data = read_plain(self.own / name)
        try:
            found = msgspec.json.decode(data) if data is not None else None
        except (msgspec.MsgspecError, ValueError, RecursionError):  # no UTF-8, too deep
            return None
        return found if isinstance(found, dict) else None

    def make_groups(self) -> None:
        """Have control groups for a new start of it, as far as this machine makes any."""
        self.limits.make(group_tag(self.folder), self.spec.uid)
        self._greed, self._counts_less = Greed(_own_cpus(self.spec)), None
        self._was_greedy = False
        self.ready_s = None

    def weigh(self) -> bool:
        """Have it count for less while it takes more CPUs than its machine type has.

        Returns:
            Whether that has just begun, for the first time since it was started.
        """
        used_s = self.limits.used_s()
        if not self.note_loaded() or used_s is None:  # to load a model, it may take what there is
            return False
        is_greedy = self._greed.look(used_s, time.monotonic())
        if is_greedy == self._counts_less:
            return False
        if not self.limits.weigh(_GREEDY_SHARE if is_greedy else 1.0):
            return False
        self._counts_less = is_greedy
        is_news = is_greedy and not self._was_greedy
        self._was_greedy = self._was_greedy or is_greedy
        return is_news

    def members(self) -> list[Process]:
        """Return all of its processes: those of its groups, or else of its session."""
        if found := self.limits.members():
            return [row for row in map(look, found) if row is not None and row.alive]
        if self.process is None:
            return []
        pid, rows = self.process.pid, snapshot()
        if (leader := rows.get(pid)) is not None and leader.started != self.process.started:
            return []  # the pid is somebody else's by now
        mine = {r.pid for r in rows.values() if r.session == pid and r.alive}
        return [rows[p] for p in mine] + [
            row for row in descendants(mine, rows) if row.pid not in mine
        ]

    def kill(self) -> None:
        """End all of its processes at once, also what they fork meanwhile."""
        freeze_and_kill(self.members)

    def close(self) -> None:
        """End all of its processes, and remove its groups once these are gone."""
        until_s = time.monotonic() + _REAPED_S
        pause = threading.Event()
        while freeze_and_kill(self.members) and time.monotonic() < until_s:
            pause.wait(_POLL_S)  # a group in which somebody is dying cannot be removed
        self.limits.close()

    def held_bytes(self) -> int:
        """Return how much memory its processes show, counted one by one."""
        total = 0
        for row in self.members():
            with contextlib.suppress(OSError, ValueError, IndexError):
                pages = Path(f"/proc/{row.pid}/statm").read_text("ascii").split()
                total += (int(pages[1]) - int(pages[2])) * _PAGE_BYTES  # not what it shares
        return total


def _own_cpus(spec: WorkerSpec) -> int:
    """Return on how many CPUs a worker may compute and still count in full."""
    # TensorFlow computes on all that there are, whatever a version's machine type says.
    if spec.framework in _ON_ALL_CPUS and not spec.prediction_class:
        return max(spec.threads, os.cpu_count() or 1)
    return spec.threads


def why_it_ended(worker: Worker) -> tuple[str, str]:
    """Say in the engine's words, its own, or the kernel's, why its process ended.

    Returns:
        Why; and the end of a message for those who may read what it printed, which may be what
        its callers sent: its last lines, empty where it gave a reason itself.
    """
    if worker.offence:
        return worker.offence, said(worker)
    if worker.limits.oom_killed():
        return out_of_memory(worker), said(worker)
    failed = worker.file("failed.json")
    if failed is not None:
        return str(failed.get("message") or "it gave no reason")[:_MOST_SAID], ""
    end = "its process is gone."
    status = _exit_status(worker)
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            end = f"its process was ended by {signal.Signals(-status).name}."
    elif status is not None:
        end = f"its process exited with status {status}."
    if worker.limits.processes_refused():
        end += f" It was refused more than {worker.limits.processes} processes and threads."
    return end, said(worker)


def _exit_status(worker: Worker) -> int | None:
    if worker.child is None:
        return None  # it was forked, or is an engine's before us
    with contextlib.suppress(subprocess.TimeoutExpired):
        return worker.child.wait(_REAPED_S)  # it is dead: this only asks how
    return None


def out_of_memory(worker: Worker) -> str:
    """Say that a worker took more memory than it may have."""
    most = worker.spec.memory_bytes / (1 << 30)
    return (
        f"Model requires more memory than allowed: its worker may hold {most:.1f} GiB. "
        "Set options.memoryBytes of the version, or try to decrease the model size."
    )


def said(worker: Worker) -> str:
    """Return the last lines of its log as the end of a message; empty if it has none."""
    lines = last_lines(worker.log, _LOG_LINES)
    return " Its last lines: " + " | ".join(lines)[:_MOST_SAID] if lines else ""
