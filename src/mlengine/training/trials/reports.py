"""What each running trial reports, and why one that failed could not even read its flags."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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

__all__ = ["Attempts", "TrialReports", "begun_attempts", "unknown_flag"]

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


class Attempts(NamedTuple):
    """Attempts of a trial, oldest first; there may be none.

    Attributes:
        dirs: Their folders.
        begun_s: When each began, in seconds since the epoch, less what clocks may be apart.
    """

    dirs: list[Path]
    begun_s: list[float]


def begun_attempts(record: JobRecord, attempt_dir: Path) -> Attempts:
    """Return the attempts of a job that have begun.

    Args:
        record: The job.
        attempt_dir: The folder of its newest attempt; the others lie beside it.
    """
    earlier = [attempt_dir.parent / str(number) for number in range(1, record.attempt)]
    found = [(path, begun) for path in (*earlier, attempt_dir) if (begun := _begun_s(path))]
    return Attempts([path for path, _begun in found], [begun for _path, begun in found])


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
        attempts = begun_attempts(record, attempt_dir)
        if not attempts.dirs or self._due_s.get(record.uid, 0.0) > now_s:
            return None
        live = self._live.get(record.uid) or _objective(record, attempts)
        self._live[record.uid] = live
        points = live.look(job_dir(), *attempts.dirs, begun_s=attempts.begun_s)
        took_s = self._monotonic_s() - now_s
        self._due_s[record.uid] = now_s + max(_EVERY_S, took_s * _SHARE)
        return trial_output(record, points)

    def ended(self, record: JobRecord, attempt_dir: Path, job_dir: Path | None) -> dict[str, Any]:
        """Return what a child has measured, all of it read anew."""
        live = self._live.pop(record.uid, None)
        self._due_s.pop(record.uid, None)
        attempts = begun_attempts(record, attempt_dir)
        if not attempts.dirs:
            return trial_output(record, [])
        live = live or _objective(record, attempts)
        points = live.last_look(job_dir, *attempts.dirs, begun_s=attempts.begun_s)
        return trial_output(record, points, cut=live.incomplete)


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


def _objective(record: JobRecord, attempts: Attempts) -> LiveObjective:
    tag = hyperparameters_of(record.job.training_input or TrainingInput()).tag
    return LiveObjective(tag, since_s=attempts.begun_s[0])
