"""A job's log on a terminal: one record per line, as it is written, until the job has ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mlengine.cli.spans import read_span
from mlengine.core.clock import SystemClock
from mlengine.core.errors import DeadlineExceeded, Unavailable
from mlengine.core.limits import MAX_LOG_WAIT_S

if TYPE_CHECKING:
    from mlengine.cli.output import Stream
    from mlengine.cli.session import Session
    from mlengine.core.resources import LogEntry

__all__ = ["LOG_FORMAT", "SINCE", "records", "show_log"]

LOG_FORMAT = (
    'value(severity,timestamp.date("%Y-%m-%d %H:%M:%S %z",tz="LOCAL"),task_name,trial_id,message)'
)
_ENGINE_AWAY_S = 1.0
_ENGINE_AWAY_TRIES = 120


class _Since(click.ParamType[datetime]):
    """``10m``: so long ago; or a timestamp, without a zone in the zone of this machine."""

    name = "since"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment."""
        try:
            if (ago := read_span(str(value))) is not None:
                return SystemClock().now() - ago
            return datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"'{value}' is no time. Write 30s, 10m, 2h, 1d or 1w, or a timestamp such as "
                "2018-03-02T06:50:06Z.",
                param,
                ctx,
            )

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "10m|TIMESTAMP"


SINCE = _Since()


def records(entry: LogEntry, *, multiline: bool) -> Iterator[dict[str, Any]]:
    """Yield what is shown of an entry: one record per line of its message.

    Args:
        entry: What was logged.
        multiline: Keep a message of several lines in one record.
    """
    payload = dict(entry.json_payload or {})
    message = entry.message or str(payload.get("message", ""))
    rest = {k: v for k, v in payload.items() if k not in ("message", "levelname")}
    record = {
        "severity": entry.severity or "DEFAULT",
        "timestamp": entry.timestamp,
        "task_name": entry.task_name or "unknown_task",
        "trial_id": entry.trial_id or None,
    }
    if rest:
        record["json"] = rest  # type: ignore[assignment]  # a record is JSON
    lines = [message] if multiline else message.split("\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    for line in lines:
        yield {**record, "message": line}


def show_log(
    session: Session,
    job_id: str,
    out: Stream,
    *,
    task_name: str = "",
    since: datetime | None = None,
    multiline: bool = False,
    wait: bool = True,
    look_s: float = 0.0,
) -> None:
    """Write a job's log until the job has ended; a restart of the engine only delays it.

    Args:
        session: The command, which knows the engine.
        job_id: Whose log it is.
        out: Gets the records.
        task_name: Only what this task said; empty is everything.
        since: Only what was said from then on; None is everything.
        multiline: See `records`.
        wait: Wait for what is yet to be written; else end with what there is.
        look_s: The longest that one question to the engine waits for lines, in seconds; if not set,
            the setting `polling_interval_s`.
    """
    longest_s = look_s or session.settings.polling_interval_s or MAX_LOG_WAIT_S
    cursor, finished, tries = "", False, 0
    while not finished:
        try:
            page = session.engine.read_logs(
                session.project,
                job_id,
                cursor=cursor,
                task_name=task_name,
                wait_s=longest_s if wait else 0.0,
            )
        except (Unavailable, DeadlineExceeded):
            tries += 1
            if tries > _ENGINE_AWAY_TRIES:
                raise
            if tries == 1:
                session.warn("The engine does not answer; the job goes on. Waiting for it ...")
            threading.Event().wait(_ENGINE_AWAY_S)
            continue
        tries, cursor, finished = 0, page.cursor, page.finished or not (wait or page.entries)
        for entry in page.entries:
            if since is None or _is_since(entry, since):
                for record in records(entry, multiline=multiline):
                    out.add(record)


def _is_since(entry: LogEntry, since: datetime) -> bool:
    try:
        return datetime.fromisoformat(entry.timestamp) >= since
    except (ValueError, TypeError):
        return True  # torn by a power cut: better shown than hidden
