"""Many no-op jobs submitted over two engines of one PostgreSQL database.

Runs ``python -m benchmarks.engines``. A caller for each engine, on a kept connection, creates half
of the jobs one after another; both at once. Then all jobs are waited for. Every trainer appends a
line to a file of its job's own, so a job that was started twice, or ended well without a start, is
seen. At the end the event table is walked: every job moved by lawful steps only.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlengine.client.http import HttpEngine
from mlengine.core.resources import Job, TrainingInput
from tests.live.engines import LiveEngine, P
from tests.live.pairs import Pair, engine_pair, starts_trainer
from tests.live.postgres import missing, postgres_server

TARGET_S = 60.0
_TERMINAL = ("SUCCEEDED", "FAILED", "CANCELLED")


def main() -> int:
    """Measure; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--wait", type=float, default=600.0, help="longest wait for their ends, s")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    if problem := missing():
        print(problem, file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory(prefix="mlengine-bench-") as work,
        postgres_server() as server,
        engine_pair(Path(work), server) as pair,
    ):
        figures = _measure(pair, options.jobs, options.wait)
    for name, value in figures.items():
        print(f"{name:36} {value:10.2f}")
    met = figures["submits_s"] <= TARGET_S * options.jobs / 1000 and not figures["wrong"]
    print(f"targets: 1,000 submits <= {TARGET_S:g} s, nothing wrong: {'met' if met else 'MISSED'}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if met else 1


def _measure(pair: Pair, jobs: int, wait_s: float) -> dict[str, float]:
    pair.a.make_bucket()
    package = pair.a.upload_package(starts_trainer(1, 0.0))
    pair.submit(pair.a, "first", package)  # its environment is built before anything is measured
    pair.ended("first")
    begun_s = time.monotonic()
    halves = [range(first, jobs, 2) for first in range(2)]
    with ThreadPoolExecutor(2) as callers:
        work = callers.map(
            lambda engine, numbers: _submit(pair, engine, package, numbers), pair.both, halves
        )
        creates_s = [seconds for times in work for seconds in times]
    submits_s = time.monotonic() - begun_s
    states = _wait(pair, jobs, begun_s + submits_s + wait_s)
    whole_s = time.monotonic() - begun_s
    wrong = pair.wrong() if sum(states.values()) == jobs + 1 else ["not all jobs ended"]
    wrong += [f"{state}: {count}" for state, count in states.items() if state != "SUCCEEDED"]
    for line in wrong[:10]:
        print(line, file=sys.stderr)
    starts = [pair.started(f"job_{number}") for number in range(jobs)]
    creates_s.sort()
    return {
        "jobs": float(jobs),
        "submits_s": submits_s,
        "submits_per_s": jobs / submits_s,
        "create_p50_ms": 1000 * statistics.median(creates_s),
        "create_p99_ms": 1000 * creates_s[int(0.99 * len(creates_s))],
        "ended": float(sum(states.values()) - 1),
        "ended_per_s": jobs / whole_s,
        "started_twice": float(sum(count > 1 for count in starts)),
        "never_started": float(starts.count(0)),
        "wrong": float(len(wrong)),
    }


def _submit(pair: Pair, engine: LiveEngine, package: str, numbers: range) -> list[float]:
    times = []
    with HttpEngine(engine.url, engine.token) as client:
        for number in numbers:
            name = f"job_{number}"
            spec = TrainingInput(
                python_module="trainer.task", package_uris=[package], region="local",
                args=[str(pair.starts / name)],
            )  # fmt: skip
            begun_s = time.monotonic()
            client.create_job(P, Job(job_id=name, training_input=spec))
            times.append(time.monotonic() - begun_s)
    return times


def _wait(pair: Pair, jobs: int, until_s: float) -> dict[str, int]:
    """Return how many jobs are in which terminal state, once all are or time is up."""
    query = "SELECT state FROM jobs"
    pause = threading.Event()
    while True:
        rows = pair.server.sql(query, database=pair.database)
        states = collections.Counter(state for (state,) in rows if state in _TERMINAL)
        if states.total() > jobs or time.monotonic() > until_s:
            return states
        pause.wait(0.5)


if __name__ == "__main__":
    sys.exit(main())
