"""A replica's log on disk: JSON lines, bounded; the first and the newest lines survive a flood.

    <task>.log.jsonl      the head: up to half the quota, never removed
    <task>.log.N.jsonl    the tail, a quarter of the quota each; only the two newest are kept

The head is written line by line as it comes. The tail of a replica that prints faster than its log
is meant to grow is not: what was read is held as it is, the oldest goes for the newest without
being looked at, and what is left is written after a pause that the last writing earned, a second
at most. So a flood costs little more than moving its bytes, and a reader still follows it; a line
says where some were dropped. A supervisor that is killed loses what it held (at most
`_MOST_HELD_BYTES`, nothing of a replica that prints at a moderate pace), and a write of the
engine's own or the end of the replica writes everything.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.runtime.logline import Line, Stream

__all__ = ["LogFile", "timestamp"]

_TAILS_KEPT = 2
_MOST_HELD_BYTES = 16 * 1024 * 1024
"""Held at once, counted as records; about 70,000 lines of 80 bytes."""
_PACE_BYTES = 16 * 1024 * 1024
"""Records written in a second before lines are held."""
_RECORD_BYTES = 110
"""What a record adds to its line, the names of task and trial aside."""


class LogFile:
    """Appends one replica's lines; whatever the disk does, the replica goes on.

    Args:
        folder: The attempt's folder.
        task: Name of the replica in logs, such as ``master-replica-0``.
        trial: The trial's id, or empty.
        quota_bytes: Most bytes that all files of this log may have together.
    """

    def __init__(self, folder: Path, task: str, *, trial: str, quota_bytes: int) -> None:
        self._folder, self._task = folder, task
        self._fixed = f'"task_name":{json.dumps(task)},"trial_id":{json.dumps(trial)}'
        self._quota_bytes = max(quota_bytes, 4096)
        self._limit_bytes = self._quota_bytes // 2
        self._part = 0
        self._lines_in_part = [0]
        self._size_bytes = 0
        self._seq = 0
        self._last_ns = 0
        self._lost = 0
        self._held: deque[_Held] = deque()
        self._held_bytes = 0
        self._most_held_bytes = min(self._quota_bytes // 4, _MOST_HELD_BYTES)
        self._skipped = 0
        self._pause_until_s = 0.0
        self._descriptor = self._open(0)

    @property
    def dropped(self) -> int:
        """How many lines are no longer, or never were, on disk."""
        return self._lost

    def take(self, stream: Stream, data: bytes) -> None:
        """Append what a replica printed; lines of a flood may be held."""
        self._last_ns = max(self._last_ns, time.time_ns())
        if self._part == 0:
            self._put(stream.feed(data), timestamp(self._last_ns))
            return
        block = stream.cut(data)
        if block:
            self._hold(stream, block, self._last_ns)
            self.tend()

    def write(self, lines: Sequence[Line]) -> None:
        """Append lines after all that was taken, stamped with this moment."""
        self.settle()
        self._last_ns = max(self._last_ns, time.time_ns())
        self._put(lines, timestamp(self._last_ns))

    def tend(self) -> None:
        """Write the lines that are held if the pause is over; to be called now and then."""
        if self._held and time.monotonic() >= self._pause_until_s:
            self.settle()

    def settle(self) -> None:
        """Write the lines that are held."""
        if not self._held:
            return
        written_bytes = self._held_bytes
        if self._skipped:
            text = f"{self._skipped:,} lines were dropped here: they came faster than a log grows."
            self._put([Line("WARNING", text)], timestamp(self._held[0].ns))
            self._skipped = 0
        while self._held:
            held = self._held.popleft()
            self._put(held.stream.read(held.block), timestamp(held.ns))
        self._held_bytes = 0
        self._pause_until_s = time.monotonic() + written_bytes / _PACE_BYTES

    def close(self) -> None:
        """Write what is held, say what was dropped, then make everything durable."""
        self.settle()
        if self._lost:
            text = f"{self._lost:,} lines of this log were dropped; its first and last are kept."
            self.write([Line("WARNING", f"{text} The quota is {self._quota_bytes:,} bytes.")])
        try:
            if self._descriptor >= 0:
                os.fsync(self._descriptor)
                os.close(self._descriptor)
        except OSError:
            pass
        self._descriptor = -1

    def _hold(self, stream: Stream, block: bytes, ns: int) -> None:
        """Hold the block; drop the oldest lines while too much is held."""
        self._held.append(_Held(stream, block, ns))
        self._held_bytes += self._cost(block)
        while self._held_bytes > self._most_held_bytes:
            oldest = self._held.popleft()
            dropped, kept = oldest.block, b""
            if not self._held:  # it is the newest, too
                dropped, kept = _halves(oldest.block)
                self._held.append(oldest._replace(block=kept))
            self._held_bytes += self._cost(kept) - self._cost(oldest.block)
            count = dropped.count(b"\n")
            oldest.stream.skip(dropped)
            self._skipped += count
            self._lost += count
            self._seq += count
            if not dropped:
                return

    def _cost(self, block: bytes) -> int:
        """Return about how many bytes the block's records will have."""
        return len(block) + block.count(b"\n") * (len(self._fixed) + _RECORD_BYTES)

    def _put(self, lines: Sequence[Line], stamp: str) -> None:
        """Append lines, to the next part those that this one has no room for."""
        while lines:
            records = self._records(lines, stamp)
            data = "".join(records)
            fit = len(records)
            room = self._limit_bytes - self._size_bytes
            if len(data) > room:
                fit = _fitting(records, room)
                if self._part and not self._size_bytes:
                    fit = max(fit, 1)  # no part has more room
                data = "".join(records[:fit])
            self._append(data, fit)
            self._seq += fit
            lines = lines[fit:]
            if lines:
                self._next_part(stamp)

    def _records(self, lines: Sequence[Line], stamp: str) -> list[str]:
        before = f'{{"timestamp":"{stamp}","severity":"'
        between = f'",{self._fixed},"message":'
        return [
            f"{before}{severity}{between}{quoted(message)}"
            f'{"" if payload is None else _payload(payload)},"seq":{seq}}}\n'
            for seq, (severity, message, payload) in enumerate(lines, self._seq + 1)
        ]

    def _append(self, records: str, count: int) -> None:
        """Write so many records at once."""
        if not count:
            return
        data = records.encode("ascii")
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._size_bytes += len(data)
            self._lines_in_part[self._part] += count
        except OSError:  # disk full: the replica must not suffer; half a line must not stay
            self._lost += count
            try:
                os.ftruncate(self._descriptor, self._size_bytes)
            except OSError:
                pass

    def _next_part(self, stamp: str) -> None:
        if self._part == 0:
            text = (
                f"The log quota of {self._quota_bytes:,} bytes is half used:"
                " from here on only the newest lines are kept."
            )
            self._append(self._records([Line("WARNING", text)], stamp)[0], 1)
            self._seq += 1
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._part += 1
        self._lines_in_part.append(0)
        self._limit_bytes = self._quota_bytes // 4
        self._size_bytes = 0
        self._descriptor = self._open(self._part)
        old = self._part - _TAILS_KEPT
        if old >= 1:
            self._lost += self._lines_in_part[old]
            try:
                self._path(old).unlink()
            except OSError:
                pass

    def _open(self, part: int) -> int:
        try:
            return os.open(
                str(self._path(part)), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
        except OSError:
            return -1  # every write to it then fails and is counted

    def _path(self, part: int) -> Path:
        return self._folder / f"{self._task}.log{f'.{part}' if part else ''}.jsonl"


class _Held(NamedTuple):
    """A block that is not written yet."""

    stream: Stream
    block: bytes
    ns: int


def _halves(block: bytes) -> tuple[bytes, bytes]:
    """Cut a block between lines, about in the middle; of a single line the first half is empty."""
    at = block.rfind(b"\n", 0, len(block) // 2) + 1 or block.find(b"\n") + 1
    return (block[:at], block[at:]) if at < len(block) else (b"", block)


def _fitting(records: Sequence[str], room: int) -> int:
    """Return how many of the records have so many bytes or fewer."""
    for count, record in enumerate(records):
        room -= len(record)
        if room < 0:
            return count
    return len(records)


def _payload(payload: dict[str, Any]) -> str:
    return f',"json_payload":{json.dumps(payload)}'


def timestamp(ns: int) -> str:
    """Write nanoseconds since the epoch as RFC 3339 with microseconds.

    Example:
        >>> timestamp(1519973406000123000)
        '2018-03-02T06:50:06.000123Z'
    """
    seconds, rest = divmod(ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"
