"""Compare our search with its peers on the same objectives, seeds and budgets.

Runs ``python -m benchmarks.tuning``. What was run before is kept, so that one can stop it and go
on; ``--report`` only prints. The tables are Markdown, on standard output.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tuning import report, scores
from benchmarks.tuning.environments import NotInstalledError, python_of
from benchmarks.tuning.objectives import FAMILIES, Objective, objectives
from benchmarks.tuning.peers import PEERS, Peer
from benchmarks.tuning.peers.child import Line
from benchmarks.tuning.runs import Runs, search

_QUICK = ("branin", "levy4", "network", "pipeline", "ridge", "svm-breast-cancer")


def main() -> int:
    """Run what is missing and print the tables; return 1 if our own search has failed runs."""
    options = _options()
    options.cache.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in objectives() if _wanted(one, options)]
    peers = [PEERS[name] for name in options.peers]
    runs = Runs(options.cache / "runs.jsonl")
    absent: dict[str, str] = {}
    if not options.report:
        absent = _run(runs, peers, chosen, options)
    everybody = list(PEERS.values())
    every = list(runs.current(everybody))
    shown = [run for run in every if run.peer in options.peers or run.peer == "random"]
    found = scores.frames(chosen, shown, options.batches, options.budgets)
    print(report.markdown(found, chosen, absent))
    if options.picture:
        print(report.picture(found, options.picture), file=sys.stderr)
    return 1 if any(run.peer == "mlengine" and run.error for run in every) else 0


def _options() -> argparse.Namespace:
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--objectives", nargs="+", default=[], help="by name; default: all")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budgets", type=int, nargs="+", default=[30, 100])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--quick", action="store_true", help="six objectives, two seeds, 30 trials")
    parser.add_argument("--report", action="store_true", help="run nothing, print what there is")
    parser.add_argument("--no-install", action="store_true", help="make no environments")
    parser.add_argument("--patience", type=float, default=900.0, help="longest suggestion, s")
    parser.add_argument("--cache", type=Path, default=home / "mlengine-bench" / "tuning")
    parser.add_argument("--picture", type=Path, help="draw the scores into this file")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.budgets, options.batches = 2, [30], [1]
        options.objectives = options.objectives or list(_QUICK)
    known = {one.name for one in objectives()}
    if unknown := set(options.objectives) - known:
        parser.error(f"no objective {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def _wanted(objective: Objective, options: argparse.Namespace) -> bool:
    named = not options.objectives or objective.name in options.objectives
    return named and objective.family in options.families


def _run(
    runs: Runs, peers: Sequence[Peer], chosen: Sequence[Objective], options: argparse.Namespace
) -> dict[str, str]:
    """Run what is missing; return why peers could not be had."""
    pythons: dict[str, str] = {}
    absent: dict[str, str] = {}
    for peer in peers:
        try:
            pythons[peer.name] = python_of(
                peer.environment, options.cache, install=not options.no_install
            )
        except NotInstalledError as problem:
            absent[peer.name] = str(problem)
    here = [peer for peer in peers if peer.name in pythons]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    missing = list(runs.missing(here, chosen, seeds, options.batches, options.budgets))
    done = 0
    groups = itertools.groupby(missing, key=lambda task: task[0])
    for peer, tasks in groups:
        log = options.cache / f"{peer.script}.log"
        with Line(peer, pythons[peer.name], log, options.patience) as line:
            for _peer, objective, seed, batch, budget in tasks:
                run = search(peer, objective, line, seed=seed, batch=batch, budget=budget)
                runs.add(run)
                done += 1
                print(
                    f"{done}/{len(missing)} {peer.name}, {objective.name}, seed {seed}, "
                    f"batch {batch}: {run.incumbent(run.budget):.5g} "
                    f"in {sum(run.cpu_s):.1f} CPU s {run.error}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    return absent


if __name__ == "__main__":
    sys.exit(main())
