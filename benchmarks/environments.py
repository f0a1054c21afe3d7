"""How long a job waits for its environment: cold, warm, and when fifty ask at once.

Usage: python -m benchmarks.environments [--runtime sklearn-1.x] [--askers 50] [--import MODULE]

Starts on an empty folder each time. "Cold" builds the runtime and a layer with one package; what
the installer has in its own cache of downloads it need not fetch, so run it twice to measure
without the network. With --import, also measures what byte-compiling is worth to that import.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlengine.environments import Environment, Environments
from tests.fakes.archives import sdist

ASK = """
import sys
from pathlib import Path
from mlengine.environments import Environments
found = Environments(Path(sys.argv[1])).prepare([Path(sys.argv[2])], runtime_version=sys.argv[3])
print(found.path, found.hit, found.seconds)
"""


def main() -> None:
    """Measure, and print one line for each figure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runtime", default="sklearn-1.x")
    options.add_argument("--askers", type=int, default=50)
    options.add_argument("--import", dest="module", default="")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlengine-benchmark-") as folder:
        root, package = Path(folder, "environments"), sdist(Path(folder))
        environments = Environments(root, timeout_s=1800)
        cold = _concurrently(environments, package, given.runtime, given.askers)
        print(f"{given.askers} threads, cold: {cold:.2f} s, {len(_built(root))} folders built")
        runs = [_ask(environments, package, given.runtime).seconds for _ in range(50)]
        tail = statistics.quantiles(runs, n=20)[-1]
        print(f"warm, same process: p50 {statistics.median(runs):.4f} s, p95 {tail:.4f} s")
        argv = [sys.executable, "-c", ASK, str(root), str(package), given.runtime]
        fresh = [_fresh(argv) for _ in range(10)]
        print(f"warm, new process (prepare alone): p50 {statistics.median(fresh):.3f} s")
        new = sdist(Path(folder, "other"), files={"task.py": "print('other')"})
        print(f"new package on a built runtime: {_timed(environments, new, given.runtime):.2f} s")
        if given.module:
            python = _ask(environments, package, given.runtime).python
            _compare_import(python, given.module)


def _ask(environments: Environments, package: Path, runtime: str) -> Environment:
    return environments.prepare([package], runtime_version=runtime)


def _concurrently(environments: Environments, package: Path, runtime: str, askers: int) -> float:
    started_s = time.monotonic()
    with ThreadPoolExecutor(askers) as pool:
        found = list(pool.map(lambda _: _ask(environments, package, runtime), range(askers)))
    assert len({item.path for item in found}) == 1
    return time.monotonic() - started_s


def _built(root: Path) -> list[Path]:
    return list((root / ".builds").iterdir())


def _fresh(argv: list[str]) -> float:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    _path, hit, seconds = done.stdout.split()
    assert hit == "True"
    return float(seconds)


def _timed(environments: Environments, package: Path, runtime: str) -> float:
    found = _ask(environments, package, runtime)
    assert not found.hit
    return found.seconds


def _compare_import(python: Path, module: str) -> None:
    for label, prefix in (("with", None), ("without", "/nonexistent")):
        options = {"PYTHONDONTWRITEBYTECODE": "1"}
        if prefix:
            options["PYTHONPYCACHEPREFIX"] = prefix
        argv = [str(python), "-c", f"import {module}"]
        took = []
        for _ in range(3):
            started_s = time.monotonic()
            subprocess.run(argv, check=True, capture_output=True, env={**os.environ, **options})
            took.append(time.monotonic() - started_s)
        print(f"import {module} {label} bytecode: best of 3 {min(took):.2f} s")


if __name__ == "__main__":
    main()
