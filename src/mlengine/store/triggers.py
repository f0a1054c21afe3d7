"""Rules of the tables that hold even against raw SQL; each technology writes them as triggers.

They are derived from `core.states`, not history: opening a store replaces those that differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from mlengine.core.states import JOB_MOVES, STUDY_MOVES, TRIAL_MOVES, VERSION_MOVES

__all__ = ["RULES", "Rule"]


class Rule(NamedTuple):
    """What is refused: a change of a row, under a condition on its `OLD` and `NEW` values."""

    change: str
    table: str
    condition: str
    message: str


def _unlawful(moves: Mapping[Any, Set[Any]]) -> str:
    lawful = [f"('{frm}','{to}')" for frm, ends in moves.items() for to in sorted(ends)]
    return f"NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (VALUES {','.join(lawful)})"


RULES: Mapping[str, Rule] = {
    "jobs_moves": Rule("UPDATE", "jobs", _unlawful(JOB_MOVES), "unlawful job move"),
    "jobs_fence": Rule(
        "UPDATE",
        "jobs",
        "NEW.attempt < OLD.attempt OR NEW.job_id <> OLD.job_id OR NEW.uid <> OLD.uid",
        "an attempt goes back, or a job changes its name",
    ),
    "jobs_family": Rule("UPDATE", "jobs", "NEW.parent <> OLD.parent", "a job changes its parent"),
    "jobs_stay": Rule("DELETE", "jobs", "TRUE", "a job is kept for ever"),
    "versions_moves": Rule("UPDATE", "versions", _unlawful(VERSION_MOVES), "unlawful version move"),
    "studies_moves": Rule("UPDATE", "studies", _unlawful(STUDY_MOVES), "unlawful study move"),
    "studies_count": Rule(
        "UPDATE",
        "studies",
        "NEW.last_trial < OLD.last_trial OR NEW.uid <> OLD.uid OR NEW.study_id <> OLD.study_id",
        "a study counts back, or changes its name",
    ),
    "trials_moves": Rule("UPDATE", "trials", _unlawful(TRIAL_MOVES), "unlawful trial move"),
    "trials_final": Rule(
        "UPDATE", "trials", "OLD.state = 'COMPLETED'", "a completed trial never changes"
    ),
    "trials_number": Rule(
        "UPDATE",
        "trials",
        "NEW.number <> OLD.number OR NEW.study_seq <> OLD.study_seq",
        "a trial changes its number",
    ),
    "measurements_stay": Rule("UPDATE", "measurements", "TRUE", "a measurement never changes"),
    "keys_stay": Rule("DELETE", "keys", "TRUE", "a key is kept for ever"),
    "keys_final": Rule(
        "UPDATE",
        "keys",
        "OLD.revoked OR NEW.digest <> OLD.digest OR NEW.key_id <> OLD.key_id "
        "OR NEW.project <> OLD.project",
        "a key comes back, or changes whose it is",
    ),
    "events_stay": Rule("UPDATE", "events", "TRUE", "an event is never rewritten"),
}
"""Name of each trigger → the rule that it holds."""
