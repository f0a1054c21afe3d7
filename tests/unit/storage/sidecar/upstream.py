"""The rest of the world: an HTTPS server with a certificate for Google's names, and a proxy to it.

Whoever asks the proxy for any host gets to that one server.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlengine.storage.sidecar.certificates import ensure_certificate


class Upstream:
    """What happened there: `asked` has one row a request, `connected` one a CONNECT."""

    def __init__(self, folder: Path) -> None:
        self.files = ensure_certificate(folder, {"PATH": os.environ["PATH"]})
        self.asked: list[dict[str, Any]] = []
        self.connected: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files.certificate, self.files.key)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._proxy = socket.create_server(("127.0.0.1", 0))
        for work in (self._server.serve_forever, self._serve_proxy):
            threading.Thread(target=work, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def environ(self) -> dict[str, str]:
        """What an engine is started with that has to go through the proxy."""
        return {
            "HTTPS_PROXY": f"http://us:p%40ss@127.0.0.1:{self._proxy.getsockname()[1]}",
            "SSL_CERT_FILE": str(self.files.bundle),
        }

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                headers = {k.lower(): v for k, v in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", "0")))
                asked.append({
                    "method": self.command, "path": self.path, "headers": headers,
                    "body": body.decode(),
                })  # fmt: skip
                answer = json.dumps({"from": "far away"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_HEAD = do_POST = do_PUT = _answer

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        return Handler

    def _serve_proxy(self) -> None:
        while True:
            try:
                caller, _address = self._proxy.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(caller,), daemon=True).start()

    def _connect(self, caller: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += caller.recv(1)
        assert base64.b64encode(b"us:p@ss") in head
        self.connected.append(head.split()[1].decode())
        caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        far = socket.create_connection(("127.0.0.1", self.port))
        for source, sink in ((caller, far), (far, caller)):
            threading.Thread(target=_carry, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._proxy.close()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Upstream]:
    found = Upstream(folder)
    try:
        yield found
    finally:
        found.close()
