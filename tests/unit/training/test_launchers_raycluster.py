"""How attempts of one engine share what it holds on a cluster; Ray itself is played."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from mlengine.training.launchers.raycluster import Held, RayCluster, Unwanted
from mlengine.training.launchers.rayplaces import Node

SMALL, LARGE = [{"CPU": 1.0}], [{"CPU": 2.0}]


class Played(RayCluster):
    """Counts what Ray is asked for."""

    def __init__(self, cpus: float) -> None:
        super().__init__("ray")
        self._seen = [Node(name="n", cpus=cpus, memory_bytes=0)]
        self.held: list[Held] = []
        self.dead = False

    def _hold(self, bundles: Sequence[dict[str, float]]) -> Held:
        held = Held(object(), [object()], list(bundles))
        self.held.append(held)
        return held

    def _release(self, held: Held) -> None:
        self.held = [one for one in self.held if one is not held]

    async def call(self, post: Any, method: str, *args: Any) -> Any:
        assert method == "renew"
        if self.dead:
            raise RuntimeError("its node is gone")


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def test_what_one_leaves_another_of_its_size_takes_over() -> None:
    async def work() -> None:
        cluster, wanted = Played(2), asyncio.Event()
        first = await cluster.hold(SMALL, wanted)
        cluster.keep(first)
        assert await cluster.hold(SMALL, wanted) is first
        assert await cluster.hold(SMALL, wanted) is not first, "it is in use"
        assert len(cluster.held) == 2

    run(work())


def test_what_is_kept_makes_room() -> None:
    async def work() -> None:
        cluster, wanted = Played(2), asyncio.Event()
        first = await cluster.hold(SMALL, wanted)
        cluster.keep(first)
        second = await cluster.hold(LARGE, wanted)
        assert cluster.held == [second]

    run(work())


def test_what_nobody_takes_over_is_given_back() -> None:
    async def work() -> None:
        cluster = Played(2)
        cluster.keep(await cluster.hold(SMALL, asyncio.Event()))
        while cluster.held:
            await asyncio.sleep(0.01)

    run(work())


def test_what_is_gone_is_not_taken_over() -> None:
    async def work() -> None:
        cluster, wanted = Played(2), asyncio.Event()
        first = await cluster.hold(SMALL, wanted)
        cluster.keep(first)
        cluster.dead = True
        assert await cluster.hold(SMALL, wanted) is not first
        assert len(cluster.held) == 1

    run(work())


def test_who_waits_is_served_in_turn_or_gives_up() -> None:
    async def work() -> None:
        cluster, wanted, unwanted = Played(2), asyncio.Event(), asyncio.Event()
        first = await cluster.hold(LARGE, wanted)
        second = asyncio.create_task(cluster.hold(LARGE, wanted))
        given_up = asyncio.create_task(cluster.hold(SMALL, unwanted))
        last = asyncio.create_task(cluster.hold(LARGE, wanted))
        unwanted.set()
        with pytest.raises(Unwanted):
            await given_up
        assert not second.done() and not last.done() and len(cluster.held) == 1
        cluster.keep(first)
        assert await second is first
        await cluster.release(first)
        assert await last is not first
        assert len(cluster.held) == 1

    run(work())
