"""What `cloudml-hypertune` reports: a small file per replica, rewritten with every report.

    <attempt>/hypertune/<role>-<index>[-<trial>].metrics

One JSON object a line: ``timestamp``, ``trial``, ``global_step``, ``checkpoint_path`` and one more
key, which is the metric's tag; all values but the timestamp are strings. The library keeps its
last hundred reports and writes them all again each time, so a reader may meet half a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlengine.training.eventfiles import Scalar, in_64_bits

__all__ = ["FOLDER", "read_reports", "reports"]

FOLDER = "hypertune"
"""Name of the folder, below the attempt's."""

_OWN_KEYS = frozenset({"timestamp", "trial", "global_step", "checkpoint_path"})
_FILE = re.compile(r"(?P<role>[a-z]+)-(?P<index>\d+)(?:-(?P<trial>.+))?\.metrics")
_MAX_BYTES = 16 * 1024 * 1024


def reports(attempt_dir: Path) -> Iterator[tuple[str, list[Scalar]]]:
    """Yield each replica's name and what it has reported so far.

    Args:
        attempt_dir: The attempt's folder; it need not exist.
    """
    for path in sorted((attempt_dir / FOLDER).glob("*.metrics")):
        match = _FILE.fullmatch(path.name)
        if match and path.is_file():
            run = f"{match['role']}-replica-{match['index']}"
            yield (f"{run}/{match['trial']}" if match["trial"] else run), read_reports(path)


def read_reports(path: Path) -> list[Scalar]:
    """Return what one file holds, each report once; lines that are none are left out."""
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_BYTES).splitlines()
    except OSError:
        return []
    found: dict[tuple[str, int, float], Scalar] = {}
    for line in lines:
        for scalar in _scalars(line):
            found[scalar.tag, scalar.step, scalar.time_s] = scalar
    return list(found.values())


def _scalars(line: bytes) -> list[Scalar]:
    try:
        row: Any = json.loads(line)
        if not isinstance(row, dict):
            return []
        step = in_64_bits(int(float(row.get("global_step") or 0)))
        time_s = float(row.get("timestamp") or 0)
        values = {tag: value for tag, value in row.items() if tag not in _OWN_KEYS}
        "".join(values).encode()  # half of a surrogate pair is no text: no answer could carry it
        return [Scalar(str(tag), step, float(value), time_s) for tag, value in values.items()]
    except (ValueError, TypeError, OverflowError, RecursionError):
        return []
