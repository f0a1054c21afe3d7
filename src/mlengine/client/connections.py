"""Connections to an engine's address, whichever kind that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlengine.client.trust import Trust
from mlengine.core.errors import InvalidArgument

if TYPE_CHECKING:
    # Imported when the first connection is made: commands that make none start faster.
    import http.client
    import socket

__all__ = ["connector", "notice_loss"]

_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""Seconds of silence before the first probe (Linux, macOS), between them, and how many."""


def connector(endpoint: str, trust: Trust) -> Callable[[float], http.client.HTTPConnection]:
    """Return what makes a connection to an endpoint, given its longest silence in seconds.

    Raises:
        InvalidArgument: The endpoint is not an address.
    """
    from urllib.parse import urlsplit

    wrong = InvalidArgument(
        f"{endpoint[:200]!r} is not an engine's address.", "Write it like http://127.0.0.1:8470."
    )
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme == "unix" and parts.path:
        return lambda timeout_s: _unix_connection(parts.path, timeout_s)
    if parts.scheme not in ("http", "https") or parts.path not in ("", "/"):
        raise wrong
    if not host or not host.isprintable() or " " in host:
        raise wrong

    def connect(timeout_s: float) -> http.client.HTTPConnection:
        import http.client

        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=trust.context())

    return connect


def notice_loss(sock: socket.socket) -> None:
    """Have the system ask in a long silence whether the other machine is still there.

    Who may wait for an hour hears after two minutes that it lost its power, or its network.
    """
    import socket

    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _unix_connection(path: str, timeout_s: float) -> http.client.HTTPConnection:
    import http.client
    import socket

    class UnixConnection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout_s)
            self.sock.connect(path)

    return UnixConnection("localhost")
