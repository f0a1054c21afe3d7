"""Online prediction: mlengine against the servers that people use today, in one run.

    python -m benchmarks.prediction [--models NAME ...] [--peers NAME ...] [--cells 1x64 ...]
                                    [--seconds 3] [--rounds 2] [--json FILE] [--no-install]

For each model: mlengine (gateway and worker, deployed by the CLI) and the peers, each in an
environment of its own, are up together and are loaded in turn, round by round, so that a busy
machine harms all alike; figures are medians over rounds. A cell is instances x connections. Every
distinct answer is checked against the library's own call, within 1e-5. CPU is that of all
processes of a server. Floors are that call with no server around it, and a server in C that answers
without looking at anything. The first run installs the peers (several GB) and makes the models.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.prediction import load, servers
from benchmarks.prediction.cells import CELLS, Cell, questions
from benchmarks.prediction.report import FLOOR, print_report
from benchmarks.tuning.environments import NotInstalledError, python_of

_CACHE = Path.home() / ".cache" / "mlengine-bench" / "prediction"
_REQUIREMENTS = Path(__file__).with_name("requirements")
_FLOOR_CONNECTIONS = 8  # it has none: it stands in the table once for each number of instances


def main() -> int:
    options = _parser().parse_args()
    peers = _interpreters(options)
    python = python_of("convert", _CACHE, install=options.install, requirements=_REQUIREMENTS)
    models = _CACHE / "models"
    program = [python, str(Path(__file__).with_name("models.py")), str(models)]
    subprocess.run(program, check=True, stdout=sys.stderr)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        generator = load.build(Path(scratch))
        for name in options.models:
            found += _measure(name, models, peers, generator, Path(scratch) / name, options)
        idle = _idle(Path(scratch) / "idle")
    report = {"cpus": os.cpu_count(), "seconds": options.seconds, "rounds": options.rounds,
              "idle_bytes": idle, "results": found}  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return print_report(report)


def _measure(
    name: str, models: Path, peers: dict[str, str], generator: Path, scratch: Path,
    options: argparse.Namespace,
) -> list[dict[str, Any]]:  # fmt: skip
    rows = json.loads((models / name / "rows.json").read_bytes())
    probe = rows["instances"][:1]
    results: dict[tuple[str, Cell], list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        up = []
        home = servers.Home(scratch / "home")
        home.folder.mkdir(parents=True)
        _deploy(home, name, models, options)
        up.append(stack.enter_context(servers.mlengine(name, home, probe)))
        up.append(stack.enter_context(servers.empty(load.build(scratch, "empty"))))
        for label, python in peers.items():
            try:
                server = stack.enter_context(
                    servers.peer(label, name, models, python, scratch / label, probe)
                )
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                _say(f"{label} does not serve {name}: {error}")
                _say(_tail(scratch / label / "log"))
                continue
            if server:
                up.append(server)
        for number in range(options.rounds):
            turn = number % len(up)
            for cell in options.cells:
                questions_of = {s.name: questions(s, rows, cell) for s in up}
                for server in up[turn:] + up[:turn]:
                    one = _load(generator, server, questions_of[server.name], cell, options)
                    results.setdefault((server.name, cell), []).append(one)
                    _say(f"{name} {cell} {server.name}: {one['requests_per_s']:.0f} req/s, "
                         f"{one['cpu_us']:.0f} us{'  BAD' if one['bad'] else ''}")  # fmt: skip
        starts = {server.name: server.start_s for server in up}
    floors = [_floor(name, models, cell, options) for cell in options.cells
              if cell.connections == _FLOOR_CONNECTIONS]  # fmt: skip
    return floors + [_median(name, label, cell, runs, starts[label])
                     for (label, cell), runs in results.items()]  # fmt: skip


def _floor(name: str, models: Path, cell: Cell, options: argparse.Namespace) -> dict[str, Any]:
    python = python_of("fastapi", _CACHE, install=options.install, requirements=_REQUIREMENTS)
    program = str(Path(__file__).with_name("peers") / "bare.py")
    argv = [python, program, name, str(models), str(cell.instances), str(options.seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    return {"model": name, "cell": str(cell), "server": FLOOR, "p50_ms": 0.0, "p99_ms": 0.0,
            "start_s": 0.0, "bad": 0, "first_problem": "", **json.loads(done.stdout)}  # fmt: skip


def _deploy(home: servers.Home, name: str, models: Path, options: argparse.Namespace) -> None:
    child = home.up()
    try:
        home.deploy(name, models / name / "model", *options.create)
    finally:
        home.down(child)


def _load(
    generator: Path, server: servers.Server, asked: list[load.Question], cell: Cell,
    options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    load.run(generator, server.port, asked, server.read,
             connections=cell.connections, seconds=0.5)  # fmt: skip
    pids = server.pids()
    before_s = servers.cpu_s(pids)
    seen = load.run(generator, server.port, asked, server.read,
                    connections=cell.connections, seconds=options.seconds)  # fmt: skip
    used_s = servers.cpu_s(pids) - before_s
    return {**seen._asdict(), "cpu_us": used_s / max(seen.requests, 1) * 1e6}


def _median(
    model: str, label: str, cell: Cell, runs: list[dict[str, Any]], start_s: float
) -> dict[str, Any]:
    keys = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us")
    result: dict[str, Any] = {"model": model, "server": label, "cell": str(cell),
                              "start_s": start_s}  # fmt: skip
    result |= {key: statistics.median(one[key] for one in runs) for key in keys}
    result["bad"] = sum(one["bad"] for one in runs)
    result["first_problem"] = max(one["first_problem"] for one in runs)
    return result


def _idle(folder: Path) -> int:
    home = servers.Home(folder)
    folder.mkdir(parents=True)
    child = home.up()
    try:
        return servers.rss_bytes(home.processes())
    finally:
        home.down(child)


def _interpreters(options: argparse.Namespace) -> dict[str, str]:
    found = {}
    for label in options.peers:
        kind = label.partition("-")[0]
        try:
            found[label] = python_of(
                kind, _CACHE, install=options.install, requirements=_REQUIREMENTS
            )
        except NotInstalledError as error:
            _say(f"{label}: {error}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=servers.MODELS, default=servers.MODELS)
    parser.add_argument("--peers", nargs="*", choices=servers.PEERS, default=servers.PEERS)
    parser.add_argument("--cells", nargs="+", type=Cell.parse, default=CELLS)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--create", nargs="+", default=[], metavar="FLAG",
                        help="Further flags of `versions create`.")  # fmt: skip
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    parser.add_argument("--no-install", dest="install", action="store_false")
    return parser


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
