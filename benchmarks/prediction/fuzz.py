"""Mutated requests against a real gateway and a real worker: no 500, no hang, memory flat.

    python -m benchmarks.prediction.fuzz [--count 100000] [--seed 1] [--connections 16]

Each request is a good or an evil one with bytes changed, cut out, doubled or mixed with another's;
half of them keep their head, so that the body reaches the worker. The caller then says no more, and
all that comes back is read to the end. Exit 1 when anything is wrong, with the request that did it.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil

__all__ = ["Fuzz"]

_ANSWER_S = 60.0
_PIECE_BYTES = 64 << 10
_BODIES = (
    b'{"instances": [[%b]]}' % b",".join([b"0.1", b"2", b"-3e5"] * 10),
    b'{"instances": [[1, 2, 3, 4], [5, 6, 7, 8]], "signature_name": "x"}',
    b'{"instances": [{"b64": "aGVsbG8="}, null, true, "text\\u00e9\\ud83d\\ude00"]}',
    b'{"instances": [' + b"[" * 90 + b"1e308" + b"]" * 90 + b"]}",
    b'{"instances": []}',
)
_STRANGE = (b"\x00", b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\xff", b"9" * 30, b"NaN", b"1e999",
            b"0\r\n\r\n", b"HTTP/1.1", b'"', b"[" * 200, b"\xed\xa0\x80", b"%00", b":")  # fmt: skip


class Fuzz:
    """Mutations of requests, and what came back.

    Args:
        port: Where the gateway listens.
        path: A path that predicts.
        token: Lets the seeds in.
        dice: Where chance comes from.
        evil: More seeds: whole requests that are refused as they are.
    """

    def __init__(
        self, port: int, path: str, token: str, dice: random.Random, *, evil: Sequence[bytes] = ()
    ) -> None:
        self.statuses: collections.Counter[str] = collections.Counter()
        self.problem = ""
        self._port = port
        self._dice = dice
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        ).encode()
        chunked = b"Transfer-Encoding: chunked\r\n\r\n"
        pieces = b"".join(b"%x\r\n%b\r\n" % (1, b"1"[:1]) for _ in range(9)) + b"0\r\n\r\n"
        self._seeds = [
            *evil, *(self._post(body) for body in _BODIES), self._head + chunked + pieces,
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            self._post(_BODIES[0]) * 3,
        ]  # fmt: skip

    def request(self) -> bytes:
        """Return the next one to send."""
        dice = self._dice
        if dice.random() < 0.5:
            return self._post(self._mutated(dice.choice(_BODIES)))
        return self._mutated(dice.choice(self._seeds))

    async def run(self, count: int, connections: int) -> None:
        """Send many, so many at a time."""
        left = iter(range(count))

        async def one_after_the_other() -> None:
            for _ in left:
                await self._send(self.request())

        await asyncio.gather(*(one_after_the_other() for _ in range(connections)))

    async def _send(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                said = await self._talk(data)
        except TimeoutError:
            self.statuses["hang"] += 1
            self.problem = self.problem or f"no end of the answer to {data!r}"
            return
        found = [line[9:12].decode("latin-1") for line in said.split(b"\r\n")
                 if line.startswith(b"HTTP/1.1 ")]  # fmt: skip
        self.statuses.update(found or ["closed"])
        # 503 is what the gateway says of the engine, which is not there.
        if any(status[:1] == "5" and status != "503" for status in found):
            self.problem = self.problem or f"{found} to {data!r}"

    async def _talk(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        said = b""
        try:
            writer.write(data)
            writer.write_eof()
            while piece := await reader.read(_PIECE_BYTES):
                said += piece
        except ConnectionError:
            pass  # refused in the middle of what was sent
        finally:
            writer.close()
        return said

    def _post(self, body: bytes) -> bytes:
        return self._head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def _mutated(self, seed: bytes) -> bytes:
        dice, data = self._dice, bytearray(seed)
        for _ in range(dice.choice((1, 1, 1, 2, 4, 8))):
            at, other = dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)
            low, high = min(at, other), max(at, other)
            match dice.randrange(6):
                case 0 if at < len(data):
                    data[at] = dice.randrange(256)
                case 1:
                    data[at:at] = dice.choice(_STRANGE)
                case 2:
                    del data[low : min(high, low + 20)]
                case 3:
                    data[at:at] = data[low : min(high, low + 200)]
                case 4:
                    data[at:] = dice.choice(self._seeds)[at:]
                case _:
                    del data[max(at, 1) :]
        return bytes(data)


async def measure(fuzz: Fuzz, pids: list[int], options: argparse.Namespace) -> int:
    """Run in ten parts; show answers and memory after each."""
    processes = [psutil.Process(pid) for pid in pids]
    rss = []
    for part in range(10):
        await fuzz.run(options.count // 10, options.connections)
        rss.append([process.memory_info().rss >> 20 for process in processes])
        print(f"{(part + 1) * options.count // 10:>8} requests, RSS MiB of gateway and worker: "
              f"{rss[-1]}", flush=True)  # fmt: skip
    print(dict(fuzz.statuses))
    # The first part warms allocators and caches; from then on nothing may grow with the requests.
    grown = max(last - first for first, last in zip(rss[0], rss[-1], strict=True))
    if fuzz.problem or grown > 32:
        print(fuzz.problem or f"memory grew by {grown} MiB", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    from benchmarks import predict  # and with it scikit-learn, which only this part needs

    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        _model, artifact, _rows = predict.train(folder)
        with predict.mlengine_server(folder, artifact) as (target, *_):
            dice = random.Random(options.seed)
            fuzz = Fuzz(target.port, target.path, target.token, dice)
            return asyncio.run(measure(fuzz, target.pids, options))


if __name__ == "__main__":
    raise SystemExit(main())
