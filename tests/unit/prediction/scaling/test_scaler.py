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
from mlengine.prediction.scaling import fleet as fleet_module
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
        self.gpus = 0
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

    def free_gpus(self) -> int:
        return max(self.gpus - len(self.workers), 0)

    def lack_of_gpus(self, count: int) -> str:
        return "No GPU is free." if count > self.free_gpus() else ""

    def socket(self, worker: str) -> str:
        return worker

    def stop(self, worker: str) -> None:
        self.workers.remove(worker)


class AtOnce(Executor):
    """Does at once what it is given."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn(*args, **kwargs)
        return Future()


class PlayedGateway:
    def __init__(self) -> None:
        self.refused: list[str] = []
        self.counted: dict[str, dict[str, Any]] = {}

    def stats(self) -> dict[str, dict[str, Any]]:
        return self.counted

    def draining(self) -> list[str]:
        return []

    def refuse(self, _version: str, problem: str) -> None:
        self.refused.append(problem)


def _served(name: str, uid: str, bounds: Bounds) -> Served:
    spec = NodeSpec(uid=uid, version=name, artifact=Path("a"), framework="", artifact_uri="")
    return Served(spec, bounds)


class World:
    def __init__(self, room: int, bounds: Bounds) -> None:
        self.now_s = 1000.0
        self.pool = PlayedPool(room)
        self.gateway = PlayedGateway()
        self.served = _served(NAME, "u", bounds)
        self.versions = {NAME: self.served}
        self.scaler = Scaler(
            Fleet(cast(WorkerPool, self.pool)), cast(GatewayControl, self.gateway),
            versions=lambda: self.versions, reroute=lambda _version: None,
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


def test_no_more_workers_are_tried_than_there_are_gpus(
    world: Callable[[int, Bounds], World], caplog: pytest.LogCaptureFixture
) -> None:
    grows = world(9, Bounds(min_nodes=3, max_nodes=5))
    spec = grows.served.spec._replace(gpus=1)
    grows.versions[NAME] = grows.served._replace(spec=spec)
    grows.pool.gpus = 2
    for _ in range(3):
        grows.scaler.tick({})
    assert (len(grows.pool.workers), grows.pool.tried) == (2, 2)
    (said,) = [row.message for row in caplog.records if row.levelname == "WARNING"]
    assert "has 2 of the 3 workers that it is to have: No GPU is free." in said
    assert "serving_gpus" in said
    grows.pool.gpus = 4
    for _ in range(3):
        grows.scaler.tick({})
    assert len(grows.pool.workers) == 3


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


HELD = 64 << 20
"""What a worker that was never measured is taken to hold."""


def _shared_by(world: World, memory_bytes: int, **least: int) -> None:
    """Have these versions, each with so many workers at least, share so much memory."""
    world.scaler._memory_bytes = memory_bytes
    world.versions = {
        name: _served(name, name, Bounds(nodes, max(nodes, 1))) for name, nodes in least.items()
    }


def test_others_sleep_so_that_a_version_has_its_least_workers(
    world: Callable[[int, Bounds], World],
) -> None:
    full = world(9, Bounds())
    _shared_by(full, 3 * HELD, old=0, asked=0, used=0)
    for name in full.versions:
        full.scaler.awake(full.versions[name])
    full.gateway.counted = {"asked": {"load": 1}, "used": {"last_use_time": time.time() + 60}}
    full.versions["wanted"] = _served("wanted", "wanted", Bounds(1, 1))
    full.scaler.tick(full.gateway.counted)
    assert sorted(full.pool.workers) == ["asked-0", "used-0", "wanted-0"]  # not who was used last
    full.versions["wanted"] = _served("wanted", "wanted", Bounds(3, 3))  # as of manualScaling
    full.scaler.tick(full.gateway.counted)
    assert sorted(full.pool.workers) == ["asked-0", "wanted-0", "wanted-1"]


def test_who_has_no_room_is_told_of_once_and_takes_none_from_who_must_have_it(
    world: Callable[[int, Bounds], World], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    full = world(9, Bounds())
    _shared_by(full, HELD, first=1, second=1)
    for _ in range(9):
        full.scaler.tick({})
    assert full.pool.workers == ["first-0"]
    assert full.pool.tried == 1
    (told,) = [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]
    assert told == (
        "second has 0 of the 1 workers that it is to have: Its worker needs 64 MiB, and those that "
        "do not sleep now hold 64 of the 64 MiB for workers. Raise the setting "
        "serving_memory_bytes, or lower the minNodes or nodes of a version."
    )
    assert caplog.text.count("second: 0 → 1 workers") == 1
    full.versions["first"] = _served("first", "first", Bounds(0, 1))  # may sleep from now on
    full.scaler.tick({})
    assert full.pool.workers == ["second-0"]
    assert "second has its 1 workers now" in caplog.text


def test_a_version_without_room_keeps_no_other_from_its_workers(
    world: Callable[[int, Bounds], World],
) -> None:
    full = world(9, Bounds())
    _shared_by(full, 2 * HELD, big=1, small=1, third=1)
    full.scaler._sizes["big"] = 2 * HELD
    full.scaler.awake(full.versions["small"])
    full.scaler.tick({})
    assert sorted(full.pool.workers) == ["small-0", "third-0"]
    full.now_s += 60
    full.scaler._memory_bytes = 9 * HELD
    full.scaler.awake(full.versions["big"])  # nor does it wait for a pause: nothing has failed
    assert "big-0" in full.pool.workers


def test_each_worker_of_a_version_counts_for_itself(
    world: Callable[[int, Bounds], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "pss_bytes", lambda _pid: HELD)
    grows = world(9, Bounds(3, 3))
    grows.pool.says = {}
    grows.scaler._memory_bytes = 3 * HELD
    grows.scaler.tick({})
    assert len(grows.pool.workers) == 3
