"""How searches do where some points fail: out of memory, diverged, crashed for no reason.

Runs ``python -m benchmarks.tuning.failing``: mlengine, random search and, where it is installed,
Optuna's TPE minimise functions that have no value at some points, one trial after another. Prints
the median of the best values that were found, and mean ranks over functions and seeds; fails if
mlengine's rank is not the best.

    beside      the best lies next to what fails: bigger is better, until it is too big
    elsewhere   a part of the space fails, and the best lies well inside the rest
    flaky       a trial may crash wherever it is
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from mlengine.core.errors import EngineError
from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Point, Problem, Scale, Tried
from mlengine.tuning.search import open_search

TRIALS = 30
SEARCHES = {"mlengine": "bayesian", "Optuna TPE": "optuna:TPESampler", "random": "random"}


class Failing(NamedTuple):
    """A function to minimise; None is a trial that failed."""

    kind: str
    parameters: tuple[Parameter, ...]
    value: Callable[[Point, random.Random], float | None]


def main() -> int:
    """Run every search, print the table; return 1 if another's rank is better."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    options = parser.parse_args()
    names = [name for name in SEARCHES if _is_there(name)]
    tasks = [(f, name, seed) for f in FUNCTIONS for name in names for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        best = dict(zip(tasks, pool.map(_best, tasks), strict=True))
    ranks: dict[str, list[float]] = {name: [] for name in names}
    print("| function | the best | " + " | ".join(names) + " |")
    print("| --- | --- |" + " --- |" * len(names))
    for function, failing in FUNCTIONS.items():
        rows = {n: [best[function, n, s] for s in range(options.seeds)] for n in names}
        medians = " | ".join(f"{statistics.median(row):.4f}" for row in rows.values())
        print(f"| {function} | {failing.kind} | {medians} |")
        for seed in range(options.seeds):
            found = [rows[name][seed] for name in names]
            for name in names:
                mine = rows[name][seed]
                ranks[name].append(sum(v < mine for v in found) + (found.count(mine) + 1) / 2)
    means = {name: statistics.fmean(ranks[name]) for name in names}
    print("| mean rank | | " + " | ".join(f"{mean:.2f}" for mean in means.values()) + " |")
    return int(means["mlengine"] > min(means.values()))


def _is_there(name: str) -> bool:
    try:
        open_search(SEARCHES[name])
    except EngineError as error:
        print(f"without {name}: {error}", file=sys.stderr)
        return False
    return True


def _best(task: tuple[str, str, int]) -> float:
    """Return the least value that a search finds; infinite if all of its trials failed."""
    function, name, seed = task
    failing, search, luck = FUNCTIONS[function], open_search(SEARCHES[name]), random.Random(seed)
    metrics = (Metric(name="loss", goal=Goal.MINIMIZE),)
    problem = Problem(parameters=failing.parameters, metrics=metrics, seed=seed)
    trials: list[Tried] = []
    for number in range(1, TRIALS + 1):
        (found,) = search.suggest(problem, trials)
        value = failing.value(found.point, luck)
        values = None if value is None else (value,)
        trials.append(
            Tried(number=number, point=found.point, values=values, infeasible=value is None)
        )
    return min((t.values[0] for t in trials if t.values), default=math.inf)


# --- functions ------------------------------------------------------------------------------------


def _doubles(count: int) -> tuple[Parameter, ...]:
    return tuple(Parameter(name=f"x{i}", kind=Kind.DOUBLE, low=0, high=1) for i in range(count))


def _log(name: str, low: float, high: float) -> Parameter:
    return Parameter(name=name, kind=Kind.DOUBLE, low=low, high=high, scale=Scale.LOG)


def _sizes(name: str, low: int, high: int, scale: Scale = Scale.LINEAR) -> Parameter:
    return Parameter(name=name, kind=Kind.INTEGER, low=low, high=high, scale=scale)


def _of(point: Point) -> list[float]:
    return [float(value) for value in point.values()]


def _triangle(point: Point, _luck: random.Random) -> float | None:
    x, y = _of(point)
    return None if x + y > 1 else (x - 0.7) ** 2 + (y - 0.25) ** 2 - 0.5 * x


def _simplex(point: Point, _luck: random.Random) -> float | None:
    x, y, z = _of(point)
    return None if x + y + z > 1.2 else (x - 0.5) ** 2 - x - 0.8 * y - 0.6 * z


def _disc(point: Point, _luck: random.Random) -> float | None:
    x, y = (value - 0.5 for value in _of(point))
    return None if x * x + y * y > 0.16 else -x - 0.5 * y


def _diverging(point: Point, _luck: random.Random) -> float | None:
    rate, momentum, decay = float(point["rate"]), float(point["x0"]), float(point["decay"])
    left = -1.2 - 0.8 * momentum - math.log10(rate)
    if left < 0:
        return None
    return 0.3 * left + (momentum - 0.9) ** 2 + 0.03 * (math.log10(decay) + 4) ** 2


def _memory(point: Point, _luck: random.Random) -> float | None:
    width, depth, batch = (float(point[name]) for name in ("width", "depth", "batch"))
    if width * depth * batch > 3e5:
        return None
    loss = 1 / math.log(width + 2) + 0.4 / math.sqrt(depth) + 0.02 * abs(math.log2(batch) - 5)
    return loss + 0.02 * (math.log10(float(point["rate"])) + 3) ** 2


def _layers(point: Point, _luck: random.Random) -> float | None:
    layers, width = float(point["layers"]), float(point["width"])
    if layers * width > 2000:
        return None
    return 0.05 * abs(layers - 7) + 0.1 * abs(math.log2(width) - 8)


def _half(point: Point, _luck: random.Random) -> float | None:
    x, y, z = _of(point)
    return None if x < 0.5 else 3 * (x - 0.8) ** 2 + (y - 0.3) ** 2 + (z - 0.6) ** 2


def _corner(point: Point, _luck: random.Random) -> float | None:
    x, y = _of(point)
    if x > 0.75 and y < 0.4:
        return None
    return math.sin(9 * x) * math.cos(7 * y) + (x - 0.6) ** 2 + (y - 0.3) ** 2


def _bowl(point: Point, luck: random.Random) -> float | None:
    if luck.random() < 0.2:
        return None
    return sum((i + 1) * (value - 0.35) ** 2 for i, value in enumerate(_of(point)))


def _branin(point: Point, luck: random.Random) -> float | None:
    x, y = (15 * value for value in _of(point))
    x -= 5
    bent = (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
    value = bent + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
    return None if luck.random() < 0.25 else math.log(value + 0.1)


_NETWORK = (
    _sizes("width", 8, 2048, Scale.LOG), _sizes("depth", 1, 24),
    _sizes("batch", 4, 256, Scale.LOG), _log("rate", 1e-5, 1e-1),
)  # fmt: skip
FUNCTIONS = {
    "triangle": Failing("beside", _doubles(2), _triangle),
    "simplex": Failing("beside", _doubles(3), _simplex),
    "disc": Failing("beside", _doubles(2), _disc),
    "diverging": Failing(
        "beside", (_log("rate", 1e-5, 1), *_doubles(1), _log("decay", 1e-6, 1e-2)), _diverging
    ),
    "memory": Failing("beside", _NETWORK, _memory),
    "layers": Failing(
        "beside", (_sizes("layers", 1, 16), _sizes("width", 16, 2048, Scale.LOG)), _layers
    ),
    "half": Failing("elsewhere", _doubles(3), _half),
    "corner": Failing("elsewhere", _doubles(2), _corner),
    "bowl": Failing("flaky", _doubles(3), _bowl),
    "branin": Failing("flaky", _doubles(2), _branin),
}


if __name__ == "__main__":
    sys.exit(main())
