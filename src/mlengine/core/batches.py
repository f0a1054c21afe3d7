"""A batch: HTTP requests as the parts of one ``multipart/mixed`` body, answered by another.

Google's clients send one to ``/batch``, and ``/batch/storage/v1`` for objects.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from email.message import Message
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from mlengine.core.errors import InvalidArgument

__all__ = ["MAX_BATCH_BYTES", "Part", "boundary_of", "gathered", "read_batch", "write_batch"]

MAX_BATCH_BYTES = 10 << 20
_MAX_PARTS = 1000  # what Google's client gathers, and its service takes
_REQUEST_LINE = re.compile(rb"([A-Z]{3,7}) (\S+) HTTP/1\.[01]")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLDED = re.compile(rb"\r?\n[ \t]+")


class Part(NamedTuple):
    """One request of a batch.

    Attributes:
        key: What its answer is found by; empty if it does not say.
        text: The request as it came, from its first line on.
    """

    key: str
    text: bytes

    def read(self) -> tuple[str, SplitResult, dict[str, str], bytes]:
        """Return method, target, headers (names in lower case) and body.

        Raises:
            InvalidArgument: It is no request.
        """
        head, body = _split(self.text.lstrip())
        first, *lines = head.splitlines() or [b""]
        match = _REQUEST_LINE.fullmatch(first.strip())
        if match is None:
            shown = first[:80].decode("latin-1")
            raise InvalidArgument(f"{shown!r} is no request line.", "Write it as HTTP does.")
        target = match[2].decode("latin-1")
        try:
            where = urlsplit(target)
        except ValueError:  # a bracket that stays open, and such like
            raise InvalidArgument(
                f"{target[:80]!r} is no address.", "Send a path from '/'."
            ) from None
        return match[1].decode(), where, _headers(lines), body


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a ``multipart/…`` content type names."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary("")
    if message.get_content_maintype() != "multipart" or not boundary:
        raise InvalidArgument(
            f"The content type {content_type[:80]!r} has no boundary.",
            "Send multipart/…; boundary=…",
            field="Content-Type",
        )
    return boundary.encode()


def gathered(chunks: Iterable[bytes]) -> bytes:
    """Return a whole batch, which is held in memory.

    Raises:
        InvalidArgument: It is longer than that may be.
    """
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > MAX_BATCH_BYTES:
            raise InvalidArgument(
                f"The batch is too large: it has {len(content)} bytes or more.",
                f"Send at most {MAX_BATCH_BYTES >> 20} MiB at once, in several batches.",
            )
    return bytes(content)


def read_batch(content: bytes, boundary: bytes) -> list[Part]:
    """Take a batch apart; what stands in its parts is not looked into yet.

    Raises:
        InvalidArgument: It has no parts, no end, or too many parts.

    Example:
        >>> read_batch(b"--b\\r\\nContent-ID: <1>\\r\\n\\r\\nGET / HTTP/1.1\\r\\n\\r\\n--b--", b"b")
        [Part(key='<1>', text=b'GET / HTTP/1.1\\r\\n')]
    """
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    _preamble, *rest = line.split(content, maxsplit=_MAX_PARTS + 1)
    parts: list[Part] = []
    for end, piece in zip(rest[::2], rest[1::2], strict=True):
        if end:
            break
        if len(parts) == _MAX_PARTS:
            raise InvalidArgument(
                f"The batch has more than {_MAX_PARTS} requests.",
                f"Send at most {_MAX_PARTS} at once, in several batches.",
            )
        head, text = _split(piece)
        parts.append(Part(_headers(head.splitlines()).get("content-id", ""), text))
    else:
        raise InvalidArgument("The batch has no end.", "Send multipart/mixed, whole.")
    if not parts:
        raise InvalidArgument("The batch has no parts.", "Send multipart/mixed.")
    return parts


def write_batch(
    answers: Iterable[tuple[str, int, Mapping[str, str], bytes]],
) -> tuple[str, bytes]:
    """Return content type and body of the answer to a batch.

    Args:
        answers: The part's key, and status, headers and body of its answer; in order.
    """
    mark = f"batch_{secrets.token_hex(12)}"
    body = b"".join(f"--{mark}\r\n".encode() + _written(*answer) for answer in answers)
    # Without quotes: gcsfs takes what is behind the equals sign for the boundary.
    return f"multipart/mixed; boundary={mark}", body + f"--{mark}--\r\n".encode()


def _written(key: str, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [
        "Content-Type: application/http",
        *([f"Content-ID: <response-{key.strip('<>')}>"] if key else ()),
        "",
        f"HTTP/1.1 {status} {'OK' if status < 300 else 'Error'}",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n"


def _split(text: bytes) -> tuple[bytes, bytes]:
    """Cut at the first empty line; without one, all of it is the head."""
    found = _BLANK_LINE.search(text)
    return (text[: found.start()], text[found.end() :]) if found else (text, b"")


def _headers(lines: Iterable[bytes]) -> dict[str, str]:
    unfolded = _FOLDED.sub(b" ", b"\n".join(lines)).decode("latin-1")
    pairs = (line.partition(":") for line in unfolded.split("\n") if line)
    return {name.strip().lower(): value.strip() for name, _colon, value in pairs}
