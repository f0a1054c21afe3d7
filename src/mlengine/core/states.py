"""The states of jobs, versions, studies and trials, and which moves between them are lawful.

    job      QUEUED ─▶ PREPARING ─▶ RUNNING ─▶ SUCCEEDED
               │           │           ├─────▶ FAILED      (also from PREPARING and QUEUED)
               └───────────┴───────────┴─────▶ CANCELLING ─▶ CANCELLED
    version  CREATING ─▶ READY ⇄ UPDATING      CREATING ─▶ FAILED
             READY, FAILED ─▶ DELETING ─▶ (gone)    DELETING ─▶ FAILED (it could not be removed)
    study    ACTIVE ⇄ INACTIVE      ACTIVE, INACTIVE ─▶ COMPLETED
    trial    REQUESTED ─▶ ACTIVE ─▶ STOPPING ─▶ COMPLETED      REQUESTED, ACTIVE ─▶ COMPLETED

What each state promises, and when it is published:

- QUEUED: the job is on disk and will run; nothing of it runs.
- PREPARING: an attempt owns it; packages are being fetched and installed.
- RUNNING: every replica of the attempt has been started.
- CANCELLING: it will end as CANCELLED, never as SUCCEEDED; replicas may still run.
- SUCCEEDED, FAILED, CANCELLED: final, and no process of the job is left.
- READY: a worker has loaded the version *and* answered.
- REQUESTED: somebody wants this point tried; nobody does so yet.
- ACTIVE, STOPPING: a client has the trial; in STOPPING it has been asked to come to an end.
- COMPLETED: of a trial, its result is in the books and never changes; of a study, there is
  nothing left to try.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

__all__ = [
    "JOB_MOVES",
    "PENDING_TRIAL_STATES",
    "STARTED_JOB_STATES",
    "STUDY_MOVES",
    "TERMINAL_JOB_STATES",
    "TRIAL_MOVES",
    "VERSION_MOVES",
    "JobState",
    "StudyState",
    "TrialState",
    "VersionState",
    "may_move",
]


class JobState(enum.StrEnum):
    """State of a job (`Job.state`), and of a tuning job's trial as its output shows it."""

    QUEUED = "QUEUED"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self in TERMINAL_JOB_STATES


class VersionState(enum.StrEnum):
    """State of a model version (`Version.state`)."""

    CREATING = "CREATING"
    READY = "READY"
    UPDATING = "UPDATING"
    FAILED = "FAILED"
    DELETING = "DELETING"


class StudyState(enum.StrEnum):
    """State of a study (`Study.state`)."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    COMPLETED = "COMPLETED"


class TrialState(enum.StrEnum):
    """State of a study's trial (`Trial.state`)."""

    REQUESTED = "REQUESTED"
    ACTIVE = "ACTIVE"
    STOPPING = "STOPPING"
    COMPLETED = "COMPLETED"


STARTED_JOB_STATES = frozenset({JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING})
"""In which an attempt may own the job: it left the queue and has not ended."""

TERMINAL_JOB_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PREPARING, JobState.FAILED, JobState.CANCELLING}),
    JobState.PREPARING: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLING}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLING}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

VERSION_MOVES: Mapping[VersionState, frozenset[VersionState]] = {
    VersionState.CREATING: frozenset({VersionState.READY, VersionState.FAILED}),
    VersionState.READY: frozenset({VersionState.UPDATING, VersionState.DELETING}),
    VersionState.UPDATING: frozenset({VersionState.READY}),
    VersionState.FAILED: frozenset({VersionState.DELETING}),
    VersionState.DELETING: frozenset({VersionState.FAILED}),
}

STUDY_MOVES: Mapping[StudyState, frozenset[StudyState]] = {
    StudyState.ACTIVE: frozenset({StudyState.INACTIVE, StudyState.COMPLETED}),
    StudyState.INACTIVE: frozenset({StudyState.ACTIVE, StudyState.COMPLETED}),
    StudyState.COMPLETED: frozenset(),
}

PENDING_TRIAL_STATES = frozenset({TrialState.ACTIVE, TrialState.STOPPING})
"""In which a client has the trial."""

TRIAL_MOVES: Mapping[TrialState, frozenset[TrialState]] = {
    TrialState.REQUESTED: frozenset({TrialState.ACTIVE, TrialState.COMPLETED}),
    TrialState.ACTIVE: frozenset({TrialState.STOPPING, TrialState.COMPLETED}),
    TrialState.STOPPING: frozenset({TrialState.COMPLETED}),
    TrialState.COMPLETED: frozenset(),
}


def may_move(frm: JobState, to: JobState) -> bool:
    """Tell whether a job may go from one state to another.

    Example:
        >>> may_move(JobState.CANCELLING, JobState.SUCCEEDED)
        False
    """
    return to in JOB_MOVES[frm]
