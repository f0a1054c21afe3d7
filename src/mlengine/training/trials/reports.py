"""What each running trial reports, and why one that failed could not even read its flags."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlengine.core.errors import did_you_mean
from mlengine.core.resources import TrainingInput
from mlengine.store import JobRecord
from mlengine.training import notes
from mlengine.training.lastwords import tail
from mlengine.training.launchers import ExitRecord, Outcome
from mlengine.training.trials.children import given_values, trial_output
from mlengine.training.trials.hyperparameters import hyperparameters_of
from mlengine.training.trials.lifecycle import UNKNOWN_FLAG
from mlengine.training.trials.objective import LiveObjective

__all__ = ["TrialReports", "unknown_flag"]

_EVERY_S = 1.0
_SHARE = 20  # of the time at most a twentieth goes into looking at one trial
_SLACK_S = 1.0  # how much coarser the clock of a file system may be than ours
_LAST_LINES = 40

# argparse, click, absl and getopt, each in its own words; others in words like them.
_COMPLAINT = re.compile(
    r"unrecogni[sz]ed (?:arguments?|options?)|no such option|unknown (?:command.line )?"
    r"(?:flags?|options?|arguments?)|unexpected (?:arguments?|options?)|invalid option|"
    r"option \S+ not recogni[sz]ed",
    re.IGNORECASE,
)
_HINT = re.compile(r"did you mean|\(possible (?:options|flags)", re.IGNORECASE)
_FLAG = re.compile(r"--[A-Za-z_][\w.-]*")


class TrialReports:
    """Reads what children report. Not thread-safe but for `ended`.

    Args:
        monotonic_s: Measures the pauses between looks.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._live: dict[str, LiveObjective] = {}
        self._due_s: dict[str, float] = {}

    def running(
        self, record: JobRecord, attempt_dir: Path, job_dir: Callable[[], Path | None]
    ) -> dict[str, Any] | None:
        """Return what a running child has measured so far; None when it is too early to look."""
        now_s = self._monotonic_s()
        since_s = _begun_s(attempt_dir)
        if not since_s or self._due_s.get(record.uid, 0.0) > now_s:
            return None
        key = f"{record.uid}/{record.attempt}"
        live = self._live.setdefault(key, LiveObjective(_tag(record), since_s=since_s))
        points = live.look(job_dir(), attempt_dir)
        took_s = self._monotonic_s() - now_s
        self._due_s[record.uid] = now_s + max(_EVERY_S, took_s * _SHARE)
        return trial_output(record, points)

    def ended(self, record: JobRecord, attempt_dir: Path, job_dir: Path | None) -> dict[str, Any]:
        """Return what a child has measured, all of it read anew."""
        live = self._live.pop(f"{record.uid}/{record.attempt}", None)
        self._due_s.pop(record.uid, None)
        since_s = _begun_s(attempt_dir)
        if live is None and since_s:
            live = LiveObjective(_tag(record), since_s=since_s)
        points = live.last_look(job_dir, attempt_dir) if live else []
        return trial_output(record, points, cut=bool(live and live.incomplete))


def unknown_flag(record: JobRecord, attempt_dir: Path, exit_record: ExitRecord) -> str:
    """Say which tuned flags the trainer does not know; empty if that is not why it failed."""
    if exit_record.outcome is not Outcome.FAILED or not exit_record.replicas:
        return ""
    lines = tail(attempt_dir, exit_record.replicas[0].task)[-_LAST_LINES:]
    tuned = [f"--{name}" for name in given_values(record)]
    for line in reversed(lines):
        complaint = _COMPLAINT.search(line)
        if complaint is None:
            continue
        # What is proposed instead is a flag that the trainer does know.
        said = _HINT.split(line[complaint.start() :])[0]
        unknown = [flag for flag in tuned if _names(said, flag)]
        if unknown:
            return _explained(unknown, lines, line)
    return ""


def _explained(unknown: Sequence[str], lines: Sequence[str], line: str) -> str:
    known = {flag for text in lines for flag in _FLAG.findall(text)} - set(unknown)
    hints = "".join(did_you_mean(flag, sorted(known)) for flag in unknown)
    flags = ", ".join(unknown)
    return (
        f"{UNKNOWN_FLAG}The trainer does not know {flags}. {hints}Have it take "
        f"{'them' if len(unknown) > 1 else 'it'}, or rename the parameter. It said: "
        f"{line.strip()[:300]}"
    )


def _names(said: str, flag: str) -> bool:
    """Tell whether a text names a flag, with or without its dashes and its value."""
    bare = re.escape(flag.removeprefix("--"))
    return re.search(rf"(?<![\w-])-{{0,2}}{bare}(?![\w.-])", said) is not None


def _begun_s(attempt_dir: Path) -> float:
    started_s = notes.started_at(attempt_dir)
    return started_s - _SLACK_S if started_s else 0.0


def _tag(record: JobRecord) -> str:
    return hyperparameters_of(record.job.training_input or TrainingInput()).tag
