"""Servers that only list: very many objects that nobody has to make."""

from __future__ import annotations

import bisect
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_TIME = "2026-01-02T03:04:05.000Z"


class _Pager(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        names: list[str] = self.server.names  # type: ignore[attr-defined]
        answer = (_gcs if parts.path.startswith("/storage/v1/") else _s3)(names, query)
        body = answer.encode()
        self.server.sizes.append(len(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _gcs(names: list[str], query: dict[str, str]) -> str:
    start = query.get("startOffset", "")
    first = int(query.get("pageToken") or bisect.bisect_left(names, start))
    end = first + int(query["maxResults"])
    items = [
        {"name": name, "size": "0", "updated": _TIME, "generation": "7", "metageneration": "1"}
        for name in names[first:end]
    ]
    return json.dumps({"items": items, "nextPageToken": str(end) if end < len(names) else ""})


def _s3(names: list[str], query: dict[str, str]) -> str:
    first = bisect.bisect_right(names, query.get("start-after", ""))
    end = first + int(query["max-keys"])
    rows = "".join(
        f'<Contents><Key>{name}</Key><Size>0</Size><ETag>"e"</ETag>'
        f"<LastModified>{_TIME}</LastModified></Contents>"
        for name in names[first:end]
    )
    more = "true" if end < len(names) else "false"
    return f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{rows}</ListBucketResult>"


@contextlib.contextmanager
def pager(objects: int) -> Iterator[tuple[str, list[int]]]:
    """Yield the URL of a server with so many objects, and the sizes of its answers so far."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pager)
    server.daemon_threads = True
    server.names = [f"big/o{number:06}" for number in range(objects)]  # type: ignore[attr-defined]
    server.sizes = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.sizes  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
