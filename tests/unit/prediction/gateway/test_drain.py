"""A gateway that stops tells whoever still waits that there will be no answer."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.access import token_digest
from mlengine.prediction.gateway.server import Server
from mlengine.prediction.gateway.upload import MIN_BYTES
from mlengine.prediction.routing import Limits, Route, Snapshot
from tests.fakes.gateway import MODEL, PREDICT, TOKEN, VERSION, Backends, head

SLOW = head("POST", PREDICT, length=4) + b"slow"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        made = Backends(Path(folder))
        yield made
        made.close()


async def heard(backends: Backends, sent: bytes, *, is_whole: bool) -> tuple[bytes, int]:
    """Return what a caller of a gateway that stops hears, and how many connections are left.

    Args:
        backends: Where the model's worker and the engine are.
        sent: A prediction that is never answered, or a request without all its body.
        is_whole: Which of them.
    """
    loop = asyncio.get_running_loop()
    snapshot = Snapshot(
        token_digest=token_digest(TOKEN), engine_socket=backends.engine_socket,
        versions={VERSION: Route("READY", [backends.worker_socket])}, models={MODEL: VERSION},
        limits=Limits(max_body_bytes=2 * MIN_BYTES),
    )  # fmt: skip
    server = Server(snapshot, loop=loop)
    server.now_s = lambda: 0.0  # its last words take as long as this caller needs to hear them
    front = await loop.create_server(server.accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
    writer.write(sent)
    if is_whole:
        while not server.stats().get(VERSION, {}).get("load"):
            await asyncio.sleep(0)
    else:
        assert await reader.readexactly(len(CONTINUE)) == CONTINUE
    front.close()
    stopped = loop.create_task(server.drain(0.0))
    said = await reader.read()
    writer.close()
    await asyncio.wait_for(stopped, 60)
    server.close()
    return said, server.open_connections


@pytest.mark.parametrize("sent", [SLOW, SLOW + SLOW], ids=["one", "another sent ahead"])
def test_a_prediction_that_takes_too_long_is_refused(backends: Backends, sent: bytes) -> None:
    said, left = asyncio.run(heard(backends, sent, is_whole=True))
    assert said.startswith(b"HTTP/1.1 503 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"The gateway is stopping. Try again." in said
    assert b"\r\nconnection: close\r\n" in said
    assert left == 0


@pytest.mark.parametrize(("path", "length"), [
    (PREDICT, 100), (PREDICT, MIN_BYTES), ("/v1/x", 100),
])  # fmt: skip
def test_a_request_that_is_not_whole_is_refused(backends: Backends, path: str, length: int) -> None:
    sent = head("POST", path, length=length, Expect="100-continue") + b" " * 10
    said, left = asyncio.run(heard(backends, sent, is_whole=False))
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"The gateway is stopping. Try again." in said
    assert left == 0
