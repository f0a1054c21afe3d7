"""What a worker wrote is taken as it is meant to be, or not at all."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mlengine.prediction.workers import record
from mlengine.prediction.workers.record import Worker, WorkerSpec
from mlengine.runtime import limits
from tests.waiting import wait_until


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


def weight_of(worker: Worker) -> float:
    """Return what its group counts for, 1 being what another one does."""
    folder = worker.limits._cpu_folder
    assert folder is not None
    for name, whole in limits._WEIGHTS.items():
        if (folder / name).exists():
            return int((folder / name).read_text()) / whole
    raise AssertionError(f"{folder} has no weight")


def loaded(worker: Worker) -> None:
    (worker.own / "ready.json").write_bytes(b"{}")


def grouped(folder: Path) -> Worker:
    worker = worker_in(folder)
    worker.make_groups()
    if worker.limits.used_s() is None:
        pytest.skip("WEIGHTS NOT TESTED: this machine lets the test make no group for CPUs")
    loaded(worker)
    return worker


def test_who_takes_more_cpus_than_its_own_counts_for_less_until_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = grouped(tmp_path)
    now_s, used_s = [0.0], [0.0]
    monkeypatch.setattr(worker.limits, "used_s", lambda: used_s[0])
    monkeypatch.setattr(record.time, "monotonic", lambda: now_s[0])

    def after(seconds: float, cpus: float) -> tuple[bool, float]:
        now_s[0] += seconds
        used_s[0] += seconds * cpus
        return worker.weigh(), weight_of(worker)

    eighth = pytest.approx(1 / 8, abs=0.01)
    try:
        assert after(0.5, 4.0) == (False, 1.0)  # the first look
        assert after(0.5, 1.0) == (False, 1.0)
        assert after(0.5, 4.0) == (True, eighth)
        assert after(0.5, 4.0) == (False, eighth)  # it is told once
        assert after(9.5, 1.0) == (False, eighth)
        assert after(0.5, 1.0) == (False, 1.0)
    finally:
        worker.close()


@pytest.mark.parametrize(("framework", "routine", "is_weighed"), [
    ("SCIKIT_LEARN", "", True), ("TENSORFLOW", "", False), ("TENSORFLOW", "m.Routine", True),
])  # fmt: skip
def test_tensorflow_is_not_weighed_for_the_threads_that_it_starts_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str, routine: str, is_weighed: bool
) -> None:
    monkeypatch.setattr(record.os, "cpu_count", lambda: 4)
    spec = msgspec.structs.replace(
        worker_in(tmp_path).spec, framework=framework, prediction_class=routine
    )
    worker = Worker(spec, tmp_path, tmp_path / "log")
    loaded(worker)
    monkeypatch.setattr(worker.limits, "weigh", lambda _share: True)
    monkeypatch.setattr(worker.limits, "used_s", itertools.count(0.0, 4.0).__next__)
    monkeypatch.setattr(record.time, "monotonic", itertools.count(0.0, 1.0).__next__)
    assert [worker.weigh(), worker.weigh()] == [False, is_weighed]


def test_while_it_loads_a_worker_may_take_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that it is started."""
    worker = grouped(tmp_path)
    clock = itertools.count()
    monkeypatch.setattr(record.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(worker.limits, "used_s", itertools.count(0.0, 4.0).__next__)
    assert [worker.weigh(), worker.weigh()] == [False, True]
    worker.limits.close()
    worker.make_groups()  # it is started again
    (worker.own / "ready.json").unlink()
    assert not any(worker.weigh() for _ in range(5))
    assert weight_of(worker) == 1.0
    loaded(worker)
    assert [worker.weigh(), worker.weigh(), worker.weigh()] == [False, True, False]
    worker.close()


def test_all_of_a_group_is_counted(tmp_path: Path) -> None:
    worker = grouped(tmp_path)
    crowd = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", "while True: pass"], preexec_fn=worker.limits.enter
        )
        for _ in range(2)
    ]
    try:
        wait_until(lambda: (worker.limits.used_s() or 0.0) > 0.3)
    finally:
        worker.close()
        for child in crowd:
            child.wait(60)


def test_what_an_engine_before_us_said_of_a_worker_is_taken_back(tmp_path: Path) -> None:
    worker = grouped(tmp_path)
    worker.limits.weigh(1 / 8)
    adopted = Worker(worker.spec, worker.folder, worker.log)
    adopted.make_groups()
    assert not adopted.weigh()
    assert weight_of(adopted) == 1.0
    worker.close()


def test_without_a_group_nobody_is_weighed(tmp_path: Path) -> None:
    worker = worker_in(tmp_path)
    loaded(worker)
    assert worker.limits.used_s() is None
    assert not worker.limits.weigh(1 / 8)
    assert not worker.weigh()
