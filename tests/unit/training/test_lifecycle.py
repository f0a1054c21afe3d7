from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.states import JobState
from mlengine.training.launchers import Phase
from mlengine.training.lifecycle import Observation, Retry, Step, decide

QUEUED, PREPARING, RUNNING = JobState.QUEUED, JobState.PREPARING, JobState.RUNNING
CANCELLING = JobState.CANCELLING

RULES = {
    "a queued job is prepared when a slot is free": (Observation(QUEUED), Step.PREPARE),
    "a queued job waits for a slot": (Observation(QUEUED, slot_free=False), Step.WAIT),
    "a queued job beyond its maxWaitTime expires": (
        Observation(QUEUED, waited_s=1801, wait_limit_s=1800),
        Step.EXPIRE,
    ),
    "a job that waited exactly its limit still runs": (
        Observation(QUEUED, waited_s=1800, wait_limit_s=1800),
        Step.PREPARE,
    ),
    "a job that this engine prepares is left alone": (
        Observation(PREPARING, working=True),
        Step.WAIT,
    ),
    "a job whose engine died while preparing is prepared again": (
        Observation(PREPARING),
        Step.PREPARE,
    ),
    "a slow installation counts as waiting": (
        Observation(PREPARING, working=True, waited_s=9, wait_limit_s=8),
        Step.EXPIRE,
    ),
    "so does a start that takes long": (
        Observation(PREPARING, Phase.STARTING, waited_s=9, wait_limit_s=8),
        Step.EXPIRE,
    ),
    "a job that started meanwhile has not waited too long": (
        Observation(PREPARING, Phase.RUNNING, waited_s=9, wait_limit_s=8),
        Step.MARK_RUNNING,
    ),
    "nor has one that is over meanwhile": (
        Observation(PREPARING, Phase.EXITED, waited_s=9, wait_limit_s=8),
        Step.MARK_RUNNING,
    ),
    "a supervisor that was asked for is waited for": (
        Observation(PREPARING, Phase.STARTING),
        Step.WAIT,
    ),
    "a job whose replicas run is RUNNING": (
        Observation(PREPARING, Phase.RUNNING),
        Step.MARK_RUNNING,
    ),
    "a trainer that ended before it was looked at was RUNNING first": (
        Observation(PREPARING, Phase.EXITED),
        Step.MARK_RUNNING,
    ),
    "a supervisor that died while starting fails the job": (
        Observation(PREPARING, Phase.LOST),
        Step.END_LOST,
    ),
    "a running job is left alone": (Observation(RUNNING, Phase.RUNNING), Step.WAIT),
    "a running job keeps running when no slot is free": (
        Observation(RUNNING, Phase.RUNNING, slot_free=False),
        Step.WAIT,
    ),
    "maxWaitTime does not count once a job runs": (
        Observation(RUNNING, Phase.RUNNING, waited_s=9, wait_limit_s=8),
        Step.WAIT,
    ),
    "an ended attempt is collected": (Observation(RUNNING, Phase.EXITED), Step.COLLECT),
    "an attempt is collected once": (
        Observation(RUNNING, Phase.EXITED, working=True),
        Step.WAIT,
    ),
    "a dead supervisor fails the job": (Observation(RUNNING, Phase.LOST), Step.END_LOST),
    "a failure that may pass is noted first": (
        Observation(RUNNING, Phase.EXITED, retry=Retry.UNNOTED),
        Step.NOTE_RETRY,
    ),
    "a supervisor that died while starting may be retried": (
        Observation(PREPARING, Phase.LOST, retry=Retry.UNNOTED),
        Step.NOTE_RETRY,
    ),
    "a pause is kept": (Observation(RUNNING, Phase.EXITED, retry=Retry.PAUSING), Step.WAIT),
    "a pause ends": (Observation(RUNNING, Phase.LOST, retry=Retry.DUE), Step.RETRY),
    "a cancel ends a pause at once": (
        Observation(CANCELLING, Phase.EXITED, retry=Retry.PAUSING),
        Step.END_CANCELLED,
    ),
    "the next attempt of a running job is prepared": (
        Observation(RUNNING, Phase.NOT_STARTED, begun=False),
        Step.PREPARE,
    ),
    "by one thread": (
        Observation(RUNNING, Phase.NOT_STARTED, begun=False, working=True),
        Step.WAIT,
    ),
    "the next attempt's start is put on record": (
        Observation(RUNNING, Phase.RUNNING, begun=False),
        Step.MARK_RUNNING,
    ),
    "also when it was over at once": (
        Observation(RUNNING, Phase.EXITED, begun=False, retry=Retry.UNNOTED),
        Step.MARK_RUNNING,
    ),
    "a running job whose folder is gone fails": (
        Observation(RUNNING, Phase.NOT_STARTED),
        Step.END_LOST,
    ),
    "a cancelled job that runs is stopped": (Observation(CANCELLING, Phase.RUNNING), Step.STOP),
    "a cancelled job that just starts is stopped": (
        Observation(CANCELLING, Phase.STARTING),
        Step.STOP,
    ),
    "a cancelled job is CANCELLED though it succeeded meanwhile": (
        Observation(CANCELLING, Phase.EXITED),
        Step.END_CANCELLED,
    ),
    "a cancelled job that never started is CANCELLED": (
        Observation(CANCELLING),
        Step.END_CANCELLED,
    ),
    "a cancelled job is not over while its preparation could yet start it": (
        Observation(CANCELLING, working=True),
        Step.WAIT,
    ),
    "a cancelled job whose supervisor died is CANCELLED": (
        Observation(CANCELLING, Phase.LOST),
        Step.END_CANCELLED,
    ),
}


