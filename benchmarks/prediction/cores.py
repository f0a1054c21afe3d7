"""How the calls of a network share the cores: what a picture takes, alone and in company.

    python -m benchmarks.prediction.cores [--seconds S] [--rounds N] [--computing N]

The network is the one of `python -m benchmarks.prediction` (which makes it), converted by hand, in
one process without JSON or JPEG. The ways take turns; medians over rounds. "Beside others" is the
same while so many other processes compute.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.prediction.awake import computing

_FILE = Path.home() / ".cache/mlengine-bench/prediction/models/cnn/onnx/model.onnx"
_SIDE, _MANY, _PIECE = 224, 32, 2


class Way(NamedTuple):
    """A way to compute pictures: in `callers` threads, each of which calls `work` again and again.

    `pictures` are those of one `work`.
    """

    name: str
    pictures: int
    callers: int
    work: Callable[[], Any]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--computing", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if not _FILE.exists():
        print(f"There is no {_FILE}: run python -m benchmarks.prediction first.", file=sys.stderr)
        return 1
    ways = _ways(os.cpu_count() or 1)
    alone = _measure(ways, options)
    with computing(options.computing):
        beside = _measure(ways, options)
    print("| pictures, calls | ms a picture | CPU ms | ms beside others |")
    print("| --- | --- | --- | --- |")
    for way, (wall_ms, cpu_ms), (beside_ms, _) in zip(ways, alone, beside, strict=True):
        print(f"| {way.name} | {wall_ms:.2f} | {cpu_ms:.2f} | {beside_ms:.2f} |")
    return 0


def _ways(cores: int) -> list[Way]:
    from mlengine.runtime.frameworks.onnxsession import open_once

    asleep, spinning = (open_once(_FILE, cores, spin=spin) for spin in (False, True))
    narrow = open_once(_FILE, 1, spin=False)
    takes = narrow.get_inputs()[0].name
    random = np.random.default_rng(7)
    many = random.normal(size=(_MANY, _SIDE, _SIDE, 3)).astype(np.float32)

    def call(session: Any, count: int) -> Callable[[], Any]:
        return lambda: session.run(None, {takes: many[:count]})

    def pieces() -> None:
        for at in range(0, _MANY, _PIECE):
            spinning.run(None, {takes: many[at : at + _PIECE]})

    return [
        Way(f"1, all {cores} cores, threads sleep", 1, 1, call(asleep, 1)),
        Way(f"1, all {cores} cores, threads spin", 1, 1, call(spinning, 1)),
        Way("1, one core", 1, 1, call(narrow, 1)),
        Way(f"1 each, {cores} side by side", 1, cores, call(narrow, 1)),
        Way(f"{_MANY}, all {cores} cores", _MANY, 1, call(spinning, _MANY)),
        Way(f"{_MANY} two by two, all {cores} cores", _MANY, 1, pieces),
        Way(f"{_MANY} two by two, {cores} side by side", _PIECE, cores, call(narrow, _PIECE)),
    ]


def _measure(ways: list[Way], options: argparse.Namespace) -> list[tuple[float, float]]:
    """Return milliseconds and CPU milliseconds of a picture, for each way."""
    found: list[list[tuple[float, float]]] = [[] for _ in ways]
    for number in range(options.rounds):
        for way, of in zip(ways, found, strict=True):
            way.work()
            of.append(_took_ms(way, options.seconds))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return [
        (statistics.median(wall for wall, _ in of), statistics.median(cpu for _, cpu in of))
        for of in found
    ]


def _took_ms(way: Way, seconds: float) -> tuple[float, float]:
    counts: list[int] = []
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()

    def go() -> None:
        count = 0
        while not count or time.perf_counter() < begin_s + seconds:
            way.work()
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=go) for _ in range(way.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pictures = sum(counts) * way.pictures
    wall_s, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
    return wall_s / pictures * 1e3, cpu_s / pictures * 1e3


if __name__ == "__main__":
    raise SystemExit(main())
