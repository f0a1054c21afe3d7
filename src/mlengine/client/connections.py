"""Connections to an engine's address, whichever kind that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlengine.client.trust import Trust
from mlengine.core.errors import InvalidArgument

if TYPE_CHECKING:
    # Imported when the first connection is made: commands that make none start faster.
    import http.client

__all__ = ["connector"]


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


def _unix_connection(path: str, timeout_s: float) -> http.client.HTTPConnection:
    import http.client
    import socket

    class UnixConnection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout_s)
            self.sock.connect(path)

    return UnixConnection("localhost")
