"""The port in the test's own process: what it does when descriptors or threads are scarce."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import errno
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlengine.storage.sidecar.config import SidecarConfig
from mlengine.storage.sidecar.server import Sidecar

_SECRET = "s" * 32
_PATIENCE_S = 60


class _Tired(socket.socket):
    """A listener whose first calls fail, as when no descriptor is free."""

    failures = 2

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def sidecar(tmp_path: Path) -> Sidecar:
    return Sidecar(SidecarConfig(secret=_SECRET, root=str(tmp_path), buckets=[]))


@contextlib.asynccontextmanager
async def _served(sidecar: Sidecar, listener: socket.socket) -> AsyncIterator[int]:
    """Serve for a while; yield the port."""
    serving = asyncio.create_task(sidecar.serve(listener))
    try:
        async with asyncio.timeout(_PATIENCE_S):
            yield listener.getsockname()[1]
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        listener.close()


async def _first_line(port: int, request: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.encode())
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def test_it_goes_on_when_a_connection_cannot_be_accepted(sidecar: Sidecar) -> None:
    listener = _Tired(fileno=socket.create_server(("127.0.0.1", 0)).detach())

    async def ask() -> bytes:
        async with _served(sidecar, listener) as port:
            return await _first_line(port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert b" 404 " in asyncio.run(ask())
    assert listener.failures == 0


def test_a_host_is_dialled_though_other_threads_are_busy(sidecar: Sidecar) -> None:
    token = base64.b64encode(f"job:{_SECRET}".encode()).decode()
    free = threading.Event()

    async def ask(target: str) -> bytes:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, free.wait)
        head = f"CONNECT {target} HTTP/1.1\r\nProxy-Authorization: Basic {token}\r\n\r\n"
        try:
            async with _served(sidecar, socket.create_server(("127.0.0.1", 0))) as port:
                return await _first_line(port, head)
        finally:
            free.set()
            await busy

    with socket.create_server(("127.0.0.1", 0)) as far:
        assert b" 200 " in asyncio.run(ask(f"127.0.0.1:{far.getsockname()[1]}"))
