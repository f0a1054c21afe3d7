"""Runs one replica on a node of a cluster, for a supervisor on another machine.

    python -I -S path/to/outpost.py            orders come on stdin, frames go to stdout
    python -I -S path/to/outpost.py sweep TAG  kill what an outpost that died left behind

It is a gang of one: the replica has the same session, limits, helpers and end as on the engine's
own machine. What it prints goes to stdout as it is (see `farlink`); when nobody takes it, the
replica's pipe fills up and it waits, as it would for any reader. The outpost belongs to nobody: it
is an orphan, so a cluster that kills its workers' children does not kill it before it has cleaned
up. It ends when its replica has, when stdin is closed, and when no beat came for `LEASE_S`.

Standard library only, Python >= 3.8, Linux.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # as in `supervisor`
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from mlengine.runtime import farlink, processes
from mlengine.runtime.frames import pack
from mlengine.runtime.gang import Gang
from mlengine.runtime.replica import Replica
from mlengine.runtime.sidecar import Sidecars
from mlengine.runtime.supervisor import Signals, become_reaper

if TYPE_CHECKING:
    from mlengine.runtime.logfile import LogFile
    from mlengine.runtime.logline import Line, Stream

__all__ = ["main"]

_LENGTH = struct.Struct("<I")
_CLOGGED_BYTES = 1 << 20
_CLOGGED_WAIT_S = 0.1
_FLUSH_TICK_S = 0.01
_FAREWELL_S = farlink.LEASE_S


def main(arguments: list[str]) -> int:
    """Run the replica that stdin describes; return the outpost's own exit code."""
    if arguments:
        processes.freeze_and_kill(lambda: processes.of_attempt(arguments[1], {}))
        return 0
    if os.fork():
        os._exit(0)
    become_reaper()
    order = _read_order()
    wire, signals = _Wire(), Signals()
    replica = _Posted(order["replica"], wire)
    gang = _PostedGang(order, replica, wire, signals)
    if gang.start(str(order["tag"])):
        wire.put(farlink.STARTED, b"")
    gang.run()
    wire.put(farlink.ENDED, json.dumps(replica.record()).encode("ascii"))
    wire.farewell()
    return 0


def _read_order() -> dict[str, Any]:
    """Read the length and the JSON with which stdin begins."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        wanted, data = _LENGTH.size, b""
        while len(data) < wanted:
            chunk = stdin.read(wanted - len(data))
            if not chunk:
                sys.exit(1)
            data += chunk
            if len(data) == _LENGTH.size == wanted:
                wanted += _LENGTH.unpack(data)[0]
    found: dict[str, Any] = json.loads(data[_LENGTH.size :])
    return found


class _Wire:
    """Orders in, frames out; neither ever blocks."""

    def __init__(self) -> None:
        self.stop_wanted = False
        self.kill_wanted = False
        self.why = ""
        self._beat_s = time.monotonic()
        self._left = bytearray()
        self._closed = False
        for descriptor in (0, 1):
            os.set_blocking(descriptor, False)

    @property
    def clogged(self) -> bool:
        """Whether so much waits to be taken that no more should come."""
        return len(self._left) > _CLOGGED_BYTES and not self._closed

    @property
    def waiting(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self._left)

    def put(self, kind: int, payload: bytes) -> None:
        """Send a frame, now or later."""
        if not self._closed:
            self._left += pack(0, kind, payload)
            self.flush()

    def flush(self) -> None:
        """Send what the pipe has room for."""
        try:
            while self._left:
                sent = os.write(1, memoryview(self._left)[: 1 << 16])
                del self._left[:sent]
        except BlockingIOError:
            pass
        except OSError:  # nobody is there any more
            self._closed = True
            self._left.clear()

    def exchange(self, timeout_s: float) -> None:
        """Wait until something can be sent or an order came."""
        outgoing = [1] if self._left else []
        readable, _, _ = select.select([0], outgoing, [], timeout_s)
        if readable:
            self.read(0)
        self.flush()

    def read(self, descriptor: int) -> bool:
        """Take orders; return False once nobody gives any."""
        try:
            data = os.read(descriptor, 4096)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._kill("whoever watched over it on this machine ended")
        self._beat_s = time.monotonic()
        self.stop_wanted |= farlink.ORDER_STOP in data
        self.kill_wanted |= farlink.ORDER_KILL in data
        return bool(data)

    def tend(self) -> None:
        """Notice that nobody beats any more."""
        if time.monotonic() - self._beat_s > farlink.LEASE_S and not self.kill_wanted:
            self._kill(f"its supervisor was not heard of for {farlink.LEASE_S:g} s")

    def farewell(self) -> None:
        """Send the rest, if somebody takes it."""
        until_s = time.monotonic() + _FAREWELL_S
        while self._left and time.monotonic() < until_s:
            select.select([], [1], [], 1.0)
            self.flush()

    def _kill(self, why: str) -> None:
        self.kill_wanted, self.why = True, why


class _Output:
    """Stands where a supervisor has a replica's log."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def take(self, _stream: Stream, data: bytes) -> None:
        """Send on what the replica printed."""
        self._wire.put(farlink.OUTPUT, data)

    def write(self, lines: Sequence[Line]) -> None:
        """Nothing: the end of an unfinished line was sent with its beginning."""

    def settle(self) -> None:
        """Nothing is held."""

    tend = close = settle


