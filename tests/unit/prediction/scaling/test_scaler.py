"""What a scaler does when workers cannot be started; nothing runs, and its clock stands still."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlengine.core.errors import Unavailable
from mlengine.prediction.control import GatewayControl
from mlengine.prediction.scaling import scaler as under_test
from mlengine.prediction.scaling.autoscale import Bounds
from mlengine.prediction.scaling.fleet import Fleet, NodeSpec
from mlengine.prediction.scaling.scaler import Scaler, Served
from mlengine.prediction.workers.pool import WorkerPool

NAME = "projects/p/models/m/versions/v"


class PlayedPool:
    """Starts so many workers; for more, the disk is full."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried = 0
        self.workers: list[str] = []
        self.says: dict[str, Any] | None = None

    def start(self, _version: str, worker: str, _artifact: Path, *_: Any, **__: Any) -> None:
        self.tried += 1
        if len(self.workers) >= self.room:
            raise OSError(errno.ENOSPC, "No space left on device", "/home/engine/run")
        self.workers.append(worker)

    def wait_ready(self, _worker: str, _timeout_s: float) -> None: ...

    def info(self, _worker: str) -> Any:
        return None if self.says is None else SimpleNamespace(about=self.says, pid=os.getpid())

    def wanted(self, worker: str) -> bool:
        return worker in self.workers

    def uids(self) -> list[str]:
        return self.workers

    def socket(self, worker: str) -> str:
        return worker


class AtOnce(Executor):
    """Does at once what it is given."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn(*args, **kwargs)
        return Future()


class PlayedGateway:
    def __init__(self) -> None:
        self.refused: list[str] = []

    def refuse(self, _version: str, problem: str) -> None:
        self.refused.append(problem)


class World:
    def __init__(self, room: int, bounds: Bounds) -> None:
        self.now_s = 1000.0
        self.pool = PlayedPool(room)
        self.gateway = PlayedGateway()
        spec = NodeSpec(uid="u", version=NAME, artifact=Path("a"), framework="", artifact_uri="")
        self.served = Served(spec, bounds)
        self.scaler = Scaler(
            Fleet(cast(WorkerPool, self.pool)), cast(GatewayControl, self.gateway),
            versions=lambda: {NAME: self.served}, reroute=lambda _version: None,
            load_timeout_s=1.0, memory_bytes=1 << 40,
        )  # fmt: skip


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Bounds], World]:
    def make(room: int, bounds: Bounds) -> World:
        monkeypatch.setattr(under_test, "ThreadPoolExecutor", AtOnce)
        made = World(room, bounds)
        clock = SimpleNamespace(monotonic=lambda: made.now_s, time=time.time)
        monkeypatch.setattr(under_test, "time", clock)
        return made

    return make


def test_callers_of_what_cannot_be_started_are_told_why(
    world: Callable[[int, Bounds], World],
) -> None:
    asleep = world(0, Bounds())
    why = "Its worker cannot be started: No space left on device."
    for _ in range(2):
        asleep.scaler.wake(NAME)
    assert asleep.gateway.refused == [f"'{NAME}' does not wake: {why}"] * 2
    with pytest.raises(Unavailable, match=r"No space left on device\. It is tried again in"):
        asleep.scaler.awake(asleep.served)
    assert asleep.pool.tried == 2
    asleep.pool.room, asleep.now_s = 1, asleep.now_s + 60
    asleep.scaler.awake(asleep.served)
    assert asleep.pool.workers == ["u-0"]


def test_a_further_worker_that_fails_is_not_tried_at_every_look(
    world: Callable[[int, Bounds], World],
) -> None:
    grows = world(1, Bounds(min_nodes=2, max_nodes=2))
    for _ in range(9):
        grows.scaler.tick({})
    assert (len(grows.pool.workers), grows.pool.tried) == (1, 3)  # the second one twice
    grows.pool.room, grows.now_s = 2, grows.now_s + 60
    grows.scaler.tick({})
    assert (len(grows.pool.workers), grows.pool.tried) == (2, 4)


@pytest.mark.parametrize(("awake_share", "workers"), [(0.0, 2), (0.3, 2), (0.5, 1), (2.0, 1)])
def test_a_worker_that_only_stays_awake_is_not_busy(
    world: Callable[[int, Bounds], World], awake_share: float, workers: int
) -> None:
    grows = world(2, Bounds(min_nodes=1, max_nodes=2))
    grows.scaler.tick({})
    grows.pool.says = {}
    grows.scaler._times = cast("Any", SimpleNamespace(share=lambda _pid: 0.95))
    grows.scaler._awake = cast("Any", SimpleNamespace(share=lambda _uid, told_s: told_s))
    for _ in range(9):
        grows.now_s += 1
        grows.scaler.tick({NAME: {"awake_s": awake_share}})
    assert len(grows.pool.workers) == workers


@pytest.mark.parametrize(("library", "says", "warned"), [
    ("1.5.2", {"library_version": "1.6.0"}, True), ("1.5.2", {"library_version": "1.5.2"}, False),
    ("", {"library_version": "1.6.0"}, False), ("1.5.2", {}, False),
    ("1.5.2", {"library_version": ["1.6.0"]}, False),
    ("1.5.2", {"library_version": "1.6.0\nERROR all is lost"}, False),
])  # fmt: skip
def test_another_library_than_at_its_creation_is_worth_a_warning(
    world: Callable[[int, Bounds], World], caplog: pytest.LogCaptureFixture,
    library: str, says: dict[str, Any], warned: bool,
) -> None:  # fmt: skip
    asleep = world(1, Bounds())
    asleep.pool.says = says
    asleep.scaler.load(asleep.served._replace(spec=asleep.served.spec._replace(library=library)))
    said = "loaded by version 1.6.0 of its library, and was created with 1.5.2"
    assert (said in caplog.text) == warned
