"""Measure how much of a front is found when two metrics are wanted at once.

Runs ``python -m benchmarks.tuning.fronts``. Three two-metric functions (Zitzler, Deb & Thiele,
Evolutionary Computation 2000, and Fonseca & Fleming, 1995, in boxes that do not favour their
optima), searched by ours and by Optuna's NSGA-II and TPE. The figure is the hypervolume that is
dominated, as a share of that of the true front; of ten seeds it takes some minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.tuning.environments import NotInstalledError, python_of
from benchmarks.tuning.peers import PEERS, Peer
from benchmarks.tuning.peers.child import Line
from mlengine.tuning.problem import Kind, Parameter

Pair = tuple[float, float]
_WORST = (1.1, 1.1)  # what a front is measured against
_SPACE = tuple(Parameter(name=f"x{i}", kind=Kind.DOUBLE, low=0.0, high=1.0) for i in range(5))
_SEARCHERS = (
    PEERS["mlengine"],
    Peer("Optuna NSGA-II", "optuna", "nsga2", "optuna"),
    PEERS["Optuna TPE"],
    PEERS["Sobol"],
    PEERS["random"],
)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1)
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument("--cache", type=Path, default=home / "mlengine-bench" / "tuning")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lines: dict[str, tuple[Peer, Line]] = {}
        for peer in _SEARCHERS:
            try:
                python = python_of(peer.environment, options.cache)
            except NotInstalledError as problem:
                print(f"{peer.name} is {problem}", file=sys.stderr)
                continue
            line = Line(peer, python, options.cache / f"{peer.script}.log")
            lines[peer.name] = (peer, stack.enter_context(line))
        print(f"| share of the front's hypervolume | {' | '.join(lines)} |")
        print("| --- " * (1 + len(lines)) + "|")
        for name, (function, front) in _FUNCTIONS.items():
            whole = hypervolume([front(i / 1000) for i in range(1001)])
            cells = []
            for peer, line in lines.values():
                shares = [
                    100 * hypervolume(_searched(peer, line, function, seed, options)) / whole
                    for seed in range(options.seeds)
                ]
                spread = f"({min(shares):.1f} to {max(shares):.1f})"
                cells.append(f"{statistics.fmean(shares):.1f} {spread}")
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
    peer: Peer,
    line: Line,
    function: Callable[[Sequence[float]], Pair],
    seed: int,
    options: argparse.Namespace,
) -> list[Pair]:
    line.begin({
        "space": [msgspec.to_builtins(each) for each in _SPACE], "seed": seed, "metrics": 2,
        "budget": options.trials, "batch": options.batch, "option": peer.option,
    })  # fmt: skip
    pairs: list[Pair] = []
    while len(pairs) < options.trials:
        points, _cpu_s = line.ask(min(options.batch, options.trials - len(pairs)))
        found = [function([float(point[each.name]) for each in _SPACE]) for point in points]
        line.tell(points, found)
        pairs += found
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
