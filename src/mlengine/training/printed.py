"""Metrics that a trainer prints: ``{"metric": TAG, "value": V, "step": N}``, a line each.

<attempt>/<task>.log*.jsonl
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from mlengine.training import lenientjson
from mlengine.training.eventfiles import Scalar, in_64_bits

__all__ = ["LogLines", "log_files"]

_LOG = re.compile(r"(?P<task>.+?)\.log(?:\.(?P<part>\d+))?\.jsonl")
_SEQ = re.compile(rb'.*"seq":(\d+)}\n', re.DOTALL)


def log_files(attempt_dir: Path) -> list[tuple[str, Path]]:
    """Return each replica's name with the parts of its log, in the order of their lines.

    Args:
        attempt_dir: The attempt's folder; it need not exist.
    """
    found = []
    for path in attempt_dir.glob("*.log*.jsonl"):
        if match := _LOG.fullmatch(path.name):
            found.append((match["task"], int(match["part"] or 0), path))
    return [(task, path) for task, _part, path in sorted(found)]


_NO_METRIC = (
    ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
    msgspec.MsgspecError,
)  # fmt: skip


class _Record(msgspec.Struct):
    """What counts of a log's line."""

    timestamp: str
    message: str = ""
    json_payload: Any = None


_decode = msgspec.json.Decoder(_Record).decode


def _record(line: bytes) -> _Record:
    try:
        return _decode(line)
    except msgspec.MsgspecError:  # a payload may hold NaN
        return msgspec.convert(json.loads(line), _Record)


class LogLines:
    """The metrics that one log file holds, read on from where the last `read` ended.

    Args:
        path: The file; it may grow, or not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self._last_line = b""
        self._stamp, self._stamp_s = "", 0.0
        self.lines = 0
        """How many lines were read so far."""

    @property
    def is_there(self) -> bool:
        """Whether the file still holds what was read."""
        try:
            return self._path.stat().st_size >= self._offset
        except OSError:
            return False

    @property
    def last_number(self) -> int:
        """The number, from 1, of the last line read, in the replica's whole log; 0 if unknown."""
        match = _SEQ.fullmatch(self._last_line)
        return int(match[1]) if match else 0

    def read(self) -> Iterator[Scalar]:
        """Yield what whole lines behind the last ones say."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                # Most lines are none: they must cost no more than a look for one word.
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self.lines += 1
                    self._last_line = line
                    if b'metric\\"' in line or b'"metric"' in line:
                        scalar = self._scalar(line)
                        if scalar is not None:
                            yield scalar
        except OSError:
            pass

    def _scalar(self, line: bytes) -> Scalar | None:
        try:
            record = _record(line)
            said: Any = record.json_payload or lenientjson.loads(record.message)
            tag, value = said["metric"], said["value"]
            if not isinstance(tag, str) or isinstance(value, bool):
                return None
            tag.encode()  # half of a surrogate pair is no text: no answer could carry it
            step = in_64_bits(int(said.get("step") or 0))
            return Scalar(tag, step, float(value), self._seconds(record.timestamp))
        except _NO_METRIC:
            return None

    def _seconds(self, stamp: str) -> float:
        if stamp != self._stamp:  # lines that were printed at once have one
            self._stamp_s = datetime.fromisoformat(stamp).timestamp()
            self._stamp = stamp
        return self._stamp_s
