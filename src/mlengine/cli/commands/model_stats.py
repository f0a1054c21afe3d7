"""`mlengine models stats`: how the versions of a model are asked, and how they answer."""

from __future__ import annotations

import click

from mlengine.cli.flags import region
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.traffic import ModelStats, VersionStats
from mlengine.core.wire import encode

__all__ = ["stats"]

_HEADINGS = [
    "VERSION", "WORKERS", "REQUESTS", "IN_FLIGHT", "ANSWERS", "P50_MS", "P99_MS", "MEAN_MS",
    "DROPPED",
]  # fmt: skip


@click.command(cls=Command)
@click.argument("model")
@region
@pass_session
def stats(session: Session, model: str) -> None:
    """Show what the gateway has counted of MODEL's versions since it started.

    Times are from the whole request to the worker's answer. All counts, also of the workers, are
    at the gateway's address /metrics, for Prometheus. DROPPED are predictions that the request log
    could not keep.
    """
    found = session.engine.model_stats(session.project, model)
    if session.is_format_given:
        session.show(encode(found))
    elif found.versions:
        session.write(_table(found))
    else:
        session.say(f"No version of model [{model}] was asked yet.")


def _table(found: ModelStats) -> str:
    from mlengine.cli.output.tables import plain_table

    return plain_table(_HEADINGS, [_row(one) for one in found.versions])


def _row(one: VersionStats) -> tuple[str, ...]:
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(one.answers.items()))
    times = ("-" if ms is None else f"{ms:.4g}" for ms in (one.p50_ms, one.p99_ms, one.mean_ms))
    counts = (str(one.workers), str(one.requests), str(one.in_flight))
    return (one.version, *counts, answers, *times, str(one.log_dropped))
