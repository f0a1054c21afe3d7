"""The head of an HTTP/1.1 request, read strictly.

What two servers might read differently is refused: two lengths, bare line feeds, folded lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from mlengine.core.errors import InvalidArgument

__all__ = ["Head", "parse_head"]

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]+) HTTP/1\.([01])")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_ONCE = ("host", "content-length", "transfer-encoding")


class Head(NamedTuple):
    """A request without its body. `length` is None for a chunked body."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    host: str
    length: int | None
    keep_alive: bool
    is_http_1_0: bool

    @property
    def expects_continue(self) -> bool:
        """Whether the caller waits before it sends the body."""
        return self.headers.get("expect", "").lower() == "100-continue"


def parse_head(data: bytes) -> Head:
    """Read a head, up to and with its empty line.

    Raises:
        InvalidArgument: It is not HTTP/1.1 as RFC 9112 has it.
    """
    first, *lines = data[:-4].split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise InvalidArgument(f"{first[:80]!a} is no request line of HTTP/1.1.")
    headers = _headers(lines)
    target = match[2].decode("ascii")
    if target.startswith(("http://", "https://")):  # as a proxy is asked
        host, _slash, rest = target.partition("://")[2].partition("/")
        target = f"/{rest}"
    else:
        host = headers.get("host", "")
    if not target.startswith("/") or (host and not _HOST.fullmatch(host)):
        raise InvalidArgument(f"{target[:80]!a} is no path, or the host is none.")
    path, _mark, query = target.partition("#")[0].partition("?")
    is_http_1_0 = match[3] == b"0"
    wishes = [w.strip().lower() for w in headers.get("connection", "").split(",")]
    return Head(
        method=match[1].decode("ascii"),
        path=path,
        raw_query=query,
        headers=headers,
        host=host or "localhost",
        length=_body_length(headers),
        keep_alive="close" not in wishes and not is_http_1_0,
        is_http_1_0=is_http_1_0,
    )


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InvalidArgument(f"{line[:80]!a} is no header line.")
        key, text = name.decode("ascii").lower(), value.strip().decode("latin-1")
        if key in headers:
            if key in _ONCE:
                raise InvalidArgument(f"The header {key} comes twice.")
            text = f"{headers[key]}, {text}"
        headers[key] = text
    return headers


def _body_length(headers: Mapping[str, str]) -> int | None:
    """Return the body's length; chunks go before a number, as RFC 9112 has it.

    TensorFlow sends both, and "identity", which is no coding at all, with an empty body.
    """
    length, coding = headers.get("content-length"), headers.get("transfer-encoding", "identity")
    if coding.lower() == "chunked":
        return None
    if coding.lower() != "identity":
        raise InvalidArgument(f"The transfer-encoding {coding[:40]!a} is not known.")
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise InvalidArgument(f"The content-length {length[:40]!a} is no number.")
    return int(length)