@pytest.mark.parametrize(("seen", "step"), RULES.values(), ids=RULES.keys())
def test_decide(seen: Observation, step: Step) -> None:
    assert decide(seen) is step


OBSERVATIONS = st.builds(
    Observation,
    state=st.sampled_from(JobState),
    phase=st.sampled_from(Phase),
    working=st.booleans(),
    slot_free=st.booleans(),
    begun=st.booleans(),
    retry=st.sampled_from(Retry),
    waited_s=st.floats(0, 10),
    wait_limit_s=st.none() | st.floats(0, 10),
)


@given(OBSERVATIONS)
def test_nothing_is_done_to_a_job_that_is_over(seen: Observation) -> None:
    if seen.state.terminal:
        assert decide(seen) is Step.WAIT


@given(OBSERVATIONS)
def test_a_job_never_ends_while_something_of_it_may_run(seen: Observation) -> None:
    if decide(seen) in (Step.END_CANCELLED, Step.END_LOST, Step.COLLECT, Step.RETRY):
        assert seen.phase not in (Phase.STARTING, Phase.RUNNING)


@given(OBSERVATIONS)
def test_a_cancelled_job_ends_as_nothing_else(seen: Observation) -> None:
    if seen.state is CANCELLING:
        assert decide(seen) in (Step.STOP, Step.WAIT, Step.END_CANCELLED)


@given(OBSERVATIONS)
def test_only_a_queued_job_without_a_slot_or_one_at_work_waits_for_ever(seen: Observation) -> None:
    """Whatever waits is waited for by something that will wake it."""
    if decide(seen) is Step.WAIT and not seen.state.terminal:
        assert (
            seen.working
            or seen.phase in (Phase.STARTING, Phase.RUNNING)
            or (seen.state is QUEUED and not seen.slot_free)
            or seen.retry is Retry.PAUSING
        )


@given(OBSERVATIONS)
def test_no_attempt_follows_one_that_may_still_run(seen: Observation) -> None:
    """And none follows without a decision on disk, however often an engine dies in between."""
    step = decide(seen)
    if step in (Step.NOTE_RETRY, Step.RETRY):
        assert seen.phase in (Phase.EXITED, Phase.LOST)
        assert (step is Step.RETRY) == (seen.retry is Retry.DUE)
    if step is Step.PREPARE:
        assert seen.phase is Phase.NOT_STARTED or seen.state is QUEUED
