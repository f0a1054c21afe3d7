"""A load generator for one URL: keep-alive connections, each with one request at a time.

Run as a process of its own, so that it takes no turn of a server's interpreter. Every answer is
compared with what the bare model said. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop


class Run:
    """What all connections of one measurement share."""

    def __init__(self, requests: list[bytes], expected: list[Any], *, until_s: float) -> None:
        self.requests = requests
        self.expected = expected
        self.until_s = until_s
        self.next_row = 0
        self.latencies_s: list[float] = []
        self.wrong = 0
        self.failed = 0
        self.first_problem = ""


class Connection(asyncio.Protocol):
    """One connection: ask, compare, ask again, until the time is up."""

    def __init__(self, run: Run, done: asyncio.Future[None]) -> None:
        self._run = run
        self._done = done
        self._received = b""
        self._row = 0
        self._sent_s = 0.0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        run = self._run
        self._row = run.next_row % len(run.requests)
        run.next_row += 1
        self._sent_s = time.perf_counter()
        self._transport.write(run.requests[self._row])

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        at = received.lower().find(b"content-length:")
        length = int(received[at + 15 : received.index(b"\r\n", at)])
        if len(received) < end + 4 + length:
            return
        now_s = time.perf_counter()
        self._received = b""
        self._judge(received[:15], received[end + 4 :])
        self._run.latencies_s.append(now_s - self._sent_s)
        if now_s < self._run.until_s:
            self._ask()
        else:
            self._transport.close()

    def _judge(self, status: bytes, body: bytes) -> None:
        run = self._run
        if status[9:12] != b"200":
            run.failed += 1
        elif json.loads(body).get("predictions") != run.expected[self._row]:
            run.wrong += 1
        else:
            return
        run.first_problem = run.first_problem or repr(status + body[:300])

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._run.until_s:
            self._run.failed += 1
        if not self._done.done():
            self._done.set_result(None)


async def measure(port: int, path: str, connections: int, seconds: float, rows: Path,
                  token: str) -> dict[str, Any]:  # fmt: skip
    """Load one path for a time; return counts and latencies."""
    said = json.loads(rows.read_bytes())
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    requests = []
    for row in said["instances"]:
        body = json.dumps({"instances": [row]}).encode()
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    expected = [[answer] for answer in said["predictions"]]
    loop = asyncio.get_running_loop()
    begin_s = time.perf_counter()
    run = Run(requests, expected, until_s=begin_s + seconds)
    ends = []
    for _ in range(connections):
        done = loop.create_future()
        ends.append(done)
        await loop.create_connection(lambda d=done: Connection(run, d), "127.0.0.1", port)
    await asyncio.wait_for(asyncio.gather(*ends), seconds + 30)
    taken_s = time.perf_counter() - begin_s
    ordered = sorted(run.latencies_s) or [0.0]
    return {
        "requests": len(run.latencies_s),
        "requests_per_s": len(run.latencies_s) / taken_s,
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
        "wrong": run.wrong,
        "failed": run.failed,
        "first_problem": run.first_problem,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    options = parser.parse_args()
    token = sys.stdin.readline().strip()  # not in the arguments, where `ps` would show it
    work = measure(options.port, options.path, options.connections, options.seconds,
                   options.rows, token)  # fmt: skip
    print(json.dumps(uvloop.run(work)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
