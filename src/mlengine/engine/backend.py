"""Where replicas run: on this machine, or on a Ray cluster; the setting ``backend`` says which.

Records, queue and logs are the engine's own either way. What differs is the launcher, and whose
CPUs, memory and GPUs the queue counts: a cluster's come and go, so they are looked at again and
again, and while it is away jobs wait.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Protocol

from mlengine.engine.settings import Settings
from mlengine.prediction.sockets import socket_dir
from mlengine.training.capacity import Capacity
from mlengine.training.inventory import probe, share_out
from mlengine.training.jobs import folder_of
from mlengine.training.kinds import demand_of
from mlengine.training.launchers import Launcher
from mlengine.training.launchers.process import ProcessLauncher
from mlengine.training.launchers.ray import RayLauncher
from mlengine.training.launchers.raydemand import UNKNOWN, cluster_demand, inventory_of
from mlengine.training.launchers.warm import WarmInterpreters

__all__ = ["Backend", "backend_of"]

_log = logging.getLogger(__name__)
_MOST_JOBS = 1000


class Backend(Protocol):
    """What the engine needs of it.

    Attributes:
        capacity: What jobs may use together.
    """

    capacity: Capacity

    @property
    def launcher(self) -> Launcher: ...

    def open(self) -> None:
        """Make ready; raises `FailedPrecondition` for what stays wrong."""

    def look(self) -> None:
        """See what there is now, and collect what has ended, also while another engine leads."""

    def close(self) -> None:
        """Let go; attempts run on."""


def backend_of(settings: Settings, jobs_root: Path) -> Backend:
    """Return the backend that the settings name.

    Raises:
        InvalidArgument: There is none of that name.
        FailedPrecondition: What it needs is not installed.
    """
    if settings.backend in ("", "process"):
        return _Machine(settings, jobs_root)
    return _Cluster(settings, jobs_root)


class _Machine:
    def __init__(self, settings: Settings, jobs_root: Path) -> None:
        self._warm = WarmInterpreters(
            settings.run / "warm", limit=settings.warm_interpreters, idle_s=settings.warm_idle_s
        )
        self.launcher = ProcessLauncher(warm=self._warm)
        found = probe(gpus=settings.gpus)
        inventory, _ = share_out(found, jobs=settings.gpus, versions=settings.serving_gpus)
        self.capacity = Capacity(
            inventory, settings.job_slots(inventory.cpus), demand_of=demand_of,
            folder_of=partial(folder_of, jobs_root),
        )  # fmt: skip

    def open(self) -> None:
        pass

    def look(self) -> None:
        self.launcher.reap()

    def close(self) -> None:
        self._warm.close()


class _Cluster:
    def __init__(self, settings: Settings, jobs_root: Path) -> None:
        self.launcher = RayLauncher(settings.backend, socket_dir(settings.run), environ=os.environ)
        self._view = self.launcher.view()
        self._slots = settings.max_running_jobs or _MOST_JOBS
        self.capacity = Capacity(
            UNKNOWN, 0, demand_of=cluster_demand(lambda: self._view.nodes),
            folder_of=partial(folder_of, jobs_root), varies=True,
        )  # fmt: skip

    def open(self) -> None:
        self.launcher.open()
        self.look()

    def look(self) -> None:
        seen = self.launcher.tend()
        if seen == self._view:
            return
        if seen.problem:
            _log.warning("jobs wait for the cluster: %s", seen.problem)
            self.capacity.resize(self.capacity.inventory, 0)
        else:
            _log.info("the cluster has %d node(s)", len(seen.nodes))
            self.capacity.resize(inventory_of(seen.nodes), self._slots)
        self._view = seen

    def close(self) -> None:
        self.launcher.close()
