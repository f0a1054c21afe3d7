"""A real Ray cluster for tests, and launchers on it that leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlengine.training.launchers.ray import RayLauncher
from scripts.raycluster import RayCluster, ray_cluster
from tests.waiting import wait_until

__all__ = ["Launchers", "launchers", "ray_cluster"]


class Launchers:
    """Makes launchers that share one agent."""

    def __init__(self, cluster: RayCluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self._made: list[RayLauncher] = []

    def __call__(self) -> RayLauncher:
        made = RayLauncher(
            self.cluster.address, self.folder, environ={**os.environ, **self.cluster.variables}
        )
        self._made.append(made)
        return made

    @property
    def agent(self) -> int:
        """Process id of the agent."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().decode().split("\0")
                    if any(w.startswith(str(self.folder)) and w.endswith(".sock") for w in words):
                        return int(entry.name)
        return 0

    def close(self) -> None:
        for made in self._made:
            made.close()
        wait_until(lambda: not self.agent, 40, "the agent ends when nobody needs it")
        for made in self._made:
            made.poll(self.folder / "nothing")  # reaps


@contextlib.contextmanager
def launchers(cluster: RayCluster) -> Iterator[Launchers]:
    """Give what makes launchers; the agent is connected already."""
    folder = Path(tempfile.mkdtemp(prefix="mle-agent-"))
    made = Launchers(cluster, folder)
    try:
        made().open(wait_s=120)
        yield made
        made.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
