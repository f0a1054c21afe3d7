"""A real gateway process between a scripted worker and a scripted engine, and raw sockets to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.core.access import token_digest
from mlengine.prediction.control import GatewayControl, ensure_gateway
from mlengine.prediction.gateway.info import GatewayInfo
from mlengine.prediction.routing import Limits, Route, Snapshot
from mlengine.runtime.frames import STATS, STAY, FrameReader, pack

MODEL = "projects/p/models/census"
VERSION = MODEL + "/versions/v1"
PREDICT = f"/v1/{MODEL}:predict"
TOKEN = "mle_test-token"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeWorker(asyncio.Protocol):
    """Echoes the instances as predictions; a body of ``slow`` is never answered."""

    answers = 0
    stays = 0
    half_bytes = 0
    tells_stats = True

    def __init__(self, connected: set[Any]) -> None:
        self.connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.connected.add(transport)
        self.reader = FrameReader(max_payload_bytes=1 << 30)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connected.discard(self.transport)
        self.half_bytes = 0

    def data_received(self, data: bytes) -> None:
        self.half_bytes += len(data)
        for frame in self.reader.feed(data):
            self.half_bytes = 0
            payload = frame.payload or b""
            if frame.kind == STATS:
                if self.tells_stats:
                    stats = b'{"requests": 5, "calls": [1, 2, 0], "waiting": 0}'
                    self.transport.write(pack(frame.id, 200, stats))
                continue
            if frame.kind == STAY:
                self.stays += 1
                continue
            if payload == b"slow":
                continue
            if payload == b"die":
                self.transport.abort()
                return
            if payload == b"unfit":
                self.transport.write(pack(frame.id, 400, b'{"error": {"code": 400}}'))
                return
            try:
                said = {"predictions": json.loads(payload)["instances"]}
            except ValueError:
                said = {"predictions": len(payload)}
            self.answers += 1
            self.transport.write(pack(frame.id, 200, json.dumps(said).encode()))


class FakeEngine:
    """Answers each request with what it saw of it; ``/big`` with 8 MB, ``/sink`` reads slowly."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.writers: set[asyncio.StreamWriter] = set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.seen.append(head)
                if head.split(b" ")[1] == b"/early":
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun")
                    await reader.read()
                    break
                body = await self._body(reader, head)
                path = head.split(b" ")[1]
                if path == b"/close":
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
                    break
                said = b"x" * (8 << 20) if path == b"/big" else b"%s %d" % (path, body)
                length = b"content-length: %d\r\n\r\n" % len(said)
                writer.write(b"HTTP/1.1 200 OK\r\nx-engine: yes\r\n" + length)
                if not head.startswith(b"HEAD"):
                    writer.write(said)
                await writer.drain()
        writer.close()

    async def _body(self, reader: asyncio.StreamReader, head: bytes) -> int:
        lowered = head.lower()
        total = 0
        if b"transfer-encoding: chunked" in lowered:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
                total += size
            await reader.readline()
        elif b"content-length:" in lowered:
            left = int(lowered.split(b"content-length:")[1].split(b"\r\n")[0])
            while left:
                piece = await reader.readexactly(min(left, 1 << 14))
                total += len(piece)
                left -= len(piece)
        return total


