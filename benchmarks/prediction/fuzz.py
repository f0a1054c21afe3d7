"""Mutated requests against a real gateway and a real worker: no 500, no hang, memory flat.

    python -m benchmarks.prediction.fuzz [--count 100000] [--seed 1] [--connections 16]

The requests are predictions, explanations, and the same in the words of TensorFlow Serving and of
the Open Inference Protocol. Each is a good or an evil one with bytes changed, cut out, doubled or
mixed with another's; half of them keep their head, so that the body reaches the worker. One model
is answered by the gateway itself, and half of the connections may enter its lane when the mutation
comes. The caller then says no more, and all that comes back is read to the end. Exit 1 when
anything is wrong, with the request that did it.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from mlengine.runtime.compiled import FOLDER
from mlengine.runtime.compiled.compiler import compile_model
from tests.fakes.gateway import TOKEN
from tests.fakes.served import serve

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
_DESK = "/v1/projects/default/models/desk:predict"
_DESK_VERSION = "projects/default/models/desk/versions/v1"
_DIALECTS: dict[str, Sequence[bytes]] = {
    _DESK: _BODIES,
    "/v1/projects/default/models/m:explain": _BODIES[:1],
    "/v1/models/m:predict": (
        b'{"instances": [[1, 2, 3]]}', b'{"signature_name": "x", "inputs": [[1, 2, 3]]}',
        b'{"inputs": {"x": [["a"], ["b"]]}}',
        b'{"inputs": ' + b"[" * 70 + b'"a"' + b"]" * 70 + b"}",
    ),
    "/v1/models/m:classify": (b'{"context": {"a": 1}, "examples": [{"b": [1.5, 2]}]}',),
    "/v2/models/m/infer": (
        (b'{"id": "1", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], '
        b'"data": [1, 2, 3], "parameters": {"content_type": "np"}}], '
        b'"outputs": [{"name": "predict", "parameters": {"binary_data": true}}]}'),
        (b'{"inputs": [{"name": "x", "datatype": [], "shape": [1, 3], "data": [1, 2, 3]}], '
        b'"parameters": {"content_type": ["np"]}}'),
        (b'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [9223372036854775807, 0], '
        b'"parameters": {"binary_data_size": 0}}]}'),
    ),
}  # fmt: skip
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
        others: More paths, and the bodies that are mutated there.
    """

    def __init__(
        self, port: int, path: str, token: str, dice: random.Random, *,
        evil: Sequence[bytes] = (), others: Mapping[str, Sequence[bytes]] | None = None,
    ) -> None:  # fmt: skip
        self.statuses: collections.Counter[str] = collections.Counter()
        self.problem = ""
        self._port = port
        self._dice = dice
        self._head, *heads = (
            f"POST {one} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n".encode()
            for one in (path, *(others or {}))
        )
        self._bodies = [(self._head, body) for body in _BODIES]
        for head, bodies in zip(heads, (others or {}).values(), strict=True):
            self._bodies += [(head, body) for body in bodies]
        chunked = b"Transfer-Encoding: chunked\r\n\r\n"
        pieces = b"".join(b"%x\r\n%b\r\n" % (1, b"1"[:1]) for _ in range(9)) + b"0\r\n\r\n"
        self._seeds = [
            *evil, *(_post(*one) for one in self._bodies), self._head + chunked + pieces,
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            _post(*self._bodies[0]) * 3,
        ]  # fmt: skip
        self._good = [_post(head, b'{"instances": [[1, 2, 3]]}') for head in heads[:1]]

    def request(self) -> bytes:
        """Return the next one to send."""
        dice = self._dice
        if dice.random() < 0.5:
            head, body = dice.choice(self._bodies)
            return _post(head, self._mutated(body))
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
            if self._good and self._dice.random() < 0.5:
                writer.write(self._good[0])
                await _answer(reader)
            writer.write(data)
            writer.write_eof()
            while piece := await reader.read(_PIECE_BYTES):
                said += piece
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # refused in the middle of what was sent
        finally:
            writer.close()
        return said

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


async def _answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))


def _post(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


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
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        models = {"m": Path(name, "m"), "desk": Path(name, "desk")}
        for folder in models.values():
            _train(folder)
        compile_model(models["desk"], "SCIKIT_LEARN", models["desk"] / FOLDER)
        with serve(models) as served:
            path = "/v1/projects/default/models/m:predict"
            dice = random.Random(options.seed)
            fuzz = Fuzz(served.port, path, TOKEN, dice, others=_DIALECTS)
            pids = [served.info.pid, *(worker.pid for worker in served.workers)]
            status = asyncio.run(measure(fuzz, pids, options))
            at_desk = served.control.stats()[_DESK_VERSION]["at_desk"]
            print(f"{at_desk} answers of the gateway's own")
            return status if at_desk else 1


def _train(folder: Path) -> None:
    import joblib
    from sklearn.linear_model import LinearRegression

    folder.mkdir()
    model: Any = LinearRegression()
    joblib.dump(model.fit([[0, 0, 1], [1, 0, 0], [0, 1, 0]], [1, 2, 3]), folder / "model.joblib")


if __name__ == "__main__":
    raise SystemExit(main())
