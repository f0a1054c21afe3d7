"""An engine without a free descriptor: it says so, loses nothing, and goes on when it has some."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import EngineError
from tests.faults.chaos import counting_trainer
from tests.live.engines import LiveEngine, live_engine
from tests.waiting import wait_until


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LiveEngine]:
    with live_engine(tmp_path / "home", max_running_jobs="2") as engine:
        engine.make_bucket()
        yield engine


def open_files(engine: LiveEngine, limit: int) -> int:
    """Limit how many descriptors the engine may have; return what it was."""
    soft, hard = resource.prlimit(engine.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(engine.pid, resource.RLIMIT_NOFILE, (limit, hard))
    return soft


def used(engine: LiveEngine) -> int:
    return len(list(Path(f"/proc/{engine.pid}/fd").iterdir()))


def test_an_engine_out_of_descriptors_loses_no_job(engine: LiveEngine) -> None:
    package = engine.upload_package(counting_trainer(30, 0.05))
    engine.submit("before", package)
    engine.lines("before", until="line 1")
    acknowledged = ["before"]
    usual = open_files(engine, 3)  # those that are open stay open; no other can be opened
    refused = 0
    for number in range(10):
        try:
            engine.submit(f"during_{number}", package)
            acknowledged.append(f"during_{number}")
        except (EngineError, OSError):
            refused += 1
    assert refused
    assert engine.running
    open_files(engine, usual)

    engine.submit("after", package)
    acknowledged.append("after")
    for job_id in acknowledged:
        job = engine.ended(job_id)
        # One that was being prepared meanwhile may have failed, and then says of what.
        told = job.state == "FAILED" and "files" in job.error_message
        assert job.state == "SUCCEEDED" or told, job
    assert engine.job("before").state == "SUCCEEDED"
    assert engine.job("after").state == "SUCCEEDED"


def test_thirty_jobs_leave_no_descriptor_open(engine: LiveEngine) -> None:
    package = engine.upload_package("print('here')")
    for number in range(3):
        engine.submit(f"warm_{number}", package)
        engine.ended(f"warm_{number}")
    before = used(engine)
    for number in range(30):
        engine.submit(f"job_{number}", package)
    wait_until(lambda: all(engine.job(f"job_{n}").end_time for n in range(30)), 120)
    jobs = [engine.job(f"job_{number}") for number in range(30)]
    assert [job for job in jobs if job.state != "SUCCEEDED"] == []
    wait_until(lambda: used(engine) <= before + 4, 30, "descriptors are left open")