class Backends:
    """The scripted worker and engine, on a thread of their own."""

    def __init__(self, folder: Path) -> None:
        self.worker_socket = str(folder / "worker.sock")
        self.engine_socket = str(folder / "engine.sock")
        self.engine = FakeEngine()
        self._to_workers: set[Any] = set()
        self._workers: list[FakeWorker] = []
        self._loop = asyncio.new_event_loop()
        self._servers: dict[str, asyncio.AbstractServer] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start_worker()
        self.start_engine()

    def start_worker(self) -> None:
        async def start() -> None:
            Path(self.worker_socket).unlink(missing_ok=True)
            self._servers["worker"] = await self._loop.create_unix_server(
                self._new_worker, self.worker_socket
            )

        self._do(start())

    def answered(self) -> int:
        """How many predictions the workers have answered."""
        return sum(worker.answers for worker in self._workers)

    def stays(self) -> int:
        """How often the workers were told to stay awake."""
        return sum(worker.stays for worker in self._workers)

    def half_bytes(self) -> int:
        """How many bytes the workers have of bodies that are not whole."""
        return sum(worker.half_bytes for worker in self._workers)

    def keep_stats(self, *, back: bool) -> None:
        """Let workers no longer say what they count; or say it again."""
        for worker in self._workers:
            worker.tells_stats = not back

    def _new_worker(self) -> FakeWorker:
        self._workers.append(FakeWorker(self._to_workers))
        return self._workers[-1]

    def start_engine(self) -> None:
        async def start() -> None:
            self._servers["engine"] = await asyncio.start_unix_server(
                self.engine.talk, self.engine_socket
            )

        self._do(start())

    def stop(self, name: str) -> None:
        async def stop() -> None:
            self._servers.pop(name).close()
            for writer in self.engine.writers if name == "engine" else ():
                writer.transport.abort()
            for transport in list(self._to_workers) if name == "worker" else ():
                transport.abort()

        self._do(stop())
        Path(getattr(self, f"{name}_socket")).unlink(missing_ok=True)

    def close(self) -> None:
        for name in list(self._servers):
            self.stop(name)
        self._do(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


async def _end_tasks() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Door:
    """A gateway and what is behind it."""

    def __init__(self, run_dir: Path, **limits: Any) -> None:
        self.run_dir = run_dir
        self.backends = Backends(run_dir)
        self.control = GatewayControl(run_dir)
        self.snapshot = Snapshot(
            generation=1, token_digest=token_digest(TOKEN),
            allowed_hosts=["engine.example"], open_paths={"/open": "GET"},
            engine_socket=self.backends.engine_socket,
            versions={
                VERSION: Route("READY", [self.backends.worker_socket]),
                f"{MODEL}/versions/young": Route("CREATING"),
            },
            models={MODEL: VERSION, "projects/p/models/empty": ""},
            may_stay_awake=True,
            limits=Limits(**limits),
        )  # fmt: skip
        self.control.save(self.snapshot)
        self.info: GatewayInfo = ensure_gateway(run_dir)

    def close(self) -> None:
        self.control.shutdown(timeout_s=3)
        self.backends.close()

    def kill(self) -> None:
        os.kill(self.info.pid, signal.SIGKILL)

    def connect(self) -> Caller:
        return Caller(self.info.port)

    def ask(
        self, method: str, path: str, body: bytes = b"", *, token: str = TOKEN, **headers: str
    ) -> Answer:
        """One request on its own connection; ``Host=`` and the like replace the usual headers."""
        with self.connect() as caller:
            caller.send(head(method, path, length=len(body), token=token, **headers) + body)
            return caller.answer()


class Caller:
    """A raw connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self._received = b""

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, of: str = "GET") -> Answer:
        head = b""
        while True:
            head = self._until(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 100"):
                break
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size + 2)[:-2]
            self._until(b"\r\n")
        else:
            body = b"" if of == "HEAD" else self._exactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split(" ")[1]), headers, body)

    def is_closed(self) -> bool:
        """Wait for the other side to end the connection; False when it answers instead."""
        try:
            return not self._received and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._more()
        found, self._received = self._received.split(mark, 1)
        return found + mark

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._more()
        found, self._received = self._received[:count], self._received[count:]
        return found

    def _more(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionResetError(f"closed after {self._received[:200]!r}")
        self._received += data


def head(method: str, path: str, *, length: int = 0, token: str = TOKEN, **headers: str) -> bytes:
    lines = {"Host": "localhost", "Content-Length": str(length) if length else ""}
    if token:
        lines["Authorization"] = f"Bearer {token}"
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


@contextlib.contextmanager
def open_door(**limits: Any) -> Iterator[Door]:
    """A running gateway in a run folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        door = Door(Path(folder), **limits)
        try:
            yield door
        finally:
            door.close()
