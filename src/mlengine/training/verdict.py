"""Whether a job that ended well has done what it was for. SUCCEEDED must mean it.

Exit code 0 is not enough: trainers catch what went wrong and return, train on after the loss has
become NaN, and leave half a model behind. Each finding has a word, by which its user accepts it
knowingly (``--allow WORD``), and a name, which its message begins with:

    traceback    TRACEBACK_AT_EXIT        the chief's last words are a traceback
    non-finite   NON_FINITE_OBJECTIVE     every value of a trial's objective, or the last of a loss
                                          where there is no objective
    export       BROKEN_EXPORT            a model that it wrote is damaged, or does not load
    objective    OBJECTIVE_NOT_REPORTED   the metric that was asked for never came

A job that exports nothing and reports nothing is judged by its exit code alone, for free. What may
be the file of another job, which writes to the same place and has not ended, is only warned of.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlengine.core.resources import Job
from mlengine.runtime import attemptfiles
from mlengine.store import JobRecord
from mlengine.training.curves import Series
from mlengine.training.exports import Problem, damage, find_exports, unloadable
from mlengine.training.lastwords import LastWords, last_words
from mlengine.training.launchers import AttemptSpec, ExitRecord, Outcome
from mlengine.training.metrics import Metrics, aliases, read_metrics, with_tag
from mlengine.training.neighbours import Neighbour
from mlengine.training.tfconfig import base_environment
from mlengine.training.trials.hyperparameters import hyperparameters_of
from mlengine.training.trials.reports import begun_attempts

__all__ = ["FINDINGS", "Finding", "Verdict", "judge"]

FINDINGS: Mapping[str, str] = {
    "traceback": "TRACEBACK_AT_EXIT",
    "non-finite": "NON_FINITE_OBJECTIVE",
    "export": "BROKEN_EXPORT",
    "objective": "OBJECTIVE_NOT_REPORTED",
}
"""Word for ``--allow`` → name in messages."""

_LOSS = re.compile(r"(?:.*[/_ ])?loss(?:_\d+)?")
_SLACK_S = 1.0  # by how much a replica's clock may be behind ours: it is what stamps metrics
_MAX_EXPORTS = 50
_MAYBE_THEIRS = "It may be of {}, which writes there too and has not ended."
_SHOWN_TAGS = 20
_OF_ONE_REPLICA = frozenset({
    "TF_CONFIG", "CLUSTER_SPEC", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK",
})  # fmt: skip


class Finding(NamedTuple):
    """Something wrong with a job that exited 0; `word` is a key of `FINDINGS`."""

    word: str
    text: str

    @property
    def message(self) -> str:
        """The job's error message, with how to accept it."""
        return f"{FINDINGS[self.word]}: {self.text} '--allow {self.word}' accepts it."


class Verdict(NamedTuple):
    """What to make of a job; `failed` is its error message, or empty."""

    failed: str
    warnings: list[str]


def judge(
    record: JobRecord,
    attempt_dir: Path,
    job_dir: Path | None,
    exit_record: ExitRecord,
    python: str = "",
    beside: Sequence[Neighbour] = (),
) -> Verdict:
    """Judge an attempt that has ended; one that did not end well is not judged again.

    Args:
        record: The job.
        attempt_dir: The attempt's folder.
        job_dir: Where it wrote what it made; None when that is not on this machine.
        exit_record: How it ended.
        python: The job's interpreter; default: the one of the attempt's chief.
        beside: Jobs that may write into `job_dir`, too.
    """
    if exit_record.outcome is not Outcome.SUCCEEDED or not exit_record.replicas:
        return Verdict("", [])
    words = last_words(attempt_dir, exit_record.replicas[0].task)
    reported = read_metrics(job_dir, [attempt_dir], since_s=exit_record.started - _SLACK_S)
    findings, doubts = _exports(attempt_dir, job_dir, exit_record.started, python, beside)
    findings = [
        *_traceback(words),
        *_non_finite(record.job, reported, words, beside),
        *_objective(record.job, _objective_told(record, attempt_dir, job_dir, reported)),
        *findings,
    ]
    notes = [
        *words.notes,
        *doubts,
        *_notes(record.job, reported, words, beside),
        *_evaluators(exit_record),
    ]
    return _weigh(findings, notes, record.job)


