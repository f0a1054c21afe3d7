"""A/A tests looked at all the time: how often does `compare` find a winner where there is none?

    python -m benchmarks.prediction.aa --tests 2000 --units 10000

Both versions' outcomes are drawn alike. Each test is looked at after every tenth outcome, and
counts as a false win if zero ever lies outside of the interval, by how it would be read by a
t-test of one look, too. The shares are looked at in the same way.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence

import numpy as np

from mlengine.prediction.traffic.compare import (
    CONFIDENCE,
    FEWEST,
    RATIO_LEVEL,
    Sample,
    difference,
    ratio_evidence,
)

__all__ = ["KINDS", "false_wins"]

Draw = Callable[[np.random.Generator, int], np.ndarray]

KINDS: dict[str, Draw] = {
    "clicks, 2 %": lambda rng, n: (rng.random(n) < 0.02).astype(float),
    "sales, 30 %": lambda rng, n: (rng.random(n) < 0.3).astype(float),
    "normal": lambda rng, n: rng.normal(5.0, 2.0, n),
    "amounts, log-normal": lambda rng, n: rng.lognormal(0.0, 1.0, n),
}
_EVERY = 10
_ONE_LOOK = 1.959964


def false_wins(
    kind: str, *, tests: int, units: int, share: float, seed: int
) -> tuple[float, float, float]:
    """Return which part of the tests had a false win: by `difference`, a t-test, the shares."""
    rng = np.random.default_rng(seed)
    wins = naive = alarms = 0
    for _ in range(tests):
        found = _look(KINDS[kind](rng, units), rng.random(units) < share, share)
        wins, naive, alarms = (a + b for a, b in zip((wins, naive, alarms), found, strict=True))
    return wins / tests, naive / tests, alarms / tests


def _look(values: np.ndarray, second: np.ndarray, share: float) -> tuple[bool, bool, bool]:
    arms = [_running(np.where(chosen, values, 0.0), chosen) for chosen in (~second, second)]
    won = naive = alarm = False
    for first, other in zip(*arms, strict=True):
        bounds = difference([(first, other)])
        won = won or (bounds is not None and not bounds.low <= 0 <= bounds.high)
        if min(first.units, other.units) >= FEWEST:
            error = math.sqrt(first.variance + other.variance)
            naive = naive or abs(other.mean - first.mean) > _ONE_LOOK * error > 0
        evidence = ratio_evidence([first.units, other.units], [1 - share, share])
        alarm = alarm or evidence > -math.log(RATIO_LEVEL)
    return won, naive, alarm


def _running(values: np.ndarray, chosen: np.ndarray) -> list[Sample]:
    """Return what there is of a version at each look."""
    count = np.cumsum(chosen)
    safe = np.maximum(count, 2)
    mean = np.cumsum(values) / np.maximum(count, 1)
    squares = np.cumsum(values * values) - count * mean * mean
    variance = np.maximum(squares, 0.0) / ((safe - 1) * safe)
    looks = (array[_EVERY - 1 :: _EVERY].tolist() for array in (count, mean, variance))
    return [Sample(*look) for look in zip(*looks, strict=True)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run all kinds; fail if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction.aa")
    parser.add_argument("--tests", type=int, default=2000)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    print(f"{options.tests} A/A tests of {options.units} outcomes, looked at every {_EVERY}")
    print("| outcomes | split | false wins | by a t-test | false share alarms |")
    print("| --- | --- | --- | --- | --- |")
    broken = False
    for kind in KINDS:
        for share in (0.5, 0.1):
            wins, naive, alarms = false_wins(
                kind, tests=options.tests, units=options.units, share=share, seed=options.seed
            )
            split = f"{1 - share:.0%} : {share:.0%}"
            print(f"| {kind} | {split} | {wins:.1%} | {naive:.1%} | {alarms:.1%} |", flush=True)
            broken = broken or wins > 1 - CONFIDENCE or alarms > RATIO_LEVEL
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