class _Posted(Replica):
    """The replica; what is said about it goes to its supervisor."""

    def __init__(self, spec: Mapping[str, Any], wire: _Wire) -> None:
        log: LogFile = _Output(wire)  # type: ignore[assignment]
        super().__init__(spec, log)
        self._wire = wire

    def say(self, severity: str, text: str) -> None:
        """Have the supervisor add a line to the log."""
        self._wire.put(farlink.SAY, json.dumps([severity, text]).encode("ascii"))

    def read(self, descriptor: int) -> bool:
        """Send on what a pipe holds, unless too much waits to be taken already."""
        if self._wire.clogged:
            self._wire.exchange(_CLOGGED_WAIT_S)
            if self._wire.clogged:
                return True
        return super().read(descriptor)

    def finish(self) -> None:
        """Close what is open."""
        for descriptor in list(self.streams):
            self.close_pipe(descriptor)
        self._limits.close()


class _PostedGang(Gang):
    """A gang of one that obeys its supervisor."""

    def __init__(
        self, order: Mapping[str, Any], replica: _Posted, wire: _Wire, signals: Signals
    ) -> None:
        folder = Path(order["attempt_dir"])
        sidecars = Sidecars(order.get("sidecars") or [], folder)
        order["replica"]["env"] = {**sidecars.variables, **order["replica"]["env"]}
        super().__init__(
            {"grace_s": order["grace_s"]}, folder, [replica], sidecars=sidecars,
            wake_descriptor=signals.wake_descriptor, cancel_signalled=lambda: signals.cancelled,
            note_started=lambda: None,
        )  # fmt: skip
        self._wire = wire
        self._selector.register(0, selectors.EVENT_READ, wire)

    def _cancel_wanted(self) -> bool:
        return self._wire.stop_wanted or self._wire.kill_wanted or self._cancel_signalled()

    def _press(self) -> None:
        if self._wire.kill_wanted:
            self._kill_at_s = 0.0
        super()._press()

    def _listen(self, timeout_s: float) -> bool:
        heard = super()._listen(min(timeout_s, _FLUSH_TICK_S) if self._wire.waiting else timeout_s)
        self._wire.flush()
        self._wire.tend()
        return heard

    def _drain(self) -> None:
        """Read on to the end of every pipe: all is dead that could hold one open."""
        until_s = time.monotonic() + _FAREWELL_S
        while any(r.streams for r in self._replicas) and time.monotonic() < until_s:
            self._listen(_FLUSH_TICK_S)

    def _close(self, replica: Replica) -> None:
        if self._wire.why:
            replica.say("ERROR", f"The replica was killed: {self._wire.why}.")
        replica.finish()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))
