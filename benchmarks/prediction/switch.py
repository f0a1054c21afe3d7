"""The default version is switched, replaced and deleted under load: nothing is lost, nobody lies.

    python -m benchmarks.prediction.switch [--requests 1000000] [--switches 1000]

Callers on kept connections send several requests at a time. Meanwhile the default of their model
goes from one version to another; every few switches the next one is made first, and the one before
is deleted; some do not load. Each version multiplies by a number of its own, and each answer names
its version. An answer is right if it is that version's, and if that version was the default at
some moment between the request and the answer. The target is: none failed, none wrong.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.prediction.asking import times
from mlengine.core.resources import Model, Version
from tests.live.engines import LiveEngine, P, live_engine

MODEL = "switched"
BATCH = 8
FACTORS = 7


class Reigns:
    """When each version was, or may have been, the default."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._from_s: dict[str, list[float]] = {}
        self._until_s: dict[str, list[float]] = {}

    def begins(self, version: str) -> None:
        """Note that a version may be the default from now on."""
        with self._lock:
            self._from_s.setdefault(version, []).append(time.monotonic())
            self._until_s.setdefault(version, []).append(float("inf"))

    def ended(self, version: str) -> None:
        """Note that a version is the default no more."""
        with self._lock:
            self._until_s[version][-1] = time.monotonic()

    def could_answer(self, version: str, sent_s: float, received_s: float) -> bool:
        """Tell whether a version was the default at some moment between these two."""
        with self._lock:
            spans = zip(self._from_s.get(version, ()), self._until_s.get(version, ()), strict=True)
            return any(begin <= received_s and end >= sent_s for begin, end in spans)


class Switched(NamedTuple):
    """What came of it; `problems` are the first few."""

    requests: int
    switches: int
    replaced: int
    refused_models: int
    failed: int
    wrong: int
    problems: list[str]


class Load:
    """Callers that ask until they are told to stop."""

    def __init__(self, engine: LiveEngine, reigns: Reigns, connections: int) -> None:
        where = urlsplit(engine.url)
        self._address = (where.hostname, where.port)
        self._reigns = reigns
        self._head = (
            f"POST /v1/projects/{P}/models/{MODEL}:predict HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {engine.token}\r\nContent-Length: %d\r\n\r\n"
        )
        self.requests = self.failed = self.wrong = 0
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every caller get its last answers."""
        self._ended.set()
        for thread in self._threads:
            thread.join(120)
            if thread.is_alive():
                self._note("a request was never answered", failed=1)

    def _call(self, number: int) -> None:
        turn = number * 100_000_000
        try:
            with socket.create_connection(self._address, timeout=100) as talk:
                lines = talk.makefile("rb")
                while not self._ended.is_set():
                    turn += BATCH
                    rows = range(turn, turn + BATCH)
                    bodies = [b'{"instances":[[%d.0]]}' % (row % 1000) for row in rows]
                    sent_s = time.monotonic()
                    talk.sendall(b"".join((self._head % len(b)).encode() + b for b in bodies))
                    for row in rows:
                        self._judge(row % 1000, sent_s, *_answer(lines))
        except (OSError, ValueError) as error:
            self._note(f"{type(error).__name__}: {error}", failed=1)

    def _judge(self, row: int, sent_s: float, status: int, version: str, body: bytes) -> None:
        received_s = time.monotonic()
        if status != 200:
            self._note(f"{status}: {body[:300]!r}", requests=1, failed=1)
            return
        value = json.loads(body)["predictions"][0]
        name = version.rpartition("/")[2]
        right = abs(value - factor_of(name) * row) < 1e-6
        if right and self._reigns.could_answer(name, sent_s, received_s):
            self._note("", requests=1)
        else:
            self._note(f"{name} said {value} to {row}", requests=1, wrong=1)

    def _note(self, problem: str, *, requests: int = 0, failed: int = 0, wrong: int = 0) -> None:
        with self._lock:
            self.requests += requests
            self.failed += failed
            self.wrong += wrong
            if problem and len(self.problems) < 5:
                self.problems.append(problem)


def main() -> int:
    """Run; return 1 if anything was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--switches", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--fresh-every", type=int, default=4, help="switches to a new version")
    parser.add_argument("--bad-every", type=int, default=20, help="switches to one that won't load")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlengine-bench-") as work:
        with live_engine(Path(work) / "home") as engine:
            engine.make_bucket()
            found = switch(
                engine, requests=options.requests, switches=options.switches,
                connections=options.connections, fresh_every=options.fresh_every,
                bad_every=options.bad_every,
            )  # fmt: skip
    for name, value in found._asdict().items():
        print(f"{name:16} {value}")
    if options.json:
        options.json.write_text(json.dumps(found._asdict(), indent=2) + "\n")
    return 1 if found.failed or found.wrong else 0


def switch(
    engine: LiveEngine, *, requests: int, switches: int, connections: int, fresh_every: int,
    bad_every: int,
) -> Switched:  # fmt: skip
    """Switch the default of a model so often, under load until so many requests were answered."""
    for factor in range(1, FACTORS + 1):
        engine.upload_model(f"by{factor}", model__joblib=times(factor))
    engine.upload_model("bad", model__joblib=b"no model")
    engine.client.create_model(P, Model(name=MODEL))
    reigns = Reigns()
    reigns.begins("v1")
    for name in ("v1", "v2"):
        _create(engine, name)
    load = Load(engine, reigns, connections)
    now, other, made, bad = "v1", "v2", 2, 0
    for turn in range(1, switches + 1):
        if turn % bad_every == 0:
            bad += not _create(engine, f"bad{turn}", uri="gs://mine/bad")
        if turn % fresh_every == 0:
            engine.done(engine.client.delete_version(P, MODEL, other))
            made += 1
            other = f"v{made}"
            _create(engine, other)
        reigns.begins(other)
        engine.client.set_default_version(P, MODEL, other)
        reigns.ended(now)
        now, other = other, now
        seen = load.requests
        while load.requests < seen + connections and not load.failed:
            threading.Event().wait(0.001)
    while load.requests < requests and not load.failed:
        threading.Event().wait(0.01)
    load.stop()
    return Switched(load.requests, switches, made - 2, bad, load.failed, load.wrong, load.problems)


def factor_of(version: str) -> int:
    """Return what a version multiplies by."""
    return (int(version[1:]) - 1) % FACTORS + 1


def _create(engine: LiveEngine, name: str, *, uri: str = "") -> bool:
    """Deploy a version; return whether it loaded."""
    version = Version(name=name, deployment_uri=uri or f"gs://mine/by{factor_of(name)}")
    return engine.done(engine.client.create_version(P, MODEL, version)).error is None


def _answer(lines: object) -> tuple[int, str, bytes]:
    readline, read = lines.readline, lines.read  # type: ignore[attr-defined]
    first = readline()
    if not first:
        raise ValueError("the gateway hung up")
    status, length, version = int(first.split()[1]), 0, ""
    while (line := readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        elif name.lower() == b"x-mlengine-version":
            version = value.strip().decode()
    return status, version, read(length)


if __name__ == "__main__":
    raise SystemExit(main())
