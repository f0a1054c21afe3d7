"""What a job says of itself in numbers, from all that it may say it with.

    <job dir>/**/*tfevents*                TensorBoard event files (`eventfiles`)
    <attempt>/hypertune/*.metrics          reports of cloudml-hypertune (`hypertune`)
    <attempt>/<task>.log*.jsonl            printed lines (`printed`)

Files are the truth, also while the job runs. A look takes each point once and keeps little of a
long series (`curves`). What it costs is bounded, for printed lines by the log's quota; of other
files that are too large the next look reads on. What is not there is said.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mlengine.core.resources import MetricSeries
from mlengine.training.curves import MOST_KEPT, Curve, Series
from mlengine.training.eventfiles import Budget, EventFile, Scalar, find_event_files
from mlengine.training.hypertune import ReportLines, report_files
from mlengine.training.printed import LogLines, log_files

__all__ = [
    "DEFAULT_TAG",
    "END_OF_TIME_S",
    "Metrics",
    "Reading",
    "aliases",
    "read_metrics",
    "resources",
    "with_tag",
]

DEFAULT_TAG = "training/hptuning/metric"
"""The objective of a tuning job that names none."""

END_OF_TIME_S = 1e11
"""What lies behind it, or is NaN, is no time."""

_ACCURACY = re.compile(r"(?P<before>(?:^|.*[_/]))(?P<word>acc|accuracy)(?P<after>_\d+)?")
_OTHER = {"acc": "accuracy", "accuracy": "acc"}
_PIECE_BYTES = 1024 * 1024  # of a file of reports at once: some ten megabytes of memory
_MOST_PIECES = 512  # of all of them in a look: some five million reports, and ten seconds


class Metrics(NamedTuple):
    """All series, by tag, run and source.

    Attributes:
        series: What was reported.
        incomplete: There was too much to read.
        misdated: Tag → how many of its values were left out for their time, which lies before
            the look's `since_s` or is no time at all.
        dropped: Replica → how many lines its log has lost to its quota.
    """

    series: list[Series]
    incomplete: bool
    misdated: Mapping[str, int]
    dropped: Mapping[str, int] = {}

    @property
    def tags(self) -> list[str]:
        """Every tag once, sorted."""
        return sorted({s.tag for s in self.series})


def read_metrics(
    job_dir: Path | None,
    attempt_dirs: Iterable[Path],
    *,
    since_s: float = 0.0,
    budget: Budget | None = None,
    is_whole: bool = False,
) -> Metrics:
    """Read everything that a job reported so far.

    Args:
        job_dir: Where its event files are; None when it has none on this machine.
        attempt_dirs: The folders of its attempts, oldest first.
        since_s: Leave out what is older, in seconds since the epoch: an earlier job's, say.
        budget: Bounds the reading of event files.
        is_whole: Keep every point: only of event files, of which there are as many as fit.
    """
    reading = Reading(since_s=since_s, is_whole=is_whole)
    return reading.look(job_dir, list(attempt_dirs), budget)


class Reading:
    """What one job reported, read on from where the last look ended. Not thread-safe.

    Where a file is gone or was written anew, all is read from the beginning.

    Args:
        since_s: See `read_metrics`.
        is_whole: See `read_metrics`.
    """

    def __init__(self, *, since_s: float = 0.0, is_whole: bool = False) -> None:
        self._since_s, self._is_whole = since_s, is_whole
        self._job_dir: Path | None = None
        self._begin()

    def _begin(self) -> None:
        self._events: dict[Path, EventFile] = {}
        self._reports: dict[Path, ReportLines] = {}
        self._logs: dict[Path, tuple[str, LogLines]] = {}
        self._curves: dict[tuple[str, str, str], Curve] = {}
        self._misdated: Counter[str] = Counter()

    @property
    def kept(self) -> int:
        """How many points it holds in memory."""
        return sum(curve.kept for curve in self._curves.values())

    def look(
        self, job_dir: Path | None, attempt_dirs: Sequence[Path], budget: Budget | None = None
    ) -> Metrics:
        """Read what has come since the last look, and return all; see `read_metrics`."""
        budget = budget or Budget()
        if not self._goes_on(job_dir):
            self._begin()
        if not self._read(job_dir, attempt_dirs, budget):
            self._begin()
            self._read(job_dir, attempt_dirs, budget)
        series = [curve.series(*key) for key, curve in sorted(self._curves.items(), key=_key)]
        is_cut = budget.exceeded or any(file.has_more for file in self._reports.values())
        return Metrics(series, is_cut, dict(self._misdated), self._dropped())

    def _read(self, job_dir: Path | None, attempt_dirs: Sequence[Path], budget: Budget) -> bool:
        """Read on; return False if a file was written anew."""
        self._job_dir = job_dir
        if job_dir is not None:
            self._look_at_events(job_dir, budget)
        goes_on = self._look_at_reports(attempt_dirs)
        for folder in attempt_dirs:
            for task, path in log_files(folder):
                lines = self._logs.setdefault(path, (task, LogLines(path)))[1]
                self._keep(lines.read(), task, "log")
        return goes_on

    def _goes_on(self, job_dir: Path | None) -> bool:
        """Tell whether what was read is still there."""
        files = [*self._events, *self._reports]
        logs = [lines for _task, lines in self._logs.values()]
        return (
            job_dir == self._job_dir
            and all(path.exists() for path in files)
            and all(lines.is_there for lines in logs)
        )

    def _look_at_events(self, job_dir: Path, budget: Budget) -> None:
        for path in find_event_files(job_dir):
            if not self._since_s or _modified_s(path) >= self._since_s:
                file = self._events.setdefault(path, EventFile(path))
                run = str(path.parent.relative_to(job_dir))
                self._keep(file.scalars(budget), run, "tensorboard")

    def _look_at_reports(self, attempt_dirs: Sequence[Path]) -> bool:
        pieces = _MOST_PIECES
        for run, path in chain.from_iterable(map(report_files, attempt_dirs)):
            file = self._reports.setdefault(path, ReportLines(path, size_bytes=_PIECE_BYTES))
            file.has_more = True
            while file.has_more and pieces > 0:
                self._keep(file.read(), run, "hypertune")
                if file.is_anew:
                    return False
                pieces -= 1
        return True

    def _keep(self, scalars: Iterable[Scalar], run: str, source: str) -> None:
        for tag, step, value, time_s in scalars:
            if not self._since_s <= time_s < END_OF_TIME_S:
                self._misdated[tag] += 1
                continue
            curve = self._curves.get((tag, run, source))
            if curve is None:
                curve = self._curves[tag, run, source] = Curve(is_whole=self._is_whole)
            # A report whose line was not ended yet comes again when it is.
            if source != "hypertune" or not curve.ends_with(step, value, time_s):
                curve.add(step, value, time_s)

    def _dropped(self) -> dict[str, int]:
        """Return how many lines of each replica are in no file: those that are count them all."""
        missing: Counter[str] = Counter()
        last: dict[tuple[Path, str], int] = {}
        for path, (task, lines) in self._logs.items():
            missing[task] -= lines.lines
            last[path.parent, task] = max(last.get((path.parent, task), 0), lines.last_number)
        for (_folder, task), number in last.items():
            missing[task] += number
        return dict(+missing)


def resources(found: Metrics, *, tag: str = "", run: str = "") -> list[MetricSeries]:
    """Return what a job reported as the API shows it.

    Args:
        found: What it reported.
        tag: Only this metric, or the one that is called by its other name (`aliases`).
        run: Of a trial, which: its runs are called by it, as event files' are by their folder.
    """
    shown = with_tag(found.series, tag) if tag else found.series
    return [_resource(series, found, run) for series in shown]


def with_tag(series: Iterable[Series], tag: str) -> list[Series]:
    """Return the series of a tag; if there is none, those of its other names.

    Example:
        >>> accuracy = Series("epoch_accuracy", ".", "tensorboard", [])
        >>> [s.tag for s in with_tag([accuracy], "epoch_acc")]
        ['epoch_accuracy']
    """
    all_series = list(series)
    for name in (tag, *aliases(tag)):
        if found := [s for s in all_series if s.tag == name]:
            return found
    return []


def aliases(tag: str) -> list[str]:
    """Return other names of a metric: Keras has called accuracy ``acc`` and ``accuracy``.

    Example:
        >>> aliases("epoch_val_acc"), aliases("loss")
        (['epoch_val_accuracy'], [])
    """
    match = _ACCURACY.fullmatch(tag)
    if match is None:
        return []
    return [f"{match['before']}{_OTHER[match['word']]}{match['after'] or ''}"]


def _resource(series: Series, found: Metrics, trial: str) -> MetricSeries:
    run, total = series.run, series.total
    if trial:
        run = f"{trial}/{run.removesuffix(f'/{trial}')}"
    return MetricSeries(
        tag=series.tag,
        run=run,
        source=series.source,
        steps=[p.step for p in series.points],
        values=[_in_json(p.value) for p in series.points],
        times=[round(p.time_s, 6) for p in series.points],
        points=total.points,
        min=total.least,
        max=total.greatest,
        notes=_notes(series, found),
    )


def _notes(series: Series, found: Metrics) -> list[str]:
    """Say what the series' sums do not have, or have twice."""
    notes = []
    if series.source != "log" and found.incomplete:
        notes.append("The files are too large to be read at once: points are missing.")
    if series.source == "log" and (count := found.dropped.get(series.run, 0)):
        notes.append(
            f"{count:,} lines of the log were dropped, for it outgrew its quota: metrics that "
            "were printed in them are missing. Report with 'mlengine.runtime.report'."
        )
    if series.total.has_repeats:
        notes.append(
            f"Steps ran again: of those that came more than {MOST_KEPT:,} points before, the old "
            "values count too."
        )
    return notes


def _in_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _key(item: tuple[tuple[str, str, str], Curve]) -> tuple[str, str, str]:
    return item[0]


def _modified_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
