"""SQLite triggers that hold the state machines even against raw SQL.

They are derived from `core.states`, not history: opening a store replaces those that differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from mlengine.core.states import JOB_MOVES, VERSION_MOVES

__all__ = ["TRIGGERS"]


def _refuse(name: str, what: str, condition: str, message: str) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE {what} WHEN {condition} "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def _unlawful(moves: Mapping[Any, Set[Any]]) -> str:
    lawful = [f"('{frm}','{to}')" for frm, ends in moves.items() for to in sorted(ends)]
    return f"NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (VALUES {','.join(lawful)})"


_ALL = {
    "jobs_moves": ("UPDATE ON jobs", _unlawful(JOB_MOVES), "unlawful job move"),
    "jobs_fence": (
        "UPDATE ON jobs",
        "NEW.attempt < OLD.attempt OR NEW.job_id <> OLD.job_id OR NEW.uid <> OLD.uid",
        "an attempt goes back, or a job changes its name",
    ),
    "jobs_stay": ("DELETE ON jobs", "TRUE", "a job is kept for ever"),
    "versions_moves": ("UPDATE ON versions", _unlawful(VERSION_MOVES), "unlawful version move"),
    "events_stay": ("UPDATE ON events", "TRUE", "an event is never rewritten"),
}

TRIGGERS: Mapping[str, str] = {name: _refuse(name, *parts) for name, parts in _ALL.items()}
"""Name of each trigger → the statement that makes it."""
