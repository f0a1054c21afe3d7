"""What a job says of itself in numbers, from all that it may say it with.

    <job dir>/**/*tfevents*                TensorBoard event files (`eventfiles`)
    <attempt>/hypertune/*.metrics          reports of cloudml-hypertune (`hypertune`)
    <attempt>/<task>.log*.jsonl            printed lines ``{"metric": TAG, "value": V, "step": N}``

Nothing is kept between two looks: files are the truth, also while the job runs. A look is bounded
(`eventfiles.Budget`); what was left out is said in `Metrics.incomplete`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.core.resources import MetricSeries
from mlengine.training.eventfiles import Budget, EventFile, Scalar, find_event_files, in_64_bits
from mlengine.training.hypertune import is_long, read_reports, report_files

__all__ = [
    "DEFAULT_TAG",
    "END_OF_TIME_S",
    "LogLines",
    "Metrics",
    "Series",
    "aliases",
    "job_metrics",
    "log_files",
    "ordered",
    "read_metrics",
    "with_tag",
]

DEFAULT_TAG = "training/hptuning/metric"
"""The objective of a tuning job that names none."""

END_OF_TIME_S = 1e11
"""What lies behind it, or is NaN, is no time."""

MAX_POINTS = 10_000
"""Points of a series that an answer holds at most; more are thinned evenly."""

_LOG = re.compile(r"(?P<task>.+?)\.log(?:\.(?P<part>\d+))?\.jsonl")
_ACCURACY = re.compile(r"(?P<before>(?:^|.*[_/]))(?P<word>acc|accuracy)(?P<after>_\d+)?")
_OTHER = {"acc": "accuracy", "accuracy": "acc"}


class Series(NamedTuple):
    """One metric of one run, by step."""

    tag: str
    run: str
    source: str
    points: Sequence[Scalar]

    @property
    def last(self) -> Scalar:
        """The newest value; a series has at least one."""
        return self.points[-1]


class Metrics(NamedTuple):
    """All series, by tag, run and source.

    Attributes:
        series: What was reported.
        incomplete: There was too much to read.
        misdated: Tag → how many of its values were left out for their time, which lies before
            the look's `since_s` or is no time at all.
        without_first: Of long files of reports only the ends were read: last values are known,
            but not whether more was reported before.
    """

    series: list[Series]
    incomplete: bool
    misdated: Mapping[str, int]
    without_first: bool = False

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
) -> Metrics:
    """Read everything that a job reported so far.

    Args:
        job_dir: Where its event files are; None when it has none on this machine.
        attempt_dirs: The folders of its attempts, oldest first.
        since_s: Leave out what is older, in seconds since the epoch: an earlier job's, say.
        budget: Bounds the reading of event files.
    """
    budget = budget or Budget()
    found: dict[tuple[str, str, str], list[Scalar]] = {}
    misdated: Counter[str] = Counter()
    without_first = False

    def keep(scalars: Iterable[Scalar], run: str, source: str) -> None:
        for scalar in scalars:
            if since_s <= scalar.time_s < END_OF_TIME_S:
                found.setdefault((scalar.tag, run, source), []).append(scalar)
            else:
                misdated[scalar.tag] += 1

    for path in find_event_files(job_dir) if job_dir is not None else ():
        if not since_s or _modified_s(path) >= since_s:
            run = str(path.parent.relative_to(job_dir)) if job_dir is not None else ""
            keep(EventFile(path).read(budget), run, "tensorboard")
    for attempt_dir in attempt_dirs:
        for run, path in report_files(attempt_dir):
            without_first = without_first or is_long(path)
            keep(read_reports(path), run, "hypertune")
        for run, scalars in _logged(attempt_dir):
            keep(scalars, run, "log")
    series = [Series(*key, ordered(points)) for key, points in sorted(found.items())]
    return Metrics(series, budget.exceeded, misdated, without_first)


def job_metrics(
    job_dir: Path | None, attempt_dirs: Iterable[Path], *, tag: str = "", run: str = ""
) -> list[MetricSeries]:
    """Return what a job reported as the API shows it.

    Args:
        job_dir: See `read_metrics`.
        attempt_dirs: See `read_metrics`.
        tag: Only this metric, or the one that is called by its other name (`aliases`).
        run: Of a trial, which: its runs are called by it, as event files' are by their folder.
    """
    found = read_metrics(job_dir, attempt_dirs).series
    if run:
        found = [s._replace(run=f"{run}/{s.run.removesuffix(f'/{run}')}") for s in found]
    return [_resource(s) for s in (with_tag(found, tag) if tag else found)]


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


def _resource(series: Series) -> MetricSeries:
    points = _thinned(series.points)
    return MetricSeries(
        tag=series.tag,
        run=series.run,
        source=series.source,
        steps=[p.step for p in points],
        values=[_in_json(p.value) for p in points],
        times=[round(p.time_s, 6) for p in points],
    )


def _in_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _thinned(points: Sequence[Scalar]) -> Sequence[Scalar]:
    """Keep the first, the last and evenly many between."""
    if len(points) <= MAX_POINTS:
        return points
    every = (len(points) - 1) / (MAX_POINTS - 1)
    return [points[round(i * every)] for i in range(MAX_POINTS)]


def ordered(points: Iterable[Scalar]) -> list[Scalar]:
    """Sort by step; of a step that was run again, after a restart, the newest value counts.

    What was printed at once has one time: of such values the later in `points` is the newer. A
    series that never leaves step 0 is one whose trainer gives no steps: it is kept whole, equal
    values too.
    """
    found = sorted(points, key=lambda p: (p.step, p.time_s))
    if not found or (found[0].step == found[-1].step == 0):
        return found
    newest = {point.step: point for point in found}
    return list(newest.values())


# --- printed lines ------------------------------------------------------------------------------


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


def _logged(attempt_dir: Path) -> Iterator[tuple[str, list[Scalar]]]:
    for task, path in log_files(attempt_dir):
        yield task, LogLines(path).read()


class LogLines:
    """The metrics that one log file holds, read on from where the last `read` ended.

    Args:
        path: The file; it may grow, or not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def read(self) -> list[Scalar]:
        """Return what whole lines behind the last ones say."""
        found = []
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                # Most lines are none: they must cost no more than a look for one word.
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    if b'metric\\"' in line or b'"metric"' in line:
                        scalar = _from_log_line(line)
                        if scalar is not None:
                            found.append(scalar)
        except OSError:
            pass
        return found


def _from_log_line(line: bytes) -> Scalar | None:
    try:
        record = json.loads(line)
        said: Any = record.get("json_payload") or json.loads(record["message"])
        tag, value = said["metric"], said["value"]
        if not isinstance(tag, str) or isinstance(value, bool):
            return None
        tag.encode()  # half of a surrogate pair is no text: no answer could carry it
        time_s = datetime.fromisoformat(record["timestamp"]).timestamp()
        return Scalar(tag, in_64_bits(int(said.get("step") or 0)), float(value), time_s)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _modified_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
