from __future__ import annotations

import itertools

import pytest

from mlengine.core.states import (
    JOB_MOVES,
    PENDING_TRIAL_STATES,
    STUDY_MOVES,
    TERMINAL_JOB_STATES,
    TRIAL_MOVES,
    VERSION_MOVES,
    JobState,
    StudyState,
    TrialState,
    VersionState,
    may_move,
)

S = JobState

LAWFUL = {
    (S.QUEUED, S.PREPARING),
    (S.QUEUED, S.FAILED),
    (S.QUEUED, S.CANCELLING),
    (S.PREPARING, S.RUNNING),
    (S.PREPARING, S.FAILED),
    (S.PREPARING, S.CANCELLING),
    (S.RUNNING, S.SUCCEEDED),
    (S.RUNNING, S.FAILED),
    (S.RUNNING, S.CANCELLING),
    (S.CANCELLING, S.CANCELLED),
}


@pytest.mark.parametrize(("frm", "to"), list(itertools.product(S, S)), ids=str)
def test_a_job_may_move_exactly_along_the_picture(frm: JobState, to: JobState) -> None:
    assert may_move(frm, to) == ((frm, to) in LAWFUL)


@pytest.mark.parametrize("state", S)
def test_a_state_is_terminal_exactly_if_nothing_leads_out(state: JobState) -> None:
    assert state.terminal == (not JOB_MOVES[state]) == (state in TERMINAL_JOB_STATES)


def test_every_job_can_still_end_from_wherever_it_is() -> None:
    for state in S:
        reached, edge = {state}, {state}
        while edge:
            edge = {to for frm in edge for to in JOB_MOVES[frm]} - reached
            reached |= edge
        assert reached & TERMINAL_JOB_STATES
        assert state.terminal or S.SUCCEEDED in reached or state is S.CANCELLING


def test_a_cancelled_job_never_succeeds() -> None:
    assert JOB_MOVES[S.CANCELLING] == {S.CANCELLED}


def test_no_job_goes_back() -> None:
    order = [S.QUEUED, S.PREPARING, S.RUNNING, S.CANCELLING, *TERMINAL_JOB_STATES]
    for frm, ends in JOB_MOVES.items():
        assert all(order.index(to) > order.index(frm) for to in ends)


def test_a_version_goes_only_from_where_it_rests() -> None:
    assert set(VERSION_MOVES) == set(VersionState)
    leaving = {frm for frm, ends in VERSION_MOVES.items() if VersionState.DELETING in ends}
    assert leaving == {VersionState.READY, VersionState.FAILED}
    assert VersionState.CREATING not in set().union(*VERSION_MOVES.values())


def test_what_is_over_of_a_study_or_trial_stays_over() -> None:
    assert set(STUDY_MOVES) == set(StudyState)
    assert set(TRIAL_MOVES) == set(TrialState)
    over = [frm for moves in (STUDY_MOVES, TRIAL_MOVES) for frm, ends in moves.items() if not ends]
    assert over == [StudyState.COMPLETED, TrialState.COMPLETED]
    assert {TrialState.ACTIVE, TrialState.STOPPING} == PENDING_TRIAL_STATES
    assert all(TrialState.COMPLETED in TRIAL_MOVES[state] for state in PENDING_TRIAL_STATES)
