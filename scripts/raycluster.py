"""A Ray cluster of several nodes on this machine: for tests, benchmarks and the demo.

    python scripts/raycluster.py [--nodes 3] [--cpus 2]

Every node is a `ray start` of its own (raylet, workers, agents) with a loopback address of its own,
so replicas on two nodes meet as they would on two machines. Callers need a token, for Ray listens
on all interfaces. The script prints what an engine needs to use the cluster and runs until it is
interrupted; it ends only what it started (never by `ray stop`, which ends every cluster there is).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

__all__ = ["Node", "RayCluster", "ray_cluster"]

_START_S = 300.0
_STOP_S = 5.0
_STARTED = "Ray runtime started"
_FLAGS = (
    "--block", "--disable-usage-stats", "--include-log-monitor=false",
    "--object-store-memory=80000000",
)  # fmt: skip


class Node:
    """One node: the process of `ray start --block`, and all below it."""

    def __init__(
        self, host: str, arguments: list[str], env: dict[str, str], log: Path, *, netns: str = "",
        hidden: Path | None = None,
    ) -> None:  # fmt: skip
        self.host = host
        self.log = log
        ray = [str(Path(sys.executable).with_name("ray"))]
        if netns:
            ray = ["ip", "netns", "exec", netns, *ray]
        if hidden:
            cover = 'mount -t tmpfs none "$0" && exec "$@"'
            ray = ["unshare", "--mount", "sh", "-c", cover, str(hidden), *ray]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*ray, "start", f"--node-ip-address={host}", *arguments, *_FLAGS],
                env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, cwd="/",
            )  # fmt: skip

    def started(self) -> bool:
        """Whether it said so.

        Raises:
            SystemExit: It ended instead.
        """
        if self.process.poll() is not None:
            raise SystemExit(f"A Ray node did not start: {self.log.read_text()[-2000:]}")
        return _STARTED in self.log.read_text()

    def pids(self, name: str = "") -> list[int]:
        """Return the processes of the node; only those called `name`, if one is given."""
        table = _processes()
        found = {self.process.pid}
        while more := {pid for pid, (parent, _) in table.items() if parent in found} - found:
            found |= more
        return [pid for pid in found if pid in table and (not name or table[pid][1] == name)]

    def kill(self, name: str = "") -> None:
        """Kill all of it, or only the processes called `name`, with no warning."""
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not name:
            self.process.wait()

    def end(self) -> list[int]:
        """Ask it to end; return its processes, for `wait`."""
        pids = self.pids()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        return pids

    def wait(self, pids: list[int]) -> None:
        """Wait until it has ended, as it was asked to; then end what is left of it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_S)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class RayCluster:
    """Nodes that know each other; the first is the head.

    Args:
        folder: For logs; its path must be short, for sockets lie in it.
        nodes: How many.
        cpus: What each says that it has; the machine need not have them.
        dashboard: Also start what `ray job submit` speaks to, on port `dashboard_port`.
        network: Hosts are ``NETWORK.2``, ``NETWORK.3``, ...; default: of this cluster alone.
        netns: Network namespace of all nodes but the head.
        hidden: A folder that no node sees: each has a mount namespace with something empty there.
    """

    def __init__(
        self, folder: Path, *, nodes: int = 3, cpus: int = 2, memory_bytes: int = 4 << 30,
        dashboard: bool = False, network: str = "", netns: str = "", hidden: Path | None = None,
    ) -> None:  # fmt: skip
        dice = random.SystemRandom()
        self._network = network or f"127.{dice.randint(2, 250)}.{dice.randint(2, 250)}"
        self._folder, self._cpus, self._memory_bytes = folder, cpus, memory_bytes
        self._netns, self._hidden = netns, hidden
        self._token = secrets.token_hex(16)
        self.host = f"{self._network}.2"
        self._port, self.client_port, self.dashboard_port = _free_ports(self.host, 3)
        self.nodes = [self._head(dashboard)]
        try:
            _wait(self.nodes[0].started)
            for number in range(1, nodes):
                self.add()
                # Two that start at one time take the same name for their sockets, and one dies.
                _wait(partial(self._is_at_home, number + 1))
            _wait(lambda: all(node.started() for node in self.nodes))
            _wait(lambda: self._listens(self.client_port))
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """What the setting `backend` has to be."""
        return f"ray://{self.host}:{self.client_port}"

    @property
    def variables(self) -> dict[str, str]:
        """What whoever speaks to the cluster needs in its environment."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token}

    @property
    def caches(self) -> list[Path]:
        """What nodes keep of engines whose folders they do not see."""
        return list(self._folder.glob("cache-*/mlengine/node"))

    def add(self) -> Node:
        """Start another node; it may take seconds until it is one."""
        host = f"{self._network}.{len(self.nodes) + 2}"
        node = self._start(host, [f"--address={self.host}:{self._port}"], netns=self._netns)
        self.nodes.append(node)
        return node

    def stop(self) -> None:
        """End every node; each may take as long as it is given, so all at one time."""
        pids = [node.end() for node in reversed(self.nodes)]
        for node, left in zip(reversed(self.nodes), pids, strict=True):
            node.wait(left)

    def _head(self, dashboard: bool) -> Node:
        arguments = [
            "--head", f"--port={self._port}", f"--ray-client-server-port={self.client_port}",
            f"--include-dashboard={str(dashboard).lower()}", f"--temp-dir={self._folder / 'r'}",
            f"--dashboard-host={self.host}", f"--dashboard-port={self.dashboard_port}",
        ]  # fmt: skip
        return self._start(self.host, arguments)

    def _start(self, host: str, arguments: list[str], *, netns: str = "") -> Node:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "MLENGINE_"))}
        size = [f"--num-cpus={self._cpus}", f"--memory={self._memory_bytes}"]
        log = self._folder / f"{host}.log"
        own = {
            "RAY_raylet_start_wait_time_s": f"{_START_S:g}",  # for a machine that is busy
            "XDG_CACHE_HOME": str(self._folder / f"cache-{host}"),
        }
        return Node(
            host, [*arguments, *size], {**kept, **self.variables, **own}, log,
            netns=netns, hidden=self._hidden,
        )  # fmt: skip

    def _is_at_home(self, nodes: int) -> bool:
        """Whether so many nodes have made their sockets."""
        made = self._folder / "r" / "session_latest" / "sockets"
        return all(len(list(made.glob(f"{n}*"))) >= nodes for n in ("raylet", "plasma_store"))

    def _listens(self, port: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, port), 1.0):
            return True
        return False


@contextlib.contextmanager
def ray_cluster(
    *, nodes: int = 3, cpus: int = 2, dashboard: bool = False, network: str = "", netns: str = "",
    hidden: Path | None = None,
) -> Iterator[RayCluster]:  # fmt: skip
    """Run a cluster in a folder of its own; nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mle-ray-"))
    try:
        cluster = RayCluster(
            folder, nodes=nodes, cpus=cpus, dashboard=dashboard, network=network, netns=netns,
            hidden=hidden,
        )  # fmt: skip
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run a cluster until somebody interrupts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=2, help="CPUs that each node says it has")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        with ray_cluster(nodes=options.nodes, cpus=options.cpus) as cluster:
            for name, value in {**cluster.variables, "MLENGINE_BACKEND": cluster.address}.items():
                print(f"export {name}={value}", flush=True)
            signal.pause()
    return 0


def _processes() -> dict[int, tuple[int, str]]:
    """Return pid → parent and name of all processes."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                before, _, after = (entry / "stat").read_text().rpartition(")")
                found[int(entry.name)] = (int(after.split()[1]), before.partition("(")[2])
    return found


def _free_ports(host: str, count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((host, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _wait(predicate: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _START_S
    while not predicate():
        if time.monotonic() > until_s:
            raise SystemExit("The Ray cluster did not start in time.")
        select.select([], [], [], 0.1)


if __name__ == "__main__":
    sys.exit(main())
