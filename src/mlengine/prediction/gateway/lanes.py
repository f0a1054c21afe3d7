"""Lanes of callers who ask the same but for the body: in C where that was built, else here.

    data ─▶ Caller: a known head and exactly its body? ─▶ Lane ─▶ … ─▶ hand_out
                └── anything else ─▶ received

What stands here is what `runtime/speedups/lanes.c` does, step by step; one suite holds both to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlengine.runtime import speedups

__all__ = ["Caller", "CallerInPython", "Lane", "LaneInPython", "hand_out", "hand_out_in_python"]

_log = logging.getLogger(__name__)


class LaneInPython:
    """See `speedups.Lane`."""

    def __init__(self, read: Callable[[bytes], Any], begin: Callable[[], object]) -> None:
        self._read = read
        self._begin = begin
        self._callers: list[Any] = []
        self._asked: list[Any] = []
        self._bodies: list[bytes] = []
        self._data: list[bytes] = []

    def __len__(self) -> int:
        return len(self._callers)

    def enter(self, caller: CallerInPython, data: bytes, body: bytes) -> bool:
        """Let a caller wait; False where his body is to go the general way."""
        asked = self._read(body)
        if asked is None:
            return False
        self._callers.append(caller)
        self._asked.append(asked)
        self._bodies.append(body)
        self._data.append(data)
        caller.is_clear, caller.is_waiting, caller.deadline_s = False, True, float("inf")
        if len(self._callers) == 1:
            self._begin()
        return True

    def take(self) -> tuple[list[Any], list[Any], list[bytes], list[bytes]]:
        """See `speedups.Lane.take`."""
        taken = self._callers, self._asked, self._bodies, self._data
        self._callers, self._asked, self._bodies, self._data = [], [], [], []
        return taken


class CallerInPython:
    """See `speedups.Caller`."""

    transport: Any = None
    known: dict[bytes, tuple[int, Any]] | None = None
    deadline_s = float("inf")
    is_clear = False
    is_waiting = False
    received: Callable[[bytes], None]
    catch_up: Callable[[], None]
    _known_end = 0  # where the last head that was looked up ended

    def data_received(self, data: bytes, /) -> None:
        """Take what has come: into a lane, or the general way."""
        if self.is_clear:
            if self._enter_lane(data):
                return
        elif self.is_waiting:
            self.catch_up()
        self.is_clear = False
        self.received(data)

    def _enter_lane(self, data: bytes) -> bool:
        if type(data) is not bytes or not self.known:
            return False
        # A known head has its only blank line at its end: to find it there is to find it first.
        found = self.known.get(data[: self._known_end])
        if found is None:
            self._known_end = data.find(b"\r\n\r\n") + 4
            found = self.known.get(data[: self._known_end])
            if found is None:
                return False
        length, lane = found
        if len(data) - self._known_end != length:
            return False
        return bool(lane.enter(self, data, data[self._known_end :]))


def hand_out_in_python(
    callers: list[Any], answers: list[bytes | None], head: bytes, deadline_s: float,
    lines: Sequence[bytes] = (), /,
) -> int:  # fmt: skip
    """See `speedups.hand_out`."""
    count = 0
    for place, (caller, answer) in enumerate(zip(callers, answers, strict=False)):
        if not caller.is_waiting or answer is None:
            continue
        caller.is_waiting = False
        try:
            if not caller.transport.is_closing():
                own = lines[place] if place < len(lines) else b""
                whole = b"%b%bcontent-length: %d\r\n\r\n%b" % (head, own, len(answer), answer)
                caller.deadline_s, caller.is_clear = deadline_s, True
                caller.transport.write(whole)
                count += 1
        except Exception:
            caller.is_clear = False
            _log.exception("writing an answer")
    return count


if TYPE_CHECKING:
    from mlengine.runtime.speedups._native import Caller, Lane, hand_out
elif speedups.Caller is None:
    Lane, Caller, hand_out = LaneInPython, CallerInPython, hand_out_in_python
else:
    Lane, Caller, hand_out = speedups.Lane, speedups.Caller, speedups.hand_out
