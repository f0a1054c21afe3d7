"""The sidecar of an attempt: buckets for trainers that speak ``gs://`` themselves.

    replica ── http://127.0.0.1:PORT/SECRET/storage/v1/… ──▶ ┌─────────┐
    replica ── CONNECT storage.googleapis.com, then TLS ───▶ │ sidecar │──▶ folders of the buckets
    replica ── CONNECT any.other.host ─────────────────────▶ └─────────┘──▶ that host, untouched

One process an attempt, started by the first connection (`mlengine.runtime.sidecar`), so that it
works while the engine is away, ends with the attempt, and costs nothing who never asks. It listens
on loopback alone, answers nobody without the attempt's own secret, and has neither the engine's
token nor its store: what buckets there are it reads from a file that the engine wrote, and from
the folder that they lie in.

`config` is that file, `table` the buckets it tells of, `certificates` why TLS is accepted,
`server` the port, `connect` the proxy on it and `outward` the way to the rest of the world. The
API itself is `mlengine.storage.gcs`.
"""

from __future__ import annotations

__all__: list[str] = []
