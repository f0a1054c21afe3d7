"""Which connection a predict URL leads to, by the newest snapshot."""

from __future__ import annotations

import asyncio
from typing import Any

from mlengine.core.clock import SystemClock
from mlengine.core.errors import EngineError
from mlengine.prediction.routing import (
    PredictTarget,
    Snapshot,
    find_version,
    parse_predict_path,
)
from mlengine.prediction.workers import Prediction, WorkerLink

__all__ = ["Switchboard"]

_MAX_CACHED_PATHS = 8192


class Switchboard:
    """Holds the snapshot and one link per served version; replaced routes drain by themselves."""

    def __init__(self, snapshot: Snapshot, *, loop: asyncio.AbstractEventLoop) -> None:
        self.snapshot = snapshot
        self._loop = loop
        self._links: dict[str, WorkerLink] = {}
        self._retired: list[WorkerLink] = []
        self._targets: dict[bytes, PredictTarget | None] = {}
        self._found: dict[PredictTarget, WorkerLink] = {}

    def target(self, raw_path: bytes) -> PredictTarget | None:
        """Return what a path predicts with, or None when it is not a predict path."""
        try:
            return self._targets[raw_path]
        except KeyError:
            found = parse_predict_path(raw_path)
            if len(self._targets) >= _MAX_CACHED_PATHS:
                self._targets.clear()
            self._targets[raw_path] = found
            return found

    def link(self, target: PredictTarget) -> WorkerLink:
        """Return the connection of the version that answers for a target.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: It is not READY, or there is no default version.
        """
        link = self._found.get(target)
        if link is None:
            name, route = find_version(target, self.snapshot)
            link = self._links.get(name)
            if link is None:
                limits = self.snapshot.limits
                link = WorkerLink(
                    route.sockets[0], version=name, timeout_s=limits.predict_timeout_s,
                    wait_s=limits.worker_wait_s, loop=self._loop,
                )  # fmt: skip
                self._links[name] = link
            self._found[target] = link
        return link

    def replace(self, snapshot: Snapshot) -> None:
        """Route by this snapshot from now on; nothing that was accepted is lost."""
        self.snapshot = snapshot
        self._found.clear()
        for name, link in list(self._links.items()):
            route = snapshot.versions.get(name)
            link.timeout_s = snapshot.limits.predict_timeout_s
            link.wait_s = snapshot.limits.worker_wait_s
            if route is not None and link.socket in route.sockets:
                continue
            del self._links[name]
            unsent = link.retire()
            self._retired.append(link)
            for prediction in unsent:
                self._send_again(name, prediction)

    def tick(self, now_s: float) -> None:
        """Let overdue predictions fail."""
        for link in self._links.values():
            link.tick(now_s)
        for link in self._retired:
            link.tick(now_s)
        self._retired = [link for link in self._retired if link.load]

    def stats(self) -> dict[str, Any]:
        """Return, for each version that was asked, its counts and the time of its last use."""
        # Counted on the monotonic clock, shown on the wall clock: seconds since 1970.
        offset_s = SystemClock().now().timestamp() - self._loop.time()
        return {
            name: {
                "requests": link.requests,
                "errors": link.errors,
                "load": link.load,
                "last_use_time": link.last_use_s + offset_s,
            }
            for name, link in self._links.items()
            if link.requests
        }

    @property
    def load(self) -> int:
        """How many predictions are not answered yet."""
        return sum(link.load for link in (*self._links.values(), *self._retired))

    def _send_again(self, version: str, prediction: Prediction) -> None:
        model = version.partition("/versions/")[0]
        try:
            self.link(PredictTarget(model, version)).submit(prediction)
        except EngineError as error:
            prediction.failed(error)
