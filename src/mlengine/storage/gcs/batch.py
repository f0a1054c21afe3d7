"""``POST /batch/storage/v1``: up to a hundred requests in one, answered in their order."""

from __future__ import annotations

import email.parser
import email.policy
import re
import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from mlengine.core.errors import EngineError, InvalidArgument, PermissionDenied
from mlengine.storage.gcs.messages import Request, Response, error_response
from mlengine.storage.gcs.multiparts import boundary_of

__all__ = ["answer_batch"]

_MAX_BYTES = 10 << 20
_MAX_PARTS = 1000  # Google's client gathers as many; Cloud Storage itself takes 100
_REQUEST_LINE = re.compile(r"([A-Z]{3,7}) (\S+) HTTP/1\.[01]")


def answer_batch(
    request: Request,
    handle: Callable[[Request], Response],
) -> Response:
    """Answer each part by `handle`; an upload or download is none that a batch may have."""
    boundary = boundary_of(request.headers.get("content-type", "")).decode()
    parts = _parts(_content(request), boundary)
    if len(parts) > _MAX_PARTS:
        raise InvalidArgument(f"A batch has at most {_MAX_PARTS} requests.")
    mark = f"batch_{secrets.token_hex(12)}"
    body = b"".join(f"--{mark}\r\n".encode() + _answered(part, request, handle) for part in parts)
    body += f"--{mark}--\r\n".encode()
    # Without quotes: gcsfs takes what is behind the equals sign for the boundary.
    return Response(200, {"Content-Type": f"multipart/mixed; boundary={mark}"}, [body], len(body))


def _content(request: Request) -> str:
    content = bytearray()
    for chunk in request.body:
        content += chunk
        if len(content) > _MAX_BYTES:
            raise InvalidArgument("The batch is too large.", "Send at most 10 MiB.")
    return content.decode("utf-8", "surrogateescape")


def _parts(content: str, boundary: str) -> list[tuple[str, str]]:
    """Return each part's Content-ID and the request in it."""
    header = f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n'
    policy = email.policy.compat32
    message = email.parser.Parser(policy=policy).parsestr(header + content)
    if not message.is_multipart():
        raise InvalidArgument("The batch has no parts.", "Send multipart/mixed.")
    return [
        (str(part.get("Content-ID", "")), str(part.get_payload()))
        for part in message.get_payload()
        if not isinstance(part, str)
    ]  # fmt: skip


def _answered(
    part: tuple[str, str],
    outer: Request,
    handle: Callable[[Request], Response],
) -> bytes:
    key, text = part
    try:
        response = handle(_request(text, outer))
    except EngineError as error:
        response = error_response(error)
    content = b"".join(response.body)
    head = [
        "Content-Type: application/http",
        f"Content-ID: <response-{key.strip('<>')}>" if key else "",
        "",
        f"HTTP/1.1 {response.status} {'OK' if response.status < 300 else 'Error'}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
        f"Content-Length: {len(content)}",
    ]
    lines = [line for i, line in enumerate(head) if line or i == 2]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def _request(text: str, outer: Request) -> Request:
    head, _blank, body = text.lstrip().replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.split("\n")
    match = _REQUEST_LINE.fullmatch(first.strip())
    if match is None:
        raise InvalidArgument(f"{first[:80]!r} is no request line.")
    where = urlsplit(match[2])
    path = where.path.removeprefix(urlsplit(outer.origin).path)
    headers = {
        name.strip().lower(): value.strip()
        for name, _colon, value in (line.partition(":") for line in lines)
    }
    content = body.encode("utf-8", "surrogateescape")
    request = Request(match[1], path, where.query, headers, [content], outer.origin)
    if not path.startswith("/storage/v1/") or request.query.get("alt") == "media":
        raise PermissionDenied("A batch has no uploads, downloads or batches in it.")
    return request
