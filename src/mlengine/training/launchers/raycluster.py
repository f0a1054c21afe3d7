"""A connection to a Ray cluster: what it has, and posts (`raynode`) on it. The only user of Ray.

Calls of Ray block, and block for long when the cluster is in trouble; so every one is made on a
thread of the pool, and what it answers is a future that nobody has to wait for.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import mlengine
import mlengine.runtime
from mlengine.runtime import farlink
from mlengine.training.launchers import raynode
from mlengine.training.launchers.rayplaces import Node

__all__ = ["Held", "RayCluster", "Unreachable"]

_REACH_S = 20.0
_THREADS = 64
_CALLS_AT_ONCE = 16  # a pull waits on the node: an order must not wait behind it


class Unreachable(Exception):
    """There is no cluster at the address, or it is no use; `final` if it stays so."""

    def __init__(self, problem: str, *, final: bool = False) -> None:
        super().__init__(problem)
        self.final = final


class Held(NamedTuple):
    """What the cluster reserves for an attempt."""

    group: Any
    posts: list[Any]


class RayCluster:
    """One connection, as long as it lasts.

    Args:
        address: ``ray://HOST:PORT`` (Ray Client), or ``ray``: the cluster of this machine.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ray")
        self._ray: Any = None
        self._code: Any = None
        self._digest = ""

    def connect(self) -> None:
        """Connect; may take seconds.

        Raises:
            Unreachable: Nobody answers, or another version of Ray does.
        """
        # When this process dies, what it holds on the cluster goes about when replicas end anyway.
        os.environ.setdefault("RAY_CLIENT_RECONNECT_GRACE_PERIOD", f"{farlink.LEASE_S:g}")
        if self.address != "ray":
            _reach(self.address)
        import ray

        where = "auto" if self.address == "ray" else self.address
        try:
            ray.init(where, namespace="mlengine", log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise _refusal(self.address, str(ray.__version__), error) from error
        ray.cloudpickle.register_pickle_by_value(raynode)  # type: ignore[no-untyped-call]
        code = _code()
        self._ray, self._digest = ray, hashlib.sha256(code).hexdigest()[:16]
        self._code = ray.put(code)

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive; blocks."""
        found = []
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                found.append(Node(
                    name=node["NodeManagerAddress"], cpus=has.get("CPU", 0.0),
                    memory_bytes=int(has.get("memory", 0)), gpus=int(has.get("GPU", 0)),
                ))  # fmt: skip
        return found

    async def hold(self, bundles: Sequence[dict[str, float]]) -> Held:
        """Ask for a place for each bundle; their posts answer once they all have one."""
        held: Held = await self._aside(partial(self._hold, bundles))
        return held

    def _hold(self, bundles: Sequence[dict[str, float]]) -> Held:
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = placement_group(list(bundles), strategy="PACK")
        kind = self._ray.remote(raynode.Post)
        posts = []
        for index, bundle in enumerate(bundles):
            options = kind.options(
                num_cpus=bundle["CPU"], num_gpus=bundle.get("GPU", 0),
                memory=bundle.get("memory") or None, max_concurrency=_CALLS_AT_ONCE,
                max_restarts=0, max_task_retries=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    placement_group=group, placement_group_bundle_index=index
                ),
            )  # fmt: skip
            posts.append(options.remote(self._code, self._digest, farlink.LEASE_S))
        return Held(group, posts)

    async def call(self, post: Any, method: str, *args: Any) -> Any:
        """Call a post; what comes back is its answer, or Ray's own exception.

        Who gives up waiting cancels nothing: Ray's own threads trip over a cancelled future.
        """
        asked: Future[Any] = await self._aside(lambda: getattr(post, method).remote(*args).future())
        return await asyncio.shield(asyncio.wrap_future(asked))

    async def release(self, held: Held) -> None:
        """Give back what is held; of a cluster that is gone nothing is left."""
        await self._aside(partial(self._release, held))

    def _release(self, held: Held) -> None:
        from ray.util.placement_group import remove_placement_group

        for post in held.posts:
            self._ray.kill(post)
        remove_placement_group(held.group)

    async def _aside(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _reach(address: str) -> None:
    """Knock, for Ray takes half a minute to notice that nobody is there."""
    place = urlsplit(address)
    until_s = time.monotonic() + _REACH_S
    while True:
        try:
            with socket.create_connection((place.hostname, place.port), timeout=5.0):
                return
        except OSError as error:
            if time.monotonic() > until_s:
                raise Unreachable(f"The cluster at {address} cannot be reached: {error}") from None
        _pause(0.5)


def _pause(seconds: float) -> None:
    import select

    select.select([], [], [], seconds)


def _refusal(address: str, version: str, error: Exception) -> Unreachable:
    told = " ".join(str(error).split())[:600]
    if "mismatch" in told.lower():
        return Unreachable(
            f"The cluster at {address} is of another version than the engine's Ray {version}: "
            f"{told}", final=True,
        )  # fmt: skip
    return Unreachable(f"Ray at {address} does not take us: {type(error).__name__}: {told}")


def _code() -> bytes:
    """Return a zip of what an outpost imports."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        package = Path(mlengine.__file__)
        files = [package, *sorted(Path(mlengine.runtime.__file__).parent.glob("*.py"))]
        for path in files:
            name = str(path.relative_to(package.parents[1]))
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()
