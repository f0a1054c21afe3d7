"""What a job becomes, given what was observed of its attempt.

Pure: no clock, store or process. `reconciler.JobReconciler` observes and performs; each rule is one
row of a table test.

    QUEUED ──▶ PREPARING        a slot is free
    PREPARING ──▶ RUNNING       the supervisor started the replicas
    RUNNING ──▶ SUCCEEDED       the attempt ended well
       ├──────▶ RUNNING          it ended in a way that may pass: the next attempt, after a pause
       └──────▶ FAILED          it ended badly, or its supervisor is gone without a record
    any ──▶ CANCELLING          somebody asked, or a time limit passed
    CANCELLING ──▶ CANCELLED    nothing of it runs any more, whatever its exit said
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from mlengine.core.states import JobState
from mlengine.training.launchers import Phase

__all__ = ["Observation", "Retry", "Step", "decide"]


class Step(enum.Enum):
    """The one thing to do next."""

    WAIT = enum.auto()
    PREPARE = enum.auto()
    """Fetch, install and start; also again after a crash in the middle of it."""
    MARK_RUNNING = enum.auto()
    """The replicas were started: say so, once an attempt."""
    COLLECT = enum.auto()
    """The attempt ended by itself: read its outcome, take its outputs."""
    NOTE_RETRY = enum.auto()
    """Sweep what the attempt left, and write down that another one follows."""
    RETRY = enum.auto()
    """The pause is over: begin the next attempt."""
    EXPIRE = enum.auto()
    """It waited longer than its `maxWaitTime`: cancel it."""
    STOP = enum.auto()
    END_CANCELLED = enum.auto()
    END_LOST = enum.auto()
    """The supervisor died without a record: sweep what it left, then fail."""


class Retry(enum.Enum):
    """Whether an attempt that is over is followed by another."""

    NO = enum.auto()
    UNNOTED = enum.auto()
    """It is, and nobody has written that down yet."""
    PAUSING = enum.auto()
    DUE = enum.auto()


class Observation(NamedTuple):
    """What is known of a job at one moment.

    Attributes:
        state: Of the job's record.
        phase: What the launcher says of the newest attempt.
        working: This engine is preparing or collecting it right now.
        slot_free: It was admitted: it fits beside what runs.
        begun: It is on record that the replicas of the newest attempt were started.
        retry: Whether the newest attempt, if it is over, is followed by another.
        waited_s: Seconds since it was created.
        wait_limit_s: Its `maxWaitTime` in seconds, or None.
    """

    state: JobState
    phase: Phase = Phase.NOT_STARTED
    working: bool = False
    slot_free: bool = True
    begun: bool = True
    retry: Retry = Retry.NO
    waited_s: float = 0.0
    wait_limit_s: float | None = None


def decide(seen: Observation) -> Step:
    """Return the next step of a job.

    Example:
        >>> decide(Observation(JobState.RUNNING, Phase.EXITED))
        <Step.COLLECT: 4>
    """
    if seen.state.terminal:
        return Step.WAIT
    if seen.state is JobState.CANCELLING:
        return _cancelling(seen)
    if seen.state is JobState.RUNNING:
        return _running(seen)
    # Once its supervisor has started the replicas it waits no more, though no record says so yet.
    waiting = seen.phase in (Phase.NOT_STARTED, Phase.STARTING)
    if waiting and seen.wait_limit_s is not None and seen.waited_s > seen.wait_limit_s:
        return Step.EXPIRE
    if seen.state is JobState.QUEUED:
        return Step.PREPARE if seen.slot_free and not seen.working else Step.WAIT
    return _preparing(seen)


def _preparing(seen: Observation) -> Step:
    match seen.phase:
        case Phase.NOT_STARTED:
            return Step.WAIT if seen.working else Step.PREPARE
        case Phase.STARTING:
            return Step.WAIT
        case Phase.RUNNING | Phase.EXITED:
            # A trainer may be faster than this engine: RUNNING is never skipped all the same.
            return Step.MARK_RUNNING
        case Phase.LOST:
            return _over(seen, otherwise=Step.END_LOST)


def _running(seen: Observation) -> Step:
    match seen.phase:
        case Phase.STARTING:
            return Step.WAIT
        case Phase.RUNNING:
            return Step.WAIT if seen.begun else Step.MARK_RUNNING
        case Phase.EXITED:
            if not seen.begun:
                return Step.MARK_RUNNING
            return Step.WAIT if seen.working else _over(seen, otherwise=Step.COLLECT)
        case Phase.LOST:
            return _over(seen, otherwise=Step.END_LOST)
        case Phase.NOT_STARTED:
            if seen.begun:  # its folder was removed by somebody
                return Step.END_LOST
            return Step.WAIT if seen.working else Step.PREPARE


def _over(seen: Observation, *, otherwise: Step) -> Step:
    steps = {Retry.UNNOTED: Step.NOTE_RETRY, Retry.PAUSING: Step.WAIT, Retry.DUE: Step.RETRY}
    return steps.get(seen.retry, otherwise)


def _cancelling(seen: Observation) -> Step:
    match seen.phase:
        case Phase.STARTING | Phase.RUNNING:
            return Step.STOP
        case _:
            # While it is being prepared, it may yet be started: wait for that to end first.
            return Step.WAIT if seen.working else Step.END_CANCELLED
