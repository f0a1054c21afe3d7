"""Which workers each version has, and which of them predictions may be sent to.

A worker's id is the uid of its version, a dash and a number that no other worker of the version has
at the time, one that is on its way out included; so a socket never changes hands.

    start ─▶ loading ─▶ open ─▶ closed ─▶ (gone)
                        its socket is in the routes until a snapshot without it was taken
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.core.errors import NotFound
from mlengine.models.surroundings import Surroundings, Wants
from mlengine.prediction.workers.memory import pss_bytes, rss_bytes
from mlengine.prediction.workers.pool import WorkerPool

__all__ = ["Fleet", "Node", "NodeSpec", "uid_of"]

_MOST_CHARS = 80
_MEASURE_AGAIN_S = 60.0


class NodeSpec(NamedTuple):
    """What the workers of a version are started with.

    Attributes:
        wants: What it must be run in; None: the engine's own interpreter will do.
        request: The version as its own code finds it in its environment.
        library: What it was loaded with when it was created; empty: nobody has kept it.
        gpus: How many each of them has for itself.
    """

    uid: str
    version: str
    artifact: Path
    framework: str
    artifact_uri: str
    max_body_bytes: int = 0
    threads: int = 1
    max_batch_size: int = 0
    batch_deadline_ms: int = 0
    wants: Wants | None = None
    package_uris: tuple[str, ...] = ()
    request: str = ""
    memory_bytes: int = 0
    network: bool = False
    explanation: dict[str, Any] | None = None
    library: str = ""
    gpus: int = 0


class Node(NamedTuple):
    """An open worker; its sizes are those of when it was last measured, by this machine's clock."""

    worker: str
    since_s: float
    pss_bytes: int = 0
    rss_bytes: int = 0
    measured_s: float = float("-inf")


def _own(_uid: str, _wants: Wants) -> Surroundings:
    return Surroundings()


