from __future__ import annotations

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.storage.gcs.heads import parse_head


def head(*lines: str) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def test_a_request_is_taken_apart() -> None:
    found = parse_head(head("PUT /a%2Fb?x=1&y HTTP/1.1", "Host: h:80", "Content-Length: 12"))
    assert (found.method, found.path, found.raw_query) == ("PUT", "/a%2Fb", "x=1&y")
    assert (found.host, found.length, found.keep_alive) == ("h:80", 12, True)


def test_a_proxy_is_asked_with_the_whole_url() -> None:
    found = parse_head(head("GET http://storage.googleapis.com/b/o?x HTTP/1.1", "Host: other"))
    assert (found.host, found.path, found.raw_query) == ("storage.googleapis.com", "/b/o", "x")


def test_a_chunked_body_has_no_length_and_none_has_zero() -> None:
    assert parse_head(head("PUT / HTTP/1.1", "Transfer-Encoding: Chunked")).length is None
    assert parse_head(head("PUT / HTTP/1.1")).length == 0


def test_tensorflow_tells_the_length_in_two_ways_and_chunks_go_first() -> None:
    both = head("PUT / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked")
    assert parse_head(both).length is None
    identity = head("POST / HTTP/1.1", "Content-Length: 0", "Transfer-Encoding: identity")
    assert parse_head(identity).length == 0


def test_who_closes_says_so() -> None:
    assert not parse_head(head("GET / HTTP/1.1", "Connection: x, Close")).keep_alive
    assert not parse_head(head("GET / HTTP/1.0")).keep_alive


@pytest.mark.parametrize(
    "lines",
    [
        ("GET  / HTTP/1.1",),
        ("GET / HTTP/2.0",),
        ("get / HTTP/1.1",),
        ("GET * HTTP/1.1",),
        ("GET /\x01 HTTP/1.1",),
        ("GET / HTTP/1.1", "no colon"),
        ("GET / HTTP/1.1", "Name : x"),
        ("GET / HTTP/1.1", "X: 1", " folded"),
        ("GET / HTTP/1.1", "X: a\nY: b"),
        ("GET / HTTP/1.1", "Host: a", "Host: b"),
        ("GET / HTTP/1.1", "Host: a/b"),
        ("PUT / HTTP/1.1", "Content-Length: 1", "Content-Length: 1"),
        ("PUT / HTTP/1.1", "Content-Length: +1"),
        ("PUT / HTTP/1.1", "Content-Length: 1, 1"),
        ("PUT / HTTP/1.1", "Transfer-Encoding: gzip, chunked"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument):
        parse_head(head(*lines))
