"""Which workers a predict URL leads to, by the newest snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mlengine.core.clock import SystemClock
from mlengine.core.names import model_of
from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.desks import Desks
from mlengine.prediction.gateway.group import WorkerGroup
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.prediction.gateway.workers import WorkerLink
from mlengine.prediction.routing import (
    PredictTarget,
    Snapshot,
    find_version,
    parse_predict_path,
)

__all__ = ["Switchboard"]

_MAX_CACHED_PATHS = 8192


class Switchboard:
    """Holds the snapshot and the workers of each served version; replaced ones drain by themselves.

    Args:
        snapshot: What to begin with.
        wake: Asks the engine for a worker of a version; False when no engine listens.
        loop: The gateway's.
        burst: That of the callers' connections.
        vigil: That of all workers.
        desks: Where the gateway answers by itself; None: nowhere.
    """

    def __init__(
        self, snapshot: Snapshot, *,
        wake: Callable[[str], bool] = lambda _version: False, loop: asyncio.AbstractEventLoop,
        burst: Burst | None = None, vigil: Vigil | None = None, desks: Desks | None = None,
    ) -> None:  # fmt: skip
        self.snapshot = snapshot
        self._wake = wake
        self._loop = loop
        self._burst = burst
        self._vigil = vigil
        self._desks = desks
        self._groups: dict[str, WorkerGroup] = {}
        self._retired: list[WorkerGroup] = []
        self._targets: dict[bytes, PredictTarget | None] = {}
        self._found: dict[PredictTarget, WorkerGroup] = {}

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

    def link(self, target: PredictTarget) -> WorkerGroup:
        """Return the workers of the version that answers for a target.

        Raises:
            NotFound: There is no such model or version.
            FailedPrecondition: It is not READY, or there is no default version.
        """
        group = self._found.get(target)
        if group is None:
            name, route = find_version(target, self.snapshot)
            group = self._groups.get(name)
            if group is None:
                group = WorkerGroup(
                    name, wake=self._wake, loop=self._loop, burst=self._burst, vigil=self._vigil,
                    desks=self._desks,
                )  # fmt: skip
                group.update(route, self.snapshot.limits)
                self._groups[name] = group
            self._found[target] = group
        return group

    def replace(self, snapshot: Snapshot) -> None:
        """Route by this snapshot from now on; nothing that was accepted is lost."""
        moved = _moved(self.snapshot, snapshot)
        self.snapshot = snapshot
        self._found.clear()
        unsent = []
        for name, group in list(self._groups.items()):
            route = snapshot.versions.get(name)
            if route is not None and (route.sockets or route.wakes):
                group.update(route, snapshot.limits)
                if model_of(name) in moved:
                    unsent += group.take_followers()
                continue
            del self._groups[name]
            unsent += group.retire()
            self._retired.append(group)
        for prediction in unsent:
            prediction.unsent()

    def ask_again(self) -> None:
        """Ask an engine that has just come for the workers that predictions wait for."""
        for group in self._groups.values():
            group.ask_again()

    def refuse(self, version: str, problem: str) -> None:
        """Fail the predictions that wait for a version to wake."""
        group = self._groups.get(version)
        if group is not None:
            group.refuse(problem)

    def tick(self, now_s: float) -> None:
        """Let overdue predictions fail."""
        for group in (*self._groups.values(), *self._retired):
            group.tick(now_s)
        self._retired = [group for group in self._retired if group.load]

    def stats(self) -> dict[str, Any]:
        """Return, for each version that was asked, its counts and the time of its last use."""
        # Counted on the monotonic clock, shown on the wall clock: seconds since 1970.
        offset_s = SystemClock().now().timestamp() - self._loop.time()
        return {
            name: {
                "requests": group.requests,
                "errors": group.errors,
                "load": group.load,
                "held": group.held,
                "wakes": group.wakes,
                "failed_wakes": group.failed_wakes,
                "workers": len(group.links),
                "stuck": group.stuck,
                "last_use_time": group.last_use_s + offset_s,
                **group.counts.as_stats(),
            }
            for name, group in self._groups.items()
            if group.last_use_s
        }

    def connected_links(self) -> list[tuple[int, WorkerLink]]:
        """Return the workers that can be asked now, each with its number in its version."""
        return [
            (number, link)
            for group in self._groups.values()
            for number, link in enumerate(group.links)
            if link.is_connected
        ]

    def draining(self) -> list[str]:
        """Return the sockets of workers that get no more predictions, but have some to answer."""
        groups = (*self._groups.values(), *self._retired)
        return [socket for group in groups for socket in group.draining]

    @property
    def load(self) -> int:
        """How many predictions are not answered yet."""
        return sum(group.load for group in (*self._groups.values(), *self._retired))


def _moved(before: Snapshot, after: Snapshot) -> set[str]:
    """Return the models that share their predictions out otherwise than before."""
    return {
        model
        for model, default in after.models.items()
        if before.models.get(model, default) != default
        or before.traffic.get(model) != after.traffic.get(model)
    }
