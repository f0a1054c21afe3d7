"""How many epochs the early stopping policies save, and what that costs.

Runs ``python -m benchmarks.tuning.stopping``. A study tries random configurations, some at a time,
and asks its policy after each epoch; only the policy differs. All trials run out by "none". The
winner is the trial with the best loss it ever reported, and its worth the best loss of another,
whole training of the same configuration: who keeps the best checkpoint gets that. Worth is in
points: 100 is the best configuration of the task, 0 the median one. Intervals are of 90 %, from a
bootstrap over studies.

What was trained is kept (`--cache`); another `--seed` trains other configurations.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.tuning.curves import TASKS, Config, kept
from mlengine.tuning.problem import Goal
from mlengine.tuning.stopping import POLICIES, Curve, Policy, Reading, open_policy

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
TARGET_EPOCHS = 0.5
TOLERANCE = 1.0
"""Points of worth that count as the same quality."""

_RESAMPLES = 1000


def main() -> int:
    """Simulate the studies; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=40, help="of each task")
    parser.add_argument("--trials", type=int, default=30, help="of each study")
    parser.add_argument("--epochs", type=int, default=54)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--configs", type=int, default=90, help="that studies draw theirs from")
    parser.add_argument("--seed", type=int, default=0, help="of configurations and studies")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--cache", type=Path, default=_CACHE / "mlengine-bench" / "curves",
                        help="folder of trained curves")  # fmt: skip
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    print("| task | policy | epochs | worth against none (90 %) | the same winner |")
    print("| --- | --- | --- | --- | --- |")
    figures: dict[str, dict[str, list[float]]] = {}
    for task in options.tasks:
        configs = kept(task, options.configs, options.epochs, options.seed, options.cache)
        found = _task(configs, options)
        for policy, (epochs, worth, low, high, same) in found.items():
            print(
                f"| {task} | {policy} | {epochs:.0%} | {worth:+.1f} ({low:+.1f} to {high:+.1f}) "
                f"| {same:.0%} |", flush=True,
            )  # fmt: skip
        figures[task] = {policy: list(row) for policy, row in found.items()}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    missed = _missed(figures)
    print("\ntargets: " + ("; ".join(missed) if missed else "met"))
    return 1 if missed else 0


def _task(
    configs: Sequence[Config], options: argparse.Namespace
) -> dict[str, tuple[float, float, float, float, float]]:
    """Return each policy's share of epochs, worth with its interval, and same winners."""
    finals = sorted(config.again for config in configs)
    best, median = finals[0], statistics.median(finals)
    rows = {}
    for name in POLICIES:
        policy = open_policy(name)
        shares, differences, same = [], [], 0
        for study in range(options.studies):
            source = random.Random(f"{options.seed}/{study}")
            order = source.sample(range(len(configs)), options.trials)
            drawn = [configs[i] for i in order]
            winner, spent = simulate(drawn, policy, options.parallel)
            whole, all_epochs = simulate(drawn, None, options.parallel)
            shares.append(spent / all_epochs)
            lost = drawn[winner].again - drawn[whole].again
            differences.append(-100 * lost / (median - best))
            same += winner == whole
        low, high = _interval(differences)
        rows[name] = (
            statistics.fmean(shares), statistics.fmean(differences), low, high,
            same / options.studies,
        )  # fmt: skip
    return rows


def simulate(drawn: Sequence[Config], policy: Policy | None, parallel: int) -> tuple[int, int]:
    """Run a study; return the winner's place among the configurations, and the epochs spent."""
    waiting = list(range(len(drawn)))[::-1]
    curves: dict[int, Curve] = {}
    running: list[int] = []
    epochs = 0
    while waiting or running:
        while waiting and len(running) < parallel:
            running.append(waiting.pop())
            curves[running[-1]] = Curve(number=running[-1] + 1)
        for trial in list(running):
            curve, losses = curves[trial], drawn[trial].losses
            step = len(curve.readings) + 1
            reading = Reading(value=losses[step - 1], step=step, elapsed_s=float(step))
            curve = msgspec.structs.replace(curve, readings=(*curve.readings, reading))
            epochs += 1
            others = [other for number, other in curves.items() if number != trial]
            ended = step == len(losses)
            if not ended and policy:
                ended = policy.judge(Goal.MINIMIZE, curve, others).stop
            curves[trial] = msgspec.structs.replace(curve, ended=ended)
            if ended:
                running.remove(trial)
    return min(curves, key=lambda n: min(r.value for r in curves[n].readings)), epochs


def _interval(values: Sequence[float]) -> tuple[float, float]:
    source = random.Random(len(values))
    means = sorted(
        statistics.fmean(source.choices(values, k=len(values))) for _ in range(_RESAMPLES)
    )
    return means[int(0.05 * _RESAMPLES)], means[int(0.95 * _RESAMPLES) - 1]


def _missed(figures: dict[str, dict[str, list[float]]]) -> list[str]:
    """Say which targets are missed: ASHA's epochs and worth, and ASHA against the median rule."""
    found = []
    for task, rows in figures.items():
        epochs, worth, _low, high, _same = rows["asha"]
        median_epochs, _worth, median_low, _high, _same = rows["median"]
        if epochs > TARGET_EPOCHS:
            found.append(f"{task}: {epochs:.0%} of the epochs")
        if worth < -TOLERANCE and high < 0:
            found.append(f"{task}: {worth:+.1f} points")
        if epochs > median_epochs or high < median_low:
            found.append(f"{task}: worse than the median rule")
    return found


if __name__ == "__main__":
    sys.exit(main())
