"""What `cloudml-hypertune` reports: a small file per replica, rewritten with every report.

    <attempt>/hypertune/<role>-<index>[-<trial>].metrics

One JSON object a line: ``timestamp``, ``trial``, ``global_step``, ``checkpoint_path`` and one more
key, which is the metric's tag; all values but the timestamp are strings. The library keeps its
last hundred reports and writes them all again each time, so a reader may meet half a line;
`mlengine.runtime.report` only appends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mlengine.training import lenientjson
from mlengine.training.eventfiles import Scalar, in_64_bits

__all__ = ["FOLDER", "ReportLines", "report_files"]

FOLDER = "hypertune"
"""Name of the folder, below the attempt's."""

_OWN_KEYS = frozenset({"timestamp", "trial", "global_step", "checkpoint_path"})
_FILE = re.compile(r"(?P<role>[a-z]+)-(?P<index>\d+)(?:-(?P<trial>.+))?\.metrics")
_MAX_BYTES = 16 * 1024 * 1024
_REMEMBERED_BYTES = 4096


def report_files(attempt_dir: Path) -> Iterator[tuple[str, Path]]:
    """Yield each replica's name and the file that it reports to.

    Args:
        attempt_dir: The attempt's folder; it need not exist.
    """
    for path in sorted((attempt_dir / FOLDER).glob("*.metrics")):
        match = _FILE.fullmatch(path.name)
        if match and path.is_file():
            run = f"{match['role']}-replica-{match['index']}"
            yield (f"{run}/{match['trial']}" if match["trial"] else run), path


class ReportLines:
    """The reports of one file, read on from where the last `read` ended while it only grows.

    A file that was written again is read from its beginning, so what it still has comes again.

    Args:
        path: The file; it may grow, be replaced, or not be there yet.
        size_bytes: Most of it that one `read` takes.
    """

    def __init__(self, path: Path, *, size_bytes: int = _MAX_BYTES) -> None:
        self._path, self._offset = path, 0
        self._size_bytes = size_bytes
        self._before = b""  # what the file had right before the offset
        self.has_more = False
        """Whether the last `read` left something for the next one, for it was too much at once."""
        self.is_anew = False
        """Whether the last `read` began at the beginning, as the file was written again."""

    def read(self) -> list[Scalar]:
        """Return what the lines behind the last ones say; a half line comes again when whole."""
        self.has_more = self.is_anew = False
        try:
            with self._path.open("rb") as file:
                self._go_on(file)
                data = file.read(self._size_bytes)
        except OSError:
            return []
        self.has_more = len(data) == self._size_bytes
        whole = data[: data.rfind(b"\n") + 1] or (data if self.has_more else b"")
        self._offset += len(whole)
        self._before = (self._before + whole)[-_REMEMBERED_BYTES:]
        return _reported(data)

    def _go_on(self, file: BinaryIO) -> None:
        """Go to where the last `read` ended, or to the beginning of a file that is another one."""
        file.seek(self._offset - len(self._before))
        if file.read(len(self._before)) != self._before:
            self.is_anew = True
            self._offset, self._before = 0, b""
            file.seek(0)


def _reported(data: bytes) -> list[Scalar]:
    found: dict[tuple[str, int, float], Scalar] = {}
    for line in data.splitlines():
        for scalar in _scalars(line):
            found[scalar.tag, scalar.step, scalar.time_s] = scalar
    return list(found.values())


def _scalars(line: bytes) -> list[Scalar]:
    try:
        row: Any = lenientjson.loads(line)
        if not isinstance(row, dict):
            return []
        step = in_64_bits(int(float(row.get("global_step") or 0)))
        time_s = float(row.get("timestamp") or 0)
        values = {tag: value for tag, value in row.items() if tag not in _OWN_KEYS}
        "".join(values).encode()  # half of a surrogate pair is no text: no answer could carry it
        return [Scalar(str(tag), step, float(value), time_s) for tag, value in values.items()]
    except (ValueError, TypeError, OverflowError, RecursionError):
        return []
