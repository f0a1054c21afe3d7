"""What only a real connection shows: stalled bodies, cut uploads, answers given early."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mlengine.client.http import HttpEngine
from mlengine.core.access import token_digest
from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Bucket, Job
from mlengine.rest.app import build_app
from tests.fakes.asgi import TOKEN
from tests.fakes.engine import FakeEngine
from tests.fakes.server import served


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def url(engine: FakeEngine) -> Iterator[str]:
    app = build_app(
        engine,
        token_digest=token_digest(TOKEN),
        allowed_hosts=[],
        max_body_bytes=1_000_000,
        max_object_bytes=50_000_000,
        body_timeout_s=0.3,
    )
    with served(app) as url:
        yield url


def _connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def _head(line: str, *more: str) -> bytes:
    lines = (line, "Host: localhost", f"Authorization: Bearer {TOKEN}", *more, "", "")
    return "\r\n".join(lines).encode()


def _until_closed(connection: socket.socket) -> bytes:
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


def test_a_body_that_stalls_is_given_up(url: str) -> None:
    with _connect(url) as connection:
        more = ("Content-Type: application/json", "Content-Length: 100")
        connection.sendall(_head("POST /v1/projects/p/jobs HTTP/1.1", *more) + b'{"job')
        answer = _until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"DEADLINE_EXCEEDED" in answer


def test_an_upload_that_stalls_is_given_up_and_leaves_nothing(url: str, engine: FakeEngine) -> None:
    engine.create_bucket(Bucket(name="data"))
    with _connect(url) as connection:
        put = _head("PUT /api/v1/buckets/data/content/x HTTP/1.1", "Content-Length: 100")
        connection.sendall(put + b"half")
        assert _until_closed(connection).startswith(b"HTTP/1.1 408")
    assert not engine.objects


def test_an_upload_that_is_cut_leaves_nothing_and_frees_its_thread(
    url: str, engine: FakeEngine
) -> None:
    engine.create_bucket(Bucket(name="data"))
    begun = threading.Semaphore(0)
    engine.before = lambda verb: begun.release() if verb == "write_object" else None
    for _ in range(40):  # more than there are threads for transfers
        with _connect(url) as connection:
            put = _head("PUT /api/v1/buckets/data/content/x HTTP/1.1", "Content-Length: 100")
            connection.sendall(put + b"half")
            assert begun.acquire(timeout=20)
    with HttpEngine(url, TOKEN, timeout_s=20) as client:
        assert client.write_object("data", "y", [b"whole"]).size == 5
    assert set(engine.objects) == {("data", "y")}


def test_a_body_over_the_limit_is_answered_while_it_is_still_sent(url: str) -> None:
    with HttpEngine(url, TOKEN, timeout_s=20) as client:
        said = r"exceeds the limit: 1000000 bytes\. This one has 50000\d\d or more\. Send less"
        with pytest.raises(InvalidArgument, match=said):
            client.create_job("p", Job(job_id="a", labels={"x": "y" * 5_000_000}))
        with pytest.raises(InvalidArgument, match="exceeds the limit"):
            client.create_bucket(Bucket(name="data"))
            client.write_object("data", "x", (b"z" * 1_000_000 for _ in range(200)))
        assert client.list_objects("data").items == []


def test_two_requests_in_one_connection_stay_apart(url: str) -> None:
    with _connect(url) as connection:
        body = b'{"jobId":"a"}GET /v1/projects/p/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n'
        head = _head(
            "POST /v1/projects/p/jobs HTTP/1.1",
            "Content-Type: application/json",
            "Content-Length: 13",
        )
        connection.sendall(head + body)
        answer = _until_closed(connection)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert answer.count(b"HTTP/1.1 401") == 1  # the second one has no token
