"""What an earlier study is worth whose space was not quite the same.

Runs ``python -m benchmarks.tuning.warmstart``. An earlier study of some trials looks for the
minimum of the same function

    shifted         in a box that lies a quarter of its width higher in every dimension
    other scale     the same, and every value is three times as large and ten spreads higher
    one fewer       without the last parameter, which its trainer had at a third of its range,
                    unknown to everybody

and another goes on with what it found. "Cold" begins with nothing. A score is that of the other
tables here: 0 is the median of one random try, 100 the minimum; of the best of so many trials.
Differences from cold are over objectives and seeds, with an interval of 90 % from a bootstrap. It
fails if a warm start is worse than a cold one at the fewer trials, or clearly so at the more.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import msgspec

from benchmarks.tuning.objectives import Objective
from benchmarks.tuning.objectives.closed import OBJECTIVES
from mlengine.tuning.problem import Goal, Metric, Parameter, Point, Problem, Tried
from mlengine.tuning.search import open_search
from mlengine.tuning.space import Space
from mlengine.tuning.warmstart import Earlier, carried

NAMES = ("branin", "hartmann6", "levy4")
AT = (10, 30)
_SHIFT, _FIXED = 0.25, 1 / 3
_RESAMPLES = 1000

Value = Callable[[Point], float]


@dataclasses.dataclass(frozen=True)
class Before:
    """An earlier study: its space, and what its trainer measured."""

    parameters: tuple[Parameter, ...]
    value: Value


def main() -> int:
    """Run every study, print the table; return 1 if a warm start is worse."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--earlier", type=int, default=20, help="trials of the earlier study")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tasks = [(name, seed, options.earlier) for name in NAMES for seed in seeds]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        found = list(pool.map(_run, tasks))
    return _told({name: [scores[name] for scores in found] for name in found[0]})


def _run(task: tuple[str, int, int]) -> dict[str, list[float]]:
    """Return the scores of each kind of start, on one objective and seed."""
    name, seed, count = task
    (objective,) = (one for one in OBJECTIVES if one.name == name)
    problem = _problem(objective.parameters, seed)
    found = {"cold": _scores(objective, _study(problem, objective.value, []))}
    for kind, make in BEFORE.items():
        before = make(objective)
        its = _problem(before.parameters, seed + 1000)
        old = _study(its, before.value, [], count=count)
        earlier = Earlier(parameters=before.parameters, trials=old)
        found[kind] = _scores(objective, _study(problem, objective.value, [earlier]))
    print(name, seed, found, file=sys.stderr, flush=True)
    return found


def _told(rows: dict[str, list[list[float]]]) -> int:
    """Print a row for each kind of start; return 1 if one is worse than none."""
    columns = " | ".join(f"score at {at} | against cold (90 %)" for at in AT)
    print(f"\n| earlier study | runs | {columns} |")
    print("| --- | --- |" + " --- | --- |" * len(AT))
    worse = False
    for name, scores in rows.items():
        cells = []
        for place in range(len(AT)):
            mine = [row[place] for row in scores]
            apart = [a - b[place] for a, b in zip(mine, rows["cold"], strict=True)]
            low, high = _interval(apart)
            mean = statistics.fmean(apart)
            against = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" if name != "cold" else ""
            cells += [f"{statistics.fmean(mine):.1f}", against]
            worse |= name != "cold" and (mean < 0 if place == 0 else high < 0)
        print(f"| {name} | {len(scores)} | " + " | ".join(cells) + " |")
    return int(worse)


# --- studies --------------------------------------------------------------------------------------


def _study(
    problem: Problem, value: Value, earlier: Sequence[Earlier], *, count: int = max(AT)
) -> list[Tried]:
    """Return the trials of a study that goes on with earlier ones."""
    search, own = open_search(), list[Tried]()
    first = 1 + sum(len(one.trials) for one in earlier)
    for number in range(first, first + count):
        (found,) = search.suggest(problem, [*carried(problem, earlier, own), *own])
        own.append(Tried(number=number, point=found.point, values=(value(found.point),)))
    return own


def _problem(parameters: tuple[Parameter, ...], seed: int) -> Problem:
    return Problem(
        parameters=parameters, metrics=(Metric(name="loss", goal=Goal.MINIMIZE),), seed=seed
    )


def _scores(objective: Objective, trials: Sequence[Tried]) -> list[float]:
    """Return the score of the best of the first trials, for as many as `AT` says."""
    source, space = random.Random(objective.name), Space(objective.parameters)
    clip = statistics.median(objective.value(space.sample(source)) for _ in range(2001))
    best = objective.optimum or 0.0
    found = []
    for at in AT:
        least = min(t.values[0] for t in trials[:at] if t.values)
        found.append(100 * (1 - (min(least, clip) - best) / (clip - best)))
    return found


def _interval(values: Sequence[float]) -> tuple[float, float]:
    source = random.Random(len(values))
    means = sorted(
        statistics.fmean(source.choices(values, k=len(values))) for _ in range(_RESAMPLES)
    )
    return means[int(0.05 * _RESAMPLES)], means[int(0.95 * _RESAMPLES) - 1]


# --- what came before -----------------------------------------------------------------------------


def _shifted(objective: Objective) -> Before:
    moved = []
    for parameter in objective.parameters:
        by = _SHIFT * (parameter.high - parameter.low)
        moved.append(
            msgspec.structs.replace(parameter, low=parameter.low + by, high=parameter.high + by)
        )
    return Before(tuple(moved), objective.value)


def _scaled(objective: Objective) -> Before:
    before = _shifted(objective)
    source, space = random.Random(objective.name), Space(before.parameters)
    spread = statistics.stdev(objective.value(space.sample(source)) for _ in range(200))
    return Before(before.parameters, lambda point: 3 * objective.value(point) + 10 * spread)


def _fewer(objective: Objective) -> Before:
    last = objective.parameters[-1]
    fixed = last.low + _FIXED * (last.high - last.low)
    return Before(
        objective.parameters[:-1], lambda point: objective.value({**point, last.name: fixed})
    )


BEFORE: dict[str, Callable[[Objective], Before]] = {
    "shifted": _shifted, "other scale": _scaled, "one fewer": _fewer,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
