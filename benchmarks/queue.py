"""What a create costs while thousands of jobs wait, and what one turn of the engine costs then.

Runs ``python -m benchmarks.queue``. A real engine has one job running and, at the head of its
queue, one that needs the whole machine: so every turn looks at the queue and nothing may start.
Then 10,000 jobs are created over HTTP, one after another on a kept connection. The floor is
measured in the same run, on the same disk: one durable insert of the same bytes into a bare SQLite
file. The turn is timed on the same records by `JobReconciler.tick`, after the engine was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mlengine.client.http import HttpEngine
from mlengine.core.clock import SystemClock
from mlengine.core.resources import Bucket, Job, Scheduling, TrainingInput
from mlengine.engine.home import read_token
from mlengine.store import open_store
from mlengine.training.capacity import Capacity
from mlengine.training.inventory import probe
from mlengine.training.jobs import folder_of
from mlengine.training.kinds import demand_of
from mlengine.training.launchers.process import ProcessLauncher
from mlengine.training.packaging import build_packages
from mlengine.training.reconciler import JobReconciler
from mlengine.training.retrying import Retrying
from mlengine.training.trials.tuningjobs import TuningJobs

P = "default"
TARGET_MS = 100.0
SLOTS = 2
WAITER = "import threading\nprint('here', flush=True)\nthreading.Event().wait(3600)\n"


def main() -> int:
    """Measure; return 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="mlengine-bench-"))
    try:
        figures = _measure(work, options.jobs)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:36} {value:10.2f}")
        verdict = "met" if figures["create_p99_ms"] < TARGET_MS else "MISSED"
        print(f"target: create p99 < {TARGET_MS:g} ms: {verdict}")
    return 0 if figures["create_p99_ms"] < TARGET_MS else 1


def _measure(work: Path, count: int) -> dict[str, float]:
    home = work / "home"
    home.mkdir(mode=0o700)
    env = {**os.environ, "MLENGINE_MAX_RUNNING_JOBS": str(SLOTS), "MLENGINE_GRACE_S": "1"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    argv = [sys.executable, "-m", "mlengine.daemon", "--home", str(home), "--port", "0"]
    daemon = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert daemon.stdout is not None
        assert "is ready at" in daemon.stdout.readline()
        url = json.loads((home / "run" / "gateway.json").read_text())["url"]
        engine = HttpEngine(url, read_token(home))
        package = _upload(engine, work)
        _occupy(engine, package)
        creates = [_create(engine, f"job_{n}", package) for n in range(count)]
        listing = _times(lambda: engine.list_jobs(P, page_size=100), 20)
        daemon.terminate()
        daemon.wait(60)
        ticks = _ticks(home)
    finally:
        daemon.terminate()  # its gateway goes with it
        daemon.wait(60)
        _release(home)
    body = (home / "engine.db").stat().st_size // (count + 2)
    floor = _floor(work / "floor.db", min(count, 2000), body)
    return {
        "jobs": float(count),
        "floor_insert_p50_ms": _percentile(floor, 50),
        "floor_insert_p99_ms": _percentile(floor, 99),
        "create_p50_ms": _percentile(creates, 50),
        "create_p99_ms": _percentile(creates, 99),
        "create_last_1000_p50_ms": _percentile(creates[-1000:], 50),
        "creates_per_second": len(creates) / sum(creates),
        "list_100_p50_ms": _percentile(listing, 50),
        "tick_p50_ms": _percentile(ticks, 50),
        "tick_p99_ms": _percentile(ticks, 99),
    }


def _upload(engine: HttpEngine, work: Path) -> str:
    package = work / "src" / "trainer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "task.py").write_text(WAITER)
    (archive,) = build_packages(package, work)
    engine.create_bucket(Bucket(name="bench"))
    engine.write_object("bench", archive.name, [archive.read_bytes()])
    return f"gs://bench/{archive.name}"


def _occupy(engine: HttpEngine, package: str) -> None:
    """Bring one job to run, and one that needs the whole machine to the queue's head."""
    _create(engine, "runs", package)
    cursor = ""
    while engine.get_job(P, "runs").state != "RUNNING":
        page = engine.read_logs(P, "runs", cursor=cursor, wait_s=10)
        cursor = page.cursor
        if page.finished:
            raise SystemExit(f"it ended: {engine.get_job(P, 'runs').error_message}")
    _create(engine, "wide", package, scale_tier="STANDARD_1", scheduling=Scheduling(priority=1000))


def _create(engine: HttpEngine, job_id: str, package: str, **fields: Any) -> float:
    spec = TrainingInput(
        python_module="trainer.task", package_uris=[package], region="local", **fields
    )
    begun_s = time.perf_counter()
    engine.create_job(P, Job(job_id=job_id, training_input=spec))
    return time.perf_counter() - begun_s


def _ticks(home: Path) -> list[float]:
    store = open_store(f"sqlite:///{home / 'engine.db'}")
    folder = partial(folder_of, home / "jobs")
    clock = SystemClock()
    reconciler = JobReconciler(
        store,
        ProcessLauncher(),
        {},
        home / "jobs",
        clock=clock,
        capacity=Capacity(probe(), SLOTS, demand_of=demand_of, folder_of=folder),
        retrying=Retrying(clock, max_retries=0, backoff_s=10.0),
        tuning=TuningJobs(store, home / "jobs", clock=clock, advise=lambda *_: []),
    )
    reconciler._report_progress = lambda _record, _status: None  # type: ignore[method-assign,assignment]
    try:
        return _times(reconciler.tick, 50)
    finally:
        reconciler.close()
        store.close()


def _release(home: Path) -> None:
    """End the running job the short way: its supervisor is asked to."""
    for attempt in home.glob("jobs/runs-*/1"):
        ProcessLauncher().cancel(attempt)


def _floor(path: Path, count: int, size: int) -> list[float]:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=TRUNCATE")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE jobs (seq INTEGER PRIMARY KEY, body TEXT)")
    body = "x" * size
    return _times(lambda: database.execute("INSERT INTO jobs (body) VALUES (?)", (body,)), count)


def _times(work: Callable[[], object], count: int) -> list[float]:
    found = []
    for _ in range(count):
        begun_s = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun_s)
    return found


def _percentile(times_s: list[float], percent: int) -> float:
    """Return a percentile in milliseconds."""
    ordered = sorted(times_s)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] * 1000


if __name__ == "__main__":
    sys.exit(main())
