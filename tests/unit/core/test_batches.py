"""A batch taken apart and answered: whatever a client may write, and nothing beyond its limits."""

from __future__ import annotations

import pytest

from mlengine.core.batches import boundary_of, gathered, read_batch, write_batch
from mlengine.core.errors import InvalidArgument

PART = b"--b\r\nContent-Type: application/http\r\nContent-ID: <1 +\r\n 2>\r\n\r\n"


def test_a_request_is_read_to_its_last_byte() -> None:
    text = (
        b"POST /v1/x?a=b HTTP/1.1\r\nContent-Type: application/json\r\nX: 1\r\n\r\n{}\r\n\r\n \xff"
    )
    (part,) = read_batch(PART + text + b"\r\n--b--\r\n", b"b")
    assert part.key == "<1 + 2>"
    method, where, headers, body = part.read()
    assert (method, where.path, where.query) == ("POST", "/v1/x", "a=b")
    assert headers == {"content-type": "application/json", "x": "1"}
    assert body == b"{}\r\n\r\n \xff"


@pytest.mark.parametrize("text", [b"", b"no request", b"GET /x", b"GET /x y HTTP/1.1"])
def test_what_is_no_request_is_refused_by_itself(text: bytes) -> None:
    wrong, right = read_batch(PART + text + b"\r\n--b\r\n\r\nGET / HTTP/1.1\r\n--b--", b"b")
    with pytest.raises(InvalidArgument, match="no request line"):
        wrong.read()
    assert (right.key, right.read()[1].path) == ("", "/")


def test_an_address_that_is_none_is_refused_by_itself() -> None:
    (part,) = read_batch(PART + b"GET //[ HTTP/1.1\r\n--b--", b"b")
    with pytest.raises(InvalidArgument, match=r"'//\[' is no address"):
        part.read()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no end"),
        (b"x", "no end"),
        (b"--b--", "no parts"),
        (PART + b"GET / HTTP/1.1", "no end"),
        ((PART + b"GET / HTTP/1.1\r\n") * 1001 + b"--b--", r"more than 1000 .* at most 1000"),
    ],
)
def test_what_is_no_batch_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        read_batch(content, b"b")
    assert len(read_batch((PART + b"GET / HTTP/1.1\r\n") * 1000 + b"--b--", b"b")) == 1000


def test_a_batch_has_a_longest() -> None:
    endless = (b"x" * 65536 for _ in iter(int, 1))
    with pytest.raises(InvalidArgument, match=r"too large: it has 10551296 bytes.* 10 MiB at once"):
        gathered(endless)


def test_answers_are_found_by_the_keys_of_the_requests() -> None:
    kind, body = write_batch([("<a>", 200, {"X": "1"}, b"{}"), ("", 404, {}, b"")])
    first, second = read_batch(body, boundary_of(kind))
    assert (first.key, second.key) == ("<response-a>", "")
    assert first.text == b"HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\n{}"
    assert second.text.startswith(b"HTTP/1.1 404 Error\r\n")


@pytest.mark.parametrize("kind", ["", "text/plain; boundary=x", "multipart/mixed"])
def test_a_type_without_boundary_is_refused(kind: str) -> None:
    with pytest.raises(InvalidArgument, match="boundary"):
        boundary_of(kind)


def test_a_boundary_may_be_quoted() -> None:
    assert boundary_of('multipart/mixed; boundary="==0=="') == b"==0=="
