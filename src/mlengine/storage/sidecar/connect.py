"""The head of a CONNECT request: where to, and may they."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from typing import NamedTuple

from mlengine.core.access import is_secret
from mlengine.core.errors import EngineError, InvalidArgument, Unauthenticated

__all__ = ["USER", "Target", "read_target", "refuse"]

USER = "job"
"""User name in the proxy's URL; the secret is the password."""

_MAX_HEAD_BYTES = 16 * 1024
_LINE = re.compile(rb"CONNECT (?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5}) HTTP/1\.[01]")


class Target(NamedTuple):
    """The other end that a caller wants."""

    host: str
    port: int


async def read_target(connection: socket.socket, secret: str) -> Target:
    """Read the head of a CONNECT request.

    Raises:
        InvalidArgument: It is none.
        Unauthenticated: It does not show the secret.
    """
    head = await _read_head(connection)
    first, *lines = head.split(b"\r\n")
    match = _LINE.fullmatch(first)
    if match is None or not 0 < int(match.group(3)) < 65536:
        raise InvalidArgument("The request is no 'CONNECT HOST:PORT HTTP/1.1'.")
    if not any(_shows(line, secret) for line in lines):
        raise Unauthenticated(
            "This proxy serves one job alone.", "Use the https_proxy of the job's environment."
        )
    return Target((match.group(1) or match.group(2)).decode("ascii"), int(match.group(3)))


async def refuse(connection: socket.socket, error: EngineError) -> None:
    """Answer an error; the connection ends with it."""
    status = {400: b"400 Bad Request", 401: b"407 Proxy Authentication Required"}
    line = status.get(error.http_status, b"502 Bad Gateway")
    challenge = b'Proxy-Authenticate: Basic realm="mlengine"\r\n' if line[:3] == b"407" else b""
    body = f"{error}\n".encode()
    answer = b"HTTP/1.1 %b\r\n%bContent-Type: text/plain; charset=utf-8\r\n" % (line, challenge)
    answer += b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
    await asyncio.get_running_loop().sock_sendall(connection, answer)


async def _read_head(connection: socket.socket) -> bytes:
    """Read up to the empty line and not a byte more: what follows belongs to the tunnel."""
    loop = asyncio.get_running_loop()
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(connection, 1)
        if not byte:
            raise ConnectionResetError("the caller broke off")
        head += byte
        if len(head) > _MAX_HEAD_BYTES:
            raise InvalidArgument("The request's head is too long.")
    return bytes(head)


def _shows(line: bytes, secret: str) -> bool:
    name, _colon, value = line.partition(b":")
    kind, _space, token = value.strip().partition(b" ")
    if name.strip().lower() != b"proxy-authorization" or kind.lower() != b"basic":
        return False
    wanted = base64.b64encode(f"{USER}:{secret}".encode())
    return is_secret(token.strip(), wanted)
