"""One prediction, straight to a worker's socket, without a gateway: for embedded use and checks."""

from __future__ import annotations

import os
import socket
import time

from mlengine.core.errors import EngineError
from mlengine.prediction.gateway.faults import answer_too_long, no_worker, too_slow, worker_died
from mlengine.prediction.gateway.hearsay import MAX_ANSWER_BYTES
from mlengine.runtime.frames import EXPLAIN, PING, PREDICT, FrameReader, pack

__all__ = ["explain_once", "ping", "predict_once"]

_REQUEST_ID = 1
_READ_BYTES = 1 << 16


def predict_once(
    worker: str | os.PathLike[str], body: bytes, timeout_s: float
) -> tuple[int, bytes]:
    """Send one predict body to a worker and wait for its answer.

    Args:
        worker: Path of the worker's socket.
        body: The HTTP body: ``{"instances": …}``.
        timeout_s: Longest wait for the whole answer, in seconds.

    Returns:
        The HTTP status and the JSON body.

    Raises:
        Unavailable: No worker listens there, or it died before it answered.
        DeadlineExceeded: It took longer.
        Internal: Its answer is longer than workers may make them.
    """
    return _ask(os.fspath(worker), PREDICT, body, timeout_s)


def explain_once(
    worker: str | os.PathLike[str], body: bytes, timeout_s: float
) -> tuple[int, bytes]:
    """Have one predict body explained by a worker; as `predict_once`."""
    return _ask(os.fspath(worker), EXPLAIN, body, timeout_s)


def ping(worker: str | os.PathLike[str], timeout_s: float) -> bool:
    """Tell whether a worker answers within a time; one that is busy with a model call does not."""
    try:
        return _ask(os.fspath(worker), PING, b"", timeout_s)[0] == 200
    except EngineError:
        return False


def _ask(path: str, kind: int, payload: bytes, timeout_s: float) -> tuple[int, bytes]:
    deadline_s = time.monotonic() + timeout_s
    reader = FrameReader(max_payload_bytes=MAX_ANSWER_BYTES)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
            talk.settimeout(timeout_s)
            talk.connect(path)
            talk.sendall(pack(_REQUEST_ID, kind, payload))
            while True:
                talk.settimeout(max(deadline_s - time.monotonic(), 0.001))
                data = talk.recv(_READ_BYTES)
                if not data:
                    raise worker_died()
                for frame in reader.feed(data):
                    if frame.payload is None:
                        raise answer_too_long("", frame.payload_bytes)
                    return frame.kind, frame.payload
    except TimeoutError:
        raise too_slow("", timeout_s) from None
    except (BrokenPipeError, ConnectionResetError):
        raise worker_died() from None
    except OSError as error:
        raise no_worker(reason=error.strerror or "") from None
