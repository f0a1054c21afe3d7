"""A job's log on a terminal: one record per line, as it is written, until the job has ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlengine.core.errors import DeadlineExceeded, Unavailable

if TYPE_CHECKING:
    from mlengine.cli.output import Stream
    from mlengine.cli.session import Session
    from mlengine.core.resources import LogEntry

__all__ = ["LOG_FORMAT", "follow", "records"]

LOG_FORMAT = (
    'value(severity,timestamp.date("%Y-%m-%d %H:%M:%S %z",tz="LOCAL"),task_name,trial_id,message)'
)
_LONGEST_LOOK_S = 20.0
_ENGINE_AWAY_S = 1.0
_ENGINE_AWAY_TRIES = 120


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


def follow(
    session: Session,
    job_id: str,
    out: Stream,
    *,
    task_name: str = "",
    multiline: bool = False,
    look_s: float = _LONGEST_LOOK_S,
) -> None:
    """Write a job's log until the job has ended; a restart of the engine only delays it.

    Args:
        session: The command, which knows the engine.
        job_id: Whose log it is.
        out: Gets the records.
        task_name: Only what this task said; empty is everything.
        multiline: See `records`.
        look_s: The longest that one question to the engine waits for lines, in seconds.
    """
    cursor, finished, tries = "", False, 0
    while not finished:
        try:
            page = session.engine.read_logs(
                session.project,
                job_id,
                cursor=cursor,
                task_name=task_name,
                wait_s=min(look_s, _LONGEST_LOOK_S),
            )
        except (Unavailable, DeadlineExceeded):
            tries += 1
            if tries > _ENGINE_AWAY_TRIES:
                raise
            if tries == 1:
                session.warn("The engine does not answer; the job goes on. Waiting for it ...")
            threading.Event().wait(_ENGINE_AWAY_S)
            continue
        tries, cursor, finished = 0, page.cursor, page.finished
        for record in (r for e in page.entries for r in records(e, multiline=multiline)):
            out.add(record)
