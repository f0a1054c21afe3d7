"""A worker: one process that holds one loaded version and answers its predictions.

    python -m mlengine.runtime.worker WORKER_DIR

It reads ``WORKER_DIR/spec.json``, loads the model, listens on a Unix socket and says so in
``ready.json``; or it writes ``failed.json`` and exits with 3. `frames` is the protocol. One thread
does everything: a model sees one call at a time, always from the same thread.

SIGTERM ends it: no new connections, every request that has begun to arrive is answered, exit 0.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from mlengine.runtime import process
from mlengine.runtime.answers import Answer, error_answer, failure, predictions_answer
from mlengine.runtime.frames import PING, PREDICT, Frame, FrameReader, pack
from mlengine.runtime.frameworks import Model, ask, load
from mlengine.runtime.instances import RequestError, parse_request
from mlengine.runtime.prediction_error import ErrorClass, PredictionError

__all__ = ["LOAD_FAILED", "Server", "main", "predict"]

LOAD_FAILED = 3
_READ_BYTES = 1 << 18
_DEFAULT_MAX_BODY_BYTES = 1_572_864
_DEFAULT_MAX_ANSWER_BYTES = 64 << 20
_MAX_UNSENT_BYTES = 64 << 20  # beyond it, a client that does not read is not read from either
_DRAIN_S = 10.0


def main(argv: list[str]) -> int:
    """Serve the version of one worker directory; return the exit status."""
    if len(argv) != 1:
        print("usage: python -m mlengine.runtime.worker WORKER_DIR", file=sys.stderr)
        return 2
    worker_dir = Path(argv[0])
    process.scrub_environment()
    process.send_prints_to_stderr()
    spec = json.loads((worker_dir / "spec.json").read_bytes())
    started_s = time.monotonic()
    try:
        model = load(
            Path(spec["artifact"]),
            framework=spec.get("framework", ""),
            signature_name=spec.get("signature_name", ""),
            where=spec.get("artifact_uri", ""),
        )
        server = Server(
            model,
            Path(spec["socket"]),
            max_body_bytes=spec.get("max_body_bytes") or _DEFAULT_MAX_BODY_BYTES,
            max_answer_bytes=spec.get("max_answer_bytes") or _DEFAULT_MAX_ANSWER_BYTES,
        )
    except (PredictionError, OSError) as error:
        return _report_failure(worker_dir, error)
    gc.collect()
    gc.freeze()  # the model lives as long as the process: never walk it again
    about = {"pid": os.getpid(), "load_s": round(time.monotonic() - started_s, 3)}
    for warning in model.describe()["warnings"]:
        print(f"WARNING: {warning}", file=sys.stderr)
    process.write_json(worker_dir / "ready.json", {**about, **model.describe()})
    server.run()
    return 0


def predict(model: Model, body: bytes, *, max_answer_bytes: int) -> Answer:
    """Answer one predict body; whatever the model does, short of `MemoryError`, is an answer."""
    try:
        request = parse_request(body)
        predictions = ask(model, request.instances, request.kwargs)
        return predictions_answer(predictions, max_bytes=max_answer_bytes)
    except RequestError as error:
        return error_answer(400, str(error))
    except PredictionError as error:
        if error.__cause__ is not None and error.error_class is not ErrorClass.INPUTS:
            traceback.print_exception(error.__cause__)  # for the version's log, not the caller
        return failure(error)


class Server:
    """The socket of one model. Requests of one connection are answered in their order."""

    def __init__(
        self, model: Model, path: Path, *, max_body_bytes: int, max_answer_bytes: int
    ) -> None:
        self._model = model
        self._path = path
        self._max_body_bytes = max_body_bytes
        self._max_answer_bytes = max_answer_bytes
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._stop_by_s: float | None = None
        self._listener = _listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        wake_out, wake_in = socket.socketpair()
        wake_in.setblocking(False)
        wake_out.setblocking(False)
        signal.set_wakeup_fd(wake_in.fileno())
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self._selector.register(wake_out, selectors.EVENT_READ, lambda: wake_out.recv(64))
        while not self._is_drained():
            for key, _ in self._selector.select(None if self._stop_by_s is None else 0.05):
                key.data()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self._stop_by_s is None:
            self._stop_by_s = time.monotonic() + _DRAIN_S

    def _is_drained(self) -> bool:
        if self._stop_by_s is None:
            return False
        if self._listener.fileno() >= 0:
            # Connections that the kernel has already accepted for us are requests in flight.
            self._accept()
            self._selector.unregister(self._listener)
            self._listener.close()
            self._path.unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.turn()
        idle = all(connection.is_idle for connection in self._connections)
        return idle or time.monotonic() > self._stop_by_s

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors: serve those who are in
                print(f"WARNING: cannot accept a connection: {error}", file=sys.stderr)
                return
            connection = _Connection(accepted, self)
            self._connections.add(connection)
            self._selector.register(accepted, selectors.EVENT_READ, connection.turn)

    def watch(self, connection: _Connection, events: int) -> None:
        self._selector.modify(connection.socket, events, connection.turn)

    def forget(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        self._connections.discard(connection)
        connection.socket.close()

    def reader(self) -> FrameReader:
        return FrameReader(max_payload_bytes=self._max_body_bytes)

    def answer(self, frame: Frame) -> Answer:
        """Answer one request of any kind."""
        if frame.payload is None:
            return error_answer(
                400, f"Request payload size exceeds the limit: {self._max_body_bytes} bytes."
            )
        if frame.kind == PREDICT:
            return predict(self._model, frame.payload, max_answer_bytes=self._max_answer_bytes)
        if frame.kind == PING:
            return Answer(200, b"{}")
        return error_answer(400, f"The request kind {frame.kind} is not known.")


class _Connection:
    def __init__(self, accepted: socket.socket, server: Server) -> None:
        accepted.setblocking(False)
        self.socket = accepted
        self._server = server
        self._reader = server.reader()
        self._unsent = bytearray()
        self._events = selectors.EVENT_READ
        self._may_have_more = True  # the last read found something
        self._ended = False  # the peer sends no more; it may still be reading

    @property
    def is_idle(self) -> bool:
        done_reading = self._ended or (not self._may_have_more and self._reader.is_between_frames)
        return done_reading and not self._unsent

    def turn(self) -> None:
        """Read what arrived, answer it, send what the peer takes."""
        try:
            if not self._ended and len(self._unsent) <= _MAX_UNSENT_BYTES:
                self._receive()
            self._send()
        except OSError:  # the peer is gone, and with it the one who asked
            self._server.forget(self)
            return
        if self._ended and not self._unsent:
            self._server.forget(self)
            return
        events = selectors.EVENT_WRITE if self._unsent else 0
        if not self._ended and len(self._unsent) <= _MAX_UNSENT_BYTES:
            events |= selectors.EVENT_READ
        if events != self._events:
            self._events = events
            self._server.watch(self, events)

    def _receive(self) -> None:
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            self._may_have_more = False
            return
        self._may_have_more, self._ended = True, not data
        for frame in self._reader.feed(data):
            status, body = self._server.answer(frame)
            self._unsent += pack(frame.id, status, body)
            self._send()

    def _send(self) -> None:
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                del self._unsent[: self.socket.send(self._unsent)]


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # the socket must never exist with wider rights, not for a moment
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(512)
    listener.setblocking(False)
    return listener


def _report_failure(worker_dir: Path, error: Exception) -> int:
    traceback.print_exception(error)
    failed: dict[str, Any] = {
        "error_class": error.error_class.code if isinstance(error, PredictionError) else 0,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    process.write_json(worker_dir / "failed.json", failed)
    return LOAD_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
