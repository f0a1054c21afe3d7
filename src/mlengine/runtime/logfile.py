"""A replica's log on disk: JSON lines, bounded; the first and the newest lines survive a flood.

    <task>.log.jsonl      the head: up to half the quota, never removed
    <task>.log.N.jsonl    the tail, a quarter of the quota each; only the two newest are kept

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from mlengine.runtime.logline import Line

__all__ = ["LogFile", "timestamp"]

_TAILS_KEPT = 2


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
        self._descriptor = self._open(0)

    @property
    def dropped(self) -> int:
        """How many lines are no longer, or never were, on disk."""
        return self._lost

    def write(self, lines: Sequence[Line]) -> None:
        """Append lines, all stamped with this moment."""
        self._last_ns = max(self._last_ns, time.time_ns())
        stamp = timestamp(self._last_ns)
        pending: list[bytes] = []
        pending_bytes = 0
        for line in lines:
            record = self._record(stamp, line)
            if self._size_bytes + pending_bytes + len(record) > self._limit_bytes:
                self._append(pending)
                pending, pending_bytes = [], 0
                self._seq -= 1
                self._next_part(stamp)
                record = self._record(stamp, line)
            pending.append(record)
            pending_bytes += len(record)
        self._append(pending)

    def close(self) -> None:
        """Say what was dropped, then make everything durable."""
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

    def _record(self, stamp: str, line: Line) -> bytes:
        self._seq += 1
        payload = ""
        if line.payload is not None:
            payload = f',"json_payload":{json.dumps(line.payload)}'
        text = (
            f'{{"timestamp":"{stamp}","severity":"{line.severity}",{self._fixed},'
            f'"message":{json.dumps(line.message)}{payload},"seq":{self._seq}}}\n'
        )
        return text.encode("ascii")

    def _append(self, records: list[bytes]) -> None:
        if not records:
            return
        data = b"".join(records)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._size_bytes += len(data)
            self._lines_in_part[self._part] += len(records)
        except OSError:  # disk full: the replica must not suffer; half a line must not stay
            self._lost += len(records)
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
            self._append([self._record(stamp, Line("WARNING", text))])
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


def timestamp(ns: int) -> str:
    """Write nanoseconds since the epoch as RFC 3339 with microseconds.

    Example:
        >>> timestamp(1519973406000123000)
        '2018-03-02T06:50:06.000123Z'
    """
    seconds, rest = divmod(ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"