def _weigh(findings: Iterable[Finding], notes: Sequence[str], job: Job) -> Verdict:
    """Turn findings into a failure, or into warnings where the job allows them."""
    allowed = set(job.options.allow) if job.options else set()
    failing: list[str] = []
    warnings = list(notes)
    for finding in findings:
        if finding.word in allowed:
            name = FINDINGS[finding.word]
            warnings.append(f"{name} (allowed): {finding.text}")
        else:
            failing.append(finding.message)
    return Verdict(" ".join(failing), warnings)


# --- findings -----------------------------------------------------------------------------------


def _traceback(words: LastWords) -> list[Finding]:
    if not words.error:
        return []
    return [
        Finding(
            "traceback",
            f"The last that {words.task} printed is a traceback, although it exited with 0: "
            f"{words.error}. Let the error end the program, or handle it without printing it so.",
        )
    ]


def _non_finite(
    job: Job, reported: Metrics, words: LastWords, beside: Sequence[Neighbour]
) -> list[Finding]:
    if _tag(job):  # an objective alone counts, if any
        return []
    own = [s for s in _lost(job, reported) if not _stranger(s, beside)]
    text = _last_value(own[0]) if own else _lost_words(job, reported, words)
    return [Finding("non-finite", text)] if text else []


def _losses(job: Job, reported: Metrics) -> list[Series]:
    """Return every loss other than the objective."""
    objective = _objectives(job, reported)
    return [s for s in reported.series if _LOSS.fullmatch(s.tag) and s not in objective]


def _lost(job: Job, reported: Metrics) -> list[Series]:
    """Return the losses that are not finite at the end; none when not all was read."""
    if reported.incomplete:
        return []
    return [s for s in _losses(job, reported) if not math.isfinite(s.last.value)]


def _last_value(series: Series) -> str:
    where = f"run {series.run}" if series.source == "tensorboard" else series.run
    return (
        f"The last value of {series.tag} ({series.source}, {where}) is "
        f"{series.last.value} at step {series.last.step}."
    )


def _lost_words(job: Job, reported: Metrics, words: LastWords) -> str:
    """Say that the last printed loss is not finite; empty if any is reported, which counts more."""
    if words.non_finite and not _losses(job, reported):
        return f"The last loss that {words.task} printed is not finite: {words.non_finite!r}."
    return ""


def _stranger(series: Series, beside: Sequence[Neighbour]) -> str:
    """Return which other job may have written a series; empty if none: logs are the job's own."""
    return _owner(series.run, beside) if series.source == "tensorboard" else ""


def _owner(path: str, beside: Sequence[Neighbour]) -> str:
    """Return which other job may have written a path in the job directory; empty if none."""
    return next((other.name for other in beside if other.may_own(path)), "")


def _objective_told(
    record: JobRecord, attempt_dir: Path, job_dir: Path | None, reported: Metrics
) -> Metrics:
    """Return what the newest attempt reported, or all did if that says nothing of the objective.

    One that goes on from a checkpoint may have nothing left to do, nor to report.
    """
    if not _tag(record.job) or _objectives(record.job, reported):
        return reported
    attempts = begun_attempts(record, attempt_dir)
    if len(attempts.dirs) < 2:
        return reported
    return read_metrics(job_dir, attempts.dirs, since_s=attempts.begun_s[0])


def _objective(job: Job, reported: Metrics) -> list[Finding]:
    tag, found = _tag(job), _objectives(job, reported)
    if not tag or reported.incomplete or any(_finite(series) for series in found):
        return []
    if found:
        last = found[0].last
        return [
            Finding(
                "non-finite",
                f"The objective {tag!r} was never reported as a finite number; its last value is "
                f"{last.value} at step {last.step}.",
            )
        ]
    shown = reported.tags[:_SHOWN_TAGS]
    more = len(reported.tags) - len(shown)
    seen = ", ".join(shown) + (f" and {more} more" if more else "")
    return [
        Finding(
            "objective",
            f"The objective {tag!r} was never reported. Reported were: {seen or 'no metrics'}."
            f"{_misdated(tag, reported)}",
        )
    ]


def _misdated(tag: str, reported: Metrics) -> str:
    """Say which values of the objective did not count for their time; empty if none."""
    counts = {name: reported.misdated.get(name, 0) for name in (tag, *aliases(tag))}
    name = max(counts, key=counts.__getitem__)
    if not counts[name]:
        return ""
    times = "once" if counts[name] == 1 else f"{counts[name]} times"
    return (
        f" {name!r} was there {times}, but dated before the trial's start, or not in seconds since "
        "1970: write it with the time at which it is reported."
    )


