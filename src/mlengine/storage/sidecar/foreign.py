"""What the sidecar is asked for and does not have: it asks the real service in the caller's name.

A connection to Google's names is already ours when the first request on it names a bucket that is
not: a public one, as in ``gs://cloud-samples-data/…``. Such a request goes on to the real service
with the headers that it has, and so with the caller's own rights there, or none.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator

from mlengine.core.errors import NotFound, Unavailable
from mlengine.storage.gcs import Request, Response
from mlengine.storage.sidecar.accounts import without_token
from mlengine.storage.sidecar.outward import dial

__all__ = ["forward"]

_CHUNK_BYTES = 256 * 1024
_TIMEOUT_S = 120.0
# What belongs to one connection, and what the connection's two ends decide anew.
_HOP_BY_HOP = frozenset({
    "connection", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip


def forward(request: Request, host: str, *, what: str) -> Response:
    """Send a request to the host that it was meant for.

    Args:
        what: What it asks for, for the message.

    Raises:
        NotFound: The host cannot be reached. Not `Unavailable`: clients would try for minutes.
    """
    connection = _Connection(host, timeout=_TIMEOUT_S)
    target = request.path + (f"?{request.raw_query}" if request.raw_query else "")
    headers = {k: v for k, v in request.headers.items() if k not in _HOP_BY_HOP}
    headers = without_token(headers)
    is_chunked = "transfer-encoding" in request.headers
    if is_chunked:
        headers["transfer-encoding"] = "chunked"
    has_body = is_chunked or headers.get("content-length", "0") != "0"
    try:
        connection.request(
            request.method, target, iter(request.body) if has_body else None, headers,
            encode_chunked=is_chunked,
        )  # fmt: skip
        answer = connection.getresponse()
    except (Unavailable, OSError, http.client.HTTPException) as error:
        connection.close()
        why = error.problem if isinstance(error, Unavailable) else f"{error}."
        raise NotFound(
            f"{what} is not of this engine, and {why}", "See what it has with 'storage ls'."
        ) from None
    return _response(request.method, answer, connection)


class _Connection(http.client.HTTPSConnection):
    """To the real host, whatever the way there is."""

    def connect(self) -> None:
        """Connect; certificates are checked as always."""
        plain = dial(self.host, self.port)
        plain.settimeout(self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


def _response(
    method: str, answer: http.client.HTTPResponse, connection: http.client.HTTPConnection
) -> Response:
    headers = {
        name: value
        for name, value in answer.getheaders()
        if name.lower() not in _HOP_BY_HOP and name.lower() != "content-length"
    }

    def body() -> Iterator[bytes]:
        try:
            while chunk := answer.read(_CHUNK_BYTES):
                yield chunk
        finally:
            answer.close()
            connection.close()

    length = answer.length
    if method == "HEAD":  # for its client that is 0, whatever the object's is
        told = answer.getheader("Content-Length", "")
        length = int(told) if told.isascii() and told.isdigit() else None
    return Response(answer.status, headers, body(), length)
