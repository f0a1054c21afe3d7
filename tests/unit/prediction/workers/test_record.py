"""What a worker wrote is taken as it is meant to be, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlengine.prediction.workers.record import Worker, WorkerSpec


def worker_in(folder: Path) -> Worker:
    spec = WorkerSpec(
        artifact="/a", framework="", socket="/s", version_name="v", max_body_bytes=1, uid="u"
    )
    worker = Worker(spec, folder, folder / "log")
    worker.own.mkdir()
    return worker


@pytest.mark.parametrize("said", [
    b"", b"[1]", b"{", b'{"message": "\xff"}', b'{"a":' * 100_000, b"[" * 500_000,
])  # fmt: skip
def test_what_is_no_object_is_nothing(tmp_path: Path, said: bytes) -> None:
    worker = worker_in(tmp_path)
    (worker.own / "ready.json").write_bytes(said)
    assert worker.file("ready.json") is None


def test_an_object_is_read(tmp_path: Path) -> None:
    worker = worker_in(tmp_path)
    assert worker.file("ready.json") is None
    (worker.own / "ready.json").write_bytes(b'{"framework": "ONNX"}')
    assert worker.file("ready.json") == {"framework": "ONNX"}


def test_of_a_worker_that_is_closed_no_group_stays(tmp_path: Path) -> None:
    worker = worker_in(tmp_path)
    worker.make_groups()
    groups = [Path(group) for group in worker.limits.plan()["groups"]]
    crowd = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", "import signal; signal.pause()"],
            preexec_fn=worker.limits.enter,
        )
        for _ in range(3)
    ]
    worker.close()
    assert not [group for group in groups if group.exists()]
    if groups:
        assert [child.wait(60) for child in crowd] == [-9] * 3
    for child in crowd:
        child.kill()
        child.wait(60)
