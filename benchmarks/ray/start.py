"""How fast a job starts on a Ray cluster, and what many cost; against `ray job submit`.

Runs ``python -m benchmarks.ray.start [--runs 5] [--jobs 100] [--json FILE]``. In one run, in turns,
on one cluster that the script starts (three nodes on this machine, of two CPUs each by their word):

* from asking to the trainer's first line, by the trainer's own clock: a create call on a kept
  connection, `mlengine jobs submit training` (a whole new process), and `ray job submit` of the
  same module. The first turn, which builds environments, is left out.
* no-op jobs through one connection, all at once: until every one is SUCCEEDED.

Target: the create call's median is at most half of `ray job submit`'s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.training import Bench
from scripts.raycluster import RayCluster, ray_cluster

TARGET_PART = 0.5


def main() -> int:
    """Measure; return 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="starts of each kind")
    parser.add_argument("--jobs", type=int, default=100, help="no-op jobs")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with ray_cluster(dashboard=True) as cluster:
        bench = Bench(Path(tempfile.mkdtemp(prefix="mlengine-bench-")))
        bench.env |= {"MLENGINE_BACKEND": cluster.address, **cluster.variables}
        try:
            bench.start_engine()
            figures = _starts(bench, cluster, options.runs)
            if options.jobs:
                figures["many_jobs_per_s"] = _many(bench, options.jobs)
        finally:
            bench.close()
    for name, value in figures.items():
        print(f"{name:30} {value:10.3f}")
    part = figures["call_p50_s"] / figures["ray_job_submit_p50_s"]
    met = part <= TARGET_PART
    print(f"the create call takes {part:.2f} of `ray job submit` (at most {TARGET_PART:g}): "
          f"{'met' if met else 'MISSED'}")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    return 0 if met else 1


def _starts(bench: Bench, cluster: RayCluster, runs: int) -> dict[str, float]:
    bench.command("empty")
    uris = bench.uploaded()
    kinds: dict[str, Callable[[], float]] = {
        "call": lambda: bench.call(uris),
        "command": lambda: bench.command("empty"),
        "ray_job_submit": lambda: _rival(bench, cluster),
    }
    samples: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(runs + 1):
        for name, measure in kinds.items():
            seconds = measure()
            if turn:
                samples[name].append(seconds)
    figures = {}
    for name, values in samples.items():
        figures[f"{name}_p50_s"] = statistics.median(values)
        figures[f"{name}_max_s"] = max(values)
    return figures


def _rival(bench: Bench, cluster: RayCluster) -> float:
    began_s = time.time()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ray")), "job", "submit",
         "--address", f"http://{cluster.host}:{cluster.dashboard_port}",
         "--working-dir", str(bench.source("empty")), "--", sys.executable, "-m", "trainer.task"],
        env={**os.environ, **cluster.variables}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (line,) = (x for x in done.stdout.splitlines() if x.startswith("first line at "))
    return float(line.split()[-1]) - began_s


def _many(bench: Bench, jobs: int) -> float:
    uris = bench.uploaded()
    began_s = time.monotonic()
    names = [bench.create(uris) for _ in range(jobs)]
    wrong = {state for state in map(bench.wait, names) if state != "SUCCEEDED"}
    if wrong:
        raise SystemExit(f"Of {jobs} no-op jobs some ended as {wrong}.")
    return jobs / (time.monotonic() - began_s)


if __name__ == "__main__":
    sys.exit(main())
