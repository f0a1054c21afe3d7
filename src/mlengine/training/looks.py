"""Looks at what jobs report, for whoever asks: one at a time, and each point is read once.

A job may have reported millions of points, which take seconds to read: so the next look at the
same job goes on where the last one ended, and looks at other jobs wait for their turn.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mlengine.core.errors import Unavailable
from mlengine.core.resources import MetricSeries
from mlengine.training.metrics import Reading, resources

__all__ = ["Looks", "Place"]

_WAIT_S = 10.0
_MOST_KEPT = 2_000_000  # points in memory, of all jobs together: some 50 MB


class Place(NamedTuple):
    """Where a job's metrics are: see `metrics.read_metrics`."""

    job_dir: Path | None
    attempt_dirs: Sequence[Path]


class Looks:
    """Thread-safe.

    Args:
        wait_s: How long a look waits for its turn.
        most_kept: Points to remember for the next looks; those of the jobs that were asked for
            longest ago go first.
    """

    def __init__(self, *, wait_s: float = _WAIT_S, most_kept: int = _MOST_KEPT) -> None:
        self._wait_s, self._most_kept = wait_s, most_kept
        self._turn = threading.Lock()
        self._readings: OrderedDict[str, dict[str, Reading]] = OrderedDict()

    def look(self, uid: str, places: Mapping[str, Place], *, tag: str = "") -> list[MetricSeries]:
        """Return what a job reported so far.

        Args:
            uid: The job's.
            places: Where its own metrics are, by an empty name, and its trials', by theirs.
            tag: See `metrics.resources`.

        Raises:
            Unavailable: Others are being read, and for long.
        """
        if not self._turn.acquire(timeout=self._wait_s):
            raise Unavailable(
                f"The metrics of other jobs are being read for {self._wait_s:g} seconds already.",
                "Ask again in a moment.",
            )
        try:
            readings = self._readings.pop(uid, {})
            found = []
            for run, place in places.items():
                if run not in readings:
                    readings[run] = Reading()
                found += resources(readings[run].look(*place), tag=tag, run=run)
            self._readings[uid] = readings
            self._forget()
            return found
        finally:
            self._turn.release()

    def _forget(self) -> None:
        kept = {uid: sum(r.kept for r in runs.values()) for uid, runs in self._readings.items()}
        while sum(kept.values()) > self._most_kept:
            uid, _readings = self._readings.popitem(last=False)
            del kept[uid]
