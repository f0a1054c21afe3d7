"""Launcher for one machine: a supervisor process per attempt, executed or forked (see `warm`).

The supervisor (`mlengine.runtime.supervisor`) outlives the engine. Whether it lives is asked of the
kernel: it holds the lock on ``supervisor.lock``, from the moment the launcher asks for it, because
the launcher takes the lock and hands the locked descriptor down. Everybody but the supervisor
touches that lock only while holding ``launch.lock``, so a look never disturbs a start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlengine.core.errors import Internal, Unavailable
from mlengine.runtime import (
    attemptfiles,
    controlgroups,
    envelope,
    failpoints,
    processes,
    supervisor,
)
from mlengine.storage.sidecar.keys import pack_keys
from mlengine.training.launchers import (
    AttemptSpec,
    AttemptStatus,
    ExitRecord,
    Handle,
    Launcher,
    Outcome,
    Phase,
)
from mlengine.training.launchers.warm import WarmInterpreters

__all__ = ["ProcessLauncher", "identity_of"]

_LAUNCH_LOCK = "launch.lock"
_SUPERVISOR_ERRORS = "supervisor.err"
_SWEEP_LIMIT_S = 10.0


class ProcessLauncher:
    """Starts attempts as processes of this machine.

    Args:
        python: Interpreter for the supervisor (not for the replicas); default: this one.
        warm: Forks supervisors that need not import anything; default: every one is executed.
    """

    def __init__(self, *, python: str = "", warm: WarmInterpreters | None = None) -> None:
        self._python = python or sys.executable
        self._warm = warm
        self._children: list[subprocess.Popen[bytes]] = []
        self._guard = threading.Lock()

    def start(self, attempt_dir: Path, spec: AttemptSpec) -> Handle:
        """Start the attempt, unless its folder says that it was started before.

        Raises:
            Unavailable: The machine cannot start a process, or its disk is full, right now.
        """
        self.reap()
        try:
            attempt_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _launching(attempt_dir):
                return Handle(attempt_dir, self._start(attempt_dir, spec))
        except OSError as error:
            raise Unavailable(
                f"The supervisor of attempt {spec.attempt} of {spec.job} could not be started: "
                f"{error}.",
                "Free disk space, memory or processes; the engine tries again.",
            ) from error

    def poll(self, attempt_dir: Path) -> AttemptStatus:
        """Say where the attempt is."""
        self.reap()
        ended = _ended(attempt_dir)
        if ended is not None:
            return ended
        if not (attempt_dir / attemptfiles.LOCK).exists():
            return AttemptStatus(Phase.NOT_STARTED)
        with _launching(attempt_dir):
            if _alive(attempt_dir):
                running = (attempt_dir / attemptfiles.STARTED).exists()
                return AttemptStatus(Phase.RUNNING if running else Phase.STARTING)
            # It may have ended between the first look and the lock.
            return _ended(attempt_dir) or _without_record(attempt_dir)

    def cancel(self, attempt_dir: Path) -> None:
        """Ask for the end; the replicas then have their grace period.

        Raises:
            Unavailable: Neither a file nor a signal can carry the request right now.
        """
        try:
            attempt_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            (attempt_dir / attemptfiles.CANCEL).touch()
            failpoints.hit("launch.cancel-written")
        except OSError as error:  # a full disk: the signal alone does it, if there is a supervisor
            if not _nudge(attempt_dir):
                raise Unavailable(
                    f"The cancel request for {attempt_dir.name} could not be written: {error}.",
                    "Free disk space; then cancel again.",
                ) from error
        else:
            _nudge(attempt_dir)  # only makes it faster: the file alone is seen too

    def sweep(self, attempt_dir: Path) -> int:
        """Kill what a LOST attempt left behind; return how many processes that were.

        From a copy of its folder nothing is killed: what runs is the original's.

        Raises:
            Internal: A process survived SIGKILL for ten seconds.
        """
        identity = _signalled_from(attempt_dir)
        if identity is None:
            return 0
        with _launching(attempt_dir):
            if _alive(attempt_dir):
                return 0
            return _kill_attempt(attempt_dir, str(identity["tag"]))

    def reap(self) -> None:
        """Collect what has ended, so that nothing stays a zombie of the engine.

        Whoever starts or looks at an attempt does; an engine that led before does neither.
        """
        if self._warm is not None:
            self._warm.reap()
        with self._guard:
            self._children = [c for c in self._children if c.poll() is None]

    def _start(self, attempt_dir: Path, spec: AttemptSpec) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(attempt_dir / attemptfiles.LOCK, flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_size or (attempt_dir / attemptfiles.EXIT).exists():
                return False  # it ran already, whatever became of it
            failpoints.hit("launch.locked")
            attemptfiles.write_json(attempt_dir / attemptfiles.SPEC, msgspec.to_builtins(spec))
            failpoints.hit("launch.spec-written")
            self._supervise(attempt_dir, spec, lock)
            failpoints.hit("launch.spawned")
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def _supervise(self, attempt_dir: Path, spec: AttemptSpec, lock: int) -> None:
        """Get the attempt a supervisor: forked from a warm interpreter, else executed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with contextlib.ExitStack() as ours:
            errors = os.open(attempt_dir / _SUPERVISOR_ERRORS, flags, 0o600)
            ours.callback(os.close, errors)
            keys = -1
            if any(sidecar.takes_keys for sidecar in spec.sidecars):
                keys = ours.enter_context(envelope.seal(pack_keys(os.environ))).fileno()
            claim = self._warm.claim(spec) if self._warm is not None else None
            if claim is not None:
                with claim.connection:
                    if claim.order(attempt_dir, lock, errors, keys):
                        return
            child = self._spawn(attempt_dir, lock, errors, keys)
        with self._guard:
            self._children.append(child)

    def _spawn(
        self, attempt_dir: Path, lock: int, errors: int, keys: int
    ) -> subprocess.Popen[bytes]:
        handed = [lock] + ([keys] if keys >= 0 else [])
        return subprocess.Popen(
            [self._python, "-I", "-S", supervisor.__file__, str(attempt_dir), *map(str, handed)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            cwd="/", env=_supervisor_environment(), start_new_session=True, pass_fds=handed,
        )  # fmt: skip


_: type[Launcher] = ProcessLauncher


@contextlib.contextmanager
def _launching(attempt_dir: Path) -> Iterator[None]:
    """Hold the folder's launch lock; it is never held for longer than a start takes."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(attempt_dir / _LAUNCH_LOCK, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _alive(attempt_dir: Path) -> bool:
    """Tell whether a supervisor holds its lock; ask only while holding the launch lock."""
    try:
        descriptor = os.open(attempt_dir / attemptfiles.LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _ended(attempt_dir: Path) -> AttemptStatus | None:
    path = attempt_dir / attemptfiles.EXIT
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        record = msgspec.json.decode(data, type=ExitRecord)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # That it is there says that the attempt is over; the next look would find no more.
        message = f"How the attempt ended is not known: {path} cannot be read: {error}."
        record = ExitRecord(
            outcome=Outcome.FAILED, replicas=[], message=message, started=0.0, ended=0.0
        )
    return AttemptStatus(Phase.EXITED, record)


def _without_record(attempt_dir: Path) -> AttemptStatus:
    """Judge a folder whose lock nobody holds and that has no exit record."""
    if (identity := identity_of(attempt_dir)) is not None:
        return AttemptStatus(Phase.LOST, ran_in=_elsewhere(attempt_dir, identity))
    # It died before it wrote who it is, thus before any replica: starting again is safe, unless
    # it said why, for then it would only say so again.
    errors = attempt_dir / _SUPERVISOR_ERRORS
    said_why = errors.exists() and errors.stat().st_size > 0
    return AttemptStatus(Phase.LOST if said_why else Phase.NOT_STARTED)


def _elsewhere(attempt_dir: Path, identity: Mapping[str, Any]) -> str:
    """Return the folder that the supervisor was given, if it is another one than this; or empty."""
    folder = str(identity.get("folder", ""))
    lock = attempt_dir / attemptfiles.LOCK
    with contextlib.suppress(OSError):
        here = lock.stat()
        # A disk may have another number after a restart of the machine.
        is_comparable = "inode" in identity and identity.get("boot_id") == processes.boot_id()
        file = (identity.get("device"), identity.get("inode"))
        is_copy = is_comparable and file != (here.st_dev, here.st_ino)
        if not is_copy and lock.samefile(Path(folder) / attemptfiles.LOCK):
            return ""
    return folder


def identity_of(attempt_dir: Path) -> dict[str, Any] | None:
    """Return who supervises, or supervised, the attempt; None before it has said so."""
    try:
        found = attemptfiles.read_json(attempt_dir / attemptfiles.LOCK)
    except ValueError:
        return None  # a write cut short by a full disk or a power cut: no replica came after it
    return found if isinstance(found, dict) else None


def _signalled_from(attempt_dir: Path) -> dict[str, Any] | None:
    """Return who supervises, or supervised, if the attempt's processes are this folder's to signal.

    Not after a restart of the machine: their pids are other processes' by now. Nor from a copy of
    the folder, such as a backup that got an engine of its own: the original's job may be running.
    """
    identity, lock = identity_of(attempt_dir), attempt_dir / attemptfiles.LOCK
    if identity is None or not lock.exists():
        return None
    # A supervisor of an older mlengine did not name its file; it is taken for ours, so that an
    # engine that was upgraded while jobs run can still end them.
    said = identity if "inode" in identity else {**processes.note(0, lock), **identity}
    return identity if processes.is_of(lock, said) else None


def _nudge(attempt_dir: Path) -> bool:
    """Signal the supervisor; return whether there was one, or the attempt is over anyway."""
    if (attempt_dir / attemptfiles.EXIT).exists():
        return True
    identity = _signalled_from(attempt_dir)
    if identity is None:
        return False
    row = processes.living(identity["pid"], identity["started"])
    return row is not None and processes.send(row, signal.SIGTERM)


def _kill_attempt(attempt_dir: Path, tag: str) -> int:
    started = attemptfiles.read_json(attempt_dir / attemptfiles.STARTED) or {"replicas": []}
    leaders = {int(r["pid"]): int(r["started"]) for r in started["replicas"] if "pid" in r}
    killed: set[tuple[int, int]] = set()
    until_s = time.monotonic() + _SWEEP_LIMIT_S
    while True:
        met = processes.freeze_and_kill(lambda: processes.of_attempt(tag, leaders))
        if not met:
            controlgroups.remove_groups(tag)
            return len(killed)
        killed |= {(row.pid, row.started) for row in met}
        if time.monotonic() > until_s:
            pids = ", ".join(str(row.pid) for row in met)
            raise Internal(
                f"Processes {pids} of {attempt_dir.name} do not die.",
                "They hang in the kernel, often on a dead network disk; restart the machine.",
            )
        select.select([], [], [], 0.01)


def _supervisor_environment() -> dict[str, str]:
    """Next to nothing: a replica can read its parent's environment in /proc."""
    names = ("PATH", "LD_LIBRARY_PATH", "TZ")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, **failpoints.environment()}
