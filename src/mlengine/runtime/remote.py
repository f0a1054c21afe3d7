"""Replicas that run on other machines: the same gang, whose members are heard through an agent.

    ASKED ──agent──▶ PLACED ──outpost──▶ STARTED ──▶ ENDED
      ├── withdrawn before it started (GONE)           │
      ├── refused: it can never start there            │
      └── lost: its machine, or the way to it, is gone ┘

The rules of who decides, who is stopped and when are `Gang`'s; here is only what differs when the
replicas are no children of this process. An outpost (`mlengine.runtime.outpost`) does there what a
supervisor does here with processes; it says that a replica has ended once nothing of it is left.
Helpers of replicas run there too; but of those on nodes that do not see their files, here, as
children of this process: `tunnel` leads to them.

Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime import farlink, processes
from mlengine.runtime.frames import FrameReader, pack
from mlengine.runtime.gang import Gang
from mlengine.runtime.logfile import LogFile
from mlengine.runtime.logline import Stream
from mlengine.runtime.replica import Replica
from mlengine.runtime.sidecar import Sidecars

__all__ = ["RemoteGang", "RemoteReplica"]

_CONNECT_S = 20.0
_RECEIVE_BYTES = 256 * 1024
_AGENT_DIED = "the agent that runs replicas on the cluster ended, or hangs"

Send = Callable[[int, int, bytes], None]


class RemoteReplica(Replica):
    """A replica as its outpost tells of it.

    Args:
        spec: The replica's entry in ``spec.json``.
        log: Where its lines go.
        number: Its place in the specification.
    """

    def __init__(self, spec: Mapping[str, Any], log: LogFile, number: int) -> None:
        super().__init__(spec, log)
        self.number = number
        self.begun = False
        self.withdrawn = False
        self._asked: Send | None = None
        self._node = ""
        self._stream = Stream(str(spec["cwd"]))
        self._heard = [self._stream]
        self._reader = FrameReader(max_payload_bytes=farlink.MAX_FRAME_BYTES)

    @property
    def running(self) -> bool:
        """Whether it was asked for, and may yet be doing something."""
        return self._asked is not None and not self.ended and not self.withdrawn

    def ask(self, send: Send) -> None:
        """Take it that it was asked for; `send` reaches the agent."""
        self._asked = send

    def terminate(self) -> None:
        """Ask its whole process group, where it runs, to end."""
        if self._asked is not None and self.running:
            self.stopped_by_us = True
            self._asked(farlink.STOP, self.number, b"")

    def kill(self) -> None:
        """Have all of it killed."""
        if self._asked is not None and self.running:
            self._asked(farlink.KILL, self.number, b"")

    def place(self) -> dict[str, Any]:
        """Return its entry of ``started.json``: there is no process of ours to find."""
        return {"task": self.task, "node": self._node}

    def hear(self, kind: int, payload: bytes) -> None:
        """Take a frame of the agent's that is about this replica."""
        if not self.running:
            return
        if kind == farlink.DATA:
            for frame in self._reader.feed(payload):
                self._outpost_says(frame.kind, frame.payload or b"")
        elif kind == farlink.PLACED:
            self._node = str(json.loads(payload)["node"])
            self.say("INFO", f"The replica runs on {self._node}.")
        elif kind == farlink.LOST:
            self.lose(payload.decode("utf-8", "replace"))
        elif kind == farlink.REFUSED:
            self.spawn_error = payload.decode("utf-8", "replace")
            self.say("ERROR", f"The replica could not be started: {self.spawn_error}")
            self._end()
        elif kind == farlink.GONE:
            self.withdrawn = True

    def lose(self, why: str) -> None:
        """Take it that it is dead, and that nobody can say how it ended."""
        if self.running:
            self.lost = why
            self.stopped_by_us = False  # it did not end because it was asked to
            self._end()

    def _outpost_says(self, kind: int, payload: bytes) -> None:
        if kind in (farlink.OUTPUT, farlink.OLD_ERRORS):
            self.log.take(self._stream, payload)
        elif kind == farlink.SAY:
            severity, text = json.loads(payload)
            self.say(severity, text)
        elif kind == farlink.STARTED:
            self.begun = True
        elif kind == farlink.ENDED:
            told = json.loads(payload)
            self.exit_code, self.signal = told["exit_code"], told["signal"]
            self.spawn_error = told["spawn_error"]
            self.oom = told["oom"] and not self.stopped_by_us
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.log.settle()
        self.log.write(self._stream.finish())


