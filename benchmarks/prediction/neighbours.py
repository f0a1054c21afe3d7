"""What a good model's callers notice of a hostile one beside it: times alone and beside it.

    python -m benchmarks.prediction.neighbours [--deeds spin hog …] [--seconds 3] [--rounds 3]
                                               [--connections 1] [--json FILE]

One engine with a logistic regression and, for each deed, a hostile model of its own (the one of
`tests/security/villain.py`) that is asked for that deed again and again: to compute without end,
on one core and on all, to fork, to fill memory and disk, to print without end, to die, never to
answer. The good model is loaded alone and beside each in turn; the ratio of p99 is that of each
round's two, and its median counts. Every distinct answer is checked. Returns 1 from twice on.

A machine on which nothing else runs is needed: beside other load all of it is noise.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.prediction import load
from benchmarks.prediction.asking import deploy, irises, predictions
from mlengine.core.resources import VersionOptions
from tests.live.engines import LiveEngine, P, live_engine
from tests.security.villain import DEEDS, villain

__all__ = ["main"]

_TARGET = 2.0
_GOOD = "good"
_DEEDS = ("behave", "spin", "spin-all", "fork", "hog", "shout", "fill", "exit", "hang")
_MEMORY_BYTES = 400 << 20
_BEGUN_S = 0.5  # by then a deed is in full swing
_EVERY_S = 0.01  # between an answer and the next time that it is asked
_PREDICT_TIMEOUT_S = "5"


def main() -> int:
    """Measure, show, and return 1 where somebody was harmed."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="mlengine-bench-") as work:
        generator = load.build(Path(work))
        home = Path(work) / "home"
        with live_engine(home, predict_timeout_s=_PREDICT_TIMEOUT_S) as engine:
            questions = _deploy(engine, options.deeds)
            found = [_measure(generator, engine, questions, deed, options)
                     for deed in options.deeds]  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return _print(found, options)


def _deploy(engine: LiveEngine, deeds: list[str]) -> list[load.Question]:
    """Deploy the good model and the bad ones; return what the good one is asked."""
    engine.make_bucket()
    options = VersionOptions(memory_bytes=_MEMORY_BYTES)
    hostile = villain(read=[], write=[], pids=[os.getpid()], port=9, sockets=[])
    uri = engine.upload_model("villain", model__pkl=hostile)
    for deed in deeds:
        deploy(engine, deed.replace("-", "_"), uri, options)
    return irises(engine, _GOOD, options)


def _measure(
    generator: Path, engine: LiveEngine, questions: list[load.Question], deed: str,
    options: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    def one(seconds: float) -> load.Load:
        port = urlsplit(engine.url).port
        assert port is not None
        return load.run(generator, port, questions, predictions,
                        connections=options.connections, seconds=seconds)  # fmt: skip

    one(0.5)
    alone, beside, asked = [], [], 0
    for _ in range(options.rounds):
        alone.append(one(options.seconds))
        with _doing(engine, deed) as count:
            beside.append(one(options.seconds))
        asked += count[0]
    pairs = zip(alone, beside, strict=True)
    return {
        "deed": deed,
        "asked": asked,
        "ratio": statistics.median(b.p99_ms / a.p99_ms for a, b in pairs),
        **{f"{name}_{field}": statistics.median(getattr(run, field) for run in runs)
           for name, runs in (("alone", alone), ("beside", beside))
           for field in ("p50_ms", "p99_ms", "requests_per_s")},
        "bad": sum(run.bad for run in (*alone, *beside)),
        "first_problem": max(run.first_problem for run in (*alone, *beside)),
    }  # fmt: skip


@contextmanager
def _doing(engine: LiveEngine, deed: str) -> Iterator[list[int]]:
    """Have a hostile model asked for its deed all the while; count how often."""
    over, count = threading.Event(), [0]
    where = urlsplit(engine.url)
    body = json.dumps({"instances": [[DEEDS[deed]]]})
    path = f"/v1/projects/{P}/models/{deed.replace('-', '_')}:predict"
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {engine.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )

    def ask() -> None:
        """Ask over one connection, in as little time as can be: whoever asks is no neighbour."""
        with socket.create_connection((where.hostname, where.port), timeout=60) as talk:
            talk.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not over.is_set():
                talk.sendall(request.encode())
                answer = b""
                while not _is_whole(answer):
                    answer += talk.recv(1 << 16)
                count[0] += 1
                over.wait(_EVERY_S)

    asking = threading.Thread(target=ask)
    asking.start()
    over.wait(_BEGUN_S)
    try:
        yield count
    finally:
        over.set()
        asking.join()


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    return bool(end) and len(body) >= int(length)


def _print(found: list[dict[str, Any]], options: argparse.Namespace) -> int:
    print(f"{options.connections} connections, {options.rounds} rounds of {options.seconds:g} s, "
          "medians\n")  # fmt: skip
    print("| beside one that | asked | p50 ms alone, beside | p99 ms alone, beside | times |")
    print("| --- | --- | --- | --- | --- |")
    for one in found:
        p50, p99 = (f"{one[f'alone_{f}']:.2f}, {one[f'beside_{f}']:.2f}"
                    for f in ("p50_ms", "p99_ms"))  # fmt: skip
        print(f"| {one['deed']} | {one['asked']} | {p50} | {p99} | {one['ratio']:.2f} |")
    problems = [f"{one['deed']}: {one['first_problem']}" for one in found if one["bad"]]
    print("\n".join(problems))
    return 1 if problems or any(one["ratio"] >= _TARGET for one in found) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--deeds", nargs="+", choices=_DEEDS, default=list(_DEEDS))
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
