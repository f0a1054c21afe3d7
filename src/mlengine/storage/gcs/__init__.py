"""Buckets as Google Cloud Storage: its JSON API, for programs that speak nothing else.

    connection ─▶ api ─┬─▶ bucketverbs           GET/POST/DELETE  /storage/v1/b…
      HTTP/1.1         ├─▶ objectverbs, listing  …/o…, compose, rewriteTo, copyTo, moveTo
                       ├─▶ uploads, sessions     /upload/storage/v1/b/B/o
                       ├─▶ media                 alt=media, /download/…, /BUCKET/OBJECT
                       └─▶ batch                 /batch/storage/v1
                                 │
                              shelves            objects with generations: of a folder, of a store

`GcsApi` knows no transport: it takes a `Request` and gives a `Response`, both with their bytes as
iterators. `serve_connection` puts one over asyncio streams, plain or TLS. The generation of an
object in a folder is the time of its file in microseconds, so what a trainer wrote through a real
path has one too; in an object store it is the store's own.
"""

from __future__ import annotations

from mlengine.storage.gcs.api import GcsApi
from mlengine.storage.gcs.connection import ServerLimits, serve_connection
from mlengine.storage.gcs.messages import Request, Response

__all__ = ["GcsApi", "Request", "Response", "ServerLimits", "serve_connection"]
