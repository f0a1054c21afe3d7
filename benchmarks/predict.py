"""Online prediction: mlengine against a hand-written FastAPI server and the bare model.

    python -m benchmarks.predict [--seconds 3] [--rounds 3] [--connections 1 8 64] [--json FILE]

One LogisticRegression over 30 features, one row a request, every answer checked. All servers are
up during the whole run and are measured in turn, round by round, so a busy machine harms all alike;
figures are medians over the rounds. CPU is that of all processes of a server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import psutil
from sklearn.linear_model import LogisticRegression

from mlengine.core.access import new_token, token_digest
from mlengine.prediction.control import GatewayControl, ensure_gateway
from mlengine.prediction.pool import WorkerPool
from mlengine.prediction.routing import Route, Snapshot

FEATURES = 30
ROWS = 2000
MODEL = "projects/bench/models/logreg"
VERSION = MODEL + "/versions/v1"


class Target(NamedTuple):
    """A server under load."""

    name: str
    port: int
    path: str
    token: str
    pids: list[int]


def train(folder: Path) -> tuple[Any, Path, Path]:
    """Fit the model; write it, and rows with the bare model's answers."""
    random = np.random.default_rng(7)
    x = random.normal(size=(4000, FEATURES))
    y = (x @ random.normal(size=FEATURES) + random.normal(size=4000) > 0).astype(int)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    artifact = folder / "artifact"
    artifact.mkdir()
    joblib.dump(model, artifact / "model.joblib")
    rows = [[round(float(v), 6) for v in row] for row in random.normal(size=(ROWS, FEATURES))]
    answers = [int(v) for v in model.predict(rows)]
    said = folder / "rows.json"
    said.write_text(json.dumps({"instances": rows, "predictions": answers}))
    return model, artifact, said


def floor(model: Any, rows: Path, seconds: float) -> dict[str, float]:
    """Call the bare model with one row at a time."""
    instances = json.loads(rows.read_bytes())["instances"]
    taken: list[float] = []
    begin_cpu_s, until_s = time.process_time(), time.perf_counter() + seconds
    while (begin_s := time.perf_counter()) < until_s:
        model.predict([instances[len(taken) % len(instances)]]).tolist()
        taken.append(time.perf_counter() - begin_s)
    cpu_s = time.process_time() - begin_cpu_s
    taken.sort()
    return {
        "requests_per_s": len(taken) / sum(taken),
        "p50_ms": taken[len(taken) // 2] * 1e3,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1e3,
        "cpu_us": cpu_s / len(taken) * 1e6,
    }


@contextlib.contextmanager
def mlengine_server(folder: Path, artifact: Path) -> Iterator[list[Target]]:
    """A real gateway and a real worker."""
    home = folder / "home"
    run = home / "run"
    run.mkdir(parents=True, mode=0o700)
    token = new_token()
    pool = WorkerPool(home)
    control = GatewayControl(run)
    try:
        pool.start(VERSION, "bench", artifact, "SCIKIT_LEARN")
        worker = pool.wait_ready("bench", timeout_s=120)
        control.save(
            Snapshot(
                token_digest=token_digest(token),
                versions={VERSION: Route("READY", [worker.socket])},
                models={MODEL: VERSION},
            )
        )
        gateway = ensure_gateway(run)
        yield [Target("mlengine", gateway.port, f"/v1/{MODEL}:predict", token,
                      [gateway.pid, worker.pid])]  # fmt: skip
    finally:
        control.shutdown()
        pool.stop("bench")


@contextlib.contextmanager
def fastapi_server(model: Path) -> Iterator[list[Target]]:
    """The hand-written server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "benchmarks.rival_fastapi", str(model), str(port)]
    child = subprocess.Popen(argv, cwd=Path(__file__).parents[1])
    try:
        _wait_for_port(port, child)
        yield [Target(f"fastapi {path}", port, f"/{path}", "", [child.pid])
               for path in ("plain", "typed")]  # fmt: skip
    finally:
        child.terminate()
        child.wait()


def load(target: Target, rows: Path, connections: int, seconds: float) -> dict[str, Any]:
    """Run the generator once; add the server's CPU time."""
    argv = [sys.executable, "-m", "benchmarks.load", "--port", str(target.port),
            "--path", target.path, "--connections", str(connections),
            "--seconds", str(seconds), "--rows", str(rows)]  # fmt: skip
    before_s = _cpu_s(target.pids)
    done = subprocess.run(argv, input=target.token + "\n", capture_output=True, text=True,
                          check=True, cwd=Path(__file__).parents[1])  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout)
    result["cpu_us"] = (_cpu_s(target.pids) - before_s) / max(result["requests"], 1) * 1e6
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all servers in turn."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        model, artifact, rows = train(folder)
        targets = stack.enter_context(mlengine_server(folder, artifact))
        targets += stack.enter_context(fastapi_server(artifact / "model.joblib"))
        for target in targets:
            load(target, rows, 4, 0.5)  # warm up
        floors: list[dict[str, float]] = []
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for number in range(options.rounds):
            floors.append(floor(model, rows, min(options.seconds, 1.0)))
            for connections in options.connections:
                # Each round begins with another server: no one always comes first.
                turn = number % len(targets)
                for target in targets[turn:] + targets[:turn]:
                    result = load(target, rows, connections, options.seconds)
                    found.setdefault((target.name, connections), []).append(result)
    return _report(floors, found, options)


