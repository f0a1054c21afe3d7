"""Measure what a suggestion of the default search costs: seconds of CPU on one core.

Runs ``python -m benchmarks.tuning.speed``. Histories are of random trials over DOUBLEs, so the
model has no easy time of it. Each line is a history; below stands what the import costs. Seconds of
CPU, not of the clock; a machine that others keep busy still stretches them by a half and more.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time

from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Problem, Tried
from mlengine.tuning.search import open_search
from mlengine.tuning.space import Space

_SIZES = ((30, 10), (100, 10), (1000, 10), (1000, 50), (5000, 10))
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)  # fmt: skip
_IMPORT = (
    "import time; t = time.process_time(); import mlengine.tuning.search.bayesian; "
    "print(time.process_time() - t)"
)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    os.environ.update(_ONE_THREAD)  # numpy is not loaded before a search is opened
    print("| trials | parameters | suggestion, median ms | least ms |")
    print("| --- | --- | --- | --- |")
    for trials, width in _SIZES:
        spent_s = _suggestions(trials, width, repeats)
        middle, least = statistics.median(spent_s), min(spent_s)
        print(f"| {trials} | {width} | {1e3 * middle:.0f} | {1e3 * least:.0f} |", flush=True)
    runs = [
        float(subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True,
                             check=True).stdout)
        for _ in range(repeats)
    ]  # fmt: skip
    print(f"\nImport: {statistics.median(runs):.2f} s (least {min(runs):.2f} s)")
    return 0


def _suggestions(trials: int, width: int, repeats: int) -> list[float]:
    """Return the seconds of CPU of some suggestions, each after one trial fewer."""
    problem = Problem(
        parameters=tuple(
            Parameter(name=f"x{i}", kind=Kind.DOUBLE, low=0.0, high=1.0) for i in range(width)
        ),
        metrics=(Metric(name="loss", goal=Goal.MINIMIZE),),
        seed=1,
    )
    source, space = random.Random(1), Space(problem.parameters)
    history = []
    for number in range(1, trials + 1):
        point = space.sample(source)
        bowl = sum((1 + i % 3) * (float(x) - 0.3) ** 2 for i, x in enumerate(point.values()))
        history.append(Tried(number=number, point=point, values=(bowl + source.gauss(0, 0.01),)))
    search = open_search()
    search.suggest(problem, history[:20])  # what is loaded late is not counted
    found = []
    for fewer in range(repeats):
        start_s = time.process_time()
        search.suggest(problem, history[: trials - fewer])
        found.append(time.process_time() - start_s)
    return found


if __name__ == "__main__":
    sys.exit(main())
