"""What a tuning job says of its trials: in its log, and in the books of its study."""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.core.states import JobState
from mlengine.core.studies import TrialDetails
from mlengine.store import JobRecord
from mlengine.training.trials.books import WITHDRAWN
from mlengine.training.trials.children import is_cut, measured, state_of, stopped_early, trial_of
from mlengine.training.trials.output import Rest, seconds_of, value_of
from mlengine.training.trials.reasons import Reason

__all__ = [
    "cut_line",
    "duration",
    "origin_text",
    "outcome_line",
    "rest_line",
    "silent_line",
    "why_infeasible",
]


def why_infeasible(child: JobRecord | None, has_value: bool, *, ending: bool) -> str:
    """Say why a trial has no value that counts; empty if it has one."""
    if child is None:
        return f"{WITHDRAWN}the tuning job was over before it began."
    if child.state is JobState.FAILED:
        return child.job.error_message or "It failed."
    if state_of(child) is JobState.CANCELLED:
        why = child.job.error_message or "it was cancelled."
        return f"{WITHDRAWN}{why}" if ending else why
    return "" if has_value else "It never reported the objective."


def outcome_line(number: int, child: JobRecord, tag: str) -> tuple[str, str]:
    """Return the line that tells how a trial ended, and its severity."""
    seconds, value = seconds_of(child), value_of(child)
    after = f" after {duration(seconds)}" if seconds is not None else ""
    points = measured(child)
    said = f": {tag} = {value:g} at step {points[-1][0]}" if value is not None else ""
    if state_of(child) is JobState.SUCCEEDED and not stopped_early(child):
        return f"Trial {number} succeeded{after}{said}.", "INFO"
    if stopped_early(child):
        return f"Trial {number} was stopped early{after}{said}.", "INFO"
    if child.state is JobState.CANCELLED:
        return f"Trial {number} was stopped{after}: {child.job.error_message}", "WARNING"
    return f"Trial {number} failed{after}: {child.job.error_message}", "ERROR"


def silent_line(children: Sequence[JobRecord], tag: str) -> str:
    """Say how many trials succeeded without a value; empty if each of them has one."""
    silent = [c for c in children if state_of(c) is JobState.SUCCEEDED and value_of(c) is None]
    if not silent:
        return ""
    return (
        f"{len(silent)} of {len(children)} trials never reported the objective '{tag}': "
        "nothing is known of them."
    )


def cut_line(children: Sequence[JobRecord], tag: str) -> str:
    """Say which trials wrote more event files than are read; empty if none did."""
    cut = Reason(tuple(int(trial_of(child)) for child in children if is_cut(child)), "", "")
    if not cut.trials:
        return ""
    trials = "trials" if len(cut.trials) > 1 else "trial"
    return (
        f"The event files of {trials} {cut.numbers} are too large to be read to their end: the "
        f"value of '{tag}' that counts may not be the last. Report it with "
        "mlengine.runtime.report as well, or write fewer summaries."
    )


def origin_text(details: TrialDetails | None) -> str:
    """Say where a point comes from.

    Example:
        >>> origin_text(TrialDetails(origin="model", mean=0.91, spread=0.02))
        'model, 0.91 ± 0.02 expected'
    """
    if details is None:
        return "user"
    expected = ""
    if details.mean is not None:
        expected = f", {details.mean:.4g} ± {details.spread or 0.0:.2g} expected"
    return f"{details.origin or 'user'}{expected}{', ' + details.why if details.why else ''}"


def rest_line(rest: Rest, parallel: int) -> str:
    """Say how long what is left takes, and what it costs.

    Example:
        >>> rest_line(Rest(trials=19, seconds=300.0, usd=0.02), 2)
        'The other 19 trials, 2 at a time, will take about 5 min and cost about 0.02 USD.'
    """
    trials = f"other {rest.trials} trials" if rest.trials > 1 else "other trial"
    pace = f", {parallel} at a time," if parallel > 1 and rest.trials > 1 else ""
    return (
        f"The {trials}{pace} will take about {duration(rest.seconds)} and cost about "
        f"{rest.usd:.2f} USD."
    )


def duration(seconds: float) -> str:
    """Write a time as people say it.

    Example:
        >>> duration(12.34), duration(90), duration(7300)
        ('12.3 s', '1 min 30 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
