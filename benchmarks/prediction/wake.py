"""Sleeping versions are woken by their callers, again and again, under load.

    python -m benchmarks.prediction.wake [--wakes 1000] [--callers 4] [--framework scikit-learn]

An engine has several models and memory for the worker of one, so whoever is asked puts another to
sleep. First one caller asks them in turn, and each of its requests is a wake from request to
answer; then several callers do, all at once. Every answer is checked. The target is: no error, and
one caller's median below 150 ms for scikit-learn and 1 s for TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.prediction.asking import Caller, add_models
from tests.live.engines import LiveEngine, live_engine

MODELS = 8
TARGET_MS = {"scikit-learn": 150.0, "tensorflow": 1000.0}


class Woken(NamedTuple):
    """What the callers saw; `wakes` is what the engine says."""

    requests: int
    wakes: int
    errors: list[str]
    times_ms: list[float]


def main() -> int:
    """Measure; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wakes", type=int, default=1000)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--framework", choices=sorted(TARGET_MS), default="scikit-learn")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlengine-bench-") as work:
        home = Path(work) / "home"
        with live_engine(home, serving_memory_bytes="1") as engine:
            engine.make_bucket()
            models = {f"times{number}": float(number) for number in range(MODELS)}
            add_models(engine, models, framework=options.framework)
            alone = ask_in_turn(engine, range(MODELS), min(options.wakes // 5, 200))
            crowd = ask_together(engine, options.wakes - alone.wakes, options.callers)
    target_ms = TARGET_MS[options.framework]
    figures = {
        "wakes": alone.wakes + crowd.wakes,
        "errors": len(alone.errors) + len(crowd.errors),
        "alone_p50_ms": statistics.median(alone.times_ms),
        "alone_p99_ms": sorted(alone.times_ms)[int(len(alone.times_ms) * 0.99)],
        "together_p50_ms": statistics.median(crowd.times_ms),
        "together_max_ms": max(crowd.times_ms),
    }
    for name, value in figures.items():
        print(f"{name:24} {value:10.1f}")
    for error in (alone.errors + crowd.errors)[:5]:
        print(error)
    met = not figures["errors"] and figures["alone_p50_ms"] <= target_ms
    print(f"targets: no error, p50 <= {target_ms:g} ms: {'met' if met else 'MISSED'}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if met else 1


def ask_in_turn(engine: LiveEngine, numbers: Sequence[int], requests: int) -> Woken:
    """Ask models one after the other, so that each has to be woken."""
    before, errors, times_ms = woken(engine), [], []
    with Caller(engine) as caller:
        for turn in range(requests):
            number = numbers[turn % len(numbers)]
            began_s = time.monotonic()
            problem = caller.problem_of(f"times{number}", number, float(turn))
            times_ms.append((time.monotonic() - began_s) * 1e3)
            errors += [problem] if problem else []
    return Woken(requests, woken(engine) - before, errors, times_ms)


def ask_together(engine: LiveEngine, wakes: int, callers: int) -> Woken:
    """Let several callers ask all models in turn, each beginning elsewhere, until so many woke."""
    before = woken(engine)
    results: list[Woken] = []

    def call(first: int) -> None:
        order = [(first + step) % MODELS for step in range(MODELS)]
        while woken(engine) - before < wakes:
            results.append(ask_in_turn(engine, order, MODELS))
            if results[-1].errors:
                return

    threads = [threading.Thread(target=call, args=(n * MODELS // callers,)) for n in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Woken(
        sum(r.requests for r in results), woken(engine) - before,
        [e for r in results for e in r.errors], [t for r in results for t in r.times_ms],
    )  # fmt: skip


def woken(engine: LiveEngine) -> int:
    """Return how often the engine says that it has woken a version."""
    return (engine.home / "daemon.log").read_text().count(": woken in ")


if __name__ == "__main__":
    raise SystemExit(main())
