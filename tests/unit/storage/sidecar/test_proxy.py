"""The proxy: our buckets at Google's names, a blind tunnel to all others."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from tests.unit.storage.sidecar.conftest import RunningSidecar
from tests.unit.storage.sidecar.upstream import Upstream, upstream


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with upstream(tmp_path_factory.mktemp("world")) as found:
        yield found


@pytest.fixture(scope="module")
def chained(world: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """A sidecar whose engine itself was started behind a proxy."""
    environ = {"PATH": os.environ["PATH"], **world.environ, "NO_PROXY": "127.0.0.1"}
    running = RunningSidecar(tmp_path_factory.mktemp("chained"), environ)
    running.buckets.write("gs://mine/a.csv", [b"ours"])
    yield running
    running.close()
    assert "Traceback" not in running.errors.read_text()


def ask(sidecar: RunningSidecar, target: str, *, secret: str | None = None) -> socket.socket:
    """Send a CONNECT; the answer is still to be read."""
    token = base64.b64encode(f"job:{sidecar.secret if secret is None else secret}".encode())
    connection = socket.create_connection(("127.0.0.1", sidecar.port), 30)
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode()
    connection.sendall(head + b"Proxy-Authorization: Basic " + token + b"\r\n\r\n")
    return connection


def answer(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def tunnel(sidecar: RunningSidecar, target: str) -> socket.socket:
    connection = ask(sidecar, target)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 200 "), head
    return connection


def fetch(
    connection: ssl.SSLSocket, path: str, *lines: str, method: str = "GET"
) -> tuple[bytes, bytes]:
    host = connection.server_hostname
    head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines])
    connection.sendall(f"{head}\r\n\r\n".encode())
    first, _empty, body = answer(connection).partition(b"\r\n\r\n")
    return first, body


def trusting(bundle: str | Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(bundle))


def test_another_host_is_reached_untouched(sidecar: RunningSidecar, world: Upstream) -> None:
    plain = tunnel(sidecar, f"127.0.0.1:{world.port}")
    context = trusting(world.files.bundle)
    with context.wrap_socket(plain, server_hostname="www.googleapis.com") as connection:
        seen = connection.getpeercert(binary_form=True)
        assert seen == ssl.PEM_cert_to_DER_cert(world.files.certificate.read_text())
        head, body = fetch(connection, "/anything")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body) == {"from": "far away"}


def test_each_direction_ends_by_itself(sidecar: RunningSidecar) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = tunnel(sidecar, f"127.0.0.1:{server.getsockname()[1]}")
        far, _address = server.accept()
        with near, far:
            near.sendall(b"question")
            near.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: far.recv(100), b"")) == b"question"
            far.sendall(b"answer" * 100_000)
            far.close()
            assert len(b"".join(iter(lambda: near.recv(65536), b""))) == 600_000


def test_a_host_behind_the_engines_own_proxy_is_reached_through_it(
    chained: RunningSidecar, world: Upstream
) -> None:
    plain = tunnel(chained, "files.example:443")
    assert world.connected[-1] == "files.example:443"
    with trusting(world.files.bundle).wrap_socket(
        plain, server_hostname="storage.googleapis.com"
    ) as connection:
        assert fetch(connection, "/x")[0].startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("storage.googleapis.com", "/mine/a.csv"),
        ("www.googleapis.com", "/download/storage/v1/b/mine/o/a.csv?alt=media"),
        ("mine.storage.googleapis.com", "/a.csv"),
    ],
)
def test_our_buckets_are_at_googles_names(chained: RunningSidecar, host: str, path: str) -> None:
    context = trusting(chained.env["SSL_CERT_FILE"])
    with context.wrap_socket(tunnel(chained, f"{host}:443"), server_hostname=host) as connection:
        head, body = fetch(connection, path)
    assert (head[:12], body) == (b"HTTP/1.1 200", b"ours")


def test_a_bucket_with_dots_is_ours_too_for_who_checks_no_name(chained: RunningSidecar) -> None:
    chained.buckets.create(Bucket(name="mine.too"))
    chained.buckets.write("gs://mine.too/a.csv", [b"dotted"])
    host = "mine.too.storage.googleapis.com"
    context = trusting(chained.env["SSL_CERT_FILE"])
    context.check_hostname = False
    with context.wrap_socket(tunnel(chained, f"{host}:443"), server_hostname=host) as connection:
        head, body = fetch(connection, "/a.csv")
    assert (head[:12], body) == (b"HTTP/1.1 200", b"dotted")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("storage.googleapis.com", "/public-data/x%2Fy.csv?a=1&a=2"),
        ("storage.googleapis.com", "/storage/v1/b/public-data/o?prefix=x"),
        ("public-data.storage.googleapis.com", "/x.csv"),
        ("www.googleapis.com", "/oauth2/v1/certs"),
    ],
)
def test_what_is_not_ours_is_asked_of_the_real_host(
    chained: RunningSidecar, world: Upstream, host: str, path: str
) -> None:
    context = trusting(chained.env["SSL_CERT_FILE"])
    with context.wrap_socket(tunnel(chained, f"{host}:443"), server_hostname=host) as connection:
        head, body = fetch(connection, path, "Authorization: Bearer own", "Range: bytes=0-3")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body) == {"from": "far away"}
    assert world.connected[-1] == f"{host}:443"
    asked = world.asked[-1]
    assert (asked["method"], asked["path"]) == ("GET", path)
    assert asked["headers"]["host"] == host
    assert asked["headers"]["authorization"] == "Bearer own"
    assert asked["headers"]["range"] == "bytes=0-3"


def test_the_length_of_what_is_not_ours_is_told_without_it(chained: RunningSidecar) -> None:
    host = "storage.googleapis.com"
    context = trusting(chained.env["SSL_CERT_FILE"])
    with context.wrap_socket(tunnel(chained, f"{host}:443"), server_hostname=host) as connection:
        head, body = fetch(connection, "/public-data/x.csv", method="HEAD")
    length = len(json.dumps({"from": "far away"}))
    assert f"Content-Length: {length}".encode() in head.split(b"\r\n")
    assert body == b""


def test_a_host_that_is_not_there_is_said_at_once(sidecar: RunningSidecar) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = answer(ask(sidecar, f"127.0.0.1:{port}"))
    assert said.startswith(b"HTTP/1.1 502 ")
    assert b"cannot be reached from here" in said


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT storage.googleapis.com HTTP/1.1\r\n\r\n",
        b"CONNECT host:0 HTTP/1.1\r\n\r\n",
        b"CONNECT host:99999 HTTP/1.1\r\n\r\n",
        b"CONNECT ho st:443 HTTP/1.1\r\n\r\n",
        b"CONNECT host:443 HTTP/3\r\n\r\n",
        b"CONNECT " + b"a" * 20_000 + b":443 HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_connect_is_refused(sidecar: RunningSidecar, head: bytes) -> None:
    connection = socket.create_connection(("127.0.0.1", sidecar.port), 30)
    connection.sendall(head)
    try:
        said = answer(connection)
    except ConnectionResetError:
        said = b"HTTP/1.1 400 reset before it was read"  # what was too long was not read to its end
    assert said.startswith(b"HTTP/1.1 400 ")
