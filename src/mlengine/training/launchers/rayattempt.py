"""One attempt on a Ray cluster, as the agent sees it: placed, started, listened to, given back.

    hold a place each ─▶ survey the nodes ─▶ start all ─▶ pull until each has ended ─▶ release
          │                 └─ bring what a node does not see ─┘      files come home    ▲
          └──────────── the supervisor withdrew, or is gone ─────────────────────────────┘

A post that does not answer is asked again until its replica must be dead (`CERTAIN_S`), for Ray may
be slow; only then the replica is reported as lost. Nothing is released before every replica has
ended or is lost, and an attempt whose supervisor is gone is killed first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from mlengine.runtime import attemptfiles, farlink
from mlengine.runtime.frames import pack
from mlengine.training.launchers.raycluster import Held, RayCluster
from mlengine.training.launchers.rayplaces import (
    ClusterView,
    Node,
    Unplaceable,
    bundles,
    relocate,
    wants,
)
from mlengine.training.launchers.raystream import Ending, Peer
from mlengine.training.launchers.raytravel import Journey, Stranded

__all__ = ["RayAttempt"]

_PULL_S = 3.0
_AGAIN_S = 0.5
_ANSWER_S = 1.0
_SLOW_S = 30.0


class Surroundings(Protocol):
    """What the agent knows of the cluster."""

    async def ready(self) -> ClusterView: ...

    @property
    def problem(self) -> str: ...

    def nodes(self) -> list[Node]: ...


class RayAttempt:
    """Runs one attempt.

    Args:
        order: What the supervisor asked for.
        peer: The supervisor.
        cluster: Where it runs.
        around: What is known of the cluster.
        ports: Those that were handed out lately, on whatever node.
    """

    def __init__(
        self, order: dict[str, Any], peer: Peer, cluster: RayCluster, around: Surroundings,
        ports: deque[int],
    ) -> None:  # fmt: skip
        self.tag = str(order["tag"])
        self._order = order
        self._replicas: list[dict[str, Any]] = order["replicas"]
        self._peer, self._cluster, self._around, self._ports = peer, cluster, around, ports
        self._holding: asyncio.Future[Held] | None = None
        self._held: Held | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running = False
        self._over = [False] * len(self._replicas)
        self._unwanted = asyncio.Event()
        self._journeys: dict[int, Journey] = {}
        self._is_clean = True
        self._began_s, self._told_to_wait = time.monotonic(), False

    async def run(self) -> None:
        """Run it to its end; returns when nothing of it is left on the cluster."""
        orders = asyncio.create_task(self._obey())
        try:
            started = asyncio.create_task(self._begin())
            unwanted = asyncio.create_task(self._unwanted.wait())
            await asyncio.wait({started, unwanted}, return_when=asyncio.FIRST_COMPLETED)
            for task in (started, unwanted):
                task.cancel()
            starts = None
            with contextlib.suppress(asyncio.CancelledError):
                starts = await started
            if starts is not None and not self._unwanted.is_set():
                self._running = True
                await asyncio.gather(*(self._follow(n, s) for n, s in enumerate(starts)))
            await self._release()
            if not self._running:
                await self._tell_all(farlink.GONE, "")
            await orders  # until the supervisor leaves
        finally:
            orders.cancel()

    # --- beginning ---

    async def _begin(self) -> list[bytes] | None:
        """Place all replicas; return what their outposts are told, or say why not."""
        view = await self._around.ready()
        if view.problem:
            kind = farlink.REFUSED if view.final else farlink.LOST
            await self._tell_all(kind, view.problem)
            return None
        try:
            places = bundles(wants(self._replicas), view.nodes)
        except Unplaceable as error:
            await self._tell_all(farlink.REFUSED, str(error))
            return None
        try:
            self._holding = asyncio.ensure_future(self._cluster.hold(places, self._unwanted))
            if not await self._have([self._holding]):
                self._unwanted.set()
                return None
            held = self._held = self._holding.result()
            surveys = await self._survey(held)
            if surveys is None or not await self._travel(held, surveys):
                return None
            await asyncio.gather(*(self._cluster.call(post, "touch") for post in held.posts))
        except Exception as error:
            await self._tell_all(farlink.LOST, _short(error))
            return None
        for number, survey in enumerate(surveys):
            place = json.dumps({"node": survey["node"]}).encode("ascii")
            await self._peer.send(farlink.PLACED, number, place)
        return self._orders(surveys)

    async def _survey(self, held: Held) -> list[dict[str, Any]] | None:
        """Ask every node what it sees; None when the attempt cannot run there."""
        probes = [self._probes(replica) for replica in self._replicas]
        asked = [
            asyncio.ensure_future(self._cluster.call(
                post, "survey", len(replica.get("ports") or []), list(self._ports), probe
            ))
            for post, replica, probe in zip(held.posts, self._replicas, probes, strict=True)
        ]  # fmt: skip
        try:
            if not await self._have(asked):
                return None
            surveys: list[dict[str, Any]] = [one.result() for one in asked]
        finally:
            for probe in probes:
                _remove_marks(probe)
        for survey in surveys:
            self._ports.extend(survey["ports"])
        return surveys

    async def _have(self, asked: Sequence[asyncio.Future[Any]]) -> bool:
        """Wait for answers of the cluster; return whether there is one to give them."""
        while not all(one.done() for one in asked):
            await asyncio.wait(asked, timeout=_ANSWER_S)
            if self._around.problem:
                await self._tell_all(farlink.LOST, self._around.problem)
                return False
            if not self._told_to_wait and time.monotonic() - self._began_s > _SLOW_S:
                self._told_to_wait = True
                await self._say(0, "INFO", "Waiting for room on the cluster.")
        return True

    async def _travel(self, held: Held, surveys: Sequence[dict[str, Any]]) -> bool:
        """Bring to every node what it does not see; return whether all replicas can run."""
        for number, survey in enumerate(surveys):
            if survey["missing"]:
                call = partial(self._cluster.call, held.posts[number])
                replica = self._replicas[number]
                self._journeys[number] = Journey(call, self._order, replica, survey)
        journeys = list(self._journeys.items())
        arrivals = [self._task(journey.arrive()) for _, journey in journeys]
        try:
            if not await self._have(arrivals):
                return False
        finally:
            for arrival in arrivals:
                arrival.cancel()
        for (number, journey), arrival in zip(journeys, arrivals, strict=True):
            try:
                await arrival
            except Stranded as error:
                await self._peer.send(farlink.REFUSED, number, str(error).encode())
                return False
            await self._say(number, "INFO", journey.told)
        return True

    def _probes(self, replica: dict[str, Any]) -> dict[str, str]:
        """Return what a node must see: the very folders that are here, and the interpreter."""
        lock = Path(self._order["attempt_dir"]) / attemptfiles.LOCK
        probes = {str(lock): lock.read_text()}
        job_dir = str(replica["env"].get("MLENGINE_JOB_DIR", ""))
        if job_dir.startswith("/"):
            mark = Path(job_dir) / f".mlengine-{secrets.token_hex(8)}"
            with contextlib.suppress(OSError):
                mark.write_text(mark.name)
                probes[str(mark)] = mark.name
        program = str(replica["argv"][0])
        if program.startswith("/"):
            probes[program] = ""
        return probes

    def _orders(self, surveys: Sequence[dict[str, Any]]) -> list[bytes]:
        """Return what each outpost is told: its replica, with everybody's true address."""
        found: dict[int, tuple[str, int]] = {}
        for replica, survey in zip(self._replicas, surveys, strict=True):
            for planned, port in zip(replica.get("ports") or [], survey["ports"], strict=True):
                found[planned] = (survey["node"], port)
        orders = []
        for number, (replica, survey) in enumerate(zip(self._replicas, surveys, strict=True)):
            env = relocate(replica["env"], found)
            if (replica.get("machine") or {}).get("gpus"):
                env["CUDA_VISIBLE_DEVICES"] = ",".join(survey["gpus"])
            order = {
                "tag": self.tag, "attempt_dir": self._order["attempt_dir"],
                "grace_s": self._order.get("grace_s") or 0.0,
                "sidecars": self._order.get("sidecars") or [], "replica": {**replica, "env": env},
            }  # fmt: skip
            if number in self._journeys:
                order = self._journeys[number].order(order)
            orders.append(json.dumps(order).encode("ascii"))
        return orders

    # --- running ---

    async def _follow(self, number: int, order: bytes) -> None:
        """Start a replica and pass on what its outpost says, until it or all hope has ended."""
        assert self._held is not None
        if number in self._journeys:
            self._journeys[number].begin(with_others=len(self._replicas) > 1)
        post, asked_s = self._held.posts[number], time.monotonic()
        try:
            await asyncio.wait_for(self._cluster.call(post, "start", order), farlink.CERTAIN_S)
        except Exception as error:  # it may run all the same: nobody feeds it, so it dies soon
            await asyncio.sleep(asked_s + farlink.CERTAIN_S - time.monotonic())
            why = _short(error)
        else:
            why = await self._listen(number, post)
        if why:
            self._is_clean = False
            await self._peer.send(farlink.LOST, number, why.encode())
        self._over[number] = True

    async def _listen(self, number: int, post: Any) -> str:
        """Pass on what an outpost says to its end; return why it is lost, if it is."""
        ending = Ending()
        known, heard_s, why = 0, time.monotonic(), ""
        while (left_s := heard_s + farlink.CERTAIN_S - time.monotonic()) > 0:
            try:
                pull = self._cluster.call(post, "pull", known, _PULL_S)
                data, ended = await asyncio.wait_for(pull, left_s)
            except Exception as error:
                self._is_clean, why = False, _short(error)
                await asyncio.sleep(_AGAIN_S)
                continue
            known, heard_s = known + len(data), time.monotonic()
            before, data = ending.split(data)
            self._over[number] = ending.seen  # no order is for it any more
            if before:
                heard_s = await self._pass_on(number, before)
            if data:
                if why := await self._come_home(number):
                    return why
                heard_s = await self._pass_on(number, data)
            if ended:
                return "" if ending.seen else await self._wreck(post)
        return why

    async def _come_home(self, number: int) -> str:
        """Have here what a replica wrote elsewhere, before its end is told; return why not."""
        journey = self._journeys.get(number)
        if journey is None:
            return ""
        failed_s = 0.0
        while True:
            try:
                await journey.finish()
                return ""
            except Exception as error:
                failed_s = failed_s or time.monotonic()
                if time.monotonic() - failed_s > farlink.CERTAIN_S:
                    return f"what it wrote could not be brought home: {_short(error)}"
                await asyncio.sleep(_AGAIN_S)

    async def _pass_on(self, number: int, data: bytes) -> float:
        """Give the supervisor what came; keep the outpost alive while that takes long.

        Returns: When the outpost was last known to be fed.
        """
        assert self._held is not None
        sent = asyncio.ensure_future(self._peer.send(farlink.DATA, number, data))
        fed_s = time.monotonic()
        while not sent.done():
            await asyncio.wait({sent}, timeout=_PULL_S)
            if not sent.done():
                self._is_clean = False
                with contextlib.suppress(Exception):
                    beat = self._cluster.call(self._held.posts[number], "tell", farlink.ORDER_BEAT)
                    await asyncio.wait_for(beat, _PULL_S)
                    fed_s = time.monotonic()
        return fed_s

    async def _wreck(self, post: Any) -> str:
        """Clear away after an outpost that died; return what is known of it."""
        said = ""
        with contextlib.suppress(Exception):
            said = await asyncio.wait_for(self._cluster.call(post, "wreck"), farlink.CERTAIN_S)
        return f"the process that watched over it on its node died{': ' * bool(said)}{said}"

    async def _obey(self) -> None:
        """Take the supervisor's orders; without one the attempt is unwanted."""
        with contextlib.suppress(ConnectionError):
            while (frame := await self._peer.receive()) is not None:
                if not self._running:
                    self._unwanted.set()
                elif frame.id < len(self._replicas):
                    stop = frame.kind == farlink.STOP
                    order = farlink.ORDER_STOP if stop else farlink.ORDER_KILL
                    self._task(self._deliver(frame.id, order))
        if not self._running:
            self._unwanted.set()
        for number in range(len(self._replicas)):
            self._task(self._deliver(number, farlink.ORDER_KILL))

    async def _deliver(self, number: int, order: bytes) -> None:
        """Bring an order to an outpost, however often that takes."""
        while self._held is not None and self._running and not self._over[number]:
            self._is_clean = False
            try:
                await self._cluster.call(self._held.posts[number], "tell", order)
                return
            except Exception:
                await asyncio.sleep(_AGAIN_S)

    async def _release(self) -> None:
        if self._holding is None:
            return
        if self._held and self._running and self._is_clean and not self._journeys:
            self._cluster.keep(self._held)  # every call was answered: none comes late
            return
        with contextlib.suppress(Exception):
            held = await self._holding
            if self._journeys:
                leaving = asyncio.gather(*(j.leave() for j in self._journeys.values()))
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(leaving, farlink.LEASE_S)
            await asyncio.wait_for(self._cluster.release(held), farlink.CERTAIN_S)

    # --- telling ---

    def _task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _say(self, number: int, severity: str, text: str) -> None:
        """Add a line to a replica's log; only before it was started."""
        line = pack(0, farlink.SAY, json.dumps([severity, text]).encode("ascii"))
        await self._peer.send(farlink.DATA, number, line)

    async def _tell_all(self, kind: int, text: str) -> None:
        for number in range(len(self._replicas)):
            await self._peer.send(kind, number, text.encode())


def _remove_marks(probes: dict[str, str]) -> None:
    for path, text in probes.items():
        if text and Path(path).name == text:
            with contextlib.suppress(OSError):
                Path(path).unlink()


def _short(error: BaseException) -> str:
    told = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {told}"
