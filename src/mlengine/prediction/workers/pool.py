"""The workers of an engine: started, watched, restarted, stopped; adopted after a restart.

    run/workers/<id>/  spec.json     what the worker serves
                       process.json  who it is: a `runtime.processes.note`
                       own/          all that it may write to, made anew for each start
                           spec.json    what it reads of the above
                           ready.json   it has loaded the model and listens
                           failed.json  why it could not
                           home/        its scratch

A worker runs what somebody else wrote: `confinement` says what it may reach. What it takes more of
than it may (memory where no control group holds it, disk, time for an answer), it is ended for.

The id is the version's uid and a number, see `fleet`; here it is called `uid` all the same.

Workers outlive the engine; these files and the process table are the truth, the fields here only
a memory of them. All methods may be called from any thread.

Long because one lock guards all that is known of workers, and every method holds it.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from socket import socket as Socket
from typing import Any

import msgspec

from mlengine.core.errors import FailedPrecondition, NotFound
from mlengine.core.limits import DEFAULT_PREDICT_BYTES
from mlengine.prediction import call
from mlengine.prediction.sockets import socket_dir
from mlengine.prediction.workers.backoff import (
    Deaths,
    is_healthy,
    is_loop,
    next_deaths,
    restart_delay_s,
)
from mlengine.prediction.workers.confinement import ANY_GROUP, group_tag, plan_of
from mlengine.prediction.workers.deathwatch import DeathWatch
from mlengine.prediction.workers.gpus import assign, free, lack
from mlengine.prediction.workers.launch import (
    find_strays,
    launch,
    launch_forked,
    read_process,
    worker_command,
    worker_environment,
)
from mlengine.prediction.workers.record import (
    Worker,
    WorkerSpec,
    out_of_memory,
    said,
    why_it_ended,
)
from mlengine.prediction.workers.warmth import WarmWorkers
from mlengine.prediction.workers.workerfolder import held_bytes, remove, trim
from mlengine.runtime.controlgroups import remove_groups, sweep_groups
from mlengine.runtime.processes import send
from mlengine.runtime.wholefile import write_whole

__all__ = ["WorkerHealth", "WorkerInfo", "WorkerPool", "WorkerSpec"]

_log = logging.getLogger(__name__)

_POLL_S = 0.005
_UNREADY_S = 10.0  # a model that would not load is tried again after this
_GRACE_S = 12.0  # a worker lets go of its last answers for 10 s
_MOST_LOG_BYTES = 64 << 20
_MOST_SCRATCH_BYTES = 2 << 30


class WorkerHealth(enum.Enum):
    """What has become of a worker."""

    ALIVE = "alive"
    DEAD = "dead"
    MISSING = "missing"


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that is ready; `about` is what it said of its model (``ready.json``)."""

    uid: str
    version_name: str
    socket: str
    pid: int
    framework: str
    about: dict[str, Any]


