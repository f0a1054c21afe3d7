"""What a key, a quota and a request log cost: the same model with and without them, in one run.

    python -m benchmarks.prediction.guarded [--model logreg] [--connections 8 64] [--seconds 2]
                                            [--rounds 5] [--json FILE]

One engine serves the model twice. The one is asked with the engine's token; the other with a key
that has a rate and a daily quota, and keeps every prediction in a table. They are loaded in turn,
the order changing round by round; the ratio is that of each round's two, and its median counts.
Every distinct answer is checked, and that each answer has its row, unless it was counted as
dropped. Returns 1 below 85 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.prediction import load, servers
from benchmarks.prediction.__main__ import _CACHE, _REQUIREMENTS
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
    rows = json.loads((models / options.model / "rows.json").read_bytes())
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        generator = load.build(Path(scratch))
        home = servers.Home(Path(scratch) / "home")
        home.folder.mkdir()
        child = home.up()
        try:
            up = _deploy(home, options.model, models / options.model / "model", rows)
            found = [
                _measure(generator, up, rows, connections, options)
                for connections in options.connections
            ]
            counted = json.loads(home.command("models", "stats", _GUARDED, "--format", "json"))
        finally:
            home.down(child)
        written = sum(
            len(part.read_bytes().splitlines())
            for part in (home.folder / "tables").rglob("*.jsonl")
        )
    report = {"model": options.model, "seconds": options.seconds, "rounds": options.rounds,
              "results": found, "rows": written, "stats": counted["versions"]}  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return _print(report)


def _deploy(
    home: servers.Home, name: str, folder: Path, rows: dict[str, Any]
) -> list[servers.Server]:
    framework = servers._FRAMEWORKS[name]
    for model in (_PLAIN, _GUARDED):
        home.command("models", "create", model, "--regions", "us-central1")
        home.command("versions", "create", "v1", "--model", model, "--origin", str(folder),
                     "--framework", framework)  # fmt: skip
    home.command("versions", "update", "v1", "--model", _GUARDED, "--bigquery-table-name",
                 "default.bench.rows", "--sampling-percentage", "1")  # fmt: skip
    key = home.command("keys", "create", "bench", "--models", _GUARDED, "--requests-per-second",
                       _MANY, "--burst", _MANY, "--daily-quota", _MANY + "00").strip()  # fmt: skip
    token = (home.folder / "run" / "token").read_text().strip()
    port = home._port()
    assert port is not None
    return [
        servers.Server(
            model, port, f"/v1/projects/default/models/{model}:predict",
            {"Authorization": f"Bearer {bearer}"}, servers._instances, servers._predictions,
            home.processes, 0.0,
        )
        for model, bearer in ((_PLAIN, token), (_GUARDED, key))
    ]  # fmt: skip


def _measure(
    generator: Path, up: list[servers.Server], rows: dict[str, Any], connections: int,
    options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    asked = list(zip(rows["instances"], rows["predictions"], strict=True))
    seen: dict[str, list[load.Load]] = {server.name: [] for server in up}
    for number in range(options.rounds + 1):  # the first only warms up
        for server in up if number % 2 else up[::-1]:
            questions = [load.Question(server.request([row]), [answer]) for row, answer in asked]
            seconds = options.seconds if number else 0.5
            one = load.run(generator, server.port, questions, server.read,
                           connections=connections, seconds=seconds)  # fmt: skip
            if number:
                seen[server.name].append(one)
    pairs = zip(seen[_PLAIN], seen[_GUARDED], strict=True)
    runs = [one for some in seen.values() for one in some]
    return {
        "connections": connections,
        "kept": statistics.median(b.requests_per_s / a.requests_per_s for a, b in pairs),
        **{name: statistics.median(one.requests_per_s for one in some)
           for name, some in seen.items()},
        **{f"{name}_p99_ms": statistics.median(one.p99_ms for one in some)
           for name, some in seen.items()},
        "bad": sum(one.bad for one in runs),
        "first_problem": max(one.first_problem for one in runs),
    }  # fmt: skip


def _print(report: dict[str, Any]) -> int:
    print(f"{report['model']}, {report['rounds']} rounds of {report['seconds']:g} s, medians\n")
    print(
        "| connections | token alone, req/s | key, quota and log, req/s | kept | p99 ms | p99 ms |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for one in report["results"]:
        both = " | ".join(f"{one[name]:,.0f} | {one[name + '_p99_ms']:.2f}" for name in _NAMES)
        print(f"| {one['connections']} | {both} | {one['kept']:.1%} |")
    (stats,) = report["stats"]
    answers, dropped = int(stats["answers"]["200"]), int(stats.get("logDropped", 0))
    print(f"\n{answers:,} answers, {report['rows']:,} rows, {dropped:,} dropped and counted.")
    problems = [one["first_problem"] for one in report["results"] if one["bad"]]
    if report["rows"] + dropped < answers:
        problems.append("there are answers without a row that nobody counted")
    print("\n".join(problems))
    slow = any(one["kept"] < _TARGET for one in report["results"])
    return 1 if slow or problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=("logreg", "forest", "xgboost"), default="logreg")
    parser.add_argument("--connections", nargs="+", type=int, default=[8, 64])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
