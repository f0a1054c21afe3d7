"""`mlengine jobs metrics`: what a job reported, as a table, as data, or as curves."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.resources import MetricSeries
from mlengine.core.wire import encode

__all__ = ["metrics"]

_FORMAT = (
    "table(tag:label=TAG, run:label=RUN, source:label=SOURCE, points:label=POINTS, "
    "step:label=STEP, first:label=FIRST, last:label=LAST, min:label=MIN, max:label=MAX)"
)
_PLOT_COLUMNS = 100


@click.command(cls=Command, form=_FORMAT, lists=True, has_uris=False)
@click.argument("job")
@click.option("--tag", default="", help="Only this metric; 'acc' also finds 'accuracy'.")
@click.option("--plot", is_flag=True, help="Draw each metric as a curve.")
@pass_session
def metrics(session: Session, job: str, tag: str, plot: bool) -> None:
    """Show the metrics that JOB has reported so far."""
    found = session.engine.job_metrics(session.project, job, tag=tag)
    if tag and not found:
        raise CommandError(_unknown(session, job, tag))
    if tag and found[0].tag != tag:
        session.warn(f"The job reported no metric [{tag}]; this is [{found[0].tag}].")
    _say_what_is_missing(session, found)
    if plot:
        if session.is_format_given:
            session.warn("--format is ignored when --plot is present")
        if not found:
            session.say(
                f"{_none(job)} Report with 'mlengine.runtime.report(TAG, VALUE, step=STEP)'."
            )
        session.write("\n".join(_curve(series) for series in found))
    else:
        session.show_all([_row(series) for series in found])


def _unknown(session: Session, job: str, tag: str) -> str:
    known = sorted({s.tag for s in session.engine.job_metrics(session.project, job)})
    if not known:
        return _none(job)
    return f"Job [{job}] has reported no metric [{tag}] so far. It reported: {', '.join(known)}."


def _none(job: str) -> str:
    return f"Job [{job}] has reported no metrics so far."


def _say_what_is_missing(session: Session, found: list[MetricSeries]) -> None:
    for note in dict.fromkeys(f"[{s.tag}] of {s.run}: {note}" for s in found for note in s.notes):
        session.warn(note)
    most = max((len(s.steps) for s in found if s.points > len(s.steps)), default=0)
    if most:
        session.say(
            f"Long metrics are listed and drawn with {most:,} of their points, evenly chosen; "
            "POINTS, MIN and MAX are of all."
        )


def _row(series: MetricSeries) -> dict[str, Any]:
    """Return a series with what sums it up; JSON and YAML show all of it."""
    return {
        **encode(series),
        "points": series.points,
        "step": series.steps[-1] if series.steps else None,
        "first": _shown(float(series.values[0])) if series.values else None,
        "last": _shown(float(series.values[-1])) if series.values else None,
        "min": None if series.min is None else _shown(series.min),
        "max": None if series.max is None else _shown(series.max),
    }


def _shown(number: float) -> str:
    return f"{number:.6g}"


def _curve(series: MetricSeries) -> str:
    from mlengine.cli.output.escape import printable
    from mlengine.cli.output.plot import plot

    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    numbers = [float(v) for v in series.values]
    same_step = len(set(series.steps)) <= 1 < len(numbers)
    places = range(len(numbers)) if same_step else series.steps
    where = f"{series.tag}  ({series.run}, {series.source})"
    return plot(
        list(zip(places, numbers, strict=True)),
        width=min(shutil.get_terminal_size().columns, _PLOT_COLUMNS),
        title=printable(where, newline="\\n"),
        ascii="utf" not in encoding,
    )