class RemoteGang(Gang):
    """Runs the replicas of an attempt where an agent places them.

    Args:
        spec: The attempt's specification; its ``agent`` is the agent's socket.
        folder: The attempt's folder, where a cancel request appears.
        replicas: The chief first.
        wake_descriptor: Becomes readable when a signal arrives.
        cancel_signalled: Tells whether a signal asked for the end.
    """

    def __init__(
        self, spec: Mapping[str, Any], folder: Path, replicas: Sequence[RemoteReplica], *,
        wake_descriptor: int, cancel_signalled: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._helpers = Sidecars(spec.get("sidecars") or [], folder)
        super().__init__(
            spec, folder, replicas, wake_descriptor=wake_descriptor,
            cancel_signalled=cancel_signalled, sidecars=self._helpers,
            note_started=lambda: None,
        )  # fmt: skip
        self._remote = list(replicas)
        self._spec, self._folder = spec, folder
        self._agent = _Agent(str(spec["agent"]), self._remote)
        self._began_s = math.inf  # waiting for room on the cluster is not running
        self._started = 0.0
        self._killed = False

    def start(self, tag: str) -> bool:
        """Have all replicas placed and started; return False when that did not come about."""
        self._decide()
        if self._outcome:
            return False
        order: dict[str, Any] = {"tag": tag, "attempt_dir": str(self._folder)}
        for name in ("job", "grace_s", "replicas", "sidecars", "places"):
            order[name] = self._spec.get(name)
        order["helper_ports"] = self._helpers.ports
        self._helpers.attach(self._selector, tag, lambda text: self._remote[0].say("ERROR", text))
        for replica in self._remote:
            replica.ask(self._agent.send)
        if self._agent.open(order, given_up=self._cancel_wanted):
            self._agent.attach(self._selector)
        while not all(r.begun or r.ended for r in self._remote):
            self._listen(self._until_limit_s())
            if self._cancel_wanted() or any(r.failed for r in self._remote):
                self._decide()
                return False
        self._began_s, self._started = time.monotonic(), time.time()
        return True

    def run(self) -> dict[str, Any]:
        """Watch until nothing is left; return the outcome and its message."""
        try:
            record = super().run()
        finally:
            self._agent.close()  # it gives back what the cluster reserved
        return {**record, "started": self._started} if self._started else record

    def kill(self) -> None:
        """Kill everything at once; for a supervisor that cannot go on."""
        self._kill(self._replicas)
        while self._living() or not self._helpers.end():
            self._listen(0.1)
            self._reap()

    def _listen(self, timeout_s: float) -> bool:
        heard = super()._listen(timeout_s)
        self._agent.tend()
        return heard

    def _kill(self, replicas: Sequence[Replica]) -> None:
        for replica in self._remote:
            if replica in replicas:
                replica.kill()

    def _press(self) -> None:
        if time.monotonic() >= self._kill_at_s and not self._killed:
            self._killed = True
            self._kill(self._replicas)

    def _mine(self) -> list[processes.Process]:
        return []


class _Agent:
    """The supervisor's end of the socket."""

    def __init__(self, address: str, replicas: Sequence[RemoteReplica]) -> None:
        self._address = address
        self._replicas = replicas
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._reader = FrameReader(max_payload_bytes=farlink.MAX_FRAME_BYTES)
        self._heard_s = time.monotonic()
        self._lost_at_s = math.inf

    def open(self, order: Mapping[str, Any], *, given_up: Callable[[], bool]) -> bool:
        """Ask for all replicas; without an agent they are lost at once."""
        until_s = time.monotonic() + _CONNECT_S
        self._socket.settimeout(_CONNECT_S)
        while True:
            try:
                self._socket.connect(self._address)
                break
            except OSError:  # it is only just being started
                if time.monotonic() > until_s or given_up():
                    self._lose_all()
                    return False
                select.select([], [], [], 0.02)
        self._heard_s = time.monotonic()
        self.send(farlink.OPEN, 0, json.dumps(order).encode("ascii"))
        return True

    def attach(self, selector: selectors.BaseSelector) -> None:
        """Have what it says read by whoever waits on the selector."""
        selector.register(self._socket.fileno(), selectors.EVENT_READ, self)

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Tell it something; if it is gone, that is noticed by reading."""
        with contextlib.suppress(OSError):
            self._socket.sendall(pack(number, kind, payload))

    def read(self, _descriptor: int) -> bool:
        """Hear what it said; return False once it is gone."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        self._heard_s = time.monotonic()
        if not data:
            self._lost_at_s = self._heard_s + farlink.CERTAIN_S
            return False
        for frame in self._reader.feed(data):
            if frame.kind != farlink.BEAT and frame.id < len(self._replicas):
                self._replicas[frame.id].hear(frame.kind, frame.payload or b"")
        return True

    def tend(self) -> None:
        """Give up the replicas of an agent that is gone or hangs, once they must be dead."""
        now_s = time.monotonic()
        if now_s > min(self._lost_at_s, self._heard_s + farlink.SILENCE_S):
            self._lose_all()

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _lose_all(self) -> None:
        for replica in self._replicas:
            replica.lose(_AGENT_DIED)
