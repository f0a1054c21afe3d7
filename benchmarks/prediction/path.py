"""Where each microsecond of a prediction goes: every stage of the path alone, in this process.

    python -m benchmarks.prediction.path [--requests 20000] [--together 32] [--rounds 5]

Sockets are replaced by objects that take bytes, so what is left is the price of our own code; the
kernel's part is what `benchmarks.prediction` measures beyond it. CPU time, the best of the rounds:
a busy machine can only make a figure worse.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlengine.core.access import new_token, token_digest
from mlengine.prediction.gateway.desk import Desk
from mlengine.prediction.gateway.heads import HeadMemo, KnownHead
from mlengine.prediction.gateway.http1 import CallerConnection
from mlengine.prediction.gateway.server import Server
from mlengine.prediction.requestlog.parts import PartWriter
from mlengine.prediction.requestlog.rows import Kept, RowLines
from mlengine.prediction.requestlog.writer import Counts, Shelf, Writer
from mlengine.prediction.routing import Grant, Logging, Route, Snapshot
from mlengine.runtime.answerer import Answerer
from mlengine.runtime.frames import PREDICT, FrameReader, pack

MODEL = "projects/bench/models/logreg"
VERSION = MODEL + "/versions/v1"
FEATURES = 30
ANSWER = b'{"predictions":[0]}'


class Sink:
    """A transport that takes everything and keeps nothing but the last piece."""

    def __init__(self) -> None:
        self.last = b""

    def write(self, data: bytes) -> None:
        self.last = data

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int) -> None: ...


class Forgetful(HeadMemo):
    """Knows no head, so that everything is read strictly."""

    def find(self, head: bytes) -> KnownHead | None:
        return None


class Nowhere(Writer):
    """Takes rows and lets them go."""

    def append(self, shelf: Shelf, data: bytes, rows: int, counts: Counts) -> None: ...


class Gateway:
    """Connections of a gateway, with one worker that answers when it is told to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, together: int) -> None:
        self.token = token = new_token()
        snapshot = Snapshot(
            token_digest=token_digest(token), versions={VERSION: Route("READY", ["/nowhere"])},
            models={MODEL: VERSION},
        )  # fmt: skip
        self.server = Server(snapshot, loop=loop)
        self.worker = Sink()
        self.group = self.server.switchboard.link(self.server.switchboard.target(
            f"/v1/{MODEL}:predict".encode()
        ))  # type: ignore[arg-type]  # fmt: skip
        self.link = self.group.links[0]
        self.link.connection_made(self.worker)  # type: ignore[arg-type]
        self.connections = []
        for _ in range(together):
            connection = CallerConnection(self.server)
            connection.connection_made(Sink())  # type: ignore[arg-type]
            self.connections.append(connection)
        self.body = json.dumps({"instances": [[round(0.123456 * i, 6) for i in range(FEATURES)]]})
        self.request = (
            f"POST /v1/{MODEL}:predict HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\n"
            f"User-Agent: bench\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: {len(self.body)}\r\n\r\n{self.body}"
        ).encode()
        self.received = 0

    def guard(self, *, key: bool, log: bool) -> None:
        """Let the caller have a key with a rate and a daily quota; keep what it asks."""
        snapshot = self.server.switchboard.snapshot
        if key:
            grant = Grant(key="bench", models=[MODEL], requests_per_second=1e6, burst=1_000_000,
                          daily_quota=100_000_000)  # fmt: skip
            snapshot = msgspec.structs.replace(
                snapshot, token_digest="", grants={token_digest(self.token): grant}
            )
        if log:
            route = Route("READY", ["/nowhere"], log_table="bench.d.t", log_share=1.0)
            snapshot = msgspec.structs.replace(
                snapshot, versions={VERSION: route}, logging=Logging(tables="/nowhere")
            )
        self.server.logs._writer = Nowhere()
        self.server.replace(snapshot)

    def receive(self) -> None:
        """One request on each connection."""
        for connection in self.connections:
            connection.data_received(self.request)

    def send(self) -> None:
        """What the loop does at the end of its turn."""
        self.link._flush()

    def answer(self) -> None:
        """All of the worker's answers, as one piece."""
        data = b"".join(pack(number, 200, ANSWER) for number in self.link._in_flight)
        self.link.data_received(data)

    def turn(self) -> None:
        """Requests, frame, answers."""
        self.receive()
        self.send()
        self.answer()


