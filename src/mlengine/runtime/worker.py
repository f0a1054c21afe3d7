"""A worker: one process that holds one loaded version and answers its predictions.

    python -m mlengine.runtime.worker WORKER_DIR

It reads ``WORKER_DIR/spec.json``, loads the model, listens on a Unix socket and says so in
``ready.json``; or it writes ``failed.json`` and exits with 3. `frames` is the protocol. One thread
does everything: a model sees one call at a time, always from the same thread, unless it says that
it may be asked by several (`Model`, 8). It goes in turns:

    read what has come on all connections ─▶ few calls of the model ─▶ send
                                            ─▶ one call for the oldest explanation, if any waits

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
from mlengine.runtime.answerer import DEFAULT_MAX_BATCH_SIZE, Answerer
from mlengine.runtime.answers import Answer, error_answer, unforeseen
from mlengine.runtime.callframe import CALL, MAX_WORDS_BYTES
from mlengine.runtime.explain import Explanations, open_explanations
from mlengine.runtime.frames import (
    EXPLAIN,
    PING,
    PREDICT,
    STATS,
    STAY,
    STAY_S,
    Frame,
    FrameReader,
    frame_head,
)
from mlengine.runtime.listening import listen
from mlengine.runtime.opening import open_model
from mlengine.runtime.prediction_error import PredictionError

__all__ = ["LOAD_FAILED", "Server", "main"]

LOAD_FAILED = 3
_READ_BYTES = 1 << 18
_MOST_READS = 16  # of one connection, before others have their turn
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
        opened = open_model(spec)
        most = spec.get("max_answer_bytes") or _DEFAULT_MAX_ANSWER_BYTES
        explanations = open_explanations(opened.model, spec, max_answer_bytes=most)
        answerer = Answerer(
            opened.model,
            shortcut=opened.shortcut,
            max_batch_size=spec.get("max_batch_size") or DEFAULT_MAX_BATCH_SIZE,
            deadline_s=spec.get("batch_deadline_ms", 0) / 1000,
            max_answer_bytes=most,
        )
        server = Server(
            answerer,
            explanations,
            Path(spec["socket"]),
            max_body_bytes=spec.get("max_body_bytes") or _DEFAULT_MAX_BODY_BYTES,
        )
    except (PredictionError, OSError) as error:
        return _report_failure(worker_dir, error)
    gc.collect()
    gc.freeze()  # the model lives as long as the process: never walk it again
    about: dict[str, Any] = {"pid": os.getpid(), "load_s": round(time.monotonic() - started_s, 3)}
    for warning in opened.about["warnings"]:
        print(f"WARNING: {warning}", file=sys.stderr)
    print(f"Answers are given this way: {opened.about['way']}", file=sys.stderr)
    about |= opened.about
    process.write_json(worker_dir / "ready.json", about)
    server.run()
    return 0


class Server:
    """The socket of one model."""

    def __init__(
        self, answerer: Answerer, explanations: Explanations, path: Path, *, max_body_bytes: int
    ) -> None:
        self._answerer = answerer
        self._explanations = explanations
        self._path = path
        self._max_body_bytes = max_body_bytes
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._stop_by_s: float | None = None
        self._stays = False
        self._listener = listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self.read_buffer = memoryview(bytearray(_READ_BYTES))
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, lambda: self._woken.recv(64))
        answerer.attend(wake=self._wake, is_expecting=self._is_expecting)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        signal.set_wakeup_fd(self._waker.fileno())
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        while not self._is_drained():
            for key, _ in self._ready():
                key.data()
            self._answer_waiting()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of such bytes: it wakes anyway
            self._waker.send(b"\0")

    def _is_expecting(self) -> bool:
        return any(connection.is_amid_frame for connection in self._connections)

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for something to read; look for it without sleeping where the gateway says so."""
        pause_s = self._pause_s()
        if self._stays and pause_s is None:
            self._stays = False
            until_s = time.monotonic() + STAY_S
            while time.monotonic() < until_s:
                if found := self._selector.select(0):
                    return found
                os.sched_yield()  # the gateway, or a caller, may wait for this CPU
        return self._selector.select(pause_s)

    def _pause_s(self) -> float | None:
        """Return how long to wait for something to read."""
        if self._explanations:
            return 0.0
        if self._stop_by_s is not None:
            return 0.05
        return self._answerer.wait_s(now_s=time.monotonic())

    def _answer_waiting(self) -> None:
        """Answer what is due; what one call of the model answered is sent before the next."""
        now_s = time.monotonic() if self._stop_by_s is None else float("inf")
        for answers in self._answerer.answers(now_s=now_s):
            _hand_out(answers)
        _hand_out(self._explanations.step(now_s=time.monotonic()))

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
            with contextlib.suppress(OSError):  # who made it removes it, if we may not
                self._path.unlink()
        for connection in list(self._connections):
            connection.turn()
        self._answer_waiting()
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

    def watch(self, connection: _Connection, before: int, events: int) -> None:
        if not before:
            self._selector.register(connection.socket, events, connection.turn)
        elif not events:
            self._selector.unregister(connection.socket)
        else:
            self._selector.modify(connection.socket, events, connection.turn)

    def forget(self, connection: _Connection, before: int) -> None:
        if before:
            self._selector.unregister(connection.socket)
        self._connections.discard(connection)
        connection.socket.close()

    def reader(self) -> FrameReader:
        return FrameReader(max_payload_bytes=self._max_body_bytes + MAX_WORDS_BYTES)

    def take_all(self, connection: _Connection, frames: list[Frame]) -> None:
        """Let predictions and explanations wait; answer anything else."""
        add, most, now_s = self._answerer.add, self._max_body_bytes, time.monotonic()
        for frame in frames:
            request_id, kind, payload, payload_bytes = frame
            if kind == PREDICT and payload is not None and payload_bytes <= most:
                add((connection, request_id), payload, now_s=now_s)
                continue
            try:
                self._take_other(connection, frame)
            except MemoryError:
                raise
            except Exception as error:
                connection.put(request_id, error_answer(500, unforeseen(error)))

    def _take_other(self, connection: _Connection, frame: Frame) -> None:
        if frame.kind == EXPLAIN and frame.payload_bytes <= self._max_body_bytes:
            assert frame.payload is not None
            whose, now_s = (connection, frame.id), time.monotonic()
            if refused := self._explanations.add(whose, frame.payload, now_s=now_s):
                connection.put(frame.id, refused)
        elif frame.kind == STAY:
            self._stays = True
            connection.owe_nothing()
        else:
            connection.put(frame.id, self._answer(frame))

    def _answer(self, frame: Frame) -> Answer:
        if frame.kind == CALL:
            return self._answerer.converse(frame.payload, max_body_bytes=self._max_body_bytes)
        if frame.payload_bytes > self._max_body_bytes:
            return error_answer(
                400, f"Request payload size exceeds the limit: {self._max_body_bytes} bytes."
            )
        if frame.kind == PING:
            return Answer(200, b"{}")
        if frame.kind == STATS:
            return Answer(200, json.dumps(self._answerer.stats()).encode())
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
        self._due = 0  # requests that were read and not answered yet
        self._gone = False

    @property
    def is_idle(self) -> bool:
        done_reading = self._ended or (not self._may_have_more and self._reader.is_between_frames)
        return done_reading and not self._unsent and not self._due

    @property
    def is_amid_frame(self) -> bool:
        return not (self._ended or self._reader.is_between_frames)

    def turn(self) -> None:
        """Read what arrived; send what can be said at once, or was left over."""
        try:
            if not self._ended and len(self._unsent) <= _MAX_UNSENT_BYTES:
                self._receive()
        except OSError:  # the peer is gone, and with it the one who asked
            self._forget()
            return
        if self._unsent or self._ended:
            self.flush()

    def put(self, request_id: int, answer: Answer) -> None:
        """Note an answer, to be sent by `flush`."""
        self.put_all([frame_head(request_id, answer.status, len(answer.body)), answer.body], 1)

    def put_all(self, pieces: list[bytes], count: int) -> None:
        """Note the frames of so many answers, to be sent by `flush`."""
        self._due -= count
        self._unsent += b"".join(pieces)

    def owe_nothing(self) -> None:
        """Note that a frame was read that wants no answer."""
        self._due -= 1

    def flush(self) -> None:
        """Send what the peer takes; listen for what is left to do."""
        if self._gone:
            return
        try:
            if self._unsent:
                with contextlib.suppress(BlockingIOError):
                    del self._unsent[: self.socket.send(self._unsent)]
        except OSError:
            self._forget()
            return
        if self._ended and not self._unsent and not self._due:
            self._forget()
            return
        events = selectors.EVENT_WRITE if self._unsent else 0
        if not self._ended and len(self._unsent) <= _MAX_UNSENT_BYTES:
            events |= selectors.EVENT_READ
        if events != self._events:
            self._server.watch(self, self._events, events)
            self._events = events

    def _receive(self) -> None:
        buffer = self._server.read_buffer
        for _ in range(_MOST_READS):
            try:
                count = self.socket.recv_into(buffer)
            except BlockingIOError:
                self._may_have_more = False
                return
            self._may_have_more, self._ended = True, not count
            frames = self._reader.feed(bytes(buffer[:count]))
            self._due += len(frames)
            self._server.take_all(self, frames)
            if count < len(buffer):
                return

    def _forget(self) -> None:
        if not self._gone:
            self._gone = True
            self._server.forget(self, self._events)


def _hand_out(answers: list[tuple[tuple[_Connection, int], Answer]]) -> None:
    frames: dict[_Connection, list[bytes]] = {}
    for (connection, request_id), (status, body) in answers:
        pieces = frames.get(connection)
        if pieces is None:
            pieces = frames[connection] = []
        pieces += frame_head(request_id, status, len(body)), body
    for connection, pieces in frames.items():
        connection.put_all(pieces, len(pieces) // 2)
        connection.flush()


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
