"""Workers that are forked: no different from those that are started, and nobody's hostage."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import joblib
import psutil
import pytest
from sklearn.linear_model import LinearRegression

from mlengine.prediction.call import predict_once
from mlengine.prediction.workers.launch import find_strays, worker_environment
from mlengine.prediction.workers.pool import WorkerHealth, WorkerInfo, WorkerPool
from mlengine.prediction.workers.warmth import WarmWorkers
from tests.waiting import wait_until

VERSION = "projects/p/models/m/versions/v1"


class World:
    """A pool whose zygote is warm."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.artifact = home / "artifact"
        self.artifact.mkdir()
        model = LinearRegression().fit([[0.0], [1.0]], [0.0, 3.0])
        joblib.dump(model, self.artifact / "model.joblib")
        self.warm = WarmWorkers(home / "zygotes", limit=1, idle_s=3600)
        self.pool = WorkerPool(home, warm=self.warm)
        self.pool.expect(self.artifact)
        self.expected = self.warm.pids()

    def start(self, uid: str) -> WorkerInfo:
        self.pool.start(VERSION, uid, self.artifact)
        return self.pool.wait_ready(uid, 120)

    def answer(self, info: WorkerInfo) -> list[float]:
        status, body = predict_once(info.socket, b'{"instances": [[2.0]]}', 60)
        assert status == 200
        predictions: list[float] = json.loads(body)["predictions"]
        return predictions


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="warm-") as folder, pytest.MonkeyPatch.context() as m:
        m.setenv("MLENGINE_TOKEN", "secret")
        world = World(Path(folder))
        yield world
        for uid in world.pool.uids():
            world.pool.stop(uid)
        world.warm.close()


def test_a_forked_worker_is_like_one_that_was_started(world: World) -> None:
    info = world.start("u-0")
    (zygote,) = world.warm.pids()
    assert world.expected == [zygote]  # it was begun before anybody asked
    process = psutil.Process(info.pid)
    assert world.answer(info) == pytest.approx([6.0])
    assert process.ppid() == zygote
    folder = world.home / "run" / "workers" / "u-0" / "own"
    assert [row.pid for row in find_strays(folder.parent, known=None)] == [info.pid]
    assert process.cwd() == str(folder / "home")
    assert Path(f"/proc/{info.pid}/oom_score_adj").read_text().strip() == "500"
    assert "secret" not in process.environ().values()
    assert process.environ()["HOME"] == str(folder / "home")
    assert not [name for name in process.environ() if name.startswith("MLENGINE_")]
    assert os.getsid(info.pid) == info.pid
    assert not process.net_connections("inet")
    opened = {os.path.realpath(f"/proc/{info.pid}/fd/{n}") for n in (1, 2)}
    assert opened == {str((world.home / "logs" / "worker-u-0.log").resolve())}
    world.pool.stop("u-0")
    assert not process.is_running()


def test_a_forked_worker_that_dies_is_started_anew(world: World) -> None:
    info = world.start("u-1")
    os.kill(info.pid, signal.SIGKILL)

    def is_back() -> bool:
        world.pool.tick()
        again = world.pool.info("u-1")
        return again is not None and again.pid != info.pid

    wait_until(is_back)
    again = world.pool.info("u-1")
    assert again is not None and psutil.Process(again.pid).ppid() == os.getpid()
    assert world.answer(again) == pytest.approx([6.0])
    world.pool.stop("u-1")


def test_a_bad_model_says_so_from_a_fork_too(world: World) -> None:
    bad = world.home / "bad"
    bad.mkdir()
    (bad / "model.joblib").write_bytes(b"no model")
    from mlengine.core.errors import FailedPrecondition

    world.pool.start(VERSION, "u-2", bad)
    with pytest.raises(FailedPrecondition, match=r"^Failed to load model: .*model\.joblib"):
        world.pool.wait_ready("u-2", 120)


def test_workers_outlive_their_zygote_and_are_adopted(world: World) -> None:
    info = world.start("u-3")
    (zygote,) = world.warm.pids()
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: not world.warm.pids())
    assert world.answer(info) == pytest.approx([6.0])
    assert WorkerPool(world.home).adopt() == ["u-3"]
    assert world.start("u-4").pid != info.pid  # by a new zygote, or cold
    assert world.pool.check("u-3") is WorkerHealth.ALIVE
    world.pool.stop("u-3")
    world.pool.stop("u-4")


def test_what_is_no_model_has_no_zygote(world: World) -> None:
    empty = world.home / "empty"
    empty.mkdir()
    assert world.warm.claim(empty, "", "python", {}) is None


def test_onnxruntime_reports_to_nobody_and_so_can_be_imported_ahead(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "model.onnx").write_bytes(b"")
    warm = WarmWorkers(tmp_path / "zygotes", limit=1, idle_s=3600)
    environment = {**worker_environment(), "HOME": str(tmp_path)}
    try:
        claim = warm.claim(artifact, "ONNX", sys.executable, environment)
        assert claim is not None
        claim.close()
        maps = Path(f"/proc/{warm.pids()[0]}/maps").read_text()
    finally:
        warm.close()
    assert "onnxruntime" in maps
    assert not list((tmp_path / ".cache").rglob("*onnxruntime*"))
