"""What became of a day's predictions: one file of labels beside their rows, the last word counts.

A label is appended, never written over: what was said when stays there to be read. Several engines
may share the folder, so each appends under a lock; a line that a machine's end cut short is left
behind and costs nothing but itself.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

__all__ = ["Labels"]

_FILE = "labels.jsonl"


class _Line(msgspec.Struct, frozen=True):
    prediction_id: str
    groundtruth: str
    time: str = ""


_decoder = msgspec.json.Decoder(_Line)


class Labels:
    """The labels of one day's rows of a table.

    Args:
        day: The folder of the rows.
    """

    def __init__(self, day: Path) -> None:
        self._path = day / _FILE

    def read(self) -> dict[str, str]:
        """Return id → the last label."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        found = {}
        for line in data.split(b"\n"):
            try:
                label = _decoder.decode(line)
            except msgspec.MsgspecError:
                continue  # cut short, or empty
            found[label.prediction_id] = label.groundtruth
        return found

    @property
    def stamp(self) -> tuple[int, int]:
        """Changes whenever the labels do."""
        try:
            seen = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return seen.st_mtime_ns, seen.st_size

    def add(self, labels: Mapping[str, str], *, time: str) -> None:
        """Write labels down; they are on the disk when this returns."""
        lines = msgspec.json.Encoder().encode_lines(
            [_Line(name, value, time) for name, value in labels.items()]
        )
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with os.fdopen(os.open(self._path, flags, 0o600), "r+b", buffering=0) as out:
            fcntl.flock(out, fcntl.LOCK_EX)
            size = out.seek(0, os.SEEK_END)
            if size and os.pread(out.fileno(), 1, size - 1) != b"\n":
                lines = b"\n" + lines
            try:
                done = 0
                while done < len(lines):
                    done += out.write(lines[done:]) or 0
                os.fsync(out.fileno())
            except OSError:
                out.truncate(size)  # all of them, or none
                raise
