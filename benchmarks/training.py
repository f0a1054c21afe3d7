"""How fast a job starts, and what many of them cost; against ``python -m`` and `ray job submit`.

Runs ``python -m benchmarks.training [--ray]``. In one run, in turns:

* start: from asking to the trainer's first line, by the trainer's own clock. A trainer that imports
  nothing and one that imports TensorFlow; as plain ``python -m`` (the floor), as a create call on a
  kept connection, as `mlengine jobs submit training` (a whole new process, as users type it), and,
  with ``--ray``, as `ray job submit` of the same script on a running local cluster.
* many: no-op jobs one after the other through one connection: submissions a second, all of them in
  a true terminal state at the end, and the memory of the engine before and after.

"Warm" is every run but the first of its kind: the package's environment is there, and so is an
interpreter that has imported. Figures are medians and 95th percentiles.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from benchmarks import rival_ray
from mlengine.client.http import HttpEngine
from mlengine.core.resources import Job, TrainingInput
from mlengine.engine.home import read_engine_file, read_token

TRAINERS = {
    "empty": "import time\nprint('first line at', time.time(), flush=True)\n",
    "tensorflow": "import tensorflow, time\nprint('first line at', time.time(), flush=True)\n",
}
TARGET_WARM_P95_S = 0.3
TARGET_IDLE_RSS_MB = 200
_BUCKET = "bench-staging"


def main() -> int:
    """Measure; return 1 if a target is missed."""
    options = _parse()
    work = Path(tempfile.mkdtemp(prefix="mlengine-bench-"))
    bench = Bench(work)
    try:
        bench.start_engine()
        figures = {"idle_rss_mb": bench.engine_rss_mb()}
        for name in options.trainers:
            figures |= _start_latency(bench, name, options.runs, ray=options.ray)
        figures |= _many(bench, options.jobs)
    finally:
        bench.close()
    _show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    return 0 if _met(figures) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="warm starts of each kind")
    parser.add_argument("--jobs", type=int, default=1000, help="no-op jobs")
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=list(TRAINERS))
    parser.add_argument("--ray", action="store_true", help="measure Ray too")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


class Bench:
    """An engine on a fresh home, and trainer packages to run on it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.env = {**os.environ, "MLENGINE_HOME": str(work / "home"), "MLENGINE_PORT": "0"}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self._mlengine = str(Path(sys.executable).with_name("mlengine"))
        self._count = 0
        self.engine: HttpEngine

    def start_engine(self) -> None:
        """Start the engine by its first command."""
        self.run("storage", "buckets", "create", f"gs://{_BUCKET}")
        facts = read_engine_file(self.work / "home")
        assert facts is not None
        self.engine = HttpEngine(facts["url"], read_token(self.work / "home"))

    def run(self, *words: str) -> None:
        """Run one command of mlengine in a process of its own."""
        subprocess.run([self._mlengine, *words], env=self.env, check=True, capture_output=True)

    def source(self, trainer: str) -> Path:
        """Return the folder above a trainer's package."""
        folder = self.work / trainer
        package = folder / "trainer"
        if not package.exists():
            package.mkdir(parents=True)
            (package / "__init__.py").write_text("")
            (package / "task.py").write_text(TRAINERS[trainer])
        return folder

    def command(self, trainer: str) -> float:
        """Submit as a user does; return the seconds to the first line."""
        name, began_s = self._name(), time.time()
        self.run(
            "jobs", "submit", "training", name, "--region", "local", "--module-name",
            "trainer.task", "--package-path", str(self.source(trainer) / "trainer"),
            "--staging-bucket", f"gs://{_BUCKET}",
        )  # fmt: skip
        return self._first_line(name) - began_s

    def call(self, uris: list[str]) -> float:
        """Create a job over REST; return the seconds to the first line."""
        began_s = time.time()
        return self._first_line(self.create(uris)) - began_s

    def create(self, uris: list[str]) -> str:
        """Create a job; return its id."""
        name = self._name()
        spec = TrainingInput(python_module="trainer.task", package_uris=uris, region="local")
        self.engine.create_job("default", Job(job_id=name, training_input=spec))
        return name

    def uploaded(self) -> list[str]:
        """Return the packages of the newest job."""
        spec = self.engine.get_job("default", f"bench_{self._count}").training_input
        assert spec is not None
        return spec.package_uris

    def plain(self, trainer: str) -> float:
        """Run ``python -m``; return the seconds to the first line."""
        began_s = time.time()
        done = subprocess.run(
            [sys.executable, "-m", "trainer.task"], cwd=self.source(trainer), env=self.env,
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return _moment(done.stdout) - began_s

    def wait(self, name: str) -> str:
        """Wait for a job's end; return its state."""
        cursor, finished = "", False
        while not finished:
            page = self.engine.read_logs("default", name, cursor=cursor, wait_s=30)
            cursor, finished = page.cursor, page.finished
        return self.engine.get_job("default", name).state

    def lines(self, name: str, task: str) -> list[str]:
        """Return what one replica of a job that has ended printed."""
        found, cursor, finished = [], "", False
        while not finished:
            page = self.engine.read_logs("default", name, cursor=cursor, task_name=task)
            found += [entry.message for entry in page.entries]
            cursor, finished = page.cursor, page.finished
        return found

    def engine_rss_mb(self) -> float:
        """Return the resident memory of the engine process itself."""
        facts = read_engine_file(self.work / "home")
        assert facts is not None
        return float(psutil.Process(int(facts["pid"])).memory_info().rss / 1e6)

    def close(self) -> None:
        """Stop the engine and remove its files."""
        subprocess.run([self._mlengine, "down"], env=self.env, capture_output=True, check=False)
        shutil.rmtree(self.work, ignore_errors=True)

    def _name(self) -> str:
        self._count += 1
        return f"bench_{self._count}"

    def _first_line(self, name: str) -> float:
        cursor = ""
        while True:
            page = self.engine.read_logs("default", name, cursor=cursor, wait_s=30)
            for entry in page.entries:
                if entry.message.startswith("first line at "):
                    return _moment(entry.message)
            if page.finished:
                raise SystemExit(f"{name} never printed: {self.engine.get_job('default', name)}")
            cursor = page.cursor


def _start_latency(bench: Bench, trainer: str, runs: int, *, ray: bool) -> dict[str, float]:
    cold = bench.command(trainer)  # builds the environment, and has no warm interpreter yet
    uris = bench.uploaded()
    cached = bench.call(uris)
    kinds: dict[str, Callable[[], float]] = {
        "plain": lambda: bench.plain(trainer),
        "call": lambda: bench.call(uris),
        "command": lambda: bench.command(trainer),
    }
    figures = {f"{trainer}_command_cold_s": cold, f"{trainer}_call_cached_s": cached}
    with rival_ray.cluster(bench.source(trainer), wanted=ray) as submit:
        if submit is not None:
            kinds["ray"] = submit
        samples: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(runs + 1):
            for kind, measure in kinds.items():
                if kind == "ray" and turn > max(runs // 4, 3):
                    continue  # ten seconds each
                seconds = measure()
                if turn:
                    samples[kind].append(seconds)
    for kind, values in samples.items():
        figures[f"{trainer}_{kind}_p50_s"] = statistics.median(values)
        figures[f"{trainer}_{kind}_p95_s"] = _p95(values)
    return figures


def _many(bench: Bench, jobs: int) -> dict[str, float]:
    bench.command("empty")
    uris = bench.uploaded()
    began_s = time.monotonic()
    names = [bench.create(uris) for _ in range(jobs)]
    submitted_s = time.monotonic() - began_s
    states = [bench.wait(name) for name in names]
    whole_s = time.monotonic() - began_s
    wrong = {state for state in states if state != "SUCCEEDED"}
    if wrong:
        raise SystemExit(f"Of {jobs} no-op jobs some ended as {wrong}.")
    return {
        "many_jobs": jobs,
        "many_submissions_per_s": jobs / submitted_s,
        "many_jobs_per_s": jobs / whole_s,
        "loaded_rss_mb": bench.engine_rss_mb(),
    }


def _moment(text: str) -> float:
    (line,) = (x for x in text.splitlines() if x.startswith("first line at "))
    return float(line.split()[-1])


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[min(int(0.95 * len(values)), len(values) - 1)]


def _met(figures: dict[str, float]) -> bool:
    warm = [v for k, v in figures.items() if k.endswith("_call_p95_s")]
    return max(warm) <= TARGET_WARM_P95_S and figures["idle_rss_mb"] <= TARGET_IDLE_RSS_MB


def _show(figures: dict[str, float]) -> None:
    for key, value in figures.items():
        print(f"{key:40} {value:10.3f}")
    verdict = "met" if _met(figures) else "MISSED"
    print(
        f"targets: create call to first line <= {TARGET_WARM_P95_S:g} s (p95, warm), engine idle "
        f"<= {TARGET_IDLE_RSS_MB} MB: {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
