"""Wakes versions, puts them to sleep, gives them more workers or fewer: acts on what was decided.

`autoscale` decides by what is seen here; `memory` says who sleeps when another needs room. A worker
is taken away in three steps: out of the routes, its last answers, then its end. What comes between
the first two waits at the gateway and wakes the version again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from mlengine.core.errors import EngineError, Unavailable
from mlengine.prediction.control import GatewayControl
from mlengine.prediction.scaling.autoscale import Bounds, Policy, Seen
from mlengine.prediction.scaling.fleet import Fleet, NodeSpec
from mlengine.prediction.workers.backoff import Deaths, next_deaths, restart_delay_s
from mlengine.prediction.workers.cputime import CpuTimes, Shares
from mlengine.prediction.workers.gpus import REMEDY as GPU_REMEDY
from mlengine.prediction.workers.memory import Sleeper, choose_sleepers

__all__ = ["Scaler", "Served"]

_log = logging.getLogger(__name__)

_AT_ONCE = 8
_POLL_S = 0.01
_ROOM_WAIT_S = 20.0
_MEASURE_S = 10.0
_GUESS_BYTES = 64 << 20  # of a worker that was never measured


class Served(NamedTuple):
    """A version that answers, or would if it were awake."""

    spec: NodeSpec
    bounds: Bounds

    @property
    def uid(self) -> str:
        """Its unique id."""
        return self.spec.uid


class Scaler:
    """Keeps as many workers as are wanted.

    Args:
        fleet: The workers.
        control: The gateway.
        versions: Returns all versions that are served, by their full names.
        reroute: Tells the gateway which workers a version has now.
        load_timeout_s: Longest that loading may take.
        memory_bytes: Most that all workers may hold.
    """

    def __init__(
        self, fleet: Fleet, control: GatewayControl, *,
        versions: Callable[[], Mapping[str, Served]], reroute: Callable[[str], None],
        load_timeout_s: float, memory_bytes: int,
    ) -> None:  # fmt: skip
        self._fleet = fleet
        self._control = control
        self._versions = versions
        self._reroute = reroute
        self._load_timeout_s = load_timeout_s
        self._memory_bytes = memory_bytes
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="scale")
        self._lock = threading.Lock()
        self._room = threading.Lock()  # one makes room at a time, or two would count on the same
        self._busy: set[str] = set()
        self._running: set[str] = set()
        self._asked: set[str] = set()  # woken while something else was done for it
        self._policies: dict[str, Policy] = {}
        self._failures: dict[str, tuple[Deaths, str]] = {}
        self._sizes: dict[str, int] = {}
        self._short: dict[str, int] = {}  # how many workers it was said that there is no room for
        self._promised: dict[str, int] = {}
        self._times = CpuTimes()
        self._awake = Shares()
        self._measured_s = 0.0
        self._closing = False

    def wake(self, version: str) -> None:
        """Give a version that predictions wait for a worker; returns at once."""
        with self._lock:
            self._asked.add(version)
        self._wake_asked(version)

    def awake(self, served: Served) -> None:
        """Give a version a worker unless it has one; return once it is open.

        Raises:
            Unavailable: It has just failed, it cannot be started, or there is no room.
            FailedPrecondition: It could not load its model.
        """
        if self._fleet.sockets(served.uid):
            return
        if (pause_s := self._pause_s(served.uid)) > 0:
            problem = self._failures[served.uid][1]
            raise Unavailable(f"{problem} It is tried again in {pause_s:.0f} s.", "Try again.")
        self._remembering(served, self.load)

    def load(self, served: Served) -> None:
        """Start one more worker, make room for it before, and open it; not in the routes yet."""
        self._make_room(served)
        self._start(served)

    def _start(self, served: Served) -> None:
        """Start and open one more worker in the memory that it was promised."""
        try:
            self._fleet.open(self._fleet.start(served.spec, timeout_s=self._load_timeout_s))
            self._sizes[served.uid] = max(self._measured(served.uid), 1)
        finally:
            self._promised.pop(served.uid, None)
        _, library = self._fleet.library(served.uid)
        if served.spec.library and library and library != served.spec.library:
            _log.warning(
                "%s was loaded by version %s of its library, and was created with %s: see that it "
                "predicts as it did, or create it again",
                served.spec.version, library, served.spec.library,
            )  # fmt: skip

    def sleep(self, version: str, uid: str, *, keep: int = 0) -> None:
        """Take a version's workers away, all but some, once they have answered what they have."""
        leaving = self._fleet.close(uid, keep=keep)
        if leaving:
            self._reroute(version)
            self.drain(self._fleet.pool.socket(worker) for worker in leaving)
            self._fleet.stop(leaving)

    def drain(self, sockets: Iterable[str]) -> None:
        """Return once the workers behind these sockets, which are in no route, have answered."""
        waited_for = set(sockets)
        pause = threading.Event()
        try:
            while waited_for & set(self._control.draining()):
                pause.wait(_POLL_S)
        except EngineError:  # no gateway: nobody waits for an answer
            return

    def tick(self, stats: Mapping[str, Mapping[str, Any]]) -> None:
        """Look at every version, decide, and start what was decided.

        Args:
            stats: What the gateway counted, by full name.
        """
        versions = self._versions()
        if time.monotonic() - self._measured_s >= _MEASURE_S:
            self._measure(versions)
        free = max(self._memory_bytes - self._used(), 0)
        for name, served in versions.items():
            self._look_at(name, served, stats.get(name, {}), free)
        known = {served.uid for served in versions.values()}
        tables: tuple[dict[str, Any], ...] = (
            self._policies, self._failures, self._sizes, self._short,
        )  # fmt: skip
        for table in tables:
            for uid in table.keys() - known:
                table.pop(uid, None)

    def close(self) -> None:
        """Begin nothing more, and end all workers; a model that is loading is let go of."""
        self._closing = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        pause = threading.Event()
        while True:
            under_way = bool(self._running)
            for uid in self._fleet.uids():
                self._fleet.stop_all(uid)
            if not under_way:
                break
            pause.wait(_POLL_S)
        self._threads.shutdown(wait=True)

    # --- deciding ---

    def _look_at(
        self, name: str, served: Served, counted: Mapping[str, Any], free_bytes: int
    ) -> None:
        nodes = self._fleet.nodes(served.uid)
        last_use_s = max([float(counted.get("last_use_time") or 0), *(n.since_s for n in nodes)])
        held = int(counted.get("held") or 0)
        seen = Seen(
            nodes=self._fleet.count(served.uid),
            in_flight=int(counted.get("load") or 0) - held,
            held=held,
            busy=self._busy_share(served, [node.worker for node in nodes], counted),
            idle_s=max(time.time() - last_use_s, 0.0),
            room=self._room_for(served, free_bytes),
        )
        if seen.nodes >= served.bounds.min_nodes:
            self._short.pop(served.uid, None)
        policy = self._policies.setdefault(served.uid, Policy())
        decision = policy.decide(seen, served.bounds, time.monotonic())
        if decision.nodes > seen.nodes:
            if self._pause_s(served.uid) > 0:
                return
            action: Callable[..., None] = self._grow
        elif decision.nodes < seen.nodes:
            action = self._shrink
        else:
            return
        is_told = self._short.get(served.uid) == decision.nodes
        if self._submit(name, action, name, served, decision.nodes) and not is_told:
            _log.info("%s: %d → %d workers, %s: %s in %s", name, seen.nodes, decision.nodes,
                      decision.why, seen, served.bounds)  # fmt: skip

    def _room_for(self, served: Served, free_bytes: int) -> int:
        """Return how many workers more there is memory for, and GPUs if it needs them."""
        room, gpus = free_bytes // self._needed(served.uid), served.spec.gpus
        return min(room, self._fleet.pool.free_gpus() // gpus) if gpus else room

    def _busy_share(self, served: Served, workers: list[str], counted: Mapping[str, Any]) -> float:
        """Return which share of their CPUs workers have used for anything but staying awake."""
        infos = [info for worker in workers if (info := self._fleet.pool.info(worker))]
        used = sum(self._times.share(info.pid) for info in infos)
        used -= self._awake.share(served.uid, float(counted.get("awake_s") or 0.0))
        return max(used, 0.0) / (len(infos) * served.spec.threads) if infos else 0.0

    # --- acting ---

    def _submit(self, version: str, action: Callable[..., None], *args: Any) -> bool:
        """Do something for a version in a thread, unless something is being done for it."""
        with self._lock:
            if version in self._busy or self._closing:
                return False
            self._busy.add(version)
        try:
            self._threads.submit(self._guarded, version, action, *args)
        except RuntimeError:  # closed since
            return False
        return True

    def _guarded(self, version: str, action: Callable[..., None], *args: Any) -> None:
        self._running.add(version)
        try:
            if not self._closing:
                action(*args)
        except EngineError as error:
            _log.warning("%s: %s", version, error)
        except Exception:
            _log.exception("scaling %s", version)
        finally:
            self._running.discard(version)
            with self._lock:
                self._busy.discard(version)
            self._wake_asked(version)

    def _wake_asked(self, version: str) -> None:
        with self._lock:
            asked = version in self._asked and version not in self._busy
        if asked:
            self._submit(version, self._wake, version)

    def _wake(self, version: str) -> None:
        with self._lock:
            self._asked.discard(version)
        served = self._versions().get(version)
        if served is None:
            return  # deleted: the next snapshot tells the gateway
        began_s = time.monotonic()
        try:
            self.awake(served)
        except EngineError as error:
            self._control.refuse(version, f"'{version}' does not wake: {error.problem}")
            raise
        self._reroute(version)
        _log.info("%s: woken in %.0f ms", version, (time.monotonic() - began_s) * 1e3)

    def _grow(self, version: str, served: Served, nodes: int) -> None:
        """Start workers until there are so many, or no room can be made: the next look goes on.

        Nobody asks for these, so none waits for room: that would keep a thread from who is asked.
        """
        while self._fleet.count(served.uid) < nodes:
            if not self._has_room(served):
                self._tell_short(version, served, nodes)
                return
            self._remembering(served, self._start)
            self._reroute(version)
        if self._short.pop(served.uid, None):
            _log.info("%s has its %d workers now", version, nodes)

    def _tell_short(self, version: str, served: Served, nodes: int) -> None:
        """Say once that a version lacks workers, and why: it is tried again at each look."""
        uid = served.uid
        if self._short.get(uid) != nodes:
            self._short[uid] = nodes
            _log.warning(
                "%s has %d of the %d workers that it is to have: %s",
                version, self._fleet.count(uid), nodes, self._no_room(served),
            )  # fmt: skip

    def _shrink(self, version: str, served: Served, nodes: int) -> None:
        self.sleep(version, served.uid, keep=nodes)

    def _remembering(self, served: Served, start: Callable[[Served], None]) -> None:
        """Start a worker, and remember whether that failed: the next try waits."""
        try:
            start(served)
        except OSError as error:  # as of a full disk; its words hold paths, no caller's business
            refused = Unavailable(
                f"Its worker cannot be started: {error.strerror or error}.", "Try again."
            )
            self._note_failure(served.uid, refused.problem)
            raise refused from error
        except EngineError as error:
            self._note_failure(served.uid, str(error))
            raise
        self._failures.pop(served.uid, None)

    def _pause_s(self, uid: str) -> float:
        """Return how long a version that would not load is left alone from now on."""
        deaths, _problem = self._failures.get(uid, (Deaths(), ""))
        return deaths.last_s + restart_delay_s(deaths) - time.monotonic()

    def _note_failure(self, uid: str, problem: str) -> None:
        deaths = self._failures.get(uid, (Deaths(), ""))[0]
        now_s = time.monotonic()
        self._failures[uid] = (next_deaths(deaths, now_s=now_s, ready_s=None), problem)

    # --- memory ---

    def _measure(self, versions: Mapping[str, Served]) -> None:
        self._measured_s = time.monotonic()
        for served in versions.values():
            held = self._measured(served.uid)
            if held:
                self._sizes[served.uid] = held

    def _measured(self, uid: str) -> int:
        """Return how many bytes each of a version's workers holds, on the average."""
        return self._fleet.measure(uid) // max(len(self._fleet.nodes(uid)), 1)

    def _used(self) -> int:
        nodes = [node for uid in self._fleet.uids() for node in self._fleet.nodes(uid)]
        return sum(n.pss_bytes or _GUESS_BYTES for n in nodes) + sum(self._promised.values())

    def _needed(self, uid: str) -> int:
        return self._sizes.get(uid) or _GUESS_BYTES

    def _no_room(self, served: Served) -> Unavailable:
        if lacking := self._fleet.pool.lack_of_gpus(served.spec.gpus):
            return Unavailable(lacking, GPU_REMEDY)
        return Unavailable(
            f"Its worker needs {self._needed(served.uid) >> 20} MiB, and those that do not sleep "
            f"now hold {self._used() >> 20} of the {self._memory_bytes >> 20} MiB for workers.",
            "Raise the setting serving_memory_bytes, or lower the minNodes or nodes of a version.",
        )

    def _make_room(self, served: Served) -> None:
        """Let others sleep until there is room for one more worker of a version; promise it."""
        until_s = time.monotonic() + _ROOM_WAIT_S
        pause = threading.Event()
        while not self._has_room(served):
            if time.monotonic() >= until_s or self._closing:
                raise self._no_room(served)
            pause.wait(_POLL_S)

    def _has_room(self, served: Served) -> bool:
        """Promise a version the memory for one more worker if there is, with others asleep."""
        if self._fleet.pool.lack_of_gpus(served.spec.gpus):  # what is free is promised to nobody
            return False
        uid = served.uid
        with self._room:
            used, needed = self._used(), self._needed(uid)
            if used and used + needed > self._memory_bytes:
                chosen = choose_sleepers(
                    self._sleepers(uid),
                    used_bytes=used, needed_bytes=needed, cap_bytes=self._memory_bytes,
                )  # fmt: skip
                if chosen is None:
                    return False
                for version in chosen:
                    other = self._versions().get(version)
                    if other is not None:
                        _log.info("%s sleeps: its memory is needed", version)
                        self.sleep(version, other.uid)
            self._promised[uid] = needed
        return True

    def _sleepers(self, but: str) -> list[Sleeper]:
        """Return the versions that could sleep now: awake, free to, and nobody waits for them."""
        stats = self._control.stats()
        found = []
        for name, served in self._versions().items():
            nodes = self._fleet.nodes(served.uid)
            counted = stats.get(name, {})
            if served.uid == but or not nodes or served.bounds.min_nodes or counted.get("load"):
                continue
            used_s = max([float(counted.get("last_use_time") or 0), *(n.since_s for n in nodes)])
            held = sum(node.pss_bytes or _GUESS_BYTES for node in nodes)
            found.append(Sleeper(name, held, used_s))
        return found
