"""What a trial has reported of its objective so far, read while it runs and once more afterwards.

Each look reads on from where the last one ended; the last of all reads event files anew. What is
not finite was not reported. Of several series with the objective's tag one counts:

    1. reports of cloudml-hypertune and of `mlengine.runtime.report`: nobody writes those by chance
    2. printed lines  ``{"metric": TAG, "value": V}``
    3. TensorBoard scalars: of several runs the one that is named after validation, else the newest

and of several replicas the chief's. An attempt that begins again, behind or beside what an earlier
one reported, takes its place from there on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from mlengine.training.curves import Series, ordered
from mlengine.training.eventfiles import Budget, EventFile, Scalar, find_event_files
from mlengine.training.hypertune import ReportLines, report_files
from mlengine.training.metrics import END_OF_TIME_S, read_metrics, with_tag
from mlengine.training.printed import LogLines, log_files

__all__ = ["LiveObjective", "Reading", "chosen"]

MAX_POINTS = 100
"""Points of a trial that are kept; more are thinned evenly, the last always stays."""

_SOURCES = ("hypertune", "log", "tensorboard")
_JUDGED = ("val", "eval", "test")
_LOOK_RECORDS, _LOOK_BYTES = 50_000, 16 * 1024 * 1024
_LAST_LOOKS = 64  # 1 GiB, and 3.2 million records: some ten seconds
Reading = list[tuple[int, float]]
"""(step, value) in increasing order of steps."""


def chosen(series: Iterable[Series], tag: str) -> Reading:
    """Return the points of the series that counts; none if nothing finite was reported.

    Example:
        >>> trained = Series("auc", "train", "tensorboard", [Scalar("auc", 1, 0.9, 1.0)])
        >>> judged = Series("auc", "validation", "tensorboard", [Scalar("auc", 1, 0.7, 1.0)])
        >>> chosen([trained, judged], "auc")
        [(1, 0.7)]
    """
    finite = []
    for one in with_tag(series, tag):
        points = [point for point in one.points if math.isfinite(point.value)]
        if points:
            finite.append(one._replace(points=_counted(points)))
    if not finite:
        return []
    return thinned([(p.step, p.value) for p in max(finite, key=_weight).points])


def _counted(points: Sequence[Scalar]) -> Sequence[Scalar]:
    """Count reports without a step, from 0: trials are compared at as many of them.

    A first one may be the step 0 of a trainer that has steps, so it stays where it is.
    """
    if any(point.step for point in points):
        return points
    return [point._replace(step=number) for number, point in enumerate(points)]


def thinned(points: Sequence[tuple[int, float]]) -> Reading:
    """Keep the first, the last and evenly many between."""
    if len(points) <= MAX_POINTS:
        return list(points)
    every = (len(points) - 1) / (MAX_POINTS - 1)
    return [points[round(i * every)] for i in range(MAX_POINTS)]


class LiveObjective:
    """One trial's objective while it runs. Not thread-safe.

    Args:
        tag: The objective's; its other names count too (`metrics.aliases`).
        since_s: Leave out what is older: a job before may have written to the same place.
    """

    def __init__(self, tag: str, *, since_s: float) -> None:
        self._tag, self._since_s = tag, since_s
        self._files: dict[Path, EventFile] = {}
        self._logs: dict[Path, LogLines] = {}
        self._reports: dict[Path, ReportLines] = {}
        self._found: dict[tuple[str, str, str], list[Scalar]] = {}
        self._is_cut = False

    @property
    def incomplete(self) -> bool:
        """Whether the last look left out what may be the objective's last value."""
        return self._is_cut and all(source == "tensorboard" for _tag, _run, source in self._found)

    def look(
        self, job_dir: Path | None, *attempt_dirs: Path, begun_s: Sequence[float] = ()
    ) -> Reading:
        """Read what has come since the last look, or a part of it if it is very much.

        Args:
            job_dir: Where event files are; None when that is not on this machine.
            attempt_dirs: The folders of the trial's attempts, oldest first.
            begun_s: When its attempts began, in seconds since the epoch; only needed of several.
        """
        if job_dir is not None:
            self._look_at_events(job_dir)
        for attempt_dir in attempt_dirs:
            self._look_at_attempt(attempt_dir)
        return self._reading(begun_s)

    def last_look(
        self, job_dir: Path | None, *attempt_dirs: Path, begun_s: Sequence[float] = ()
    ) -> Reading:
        """Read all that has come, to its end; what was reported or printed and is gone counts too.

        cloudml-hypertune keeps its last hundred reports; those without a step would else be
        counted from another one than before. Of event files those count that are left: a trainer
        that removes its own has begun again.
        """
        if job_dir is not None:
            self._last_look_at_events(job_dir)
        for attempt_dir in attempt_dirs:
            while self._look_at_attempt(attempt_dir):
                pass
        return self._reading(begun_s)

    def _reading(self, begun_s: Sequence[float]) -> Reading:
        series = [
            Series(*key, ordered(_standing(points, begun_s)))
            for key, points in self._found.items()
            if points
        ]
        return chosen(series, self._tag)

    def _last_look_at_events(self, job_dir: Path) -> None:
        told = read_metrics(job_dir, (), since_s=self._since_s, is_whole=True)
        if told.incomplete:
            # From their beginning on the last value is not reached: from the last look on it may.
            self._is_cut = not self._read_on(job_dir)
            return
        self._found = {key: kept for key, kept in self._found.items() if key[2] != "tensorboard"}
        for one in told.series:
            self._keep_new(one.points, one.run, one.source)

    def _read_on(self, job_dir: Path) -> bool:
        """Read event files to their end; return False if that is too far."""
        for _look in range(_LAST_LOOKS):
            before = {path: file.offset for path, file in self._files.items()}
            if not self._look_at_events(job_dir):
                return True
            if before == {path: file.offset for path, file in self._files.items()}:
                break
        return False

    def _look_at_events(self, job_dir: Path) -> bool:
        """Read on; tell whether something may have been left."""
        budget = Budget(records=_LOOK_RECORDS, size_bytes=_LOOK_BYTES)
        for path in find_event_files(job_dir):
            file = self._files.setdefault(path, EventFile(path))
            run = str(path.parent.relative_to(job_dir))
            self._keep(file.read(budget), run, "tensorboard")
        return budget.exceeded

    def _look_at_attempt(self, attempt_dir: Path) -> bool:
        """Read on; tell whether there is more than was read at once."""
        has_more = False
        for run, path in report_files(attempt_dir):
            file = self._reports.setdefault(path, ReportLines(path))
            self._keep_new(file.read(), run, "hypertune")
            has_more = has_more or file.has_more
        for task, path in log_files(attempt_dir):
            log = self._logs.setdefault(path, LogLines(path))
            self._keep(log.read(), task, "log")
        return has_more

    def _keep(self, scalars: Iterable[Scalar], run: str, source: str) -> None:
        """Keep what may count, behind what was kept before."""
        mine = [s for s in scalars if self._is_reported(s)]
        for tag in {s.tag for s in mine}:
            if not with_tag([Series(tag, run, source, mine)], self._tag):
                continue  # only what may count is kept: trainers write scalars by the thousand
            kept = self._found.setdefault((tag, run, source), [])
            kept += [s for s in mine if s.tag == tag]

    def _keep_new(self, scalars: Iterable[Scalar], run: str, source: str) -> None:
        """Keep what was not read before, of a source of which a look may read it again.

        Printed lines are no such source: equal ones of one moment are as many reports.
        """
        before = [kept for key, kept in self._found.items() if key[1:] == (run, source)]
        known = set(chain.from_iterable(before))
        self._keep((s for s in scalars if s not in known), run, source)

    def _is_reported(self, scalar: Scalar) -> bool:
        # NaN is not even itself: hypertune's would be kept anew with each look.
        return self._since_s <= scalar.time_s < END_OF_TIME_S and math.isfinite(scalar.value)


def _standing(points: Sequence[Scalar], begun_s: Sequence[float]) -> Sequence[Scalar]:
    """Leave out what a later attempt has taken the place of: all from its first step on."""
    for begun in begun_s[1:]:
        first = min((p.step for p in points if p.time_s >= begun), default=None)
        if first is not None:
            points = [p for p in points if p.time_s >= begun or p.step < first]
    return points


def _weight(series: Series) -> tuple[int, bool, bool, float, str]:
    rank = -_SOURCES.index(series.source)
    run = series.run.lower()
    is_judged = series.source == "tensorboard" and any(word in run for word in _JUDGED)
    is_chief = run.startswith(("master-replica-0", "chief-replica-0"))
    return rank, is_judged, is_chief, series.points[-1].time_s, series.run