def _report(floors: list[dict[str, float]], found: dict[tuple[str, int], list[dict[str, Any]]],
            options: argparse.Namespace) -> dict[str, Any]:  # fmt: skip
    keys = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us")
    cells = []
    for (name, connections), results in found.items():
        cell: dict[str, Any] = {"server": name, "connections": connections}
        cell |= {key: statistics.median(r[key] for r in results) for key in keys}
        cell["bad_answers"] = sum(r["wrong"] + r["failed"] for r in results)
        cell["first_problem"] = max(r["first_problem"] for r in results)
        cells.append(cell)
    for cell in cells:
        rivals = [c for c in cells if c["server"] != "mlengine"]
        best = max(c["requests_per_s"] for c in rivals if c["connections"] == cell["connections"])
        cell["ratio_to_fastapi"] = cell["requests_per_s"] / best
    bare = {key: statistics.median(f[key] for f in floors) for key in keys}
    return {"cpus": os.cpu_count(), "rounds": options.rounds, "seconds": options.seconds,
            "floor": bare, "cells": cells}  # fmt: skip


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{report['cpus']} cores, {report['rounds']} rounds of {report['seconds']:g} s, medians")
    print(f"{'server':<16}{'conns':>6}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}"
          f"{'x FastAPI':>11}{'bad':>5}")  # fmt: skip
    bare = report["floor"]
    print(f"{'bare model':<16}{'-':>6}{bare['requests_per_s']:>9.0f}{bare['p50_ms']:>9.2f}"
          f"{bare['p99_ms']:>9.2f}{bare['cpu_us']:>9.0f}{'-':>11}{'-':>5}")  # fmt: skip
    cells = sorted(report["cells"], key=lambda c: (c["connections"], c["server"] != "mlengine"))
    for cell in cells:
        print(f"{cell['server']:<16}{cell['connections']:>6}{cell['requests_per_s']:>9.0f}"
              f"{cell['p50_ms']:>9.2f}{cell['p99_ms']:>9.2f}{cell['cpu_us']:>9.0f}"
              f"{cell['ratio_to_fastapi']:>11.2f}{cell['bad_answers']:>5}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    options = parser.parse_args()
    report = run(options)
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    bad = [cell for cell in report["cells"] if cell["bad_answers"]]
    for cell in bad:
        print(f"bad answers of {cell['server']}: {cell['first_problem']}", file=sys.stderr)
    return 1 if bad else 0


def _cpu_s(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                times = one.cpu_times()
                total += times.user + times.system
    return total


def _wait_for_port(port: int, child: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s and child.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.05)
    raise RuntimeError("The FastAPI server did not start.")


if __name__ == "__main__":
    sys.exit(main())