class Fleet:
    """The workers of every version; safe to use from any thread.

    Args:
        pool: Starts, watches and restarts the processes.
        surround: Makes what a version is run in, by its uid and what it wants; may take minutes.
    """

    def __init__(
        self, pool: WorkerPool, surround: Callable[[str, Wants], Surroundings] = _own
    ) -> None:
        self.pool = pool
        self._surround = surround
        self._lock = threading.Lock()
        self._loading: dict[str, set[str]] = {}
        self._open: dict[str, dict[str, Node]] = {}
        self._leaving: set[str] = set()

    def adopt(self) -> None:
        """Take over the workers of the engine before: those that were ready are open."""
        self.pool.adopt()
        for worker in self.pool.uids():
            if self.pool.info(worker) is not None:
                self._opened(worker)

    def sockets(self, uid: str) -> list[str]:
        """Return where predictions of a version may be sent."""
        with self._lock:
            return [self.pool.socket(worker) for worker in self._open.get(uid, ())]

    def nodes(self, uid: str) -> list[Node]:
        """Return a version's open workers, in the order of their ids."""
        with self._lock:
            return list(self._open.get(uid, {}).values())

    def count(self, uid: str) -> int:
        """Return how many workers a version has, with those that load their model."""
        with self._lock:
            return len(self._open.get(uid, ())) + len(self._loading.get(uid, ()))

    def uids(self) -> set[str]:
        """Return the uids of all versions that have workers."""
        return {uid_of(worker) for worker in self.pool.uids()}

    def start(self, spec: NodeSpec, *, timeout_s: float) -> str:
        """Start one more worker of a version; return its id once it has loaded the model.

        It is not open yet: see `open`.

        Raises:
            FailedPrecondition: It could not load it, or not in time; it is gone then.
            Unavailable: Others have the GPUs that it needs.
            NotFound: It was stopped meanwhile.
        """
        with self._lock:
            worker = self._free_id(spec.uid)
            self._loading.setdefault(spec.uid, set()).add(worker)
        try:
            self.pool.start(
                spec.version, worker, spec.artifact, spec.framework,
                artifact_uri=spec.artifact_uri, max_body_bytes=spec.max_body_bytes,
                threads=spec.threads, max_batch_size=spec.max_batch_size,
                batch_deadline_ms=spec.batch_deadline_ms, memory_bytes=spec.memory_bytes,
                network=spec.network, explanation=spec.explanation or {}, gpus=spec.gpus,
                **self._code_of(spec),
            )  # fmt: skip
            self.pool.wait_ready(worker, timeout_s)
        except BaseException:
            self._forget(worker)
            raise
        return worker

    def open(self, worker: str) -> None:
        """Let predictions be sent to a worker that has loaded its model.

        Raises:
            NotFound: It was stopped meanwhile.
        """
        if not self.pool.wanted(worker):
            self._forget(worker)
            raise NotFound(f"The worker '{worker}' was stopped.", "Start another.")
        self._opened(worker)

    def library(self, uid: str) -> tuple[str, str]:
        """Return what a version's workers say they loaded it with: framework, library's version."""
        for node in self.nodes(uid):
            info = self.pool.info(node.worker)
            if info is not None:
                # What a worker says is its model's word: no more than a word of it is kept.
                return _word(info.about.get("framework")), _word(info.about.get("library_version"))
        return "", ""

    def close(self, uid: str, *, keep: int = 0) -> list[str]:
        """Take a version's newest workers out of the routes, all but some; return their ids."""
        with self._lock:
            nodes = self._open.get(uid, {})
            leaving = list(nodes)[keep:]
            for worker in leaving:
                del nodes[worker]
            self._leaving.update(leaving)
        return leaving

    def stop(self, workers: Iterable[str]) -> None:
        """End workers that nothing is sent to any more."""
        for worker in workers:
            self.pool.stop(worker)
            with self._lock:
                self._leaving.discard(worker)

    def stop_all(self, uid: str) -> None:
        """End every worker of a version, those that load their model as well."""
        self.close(uid)
        workers = [worker for worker in self.pool.uids() if uid_of(worker) == uid]
        self.stop(workers)
        for worker in workers:
            self._forget(worker)

    def strays(self) -> list[str]:
        """Return workers that are neither open nor waited for: an engine died over them."""
        workers = self.pool.uids()  # first: who is started after that is known below
        with self._lock:
            known = self._leaving.union(*self._loading.values(), *self._open.values())
        return [worker for worker in workers if worker not in known]

    def measure(self, uid: str) -> int:
        """Return how many bytes a version's open workers hold, looked up now.

        Of one that has as much in memory as when it was last measured, that counts for a minute
        more: only what it shares with others may have become its own, as they went.
        """
        found = {node.worker: self._measured(node) for node in self.nodes(uid)}
        with self._lock:
            nodes = self._open.get(uid, {})
            for worker, node in found.items():
                if worker in nodes:
                    nodes[worker] = node
            return sum(node.pss_bytes for node in nodes.values())

    # --- inner ---

    def _code_of(self, spec: NodeSpec) -> dict[str, Any]:
        """Make what a version is run in; return how a pool is told of it, and of its code."""
        if spec.wants is None:
            return {}
        found = self._surround(spec.uid, spec.wants)
        return {
            "python": found.python or None,
            "notes": found.notes,
            "prediction_class": spec.wants.prediction_class,
            "package_uris": spec.package_uris,
            "version_request": spec.request,
        }

    def _measured(self, node: Node) -> Node:
        info = self.pool.info(node.worker)
        now_s = time.monotonic()
        rss = rss_bytes(info.pid) if info is not None else 0
        is_as_it_was = rss == node.rss_bytes and now_s - node.measured_s < _MEASURE_AGAIN_S
        if info is None or is_as_it_was or not (pss := pss_bytes(info.pid)):
            return node
        return node._replace(pss_bytes=pss, rss_bytes=rss, measured_s=now_s)

    def _free_id(self, uid: str) -> str:
        taken = {*self._loading.get(uid, ()), *self._open.get(uid, ()), *self._leaving}
        taken.update(worker for worker in self.pool.uids() if uid_of(worker) == uid)
        return next(w for n in range(len(taken) + 1) if (w := f"{uid}-{n}") not in taken)

    def _opened(self, worker: str) -> None:
        uid = uid_of(worker)
        with self._lock:
            self._loading.get(uid, set()).discard(worker)
            self._open.setdefault(uid, {})[worker] = Node(worker, time.time())

    def _forget(self, worker: str) -> None:
        uid = uid_of(worker)
        with self._lock:
            self._loading.get(uid, set()).discard(worker)
            self._open.get(uid, {}).pop(worker, None)


def uid_of(worker: str) -> str:
    """Return the uid of a worker's version.

    Example:
        >>> uid_of("7f3a-2")
        '7f3a'
    """
    return worker.partition("-")[0]


def _word(said: object) -> str:
    return said if isinstance(said, str) and len(said) <= _MOST_CHARS and said.isprintable() else ""
