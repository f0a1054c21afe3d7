"""How long from `submit` to the trainer's first line, and what a job costs over ``python -m``.

Runs ``python -m benchmarks.submit``. One trainer package of one line is run, in turn, as plain
``python -m``, as `mlengine jobs submit training` (a whole new process, as a user types it), and as
a create call on a kept connection; medians of the pairs are printed. The environment of the package
is warm from the second run on, which is what "a warm machine" means here; the first run is shown as
"cold".
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
from pathlib import Path

from mlengine.client.http import HttpEngine
from mlengine.core.resources import Job, TrainingInput
from mlengine.engine.home import read_engine_file, read_token

TASK = "import sys, time\nprint('first line at', time.time(), flush=True)\n"
TARGET_S = 1.5


def main() -> int:
    """Measure; return 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="mlengine-bench-"))
    env = {**os.environ, "MLENGINE_HOME": str(work / "home"), "MLENGINE_PORT": "0"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    mlengine = str(Path(sys.executable).with_name("mlengine"))
    try:
        figures = _measure(work, env, mlengine, options.runs)
    finally:
        subprocess.run([mlengine, "down"], env=env, capture_output=True, check=False)
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        print(json.dumps(figures))
    else:
        _show(figures, options.runs)
    return 0 if figures["command_first_line_s"] <= TARGET_S else 1


def _measure(work: Path, env: dict[str, str], mlengine: str, runs: int) -> dict[str, float]:
    package = work / "src" / "trainer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "task.py").write_text(TASK)
    subprocess.run([mlengine, "storage", "buckets", "create", "gs://bench-staging"], env=env,
                   check=True, capture_output=True)  # fmt: skip
    facts = read_engine_file(work / "home")
    assert facts is not None
    engine = HttpEngine(facts["url"], read_token(work / "home"))
    plain, command, call, whole = [], [], [], []
    uris: list[str] = []
    for index in range(runs + 1):
        plain.append(_plain(work / "src", env))
        started_s = time.time()
        name = f"command_{index}"
        subprocess.run(
            [mlengine, "jobs", "submit", "training", name, "--package-path", str(package),
             "--module-name", "trainer.task", "--region", "local",
             "--staging-bucket", "gs://bench-staging"],
            env=env, check=True, capture_output=True,
        )  # fmt: skip
        command.append(_first_line(engine, name) - started_s)
        uris = uris or engine.get_job("default", name).training_input.package_uris  # type: ignore[union-attr]
        began_s, first_s, ended_s = _call(engine, f"call_{index}", uris)
        call.append(first_s - began_s)
        whole.append(ended_s - began_s)
    return {
        "plain_first_line_s": statistics.median(plain[1:]),
        "command_first_line_s": statistics.median(command[1:]),
        "command_first_line_cold_s": command[0],
        "call_first_line_s": statistics.median(call[1:]),
        "call_whole_job_s": statistics.median(whole[1:]),
        "overhead_over_plain_s": statistics.median(
            w - p for w, p in zip(whole[1:], plain[1:], strict=True)
        ),
    }


def _plain(folder: Path, env: dict[str, str]) -> float:
    started_s = time.time()
    subprocess.run(
        [sys.executable, "-m", "trainer.task"], cwd=folder, env=env, check=True, capture_output=True
    )
    return time.time() - started_s


def _call(engine: HttpEngine, name: str, uris: list[str]) -> tuple[float, float, float]:
    spec = TrainingInput(python_module="trainer.task", package_uris=uris, region="local")
    began_s = time.time()
    engine.create_job("default", Job(job_id=name, training_input=spec))
    first_s = _first_line(engine, name)
    cursor, finished = "", False
    while not finished:
        page = engine.read_logs("default", name, cursor=cursor, wait_s=30)
        cursor, finished = page.cursor, page.finished
    return began_s, first_s, time.time()


def _first_line(engine: HttpEngine, name: str) -> float:
    """Return when the trainer printed, by its own clock: nothing of ours is in between."""
    cursor = ""
    while True:
        page = engine.read_logs("default", name, cursor=cursor, wait_s=30)
        for entry in page.entries:
            if entry.message.startswith("first line at "):
                return float(entry.message.split()[-1])
        if page.finished:
            raise SystemExit(f"{name} never printed: {engine.get_job('default', name)}")
        cursor = page.cursor


def _show(figures: dict[str, float], runs: int) -> None:
    rows = [
        ("python -m trainer.task, whole", "plain_first_line_s"),
        ("mlengine jobs submit ..., to the first line, warm", "command_first_line_s"),
        ("the same, first time (environment is built)", "command_first_line_cold_s"),
        ("jobs.create call to the first line, warm", "call_first_line_s"),
        ("jobs.create call to SUCCEEDED, warm", "call_whole_job_s"),
        ("a job's overhead over python -m", "overhead_over_plain_s"),
    ]
    for text, key in rows:
        print(f"{text:52} {figures[key] * 1000:8.0f} ms")
    verdict = "met" if figures["command_first_line_s"] <= TARGET_S else "MISSED"
    print(f"medians of {runs} runs; target: {TARGET_S:g} s to the first line: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
