"""What `Store` has for tuning: studies, their trials, and what was measured of those."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mlengine.core.names import study_name, trial_name
from mlengine.core.states import StudyState, TrialState
from mlengine.core.studies import Measurement, Study, Trial
from mlengine.store.records import EndedOperation

__all__ = [
    "StudyRecord",
    "StudyStore",
    "TrialChange",
    "TrialEdit",
    "TrialRecord",
    "TrialsEnding",
]


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A study as it was read.

    Attributes:
        uid: Unique for ever.
        owner: The uid of the tuning job whose study it is; empty for one of its own.
        study: The API's view; `study.name` is the bare id, `study.state` is filled in.
        last_trial: The highest number that a trial of it ever had.
        revision: Grows when its state changes, and when a trial of it is removed.
    """

    seq: int
    project: str
    location: str
    uid: str
    owner: str
    study: Study
    last_trial: int
    revision: int

    @property
    def study_id(self) -> str:
        return self.study.name

    @property
    def name(self) -> str:
        """The whole name, as the API has it."""
        return study_name(self.project, self.location, self.study_id)

    @property
    def state(self) -> StudyState:
        return StudyState(self.study.state)


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A trial as it was read.

    `trial.name` is the bare number; state and client are filled in, `trial.measurements` never is.
    """

    seq: int
    project: str
    location: str
    study_id: str
    number: int
    trial: Trial

    @property
    def name(self) -> str:
        """The whole name, as the API has it."""
        return trial_name(self.project, self.location, self.study_id, self.number)

    @property
    def state(self) -> TrialState:
        return TrialState(self.trial.state)


class TrialChange(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a trial.

    Attributes:
        to: The state that it moves to; None leaves it where it is.
        changes: Attributes that change with that move.
        measured: What is added to what was measured of it.
    """

    to: TrialState | None = None
    changes: dict[str, Any] = {}
    measured: Sequence[Measurement] = ()


TrialEdit = Callable[[StudyRecord, TrialRecord, Callable[[], Sequence[Measurement]]], TrialChange]
"""What a trial's change is, given its study, the trial, and what reads all its measurements."""

TrialsEnding = Callable[
    [StudyRecord, Sequence[TrialRecord], Mapping[int, Sequence[Measurement]]], EndedOperation
]
"""How the operation ends that asked for trials.

Given the study as it is, what is handed out, and what was measured of those trials by number.
"""


class StudyStore(Protocol):
    """The methods; `Store` says what holds of all of them."""

    def add_study(
        self, project: str, location: str, study: Study, *, uid: str, owner: str = ""
    ) -> StudyRecord:
        """Insert an ACTIVE study; `study.name` is the bare id."""
        ...

    def study(self, project: str, location: str, study_id: str) -> StudyRecord: ...
    def studies(self, project: str, location: str) -> Sequence[StudyRecord]:
        """Return every study, newest first."""
        ...

    def study_of(self, owner: str) -> StudyRecord | None:
        """Return the study of a tuning job, by the job's uid."""
        ...

    def move_study(
        self, record: StudyRecord, to: StudyState, **changes: Any
    ) -> StudyRecord | None: ...
    def remove_study(self, record: StudyRecord) -> None:
        """Remove a study with its trials, measurements and operations that are done.

        `NotFound` if it is gone.
        """
        ...

    def add_trial(self, study: StudyRecord, trial: Trial, state: TrialState) -> TrialRecord:
        """Add a trial that somebody brings: REQUESTED, or COMPLETED elsewhere."""
        ...

    def hand_out(
        self,
        study: StudyRecord,
        client_id: str,
        count: int,
        *,
        fresh: Sequence[Trial] = (),
        fewer: bool = False,
        ending: TrialsEnding | None = None,
    ) -> Sequence[TrialRecord] | None:
        """Give a client so many trials, all at once or none.

        First come those that it has and that are not COMPLETED, as they are; then REQUESTED ones,
        oldest first; then the `fresh` ones as new trials. The latter two become ACTIVE, and the
        client's. None, and nothing changes, if

        - that makes fewer than `count`, unless `fewer` is true; or
        - fresh ones are needed, and the study has another revision than `study`, or has had
          another new trial since: what was chosen without knowing of that has to be chosen again;
          or
        - fresh ones are given out, and the study is not ACTIVE.

        Args:
            ending: Says of the study and the trials how the operation that asked for them ends; it
                is written in the same transaction.
        """
        ...

    def trial_of(
        self, project: str, location: str, study_id: str, number: int
    ) -> tuple[StudyRecord, TrialRecord]:
        """Return a trial together with its study, both of one moment."""
        ...

    def trials(self, study: StudyRecord) -> Sequence[TrialRecord]:
        """Return a study's trials by number, lowest first."""
        ...

    def study_since(
        self,
        project: str,
        location: str,
        study_id: str,
        *,
        after: int = 0,
        numbers: Collection[int] = (),
    ) -> tuple[StudyRecord, Sequence[TrialRecord]]:
        """Return a study and some of its `trials`, all of one moment.

        Args:
            after: Those above it.
            numbers: And those of these numbers.
        """
        ...

    def edit_trial(
        self, project: str, location: str, study_id: str, number: int, change: TrialEdit
    ) -> tuple[StudyRecord, TrialRecord]:
        """Do with a trial what `change` makes of the newest value; return it as it is then."""
        ...

    def move_trial(
        self, record: TrialRecord, to: TrialState, **changes: Any
    ) -> TrialRecord | None: ...
    def measure_trial(
        self,
        record: TrialRecord,
        measurements: Sequence[Measurement],
        *,
        from_step: int | None = None,
    ) -> TrialRecord | None:
        """Measure an ACTIVE or STOPPING trial, anew from a step; None if it is in another state."""
        ...

    def measurements(
        self, study: StudyRecord, *, number: int | None = None
    ) -> dict[int, list[Measurement]]:
        """Return what was measured of each trial, or of one, by step, then by elapsed time."""
        ...

    def remove_trial(self, record: TrialRecord) -> bool:
        """Remove a trial in whatever state; False if it is gone."""
        ...