def _exports(
    attempt_dir: Path,
    job_dir: Path | None,
    since_s: float,
    python: str,
    beside: Sequence[Neighbour],
) -> tuple[list[Finding], list[str]]:
    if job_dir is None:
        return [], []
    exports = find_exports(job_dir, since_s=since_s)[:_MAX_EXPORTS]
    problems = [Problem(e, text) for e in exports if (text := damage(e))]
    damaged = {p.export for p in problems}
    whole = [e for e in exports if e not in damaged]
    if whole:
        interpreter, environ, cwd = _surroundings(attempt_dir, python)
        if interpreter:
            problems += unloadable(whole, interpreter, environ, cwd)
    findings, doubts = [], []
    for problem in problems:
        name = str(problem.export.path.relative_to(job_dir))
        if problem.sure and (owner := _owner(name, beside)):
            doubts.append(
                f"{name} in the job directory: {problem.text}. {_MAYBE_THEIRS.format(owner)}"
            )
        elif problem.sure:
            findings.append(Finding("export", f"{name} in the job directory: {problem.text}."))
        else:
            doubts.append(f"The export {name} may not load: {problem.text}.")
    return findings, doubts


def _notes(job: Job, reported: Metrics, words: LastWords, beside: Sequence[Neighbour]) -> list[str]:
    tag, found = _tag(job), _objectives(job, reported)
    notes = []
    if found and found[0].tag != tag:
        notes.append(f"The objective {tag} was reported as {found[0].tag}; that is taken for it.")
    if found and not math.isfinite(found[0].last.value) and _finite(found[0]):
        last = found[0].last
        notes.append(
            f"The last value of the objective {found[0].tag} is {last.value} at step {last.step}: "
            "it counts as not reported, and the last finite one is taken."
        )
    lost = _lost(job, reported)
    if tag and (text := _last_value(lost[0]) if lost else _lost_words(job, reported, words)):
        notes.append(f"{text} A trial is judged by its objective {tag} alone.")
    elif theirs := [(s, owner) for s in lost if (owner := _stranger(s, beside))]:
        series, owner = theirs[0]
        notes.append(f"{_last_value(series)} {_MAYBE_THEIRS.format(owner)}")
    printed = {s.run for s in reported.series if s.source == "log"}
    for task in sorted(printed & reported.dropped.keys()):
        notes.append(
            f"{reported.dropped[task]:,} lines of the log of {task} were dropped, for it outgrew "
            "its quota: metrics that were printed in them are missing."
        )
    if reported.incomplete:
        notes.append(
            "Its reports or event files are too large to be read at once; they were not judged."
        )
    return notes


def _evaluators(exit_record: ExitRecord) -> list[str]:
    """Tell who did not finish: the job is what its chief made, but an evaluation may be missing."""
    notes = []
    for replica in exit_record.replicas:
        if replica.role == "evaluator" and (replica.stopped or replica.exit_code != 0):
            why = f": {replica.last_error}" if replica.last_error else ""
            how = "was stopped, some time" if replica.stopped else "failed"
            notes.append(f"{replica.task} {how} after the chief had succeeded{why}.")
    return notes


# --- what they are judged by --------------------------------------------------------------------


def _tag(job: Job) -> str:
    """Return the objective's tag, or empty for a job that has none."""
    if job.training_input is None or not job.training_input.hyperparameters:
        return ""
    return hyperparameters_of(job.training_input).tag


def _objectives(job: Job, reported: Metrics) -> list[Series]:
    """Return the series of the objective, the one that counts first; none for a job without one."""
    tag = _tag(job)
    return with_tag(reported.series, tag) if tag else []


def _finite(series: Series) -> bool:
    """Tell whether any value is a finite number."""
    return series.total.least is not None


def _surroundings(attempt_dir: Path, python: str) -> tuple[str, dict[str, str], Path]:
    """Return the chief's interpreter, environment and working directory, without its cluster."""
    environ = {**base_environment(os.environ), "CUDA_VISIBLE_DEVICES": ""}
    try:
        data = (attempt_dir / attemptfiles.SPEC).read_bytes()
        chief = msgspec.json.decode(data, type=AttemptSpec).replicas[0]
    except (OSError, msgspec.MsgspecError, IndexError):
        return python, environ, attempt_dir
    mine = {k: v for k, v in chief.env.items() if k not in _OF_ONE_REPLICA}
    cwd = Path(chief.cwd) if Path(chief.cwd).is_dir() else attempt_dir
    return python or chief.argv[0], {**mine, "CUDA_VISIBLE_DEVICES": ""}, cwd
