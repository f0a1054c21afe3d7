"""What a key, a quota and a request log cost: the same models with and without them, in one run.

    python -m benchmarks.prediction.guarded [--models logreg ...] [--cells 1x64 ...] [--seconds 0.5]
                                            [--rounds 12] [--json FILE]

The models and cells of `python -m benchmarks.prediction`. An engine serves each model twice. The
one is asked with the engine's token; the other with a key that has a rate and a daily quota, and
keeps every prediction in a table. They are loaded in turn, the order changing round by round, and
often, for a short time: on which CPUs the kernel puts gateway, worker and generator decides more
than a guard does, and stays as it is while one run lasts. What is kept is the one's mean rate over
the other's. Every distinct answer is checked, and that each answer has its row, unless it was
counted as dropped. Returns 1 where less than 85 % is kept over all models and cells.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.prediction import load, servers
from benchmarks.prediction.__main__ import _CACHE, _REQUIREMENTS
from benchmarks.prediction.cells import CELLS, Cell, questions
from benchmarks.tuning.environments import python_of

__all__ = ["main"]

_TARGET = 0.85
_PLAIN, _GUARDED = _NAMES = ("plain", "guarded")
_MANY = "1000000"


def main() -> int:
    options = _parser().parse_args()
    python = python_of("convert", _CACHE, install=True, requirements=_REQUIREMENTS)
    models = _CACHE / "models"
    program = [python, str(Path(__file__).with_name("models.py")), str(models)]
    subprocess.run(program, check=True, stdout=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        generator = load.build(Path(scratch))
        found = [
            _one(name, models / name, generator, Path(scratch) / name, options)
            for name in options.models
        ]
    report = {"seconds": options.seconds, "rounds": options.rounds, "models": found}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return _print(report)


def _one(
    name: str, folder: Path, generator: Path, scratch: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what one model kept, cell by cell, and the rows that its answers left."""
    rows = json.loads((folder / "rows.json").read_bytes())
    home = servers.Home(scratch / "home")
    home.folder.mkdir(parents=True)
    child = home.up()
    try:
        up = _deploy(home, name, folder / "model")
        cells = [_measure(generator, up, rows, cell, options) for cell in options.cells]
        counted = json.loads(home.command("models", "stats", _GUARDED, "--format", "json"))
    finally:
        home.down(child)
    parts = (home.folder / "tables").rglob("*.jsonl")
    written = sum(len(part.read_bytes().splitlines()) for part in parts)
    return {"model": name, "cells": cells, "rows": written, "stats": counted["versions"]}


def _deploy(home: servers.Home, name: str, folder: Path) -> list[servers.Server]:
    for model in _NAMES:
        home.deploy(name, folder, model=model)
    home.command("versions", "update", "v1", "--model", _GUARDED, "--bigquery-table-name",
                 "default.bench.rows", "--sampling-percentage", "1")  # fmt: skip
    key = home.command("keys", "create", "bench", "--models", _GUARDED, "--requests-per-second",
                       _MANY, "--burst", _MANY, "--daily-quota", _MANY + "00").strip()  # fmt: skip
    token = (home.folder / "run" / "token").read_text().strip()
    port = home.port()
    assert port, "the gateway has no port"
    return [
        servers.Server(
            model, port, f"/v1/projects/default/models/{model}:predict",
            {"Authorization": f"Bearer {bearer}"}, servers._instances, servers._predictions,
            home.processes, 0.0,
        )
        for model, bearer in ((_PLAIN, token), (_GUARDED, key))
    ]  # fmt: skip


def _measure(
    generator: Path, up: list[servers.Server], rows: dict[str, Any], cell: Cell,
    options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    seen: dict[str, list[load.Load]] = {server.name: [] for server in up}
    for number in range(options.rounds + 1):  # the first only warms up
        for server in up if number % 2 else up[::-1]:
            seconds = options.seconds if number else 0.5
            one = load.run(generator, server.port, questions(server, rows, cell), server.read,
                           connections=cell.connections, seconds=seconds)  # fmt: skip
            if number:
                seen[server.name].append(one)
    rates = {name: [one.requests_per_s for one in some] for name, some in seen.items()}
    runs = [one for some in seen.values() for one in some]
    return {
        "cell": str(cell),
        **_kept(rates[_PLAIN], rates[_GUARDED]),
        **{name: statistics.mean(some) for name, some in rates.items()},
        **{f"{name}_p99_ms": statistics.median(one.p99_ms for one in some)
           for name, some in seen.items()},
        "bad": sum(one.bad for one in runs),
        "first_problem": max(one.first_problem for one in runs),
    }  # fmt: skip


def _kept(plain: list[float], guarded: list[float]) -> dict[str, float]:
    """Return what is kept of the rate, as a share, and its standard error."""
    of, kept = statistics.mean(plain), statistics.mean(guarded)
    errors = [statistics.stdev(some) / statistics.mean(some) for some in (plain, guarded)]
    return {"kept": kept / of, "error": kept / of * math.hypot(*errors) / len(plain) ** 0.5}


def _print(report: dict[str, Any]) -> int:
    print(f"{report['rounds']} rounds of {report['seconds']:g} s, means; p99: medians\n")
    print("| model | instances x connections | token alone, req/s, p99 ms "
          "| key, quota and log, req/s, p99 ms | kept |")  # fmt: skip
    print("| --- | --- | --- | --- | --- |")
    kept, problems, answers, written, lost = [], [], 0, 0, 0
    for model in report["models"]:
        for one in model["cells"]:
            both = " | ".join(f"{one[name]:,.0f}, {one[name + '_p99_ms']:.2f}" for name in _NAMES)
            print(f"| {model['model']} | {one['cell']} | {both} "
                  f"| {one['kept']:.0%} ± {one['error']:.0%} |")  # fmt: skip
            kept.append(one["kept"])
            problems += [one["first_problem"]] if one["bad"] else []
        (stats,) = model["stats"]
        good, dropped = int(stats["answers"]["200"]), int(stats.get("logDropped", 0))
        if model["rows"] + dropped < good:
            problems.append(f"{model['model']}: answers without a row that nobody counted")
        answers, written, lost = answers + good, written + model["rows"], lost + dropped
    mean = statistics.geometric_mean(kept)
    print(f"\nOver all of these {mean:.0%} is kept, at least {min(kept):.0%} (target: 85 %).")
    print(f"{answers:,} answers, {written:,} rows, {lost:,} dropped and counted.")
    print("\n".join(problems))
    return 1 if mean < _TARGET or problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=servers.MODELS, default=servers.MODELS)
    parser.add_argument("--cells", nargs="+", type=Cell.parse, default=CELLS)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
