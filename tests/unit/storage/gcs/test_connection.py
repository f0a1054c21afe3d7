"""HTTP/1.1 as bytes on a socket."""

from __future__ import annotations

import contextlib
import http.client
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.storage import Buckets
from mlengine.storage.gcs import ServerLimits
from tests.fakes.gcs_server import gcs_server
from tests.waiting import wait_until

SECRET = "/s3cr3t-p4th"
UPLOAD = f"{SECRET}/upload/storage/v1/b/data/o?uploadType=media&name="


@pytest.fixture
def server(buckets: Buckets) -> Iterator[str]:
    with gcs_server(buckets, prefix=SECRET) as url:
        yield url


@pytest.fixture
def unfinished(buckets: Buckets) -> Path:
    return buckets.local_path("gs://data/").parent / ".staging"


def place(url: str) -> tuple[str, int]:
    host, _colon, port = url.removeprefix("http://").split("/")[0].partition(":")
    return host, int(port)


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    with socket.create_connection(place(url), timeout=20) as sock:
        yield sock


def answer(sock: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.status, response.read()


def test_a_connection_is_kept_for_many_requests(server: str) -> None:
    with connected(server) as sock:
        for each in range(3):
            sock.sendall(
                f"POST {UPLOAD}x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n{each}".encode()
            )
            assert answer(sock)[0] == 200
            sock.sendall(f"GET {SECRET}/data/x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert answer(sock) == (200, str(each).encode())
        sock.sendall(f"GET {SECRET}/data/x HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        assert answer(sock)[0] == 200
        assert sock.recv(1) == b""


def test_links_in_answers_carry_host_and_secret(server: str) -> None:
    with connected(server) as sock:
        target = f"{SECRET}/upload/storage/v1/b/data/o?uploadType=resumable&name=x"
        sock.sendall(f"POST {target} HTTP/1.1\r\nHost: here:99\r\n\r\n".encode())
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.headers["Location"].startswith(f"http://here:99{SECRET}/upload/")


@pytest.mark.parametrize(
    "path", ["/storage/v1/b/data", "/s3cr3t/storage/v1/b/data", f"{SECRET}x/storage/v1/b", "/"]
)
def test_without_the_secret_nothing_is_there(server: str, path: str) -> None:
    with connected(server) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        status, body = answer(sock)
        assert (status, b"data" in body) == (404, False)


def test_a_body_may_come_in_chunks_with_trailers(server: str) -> None:
    with connected(server) as sock:
        sock.sendall(f"POST {UPLOAD}x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sock.sendall(b"3;a=b\r\nabc\r\n2\r\n\r\n\r\n0\r\nTrailer: x\r\n\r\n")
        assert answer(sock)[0] == 200
        sock.sendall(f"GET {SECRET}/data/x HTTP/1.1\r\n\r\n".encode())
        assert answer(sock) == (200, b"abc\r\n")


def test_who_asks_first_is_told_to_go_on_or_refused_without_sending(server: str) -> None:
    head = "HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with connected(server) as sock:
        sock.sendall(f"POST {UPLOAD}x {head}".encode())
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert answer(sock)[0] == 200
        sock.sendall(f"POST {UPLOAD}x&ifGenerationMatch=0 {head}".encode())
        assert answer(sock)[0] == 412
        assert sock.recv(1) == b""


def test_a_head_request_is_answered_without_body(server: str) -> None:
    with connected(server) as sock:
        sock.sendall(f"POST {UPLOAD}x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello".encode())
        assert answer(sock)[0] == 200
        for _turn in range(2):
            sock.sendall(f"HEAD {SECRET}/data/x HTTP/1.1\r\n\r\n".encode())
            response = http.client.HTTPResponse(sock, method="HEAD")
            response.begin()
            assert (response.status, response.headers["Content-Length"]) == (200, "5")
            response.close()


@pytest.mark.parametrize("sent", ["NONSENSE\r\n\r\n", "GET / HTTP/1.1\r\nA : b\r\n\r\n"])
def test_nonsense_is_refused_and_ends_the_connection(server: str, sent: str) -> None:
    with connected(server) as sock:
        sock.sendall(sent.encode())
        assert answer(sock)[0] == 400
        assert sock.recv(1) == b""


def test_a_head_that_never_ends_is_refused(server: str) -> None:
    with connected(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000)
        assert answer(sock)[0] == 431


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_caller_that_dies_in_the_middle_leaves_nothing(
    server: str, buckets: Buckets, unfinished: Path, is_chunked: bool
) -> None:
    with connected(server) as sock:
        if is_chunked:
            sock.sendall(f"POST {UPLOAD}x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            sock.sendall(b"5\r\nhello\r\n5\r\nhel")
        else:
            sock.sendall(f"POST {UPLOAD}x HTTP/1.1\r\nContent-Length: 9\r\n\r\nhello".encode())
        wait_until(lambda: [*unfinished.iterdir()] if unfinished.exists() else [])
    wait_until(lambda: not [*unfinished.iterdir()])
    assert buckets.objects("data") == []


def test_a_caller_that_falls_silent_is_left(buckets: Buckets, unfinished: Path) -> None:
    limits = ServerLimits(head_timeout_s=0.05, body_timeout_s=0.05)
    with gcs_server(buckets, limits=limits) as url:
        with connected(url) as sock:
            sock.sendall(b"GET / HT")
            assert sock.recv(1) == b""
        with connected(url) as sock:
            target = UPLOAD.removeprefix(SECRET)
            sock.sendall(f"POST {target}x HTTP/1.1\r\nContent-Length: 9\r\n\r\nhello".encode())
            assert sock.recv(1) == b""
    assert [*unfinished.iterdir()] == []


def test_a_refused_upload_is_read_to_its_end_so_that_its_caller_hears_why(server: str) -> None:
    content = b"x" * (8 << 20)
    client = http.client.HTTPConnection(*place(server), timeout=20)
    with contextlib.closing(client):
        client.request("POST", f"{UPLOAD}a//b", body=content)
        response = client.getresponse()
        assert (response.status, b"empty segment" in response.read()) == (400, True)
        client.request("GET", f"{SECRET}/storage/v1/b/data")
        assert client.getresponse().status == 200


def test_an_object_of_any_size_takes_no_memory(server: str, buckets: Buckets) -> None:
    piece, pieces = b"0123456789abcdef" * 65536, 256
    client = http.client.HTTPConnection(*place(server), timeout=60)
    with contextlib.closing(client):
        client.request("GET", f"{SECRET}/storage/v1/b/data")
        client.getresponse().read()
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        body = (piece for _each in range(pieces))
        client.request("POST", f"{UPLOAD}big", body=body, encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert client.getresponse().read().startswith(b"{")
        client.request("GET", f"{SECRET}/data/big")
        response, size = client.getresponse(), 0
        while chunk := response.read(1 << 20):
            size += len(chunk)
        assert size == len(piece) * pieces
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 100 << 10
    buckets.delete_object("gs://data/big")
