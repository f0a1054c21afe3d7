"""Numbers that more than one room must agree on."""

from __future__ import annotations

__all__ = [
    "DEFAULT_PREDICT_BYTES",
    "MAX_BATCH_DEADLINE_MS",
    "MAX_BATCH_SIZE",
    "MAX_LOG_WAIT_S",
    "MAX_PREDICT_BYTES",
    "MAX_WORKER_BYTES",
]

DEFAULT_PREDICT_BYTES = 1_572_864
"""Longest body of a prediction where nothing else is said: 1.5 MiB, as at Google."""

MAX_PREDICT_BYTES = 1 << 30
"""Longest body of a prediction that any version may take: 1 GiB."""

MAX_BATCH_SIZE = 1 << 20
"""Most instances that any version may be asked about by one call that requests share."""

MAX_BATCH_DEADLINE_MS = 10_000
"""Longest that a request of any version may wait for others to share its call."""

MAX_WORKER_BYTES = 1 << 50
"""Most memory that a version may ask for its workers."""

MAX_LOG_WAIT_S = 30.0
"""How long one request for logs waits at most, in seconds; proxies cut idle answers at 60."""
