"""Both ends of a tunnel, without the cluster that lies between them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlengine.runtime.tunnel import Tunnel
from mlengine.training.launchers.raytunnel import TunnelEnd

BIG = 6 << 20


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    tunnel = Tunnel()
    yield tunnel
    tunnel.close()


async def through(tunnel: Tunnel, port: int, replica: Callable[[], Any]) -> Any:
    """Run what a replica does in a thread, with the tunnel served meanwhile."""

    async def call(method: str, *arguments: Any) -> Any:
        return await asyncio.to_thread(getattr(tunnel, method), *arguments)

    serving = asyncio.create_task(TunnelEnd(call, port).serve())
    try:
        return await asyncio.to_thread(replica)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def ask(port: int, data: bytes) -> bytes:
    """Say all, then hear all."""
    with socket.create_connection(("127.0.0.1", port), 60) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        heard = bytearray()
        while chunk := line.recv(1 << 16):
            heard += chunk
        return bytes(heard)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read())[::-1])
    await writer.drain()
    writer.close()


def test_what_is_said_arrives_in_order_and_the_answer_comes_back(tunnel: Tunnel) -> None:
    data = os.urandom(BIG)

    async def run() -> Any:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as helper:
            port = helper.sockets[0].getsockname()[1]
            asked = [b"", b"x", data]
            return await through(tunnel, port, lambda: [ask(tunnel.port, one) for one in asked])

    assert asyncio.run(run()) == [b"", b"x", data[::-1]]


def test_connections_do_not_wait_for_each_other(tunnel: Tunnel) -> None:
    async def run() -> bytes:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as helper:
            port = helper.sockets[0].getsockname()[1]

            def two() -> bytes:
                with socket.create_connection(("127.0.0.1", tunnel.port), 60):
                    return ask(tunnel.port, b"ab")

            return await through(tunnel, port, two)

    assert asyncio.run(run()) == b"ba"


def test_a_helper_that_is_gone_ends_the_connection(tunnel: Tunnel) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        port = taken.getsockname()[1]
        assert asyncio.run(through(tunnel, port, lambda: ask(tunnel.port, b"x"))) == b""
