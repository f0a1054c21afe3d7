"""The way from the sidecar to the rest of the world: directly, or through the engine's own proxy.

Replicas get our proxy in place of the one that the engine was started with, so what passes
through ours goes on to that one, under the same variables and exceptions.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import urllib.parse
import urllib.request

from mlengine.core.errors import Unavailable

__all__ = ["dial"]

_CONNECT_S = 30.0
_MAX_HEAD_BYTES = 16 * 1024


def dial(host: str, port: int) -> socket.socket:
    """Connect to a host as the engine itself would; blocking.

    Raises:
        Unavailable: It does not answer, or the proxy in between refuses.
    """
    try:
        proxy = _proxy(host, port)
        if proxy is None:
            connection = socket.create_connection((host, port), _CONNECT_S)
        else:
            connection = _through(proxy, host, port)
    except (OSError, ValueError) as error:
        why = str(error) or type(error).__name__
        raise Unavailable(f"{host}:{port} cannot be reached from here: {why}.") from None
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _proxy(host: str, port: int) -> urllib.parse.SplitResult | None:
    if urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    proxies = urllib.request.getproxies()
    url = proxies.get("https") or proxies.get("all") or ""
    return urllib.parse.urlsplit(url if "://" in url else f"http://{url}") if url else None


def _through(proxy: urllib.parse.SplitResult, host: str, port: int) -> socket.socket:
    if proxy.scheme != "http" or not proxy.hostname:
        raise ValueError(f"a proxy of the kind '{proxy.scheme}://' is not supported")
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.username is not None:
        words = urllib.parse.unquote(f"{proxy.username}:{proxy.password or ''}")
        head += f"Proxy-Authorization: Basic {base64.b64encode(words.encode()).decode()}\r\n"
    connection = socket.create_connection((proxy.hostname, proxy.port or 80), _CONNECT_S)
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        connection.sendall(f"{head}\r\n".encode("latin-1"))
        status = _head(connection).split(b"\r\n", 1)[0].split(b" ", 2)
        if status[1:2] != [b"200"]:
            said = b" ".join(status[1:]).decode("latin-1")
            raise ValueError(f"the proxy {proxy.hostname} answered {said!r}")
        undo.pop_all()
    return connection


def _head(connection: socket.socket) -> bytes:
    """Read an answer's head and not a byte more: what follows is not ours."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte or len(head) > _MAX_HEAD_BYTES:
            raise ValueError("the proxy broke off")
        head += byte
    return bytes(head)
