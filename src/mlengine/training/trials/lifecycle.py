"""What becomes of a tuning job, given its trials. Pure: no clock, store or process.

Each trial is a job of its own inside, its child; the tuning job holds no replica. `tuningjobs`
observes and performs; each rule is one row of a table test.

    (nothing) ──ask──▶ trial ──begin──▶ child ──▶ … ──▶ child is over ──close──▶ in the books

A trial is on record before its child is, and its child's id is the trial's number: whoever dies in
between, the same trial is begun once. When the job ends a trial is in the books or was withdrawn.

When the job ends
    all of `maxTrials` are in the books, or there is no further point to try:
        SUCCEEDED if a trial succeeded, else FAILED
    `maxFailedTrials` trials have failed; if that is not set, the first three (or as many as run at
        one time, if more) have failed and none has succeeded:  FAILED, and what runs is stopped
    a trial could not even read its flags, and none has succeeded:  FAILED at once
    somebody cancelled it:  CANCELLED, and what runs is stopped
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from mlengine.core.states import JobState
from mlengine.training.trials.reasons import grouped, told

__all__ = [
    "ENDED_FIRST",
    "STOPPED_EARLY",
    "UNKNOWN_FLAG",
    "Act",
    "Books",
    "Step",
    "TrialFacts",
    "decide",
]

STOPPED_EARLY = "Stopped early: "
"""How the message of a child begins that was stopped because its trial need not go on."""

ENDED_FIRST = "Ended by itself before it could be stopped early."
"""The message of a child that was to be stopped, and had ended well before it heard of that."""

UNKNOWN_FLAG = "UNKNOWN_FLAG: "
"""How the message of a child begins whose trainer does not know a tuned flag."""

_FEWEST_FAILURES = 3


class Act(enum.Enum):
    """One thing to do."""

    ASK = enum.auto()
    """Have `count` points suggested, and each recorded as a trial."""
    BEGIN = enum.auto()
    """Add the trial's child."""
    CALL_OFF = enum.auto()
    """Ask the trial's child to stop."""
    CLOSE = enum.auto()
    """The child is over, or never was and never will be: write its result into the books."""
    GIVE_UP = enum.auto()
    """Write down, as `message`, why the job fails: from then on what runs is called off."""
    END = enum.auto()
    """Move the job to `state`, with `message`."""


class Step(msgspec.Struct, frozen=True):
    """An act, and what it is about. The `message` of a success is a warning, or empty."""

    act: Act
    trial: int = 0
    count: int = 0
    state: JobState | None = None
    message: str = ""


class TrialFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one trial.

    Attributes:
        closed: Its result is in the books.
        stopping: It was decided that it need not go on.
        child: State that its child came to (`children.state_of`); None before there is one.
        failure: Message of a child that failed.
    """

    number: int
    closed: bool = False
    stopping: bool = False
    child: JobState | None = None
    failure: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was for; one that was stopped early did."""
        return self.child is JobState.SUCCEEDED

    @property
    def failed(self) -> bool:
        """Whether its child ended by itself, and not well."""
        return self.child in (JobState.FAILED, JobState.CANCELLED)


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a tuning job.

    Attributes:
        max_failed: Failed trials that fail the job; 0: see the module.
        trials: Its own, of a study that it continues only those that it added.
        exhausted: There is no further point to try.
        asking: Points are being suggested right now.
        cancelling: Somebody wants it to end.
        given_up: Why it fails, once that was decided.
    """

    max_trials: int
    max_parallel: int = 1
    max_failed: int = 0
    trials: Sequence[TrialFacts] = ()
    exhausted: bool = False
    asking: bool = False
    cancelling: bool = False
    given_up: str = ""


def decide(books: Books) -> list[Step]:
    """Return what to do now; nothing while there is only to wait.

    Example:
        >>> decide(Books(max_trials=4, max_parallel=2))
        [Step(act=<Act.ASK: 1>, trial=0, count=2, state=None, message='')]
    """
    ending = books.cancelling or bool(books.given_up)
    if not ending and (failure := _failure(books)):
        return [Step(Act.GIVE_UP, message=failure)]
    alive = [t for t in books.trials if not t.closed]
    steps = [step for t in alive if (step := _step(t, ending=ending)) is not None]
    if alive or books.asking:
        return steps if ending else [*steps, *_ask(books, len(alive))]
    if books.cancelling:
        return [Step(Act.END, state=JobState.CANCELLED, message=_whole(books))]
    if ending:
        return [Step(Act.END, state=JobState.FAILED, message=_whole(books))]
    if len(books.trials) < books.max_trials and not books.exhausted:
        return _ask(books, 0)
    return [_end(books)]


def _step(trial: TrialFacts, *, ending: bool) -> Step | None:
    if trial.child is None:
        return Step(Act.CLOSE if ending else Act.BEGIN, trial.number)
    if trial.child.terminal:
        return Step(Act.CLOSE, trial.number)
    if (ending or trial.stopping) and trial.child is not JobState.CANCELLING:
        return Step(Act.CALL_OFF, trial.number)
    return None


def _ask(books: Books, alive: int) -> list[Step]:
    """Have as many points suggested as there is room for."""
    room = min(books.max_parallel - alive, books.max_trials - len(books.trials))
    if room <= 0 or books.exhausted or books.asking:
        return []
    return [Step(Act.ASK, count=room)]


def _end(books: Books) -> Step:
    lost = [t for t in books.trials if t.failed]
    if len(lost) < len(books.trials):
        return Step(Act.END, state=JobState.SUCCEEDED, message=_reasons(lost))
    if not lost:
        return Step(Act.END, state=JobState.FAILED, message="There was no point left to try.")
    return Step(Act.END, state=JobState.FAILED, message=_all_failed(lost))


def _failure(books: Books) -> str:
    """Say why the job fails before all trials were tried; empty if it does not."""
    failed = [t for t in books.trials if t.failed]
    has_succeeded = any(t.succeeded for t in books.trials)
    for trial in failed:
        if trial.failure.startswith(UNKNOWN_FLAG) and not has_succeeded:
            return f"Trial {trial.number} cannot work, and no other would: {trial.failure}"
    if books.max_failed:
        if len(failed) < books.max_failed:
            return ""
        return (
            f"{len(failed)} trials failed, and maxFailedTrials is {books.max_failed}.\n"
            f"{_reasons(failed)}"
        )
    if has_succeeded or len(failed) < max(_FEWEST_FAILURES, books.max_parallel):
        return ""
    return _all_failed(failed)


def _all_failed(failed: Sequence[TrialFacts]) -> str:
    count = "The only trial" if len(failed) == 1 else f"All of the first {len(failed)} trials"
    return f"{count} failed.\n{_reasons(failed)}"


def _whole(books: Books) -> str:
    """Return why the job ends, and under it what became of each trial that did not succeed."""
    why = books.given_up.partition("\n")[0]
    lost = [t for t in books.trials if not t.succeeded and not (t.failure and t.failure in why)]
    return "\n".join(filter(None, [why, _reasons(lost)]))


def _reasons(trials: Sequence[TrialFacts]) -> str:
    return told(grouped((t.number, str(t.child or ""), t.failure) for t in trials))