def cpu_us(work: Callable[[], Any], *, each: int, total: int, rounds: int) -> float:
    """Return the CPU time of a request, given work that does `each` of them."""
    best = float("inf")
    turns = max(total // each, 1)
    for _ in range(rounds):
        begin_s = time.process_time()
        for _ in range(turns):
            work()
        best = min(best, time.process_time() - begin_s)
    return best / (turns * each) * 1e6


def gateway_stages(options: argparse.Namespace) -> dict[str, float]:
    """Measure the gateway: known heads, and the same read strictly."""
    loop = asyncio.new_event_loop()
    found = {}
    many = options.together
    for name, memo, key, log in (
        ("known head", HeadMemo(), False, False),
        ("strict reading", Forgetful(), False, False),
        ("known head, key and quotas", HeadMemo(), True, False),
        ("known head, request log", HeadMemo(), False, True),
        ("known head, key, quotas and log", HeadMemo(), True, True),
    ):
        gateway = Gateway(loop, many)
        gateway.guard(key=key, log=log)
        gateway.server.heads = memo
        # The loop does not run: a flush is called by hand, never scheduled.
        gateway.link._flushing = True

        def turn(gateway: Gateway = gateway) -> None:
            gateway.turn()
            gateway.link._flushing = True

        found[f"gateway, {name}: request to answer"] = _measure(turn, options)
    data = b"".join(pack(number, 200, ANSWER) for number in range(many))
    reader = FrameReader(max_payload_bytes=1 << 20)
    found["  of these, cutting answers out of the worker's stream"] = _measure(
        lambda: reader.feed(data), options
    )
    loop.close()
    return found


def desk_stages(options: argparse.Namespace) -> dict[str, float]:
    """Measure the gateway where it answers by itself: in a lane, and behind all that guards."""
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        _model, shortcut = _logreg(Path(folder))
    found = {}
    for name, guarded in (("in a lane", False), ("with key, quotas and log", True)):
        gateway = Gateway(loop, options.together)
        gateway.guard(key=guarded, log=guarded)
        server = gateway.server
        desk = server.desks.keep(gateway.group, shortcut, 0)

        def turn(gateway: Gateway = gateway, desk: Desk = desk) -> None:
            desk._is_due = True  # it is called by hand, never scheduled
            gateway.receive()
            desk.answer()

        for _ in range(3):  # read strictly, then known, then in the lane
            turn()
        found[f"gateway, at the desk, {name}: request to answer"] = _measure(turn, options)
        assert gateway.group.counts.at_desk, "nothing was answered at the desk"
    loop.close()
    return found


def log_stages(options: argparse.Namespace) -> dict[str, float]:
    """Measure what is done with rows: in the gateway's loop, and in its writer."""
    many = options.together
    body = json.dumps({"instances": [[round(0.123456 * i, 6) for i in range(FEATURES)]]}).encode()
    name, moment = "0-v1--05125a3f81bad1c20ff", "2026-11-22T01:23:45.678Z"
    rows: list[Kept] = [(name, moment, bytes(body), ANSWER) for _ in range(many)]
    lines = RowLines("logreg", "v1")
    found = {"log, rows to lines": _measure(lambda: lines.encode(rows), options)}
    piece = lines.encode(rows)
    with tempfile.TemporaryDirectory() as folder:
        part = PartWriter(Path(folder), iter(["bench"]), max_bytes=1 << 40, max_s=1e9)
        found["log, lines to the disk's cache, 16 turns at once"] = cpu_us(
            lambda: part.write(*[piece] * 16), each=many * 16, total=options.requests,
            rounds=options.rounds,
        )  # fmt: skip
        part.close()
    return found


def worker_stages(options: argparse.Namespace) -> dict[str, float]:
    """Measure the worker: frames, and the model with and without its shortcut."""
    many = options.together
    body = json.dumps({"instances": [[round(0.123456 * i, 6) for i in range(FEATURES)]]}).encode()
    data = b"".join(pack(number, PREDICT, body) for number in range(many))
    reader = FrameReader(max_payload_bytes=1 << 20)
    found = {"worker, cutting requests out of the stream": _measure(
        lambda: reader.feed(data), options
    )}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model, shortcut = _logreg(Path(folder))
    for name, way in (("its own arithmetic", shortcut), ("the library's call", None)):
        answerer = Answerer(model, max_answer_bytes=1 << 20, shortcut=way)

        def turn(answerer: Answerer = answerer) -> None:
            for number in range(many):
                answerer.add(number, body, now_s=0.0)
            for _ in answerer.answers(now_s=0.0):
                pass

        total = options.requests if way is not None else max(options.requests // 50, many)
        found[f"worker, bodies to answers by {name}"] = cpu_us(
            turn, each=many, total=total, rounds=options.rounds
        )
    return found


def _measure(work: Callable[[], Any], options: argparse.Namespace) -> float:
    return cpu_us(work, each=options.together, total=options.requests, rounds=options.rounds)


def _logreg(folder: Path) -> tuple[Any, Any]:
    import joblib
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from mlengine.runtime.frameworks import load
    from mlengine.runtime.shortcuts import open_shortcut

    random = np.random.default_rng(7)
    x = random.normal(size=(1000, FEATURES))
    joblib.dump(LogisticRegression().fit(x, x[:, 0] > 0.1), folder / "model.joblib")
    model = load(folder)
    return model, open_shortcut(model).shortcut


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=20_000, help="Of a round.")
    parser.add_argument("--together", type=int, default=32, help="Requests of a turn.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"CPU us a request, {options.together} a turn")
    stages = gateway_stages(options) | desk_stages(options)
    stages |= log_stages(options) | worker_stages(options)
    for name, taken_us in stages.items():
        print(f"{taken_us:8.2f}  {name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
