"""Measure how much of a front is found when two metrics are wanted at once.

Runs ``python -m benchmarks.tuning.fronts``. Three two-metric functions (Zitzler, Deb & Thiele,
Evolutionary Computation 2000, and Fonseca & Fleming, 1995, in boxes that do not favour their
optima), searched by the default search, at random and evenly. The figure is the hypervolume that is
dominated, as a share of that of the true front; of ten seeds it takes some minutes.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Sequence

from mlengine.tuning.problem import Goal, Kind, Metric, Parameter, Problem, Tried
from mlengine.tuning.search import open_search

Pair = tuple[float, float]
_WORST = (1.1, 1.1)  # what a front is measured against
_WIDTH = 5
_SEARCHES = ("bayesian", "quasi-random", "random")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    print(f"| share of the front's hypervolume | {' | '.join(_SEARCHES)} |")
    print("| --- " * (1 + len(_SEARCHES)) + "|")
    for name, (function, front) in _FUNCTIONS.items():
        whole = hypervolume([front(i / 1000) for i in range(1001)])
        cells = []
        for search in _SEARCHES:
            found = [
                hypervolume(_searched(search, function, seed, options.trials, options.batch))
                for seed in range(options.seeds)
            ]
            shares = [100 * one / whole for one in found]
            cells.append(f"{statistics.fmean(shares):.1f} ({min(shares):.1f} to {max(shares):.1f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


def hypervolume(pairs: Sequence[Pair]) -> float:
    """Return the area that `pairs`, both to be small, dominate below the worst pair."""
    area, height = 0.0, _WORST[1]
    for one, two in sorted(pairs):
        if one < _WORST[0] and two < height:
            area += (_WORST[0] - one) * (height - two)
            height = two
    return area


def _searched(
    search: str, function: Callable[[Sequence[float]], Pair], seed: int, trials: int, batch: int
) -> list[Pair]:
    parameters = tuple(
        Parameter(name=f"x{i}", kind=Kind.DOUBLE, low=0.0, high=1.0) for i in range(_WIDTH)
    )
    metrics = tuple(Metric(name=name, goal=Goal.MINIMIZE) for name in ("one", "two"))
    problem = Problem(parameters=parameters, metrics=metrics, seed=seed)
    history: list[Tried] = []
    pairs: list[Pair] = []
    opened = open_search(search)
    while len(pairs) < trials:
        for suggestion in opened.suggest(problem, history, min(batch, trials - len(pairs))):
            pairs.append(function([float(x) for x in suggestion.point.values()]))
            number = len(history) + 1
            history.append(Tried(number=number, point=suggestion.point, values=pairs[-1]))
    return pairs


def _far(x: Sequence[float]) -> float:
    """Return how far the rest is from where the front is, from 1 on."""
    return 1 + 9 * statistics.fmean(abs(v - 0.3) for v in x[1:])


def _bulging(x: Sequence[float]) -> Pair:
    g = _far(x)
    return x[0], g * (1 - math.sqrt(x[0] / g))


def _hollow(x: Sequence[float]) -> Pair:
    g = _far(x)
    return x[0], g * (1 - (x[0] / g) ** 2)


def _hills(x: Sequence[float]) -> Pair:
    u = [4 * v - 1.5 for v in x]
    root = 1 / math.sqrt(len(u))
    return (
        1 - math.exp(-sum((v - root) ** 2 for v in u)),
        1 - math.exp(-sum((v + root) ** 2 for v in u)),
    )


_FUNCTIONS: dict[str, tuple[Callable[[Sequence[float]], Pair], Callable[[float], Pair]]] = {
    "ZDT1": (_bulging, lambda t: (t, 1 - math.sqrt(t))),
    "ZDT2": (_hollow, lambda t: (t, 1 - t * t)),
    "Fonseca-Fleming": (
        _hills,
        lambda t: (1 - math.exp(-4 * (t - 1) ** 2), 1 - math.exp(-4 * t * t)),
    ),
}

if __name__ == "__main__":
    sys.exit(main())