class WorkerPool:
    """The worker processes of the versions that are served.

    Args:
        home: The engine's home; workers live in ``run/workers``, their logs in ``logs``.
        python: Interpreter of workers that name none.
        max_body_bytes: Longest prediction body that a worker takes.
        load_timeout_s: Longest that a worker may take to be ready, each time that it is started.
        command: Makes the command of a worker from its interpreter and its folder.
        warm: Forks workers; without it all are started cold.
        gpus: Ids of the GPUs that workers may have, each its own; None: nobody is started here.
    """

    def __init__(
        self,
        home: Path,
        python: str = sys.executable,
        *,
        max_body_bytes: int = DEFAULT_PREDICT_BYTES,
        load_timeout_s: float = math.inf,
        command: Callable[[str, Path], Sequence[str]] = worker_command,
        warm: WarmWorkers | None = None,
        gpus: Sequence[str] | None = (),
    ) -> None:
        self._home = home
        self._folder = home / "run" / "workers"
        self._logs = home / "logs"
        self._sockets = socket_dir(home / "run")
        self._python = python
        self._max_body_bytes = max_body_bytes
        self._load_timeout_s = load_timeout_s
        self._command = command
        self._warm = warm
        self._gpus = tuple(gpus) if gpus is not None else None
        self._ending: list[Worker] = []  # stopped, and not gone yet: what they have they still have
        self._workers: dict[str, Worker] = {}
        self._lock = threading.RLock()
        self._watch: DeathWatch | None = None

    def start(
        self, version_name: str, uid: str, artifact: Path, framework: str = "",
        python: Path | str | None = None, *, artifact_uri: str = "", max_body_bytes: int = 0,
        threads: int = 1, max_batch_size: int = 0, batch_deadline_ms: int = 0, gpus: int = 0,
        **code: Any,
    ) -> None:  # fmt: skip
        """Start the worker of a version, unless it runs already; does not wait for it.

        Args:
            version_name: Full name of the version.
            uid: Its unique id, by which all else here names it; also a file name.
            artifact: Folder of the model.
            framework: ``SCIKIT_LEARN`` …; empty lets the worker find out.
            python: Interpreter to run it with, when not the pool's.
            artifact_uri: Where the model came from, for messages.
            max_body_bytes: Longest prediction body; 0 is the pool's own limit.
            threads: How many cores one call may use.
            max_batch_size: Most instances in a call that requests share; 0 is the worker's own.
            batch_deadline_ms: How long a request may wait for others to share its call.
            gpus: How many GPUs it needs for itself; it keeps them until it has ended.
            code: Fields of the `WorkerSpec` that say which code of the user's it runs.

        Raises:
            OSError: The process cannot be started.
            Unavailable: Other workers have the GPUs.
        """
        spec = WorkerSpec(
            artifact=str(artifact), framework=framework, socket=self.socket(uid),
            version_name=version_name, max_body_bytes=max_body_bytes or self._max_body_bytes,
            artifact_uri=artifact_uri, python=str(python or self._python), uid=uid,
            threads=threads, max_batch_size=max_batch_size, batch_deadline_ms=batch_deadline_ms,
            **code,
        )  # fmt: skip
        with self._claim(spec, gpus) as claim, self._lock:
            own = assign(gpus, self._gpus or (), self._specs(but=uid))
            spec = msgspec.structs.replace(spec, gpus=own)
            worker = self._workers.get(uid)
            written = msgspec.json.encode(spec)  # an adopted one has lists where this has tuples
            if worker and worker.is_alive() and msgspec.json.encode(worker.spec) == written:
                return
            if worker is not None:
                self._end(worker, grace_s=_GRACE_S)
            folder = self._folder / uid
            is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            worker = Worker(spec, folder, self._logs / f"worker-{uid}.log")
            write_whole(folder / "spec.json", written)
            for stray in () if is_new else find_strays(folder, known=None):
                send(stray, signal.SIGKILL)
            self._workers[uid] = worker
            self._launch(worker, claim)
        self._wake()

    def expect(self, artifact: Path, framework: str = "", *, threads: int = 1) -> None:
        """Begin to import what a worker on the pool's own interpreter would; does not wait.

        Args:
            artifact: Folder of the model.
            framework: As for `start`.
            threads: As for `start`.
        """
        if self._warm is not None:
            env = worker_environment(threads=threads, python=self._python)
            self._warm.expect(artifact, framework, self._python, env)

    def wait_ready(self, uid: str, timeout_s: float) -> WorkerInfo:
        """Wait until a worker has loaded its model.

        Raises:
            NotFound: No such worker was started.
            FailedPrecondition: It could not load it, died, or was not ready in time; the message
                is the loader's own. The worker is stopped then.
        """
        deadline_s = time.monotonic() + timeout_s
        pause = threading.Event()
        while True:
            worker = self._workers.get(uid)
            if worker is None:
                raise NotFound(f"There is no worker '{uid}'.", "Start it first.")
            # In this order: one that wrote a file and then died has still written it.
            alive = worker.is_alive()
            info = self.info(uid)
            if info is not None and alive:
                worker.note_loaded()
                return info
            ended = not alive or worker.file("failed.json")
            problem = "".join(why_it_ended(worker)) if ended else ""
            if not problem and time.monotonic() >= deadline_s:
                problem = f"{_too_slow(timeout_s)}{said(worker)}"
            if problem:
                self.stop(uid, grace_s=1.0)
                raise _load_failure(problem)
            pause.wait(_POLL_S)

    def info(self, uid: str) -> WorkerInfo | None:
        """Return what a worker said when it became ready; None before that."""
        worker = self._workers.get(uid)
        about = worker.file("ready.json") if worker else None
        if worker is None or about is None:
            return None
        return WorkerInfo(
            uid=uid, version_name=worker.spec.version_name, socket=worker.spec.socket,
            pid=worker.process.pid if worker.process else 0,
            framework=str(about.get("framework") or worker.spec.framework), about=about,
        )  # fmt: skip

    def socket(self, uid: str) -> str:
        """Return the path of a worker's socket, whether it runs or not."""
        return str(self._sockets / f"w-{uid[:40]}.sock")

    def check(self, uid: str) -> WorkerHealth:
        """Tell whether a worker's process lives; one that was never started is MISSING."""
        worker = self._workers.get(uid)
        if worker is None:
            return WorkerHealth.MISSING
        return WorkerHealth.ALIVE if worker.is_alive() else WorkerHealth.DEAD

    def ping(self, uid: str, *, timeout_s: float = 1.0) -> bool:
        """Tell whether a worker answers now."""
        return call.ping(self.socket(uid), timeout_s)

    def free_gpus(self) -> int:
        """Return how many GPUs no worker has."""
        return len(free(self._gpus or (), self._specs()))

    def lack_of_gpus(self, count: int) -> str:
        """Say why one more worker cannot have so many GPUs; empty: it can."""
        return lack(count, self._gpus or (), self._specs())

    def wanted(self, uid: str) -> bool:
        """Tell whether a worker was started and not stopped, dead or alive."""
        return uid in self._workers

    def uids(self) -> list[str]:
        """Return the uids of all workers that should run."""
        return list(self._workers)

    def deaths(self, uid: str) -> int:
        """Return how often in a row a worker died."""
        worker = self._workers.get(uid)
        return worker.deaths.in_a_row if worker else 0

    def stop(self, uid: str, *, grace_s: float = _GRACE_S) -> None:
        """Let a worker finish its answers, end it, and remove its files; again is harmless.

        Args:
            uid: Which worker.
            grace_s: Seconds between SIGTERM and SIGKILL.
        """
        with self._lock:
            worker = self._workers.pop(uid, None)
            if worker is not None:
                self._ending.append(worker)
        if worker is not None:
            try:
                self._end(worker, grace_s=grace_s)
                worker.close()  # with what it left behind
            finally:
                self._ending.remove(worker)
        else:
            remove_groups(group_tag(self._folder / uid))
        remove(self._folder / uid)
        with contextlib.suppress(OSError):
            Path(self.socket(uid)).unlink()

    def adopt(self) -> list[str]:
        """Take over the workers of an engine that is gone; return the uids of those alive.

        Those that died meanwhile are restarted by the next `tick`; those on a GPU that is for
        versions no more, and those of a home that was moved, are ended; those of the home that this
        one is a copy of are left alone. Empty control groups of dead engines go, too.
        """
        sweep_groups(ANY_GROUP)
        with self._lock:
            for path in sorted(self._folder.glob("*/spec.json")):
                uid = path.parent.name
                if uid in self._workers:
                    continue
                try:
                    spec = msgspec.json.decode(path.read_bytes(), type=WorkerSpec)
                except (OSError, msgspec.MsgspecError) as error:
                    _log.warning("worker %s cannot be adopted: %s", uid, error)
                    remove_groups(group_tag(path.parent))
                    continue
                worker = Worker(spec, path.parent, self._logs / f"worker-{uid}.log")
                worker.process = read_process(path.parent)
                worker.counted = False
                worker.make_groups()  # those that it is in
                worker.note_loaded()  # now, for all that is known
                for stray in find_strays(path.parent, known=worker.process):
                    send(stray, signal.SIGKILL)
                self._workers[uid] = worker
            lost = {uid: self._why_lost(worker.spec) for uid, worker in self._workers.items()}
        for uid, why in lost.items():
            if why:
                _log.warning("worker %s does not go on: %s", uid, why)
                self.stop(uid)
        with self._lock:
            alive = [uid for uid, worker in self._workers.items() if worker.is_alive()]
        self._wake()
        return alive

    def tick(self) -> list[str]:
        """Restart workers that died after they were ready, each with its back-off.

        Workers that take more than they may, or too long to load their model, are ended.

        Returns:
            The uids that were restarted now.
        """
        restarted = []
        with self._lock:
            now_s = time.monotonic()
            for uid, worker in self._workers.items():
                if worker.is_alive():
                    self._hold_to_its_time(worker, now_s)
                    self._hold_to_its_share(worker)
                    continue
                if not worker.counted:
                    worker.deaths = next_deaths(worker.deaths, now_s=now_s, ready_s=worker.ready_s)
                    worker.counted = True
                    worker.last_end, printed = why_it_ended(worker)
                    message = f"{worker.last_end}{printed}"
                    _log.warning("worker of %s: %s", worker.spec.version_name, message)
                delay_s = restart_delay_s(worker.deaths)
                if not worker.was_ready:
                    delay_s = max(delay_s, _UNREADY_S)  # `wait_ready` must see why it ended
                if now_s - worker.deaths.last_s >= delay_s:
                    try:
                        self._launch(worker)
                    except OSError as error:
                        _log.error("worker of %s: %s", worker.spec.version_name, error)
                        worker.deaths = Deaths(worker.deaths.in_a_row + 1, now_s)
                        continue
                    restarted.append(uid)
        return restarted

    def give_up(self, socket: str, offence: str) -> None:
        """End a worker that is of no use any more; it is started again."""
        with self._lock:
            for uid, worker in self._workers.items():
                if self.socket(uid) == socket and worker.is_alive():
                    self._punish(worker, offence)

    def loops(self) -> dict[str, str]:
        """Return the workers that die again and again, and why they ended the last time.

        What they printed is not in it: a version's messages are for all who may see the version.
        """
        now_s = time.monotonic()
        with self._lock:
            return {
                uid: worker.last_end
                for uid, worker in self._workers.items()
                if is_loop(worker.deaths, now_s=now_s, ready_s=_ready_since_s(worker))
            }

    def healthy(self) -> set[str]:
        """Return the workers that run, and have for so long that earlier deaths do not count."""
        now_s = time.monotonic()
        with self._lock:
            return {
                uid
                for uid, worker in self._workers.items()
                if is_healthy(now_s=now_s, ready_s=_ready_since_s(worker))
            }

    def start_watching(self) -> None:
        """Call `tick` from a thread as soon as a worker dies, until `close`."""
        if self._watch is None:
            self._watch = DeathWatch(self._live_pids, self.tick, name="worker-watch")

    def close(self) -> None:
        """Stop watching; the workers go on."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    # --- inner ---

    def _specs(self, *, but: str = "") -> list[WorkerSpec]:
        with self._lock:
            running = [worker.spec for uid, worker in self._workers.items() if uid != but]
            return running + [worker.spec for worker in self._ending]

    def _why_lost(self, spec: WorkerSpec) -> str:
        """Say why a worker of an engine before us cannot go on; empty if it can."""
        if self._gpus is not None and not {*spec.gpus} <= {*self._gpus}:
            return "its GPU is none for versions any more"
        folder = Path(spec.socket).parent
        with contextlib.suppress(OSError):
            if folder.samefile(self._sockets):
                return ""
        return f"it was started for a home whose sockets lie in {folder}: this is moved, or a copy"

    def _live_pids(self) -> list[int]:
        with self._lock:
            return [w.process.pid for w in self._workers.values() if w.process and w.is_alive()]

    @contextlib.contextmanager
    def _claim(self, spec: WorkerSpec, gpus: int) -> Iterator[Socket | None]:
        """Have a fork that waits to be the worker, if there can be one."""
        claim = None
        # What a version brings with it must be imported by nobody who is not confined. And GPUs
        # are seen or not by what is set when a framework is imported.
        apart = spec.prediction_class or spec.package_uris or gpus
        if self._warm is not None and not apart:
            env = worker_environment(threads=spec.threads, python=spec.python)
            claim = self._warm.claim(Path(spec.artifact), spec.framework, spec.python, env)
        try:
            yield claim
        finally:
            if claim is not None:
                claim.close()  # it ends if it was told nothing

    def _launch(self, worker: Worker, claim: Socket | None = None) -> None:
        """Start a worker; cold without a claim, as each that died: forking may be what kills."""
        spec = worker.spec
        worker.kill()  # what the one before it left behind
        worker.limits.close()
        worker.child = None
        worker.process = None
        worker.offence = ""
        worker.make_groups()
        plan = plan_of(
            artifact=spec.artifact, python=spec.python, own=worker.own, home=self._home,
            limits=worker.limits, network=spec.network, gpus=bool(spec.gpus),
        )  # fmt: skip
        if claim is not None:
            worker.process = launch_forked(
                claim, worker.folder, log=worker.log, listener=spec.socket, plan=plan
            )
        if worker.process is None:
            argv = self._command(spec.python, worker.own)
            env = worker_environment(threads=spec.threads, python=spec.python, gpus=spec.gpus)
            worker.process, worker.child = launch(
                argv, worker.folder, log=worker.log, env=env, listener=spec.socket, plan=plan
            )
        worker.started_s = time.monotonic()
        worker.counted = False

    def _hold_to_its_time(self, worker: Worker, now_s: float) -> None:
        """End a worker that loads for too long: of a restart, nobody waits for the outcome."""
        if not worker.note_loaded() and now_s - worker.started_s > self._load_timeout_s:
            self._punish(worker, _too_slow(self._load_timeout_s))

    def _hold_to_its_share(self, worker: Worker) -> None:
        """End a worker that takes more than it may, or have it count for less; cut its log."""
        trim(worker.log, _MOST_LOG_BYTES)
        if worker.weigh():
            _log.warning(
                "worker of %s takes more CPUs than the %d of its machine type: until it "
                "stops, others come first",
                worker.spec.version_name,
                worker.spec.threads,
            )
        most = worker.spec.memory_bytes
        if held_bytes(worker.own, _MOST_SCRATCH_BYTES) > _MOST_SCRATCH_BYTES:
            most_gib = _MOST_SCRATCH_BYTES >> 30
            self._punish(worker, f"it filled its folder: over {most_gib} GiB, or too many files.")
        elif most and not worker.limits.holds_memory and worker.held_bytes() > most:
            self._punish(worker, out_of_memory(worker))

    def _punish(self, worker: Worker, offence: str) -> None:
        worker.offence = offence
        worker.kill()

    def _end(self, worker: Worker, *, grace_s: float) -> None:
        row = worker.process.look() if worker.process else None
        if row is None:
            return
        send(row, signal.SIGTERM)
        pause = threading.Event()
        deadline_s = time.monotonic() + grace_s
        while worker.is_alive():
            if time.monotonic() >= deadline_s:
                send(row, signal.SIGKILL)
            pause.wait(_POLL_S)

    def _wake(self) -> None:
        if self._watch is not None:
            self._watch.wake()


def _ready_since_s(worker: Worker) -> float | None:
    return worker.ready_s if worker.is_alive() else None


def _too_slow(timeout_s: float) -> str:
    return f"it was not ready within {timeout_s:g} s (load_timeout_s)."


def _load_failure(problem: str) -> FailedPrecondition:
    if "(Error code:" not in problem:
        problem = f"Failed to load model: {problem} (Error code: 0)"
    return FailedPrecondition(problem)
