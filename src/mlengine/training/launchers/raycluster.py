"""A connection to a Ray cluster: what it has, and posts (`raynode`) on it. The only user of Ray.

Calls of Ray block, and block for long when the cluster is in trouble; so every one is made on a
thread of the pool, and what it answers is a future that nobody has to wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from mlengine.training.launchers.rayplaces import Node, fits

__all__ = ["Held", "RayCluster", "Unreachable", "Unwanted"]

_REACH_S = 20.0
_THREADS = 64
_KEPT_S = 2.0
_LOOK_S = 0.05
_RENEW_S = 5.0
_CALLS_AT_ONCE = 16  # a pull waits on the node: an order must not wait behind it


class Unreachable(Exception):
    """There is no cluster at the address, or it is no use; `final` if it stays so."""

    def __init__(self, problem: str, *, final: bool = False) -> None:
        super().__init__(problem)
        self.final = final


class Unwanted(Exception):
    """What was asked for is not wanted any more."""


class Held(NamedTuple):
    """What the cluster reserves for an attempt."""

    group: Any
    posts: list[Any]
    bundles: list[dict[str, float]]


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
        self._held: list[Held] = []
        self._idle: list[Held] = []
        self._queue: list[object] = []
        self._seen: list[Node] = []
        self._expiries: set[asyncio.Task[None]] = set()

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
        self._seen = found
        return found

    async def hold(self, bundles: Sequence[dict[str, float]], unwanted: asyncio.Event) -> Held:
        """Have a place for each bundle; their posts answer once they all have one.

        Attempts wait here, one behind the other, for what others of this engine hold, because posts
        that one leaves are taken over by the next: a new post is a process that takes a second to
        start. What others hold on the cluster is waited for by the posts.

        Raises:
            Unwanted: It was given up meanwhile.
        """
        me = object()
        self._queue.append(me)
        try:
            while not unwanted.is_set():
                if self._queue[0] is me:
                    if (kept := await self._renewed(bundles)) is not None:
                        return kept
                    if self._fits(bundles):
                        return await self._have(bundles)
                    for held in self._take_idle():
                        await self.release(held)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(unwanted.wait(), _LOOK_S)
        finally:
            self._queue.remove(me)
        raise Unwanted("the attempt was given up before there was room")

    async def _have(self, bundles: Sequence[dict[str, float]]) -> Held:
        held: Held = await self._aside(partial(self._hold, bundles))
        self._held.append(held)
        return held

    async def _renewed(self, bundles: Sequence[dict[str, float]]) -> Held | None:
        """Take over what another attempt has just left, if it is of the same size."""
        while fitting := next((h for h in self._idle if h.bundles == list(bundles)), None):
            self._idle = [one for one in self._idle if one is not fitting]
            try:
                renewals = asyncio.gather(*(self.call(post, "renew") for post in fitting.posts))
                await asyncio.wait_for(renewals, _RENEW_S)
                return fitting
            except Exception:  # its node may be gone
                await self.release(fitting)
        return None

    def _fits(self, bundles: Sequence[dict[str, float]]) -> bool:
        """Tell whether there is room beside what is held, if nobody else has any."""
        return not self._held or fits([*self._held_bundles(), *bundles], self._seen)

    def _held_bundles(self) -> list[dict[str, float]]:
        return [bundle for held in self._held for bundle in held.bundles]

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
        return Held(group, posts, list(bundles))

    async def call(self, post: Any, method: str, *args: Any) -> Any:
        """Call a post; what comes back is its answer, or Ray's own exception.

        Who gives up waiting cancels nothing: Ray's own threads trip over a cancelled future.
        """
        asked: Future[Any] = await self._aside(lambda: getattr(post, method).remote(*args).future())
        return await asyncio.shield(asyncio.wrap_future(asked))

    def keep(self, held: Held) -> None:
        """Keep what is held for a moment, for another attempt; nothing of this one is left."""
        self._idle.append(held)
        expiry = asyncio.create_task(self._expire(held))
        self._expiries.add(expiry)
        expiry.add_done_callback(self._expiries.discard)

    async def _expire(self, held: Held) -> None:
        await asyncio.sleep(_KEPT_S)
        if any(one is held for one in self._idle):
            self._idle = [one for one in self._idle if one is not held]
            await self.release(held)

    def _take_idle(self) -> list[Held]:
        taken, self._idle = self._idle, []
        return taken

    async def release(self, held: Held) -> None:
        """Give back what is held; of a cluster that is gone nothing is left."""
        self._held = [one for one in self._held if one is not held]
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
