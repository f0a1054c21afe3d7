"""What staying awake is worth: the same callers of two engines, one of which always sleeps.

    python -m benchmarks.prediction.awake [--seconds 2] [--rounds 3] [--json FILE]

Two engines serve the same logistic regressions; to the one `stay_awake = false` is said. Callers
ask one model over 1, 2, 8 and 64 connections, four models over one each, and one model beside
processes that compute without end, as a training job does, on one core and on all; what these get
of the CPUs is shown too. The engines are loaded in turn, the order changing round by round; the
ratio is that of each round's two, and its median counts. Every distinct answer is checked. Returns
1 where staying awake costs more than a fifth of the answers, or an answer was wrong.
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
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.prediction import load, servers
from benchmarks.prediction.asking import irises, predictions
from tests.live.engines import LiveEngine, live_engine

__all__ = ["computing", "main"]

_LEAST = 0.8
_MODELS = ("a", "b", "c", "d")
_CORES = len(os.sched_getaffinity(0))


class Situation(NamedTuple):
    """So many models, each asked over so many connections, beside so many that only compute."""

    models: int
    connections: int
    beside: int

    def __str__(self) -> str:
        beside = f", {self.beside} computing beside it" if self.beside else ""
        return f"{self.models} x {self.connections}{beside}"


_SITUATIONS = (
    Situation(1, 1, 0), Situation(1, 2, 0), Situation(1, 8, 0), Situation(1, 64, 0),
    Situation(4, 1, 0), Situation(1, 1, 1), Situation(1, 8, 1), Situation(1, 1, _CORES),
)  # fmt: skip


class Seen(NamedTuple):
    """What all callers of one engine saw in one round; times are of the slowest model's."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    computing_cpus: float  # CPUs that those beside it got
    problem: str


def main() -> int:
    """Measure, show, and return 1 where staying awake costs too much."""
    options = _parser().parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="mlengine-bench-") as work,
        contextlib.ExitStack() as up,
    ):
        generator = load.build(Path(work))
        engines = {
            name: up.enter_context(live_engine(Path(work) / name, stay_awake=said))
            for name, said in (("asleep", "false"), ("awake", "true"))
        }
        questions = {}
        for name, engine in engines.items():
            engine.make_bucket()
            questions[name] = {model: irises(engine, model) for model in _MODELS}
        found = [_measure(generator, engines, questions, one, options) for one in _SITUATIONS]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return _print(found, options)


def _measure(
    generator: Path, engines: dict[str, LiveEngine],
    questions: dict[str, dict[str, list[load.Question]]], situation: Situation,
    options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    seen: dict[str, list[Seen]] = {name: [] for name in engines}
    with computing(situation.beside) as beside:
        for number in range(options.rounds + 1):  # the first only warms up
            for name in list(engines) if number % 2 else list(engines)[::-1]:
                seconds = options.seconds if number else 0.5
                one = _ask(generator, engines[name], questions[name], situation, seconds, beside)
                if number:
                    seen[name].append(one)
    pairs = zip(seen["asleep"], seen["awake"], strict=True)
    return {
        "situation": str(situation),
        "ratio": statistics.median(
            b.requests_per_s / a.requests_per_s if a.requests_per_s else 0.0 for a, b in pairs
        ),
        "problem": max(one.problem for runs in seen.values() for one in runs),
        **{name: {field: statistics.median(getattr(one, field) for one in runs)
                  for field in ("requests_per_s", "p50_ms", "p99_ms", "cpu_us", "computing_cpus")}
           for name, runs in seen.items()},
    }  # fmt: skip


def _ask(
    generator: Path, engine: LiveEngine, questions: dict[str, list[load.Question]],
    situation: Situation, seconds: float, beside: list[int],
) -> Seen:  # fmt: skip
    port = urlsplit(engine.url).port
    assert port is not None

    def one(name: str) -> load.Load:
        return load.run(generator, port, questions[name], predictions,
                        connections=situation.connections, seconds=seconds)  # fmt: skip

    processes = servers.Home(engine.home).processes()
    before_s, computed_s, begun_s = (
        servers.cpu_s(processes), servers.cpu_s(beside), time.monotonic(),
    )  # fmt: skip
    with ThreadPoolExecutor(situation.models) as callers:
        runs = list(callers.map(one, _MODELS[: situation.models]))
    used_s, computed_s = servers.cpu_s(processes) - before_s, servers.cpu_s(beside) - computed_s
    return Seen(
        sum(run.requests_per_s for run in runs),
        max(run.p50_ms for run in runs),
        max(run.p99_ms for run in runs),
        used_s / max(sum(run.requests for run in runs), 1) * 1e6,
        computed_s / (time.monotonic() - begun_s),
        max(run.first_problem for run in runs),
    )


@contextlib.contextmanager
def computing(count: int) -> Iterator[list[int]]:
    """Have processes compute without end; yield their ids."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield [process.pid for process in busy]
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _print(found: list[dict[str, Any]], options: argparse.Namespace) -> int:
    print(f"{_CORES} cores, {options.rounds} rounds of {options.seconds:g} s, medians; "
          "asleep, awake\n")  # fmt: skip
    print("| models x connections | req/s | times | p50 ms | p99 ms | CPU us | CPUs computing |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for one in found:
        a, b = one["asleep"], one["awake"]
        print(f"| {one['situation']} | {a['requests_per_s']:,.0f}, {b['requests_per_s']:,.0f} "
              f"| {one['ratio']:.2f} | {a['p50_ms']:.2f}, {b['p50_ms']:.2f} "
              f"| {a['p99_ms']:.2f}, {b['p99_ms']:.2f} "
              f"| {a['cpu_us']:.0f}, {b['cpu_us']:.0f} "
              f"| {a['computing_cpus']:.2f}, {b['computing_cpus']:.2f} |")  # fmt: skip
    problems = [f"{one['situation']}: {one['problem']}" for one in found if one["problem"]]
    print("\n".join(problems))
    return 1 if problems or any(one["ratio"] < _LEAST for one in found) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
