"""Port: start an attempt's replicas, watch them, stop them.

    NOT_STARTED ──start──▶ STARTING ──▶ RUNNING ──▶ EXITED
                               └───────────┴──────▶ LOST     the supervisor died without a record

An attempt is a folder, and everything about it is in that folder: an engine that was restarted
goes on where the last one stopped, with no handle to carry over.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Protocol

import msgspec

__all__ = [
    "AttemptSpec",
    "AttemptStatus",
    "ExitRecord",
    "Handle",
    "Launcher",
    "Machine",
    "Outcome",
    "Phase",
    "ReplicaExit",
    "ReplicaSpec",
    "SidecarSpec",
    "WarmStart",
]


class Phase(enum.StrEnum):
    """Where an attempt is."""

    NOT_STARTED = "NOT_STARTED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    EXITED = "EXITED"
    LOST = "LOST"


class Outcome(enum.StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica was asked for by the name of its machine type."""

    cpus: float
    memory_bytes: int
    gpus: int = 0


class ReplicaSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One replica to run.

    Attributes:
        task: Its name in logs, such as ``master-replica-0``.
        role: ``master``, ``chief``, ``worker``, ``ps`` or ``evaluator``.
        trial: The trial's id, or empty outside tuning jobs.
        env: The complete environment; nothing is inherited.
        cwd: An existing folder.
        cpus: Most CPUs that it may use, where the machine lets us cap them; 0 is no limit.
        memory_bytes: Most memory that all its processes may use together; 0 is no limit.
        processes: Most processes and threads that it may have at one time; 0: thousands.
        ports: Of those that the environments name on 127.0.0.1, the ones that this replica listens
            on. Who runs it on another machine finds it others, and changes all environments.
        machine: What it was asked for; a cluster reserves as much of it as there is.
    """

    task: str
    role: str
    index: int
    argv: list[str]
    env: dict[str, str]
    cwd: str
    trial: str = ""
    cpus: float = 0.0
    memory_bytes: int = 0
    processes: int = 0
    ports: list[int] = []
    machine: Machine | None = None


class WarmStart(msgspec.Struct, frozen=True, kw_only=True):
    """What a launcher needs to fork replicas from an interpreter that has imported already.

    Every replica of the attempt is then ``python -m MODULE ARGS`` in its environment.

    Attributes:
        base_python: The runtime's interpreter, which user packages are layered over.
        python: The interpreter of the job's own environment: what ``sys.executable`` must say.
        site_packages: The layer of user packages; empty when there is none.
        modules: Heavy modules that the package imports, to be imported ahead.
    """

    base_python: str
    python: str
    site_packages: str = ""
    modules: list[str] = []


class SidecarSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A helper process of an attempt, started by the first connection to its port.

    The supervisor listens on one loopback port and adds `variables` to every replica's
    environment, with ``{port}`` filled in; the helper inherits the listening socket.

    Attributes:
        argv: Its command; ``{fd}`` becomes the number of the inherited socket, ``{keys}`` that of
            the envelope with the engine's keys for object stores (`mlengine.runtime.envelope`).
        env: Its complete environment.
    """

    argv: list[str]
    env: dict[str, str]
    variables: dict[str, str]

    @property
    def takes_keys(self) -> bool:
        """Whether it gets the engine's keys."""
        return "{keys}" in self.argv


class AttemptSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt runs; the chief comes first and decides the outcome.

    Attributes:
        job: Full name, ``projects/P/jobs/J``.
        attempt: Number of the attempt, from 1.
        notify: Unix datagram socket that is told "started" and "exited"; may be empty.
        grace_s: Seconds between SIGTERM and SIGKILL.
        evaluator_grace_s: Seconds that evaluators have to end by themselves after the chief.
        max_running_s: Longest run in seconds, on a clock that cannot jump; None is no limit.
        log_quota_bytes: Most bytes that all logs of the attempt may take on disk.
        warm: How its replicas may be forked instead of started; None starts each anew.
        sidecars: Helpers of the replicas, on the machine where they run.
        agent: Socket of the agent that runs the replicas elsewhere; empty: they run here.
        places: Files and folders, outside of the environment, that the replicas were told to read
            or write: they are brought to where they are not seen, and home.
    """

    job: str
    attempt: int
    replicas: list[ReplicaSpec]
    notify: str = ""
    grace_s: float = 10.0
    evaluator_grace_s: float = 120.0
    max_running_s: float | None = None
    log_quota_bytes: int = 256 * 1024 * 1024
    warm: WarmStart | None = None
    sidecars: list[SidecarSpec] = []
    agent: str = ""
    places: list[str] = []


class ReplicaExit(msgspec.Struct, frozen=True, kw_only=True):
    """How one replica ended; without code and signal it was never started.

    Attributes:
        oom: The kernel killed it because memory ran out.
        stopped: It was asked to end, or killed, because the attempt was ending.
        last_error: The last exception it printed, with file and line; only when it failed.
        spawn_error: Why it could not be started (no such program, no processes left, ...).
        lost: Why nobody knows how it ended: its machine, or the way to it, is gone. It is not
            running any more.
    """

    task: str
    role: str
    index: int
    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    stopped: bool = False
    last_error: str = ""
    spawn_error: str = ""
    lost: str = ""


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended; once it exists, no process of the attempt is left.

    Attributes:
        message: For people: empty on success, else what went wrong and where.
        started: When the replicas were started, in wall-clock seconds since the epoch.
        ended: When nothing of the attempt was left, likewise.
    """

    outcome: Outcome
    replicas: list[ReplicaExit]
    message: str
    started: float
    ended: float


class Handle(msgspec.Struct, frozen=True):
    """An attempt that was asked for; ``new`` is False when it had been asked for before."""

    attempt_dir: Path
    new: bool


class AttemptStatus(msgspec.Struct, frozen=True):
    """What `Launcher.poll` sees.

    Attributes:
        exit: How it ended; set exactly when the phase is EXITED.
        ran_in: Of a LOST one, the folder where it was run if that is not this one: whoever moved or
            copied it meanwhile left its supervisor there. Else empty.
    """

    phase: Phase
    exit: ExitRecord | None = None
    ran_in: str = ""


class Launcher(Protocol):
    """Contract, held by `tests/conformance/launchers` for every technology:

    1. `start` returns once the attempt is asked for, in well under 50 ms; it never waits for it.
    2. `start` on one folder, however often and from however many processes, runs one attempt at
       most once: the replicas of a folder are never started twice.
    3. A replica gets exactly the environment of its specification (and a tag), no open files but
       its own three, and a session of its own.
    4. `poll` never raises for a folder it does not know: it answers NOT_STARTED.
    5. EXITED and LOST are final. EXITED means that no process of the attempt is left.
    6. `cancel` may be called at any time, any number of times, also before the start and after the
       end. An attempt that is cancelled before it starts never runs a replica.
    7. `sweep` kills every process that a LOST attempt left, and nobody else's; it answers how many.
       While the attempt is alive it touches nothing.
    8. All of this holds for a launcher that was constructed after the attempt was started.
    """

    def start(self, attempt_dir: Path, spec: AttemptSpec) -> Handle: ...
    def poll(self, attempt_dir: Path) -> AttemptStatus: ...
    def cancel(self, attempt_dir: Path) -> None: ...
    def sweep(self, attempt_dir: Path) -> int: ...
