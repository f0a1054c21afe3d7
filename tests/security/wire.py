"""Requests as an attacker writes them: any method, any header, no client library's good manners."""

from __future__ import annotations

import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.live.engines import LiveEngine

__all__ = ["LEAKS", "Reply", "send"]

# What no answer may show: folders of this machine, addresses in memory, lines of our code.
LEAKS = (
    r"/proc/|/home/|/tmp/|/usr/|/var/|/root/|/run/|site-packages|\.py\b|\.sock\b"
    r"|Traceback|File \"|0x[0-9a-f]{6,}|sqlalchemy|sqlite"
)


class Reply(NamedTuple):
    """An answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """Everything that the caller sees."""
        head = "".join(f"{name}: {value}\n" for name, value in self.headers.items())
        return head + self.body.decode(errors="replace")


def send(
    engine: LiveEngine,
    method: str,
    target: str,
    body: bytes | None = None,
    *,
    token: str | None = None,
    **headers: str,
) -> Reply:
    """Send one request on a connection of its own; `_` in a header's name is written `-`.

    Args:
        engine: To whose gateway.
        method: As it is to stand in the request line.
        target: The same.
        body: Sent as JSON unless a header says otherwise.
        token: None for the right one, empty for none.
        headers: Replace or add to Host, Authorization and Content-Type.
    """
    address = urlsplit(engine.url)
    sent = {"Host": address.netloc, "Accept": "*/*"}
    token = engine.token if token is None else token
    if token:
        sent["Authorization"] = f"Bearer {token}"
    if body is not None:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        with connection.getresponse() as reply:
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, found, reply.read())
    finally:
        connection.close()
