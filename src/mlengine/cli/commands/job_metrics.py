"""`mlengine jobs metrics`: what a job reported, as a table, as data, or as curves."""

from __future__ import annotations

import math
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


def _row(series: MetricSeries) -> dict[str, Any]:
    """Return a series with what sums it up; JSON and YAML show all of it."""
    numbers = [float(v) for v in series.values]
    finite = [n for n in numbers if math.isfinite(n)]
    return {
        **encode(series),
        "points": len(numbers),
        "step": series.steps[-1] if series.steps else None,
        "first": _shown(numbers[0]) if numbers else None,
        "last": _shown(numbers[-1]) if numbers else None,
        "min": _shown(min(finite)) if finite else None,
        "max": _shown(max(finite)) if finite else None,
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
