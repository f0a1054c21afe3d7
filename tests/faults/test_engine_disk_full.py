"""An engine whose disk fills up: it says so, reads and predicts on, and recovers by itself."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import EngineError, NotFound
from mlengine.core.resources import Version
from tests.faults.chaos import Predicting, ask, counting_trainer, multiplier, predict
from tests.faults.test_engine_refusals import refused, try_to_start
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.waiting import wait_until

pytest.importorskip("sklearn")


class Disk:
    """A small disk that can be filled to its last byte."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"\0" * 65536)

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(root)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("FULL DISK NOT TESTED: this machine does not let the test mount a tmpfs")
    yield Disk(root)
    subprocess.run(["umount", "--lazy", str(root)], check=True)


@pytest.fixture
def engine(disk: Disk) -> Iterator[LiveEngine]:
    with live_engine(disk.root / "home") as engine:
        engine.make_bucket()
        engine.deploy(engine.upload_model("m", model__pkl=multiplier(3)), model_id="m")
        yield engine


def test_a_full_disk_stops_writers_with_a_clear_word_and_nobody_else(
    engine: LiveEngine, disk: Disk
) -> None:
    package = engine.upload_package(counting_trainer(5, 0.05))
    engine.submit("before", package)
    assert engine.ended("before").state == "SUCCEEDED"
    before = engine.lines("before")
    slow = engine.upload_package(counting_trainer(40, 0.1))
    engine.submit("during", slow)
    engine.lines("during", until="line 1")

    disk.fill()
    with Predicting(engine, factor=3) as asked:
        _refuses_to_write(engine, package)
        assert engine.client.list_jobs(P).items
        assert engine.job("before").state == "SUCCEEDED"
        assert engine.lines("before") == before
        (archive,) = [o.name for o in engine.client.list_objects(BUCKET, prefix="packages/0").items]
        assert b"".join(engine.client.read_object(BUCKET, archive))
        wait_until(lambda: asked.count > 50, 60)
    disk.free()

    with pytest.raises(NotFound):
        engine.job("refused")
    assert not list((engine.home / "jobs").glob("refused-*"))
    assert [v.name.rpartition("/")[2] for v in engine.client.list_versions(P, "m").items] == ["v1"]
    assert not engine.client.list_objects(BUCKET, prefix="big").items
    assert engine.ended("during").state in ("SUCCEEDED", "FAILED")
    assert engine.job("during").end_time
    engine.submit("refused", package)
    assert engine.ended("refused").state == "SUCCEEDED"
    assert engine.deploy(f"gs://{BUCKET}/m", "v2", model_id="m").error is None
    assert predict(engine, 4, version="v2").answer == {"predictions": [12]}
    assert engine.running


def _refuses_to_write(engine: LiveEngine, package: str) -> None:
    client = engine.client
    version = Version(name="v2", deployment_uri=f"gs://{BUCKET}/m")
    calls = {
        "upload": lambda: client.write_object(BUCKET, "big", [b"x" * 65536] * 16),
        "job": lambda: engine.submit("refused", package),
        "version": lambda: client.create_version(P, "m", version),
    }
    for what, call in calls.items():
        with pytest.raises(EngineError) as refusal:
            call()
        assert refusal.value.http_status in (429, 503), (what, refusal.value)
        assert "full" in str(refusal.value) or "space" in str(refusal.value), what
    raw = ask(engine, "POST", f"/v1/projects/{P}/models", b'{"name": "another"}')
    assert raw.status in (429, 503)
    assert raw.answer["error"]["code"] == raw.status


def test_a_version_whose_copy_does_not_fit_fails_and_leaves_nothing(
    engine: LiveEngine, disk: Disk
) -> None:
    uri = engine.upload_model("large", model__pkl=multiplier(5), ballast__bin=b"x" * (20 << 20))
    engine.client.write_object(BUCKET, "fills", [b"x" * (1 << 20)] * 16)
    operation = engine.deploy(uri, "v2", model_id="m")
    assert operation.error is not None
    assert "full" in operation.error["message"] or "space" in operation.error["message"]
    version = engine.client.get_version(P, "m", "v2")
    assert version.state == "FAILED"
    kept = [path.name for path in (engine.home / "models").iterdir()]
    assert len(kept) == 1  # the artefact of v1
    engine.client.delete_object(BUCKET, "fills")
    engine.client.delete_version(P, "m", "v2")
    wait_until(lambda: len(engine.client.list_versions(P, "m").items) == 1)
    assert engine.deploy(uri, "v2", model_id="m").error is None
    assert predict(engine, 2, version="v2").answer == {"predictions": [10]}


def test_an_engine_that_starts_on_a_full_disk_says_so_or_runs(
    engine: LiveEngine, disk: Disk
) -> None:
    engine.kill()
    disk.fill()
    refusal = try_to_start(engine.home)
    refused(refusal, "full", "space", any_word=True)
    disk.free()
    engine.start()
    wait_until(lambda: predict(engine, 4).answer == {"predictions": [12]}, 60)
