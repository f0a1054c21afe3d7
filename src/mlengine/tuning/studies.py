"""Studies as a service: the fourteen methods that ml.v1 has for studies and their trials.

The store is the truth and every write to it is conditional: two clients that end one trial, or an
engine that dies between two steps, leave books that add up.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.names import check_study_id, check_trial_id
from mlengine.core.resources import Operation
from mlengine.core.states import PENDING_TRIAL_STATES, TRIAL_MOVES, StudyState, TrialState
from mlengine.core.studies import (
    CheckTrialEarlyStoppingStateResponse,
    CompleteTrialRequest,
    Measurement,
    Study,
    StudyConfig,
    SuggestTrialsRequest,
    Trial,
    TrialDetails,
)
from mlengine.store import (
    EndedOperation,
    Store,
    StudyRecord,
    TrialChange,
    TrialEdit,
    TrialRecord,
)
from mlengine.tuning import reports
from mlengine.tuning.advisor import Advisor
from mlengine.tuning.books import Problems
from mlengine.tuning.configs import check_config, policy_of
from mlengine.tuning.priors import check_priors
from mlengine.tuning.problem import Problem
from mlengine.tuning.stopping import Axis, Verdict, open_policy
from mlengine.tuning.suggesting import Suggesting
from mlengine.tuning.views import check_metadata, operation_view, study_view, tagged, trial_view

__all__ = ["Studies"]

_MAX_SUGGESTIONS = 1000
_MAX_TEXT = 1000


class Studies:
    """Implements the studies part of an engine.

    Args:
        store: Where the books are.
        advisor: Who is asked what to try next.
        clock: For the times that trials carry.
    """

    def __init__(self, store: Store, advisor: Advisor, *, clock: Clock) -> None:
        self._store, self._clock = store, clock
        problems = Problems()
        self._problem = problems.of
        self._suggesting = Suggesting(store, advisor, problems, clock)
        self._advisor = advisor

    def resume(self) -> None:
        """Take up what an engine that died had begun."""
        self._suggesting.resume()

    def close(self) -> None:
        """Let go of whatever is under way: it is taken up by the next engine."""
        self._advisor.close()
        self._suggesting.close()

    # --- studies ---

    def create(self, project: str, location: str, study_id: str, study: Study) -> Study:
        """Make a study."""
        check_study_id(study_id, field="study_id")
        check_config(study.study_config)
        check_priors(
            study.study_config or StudyConfig(),
            lambda prior_id: self._store.study(project, location, prior_id),
        )
        new = Study(
            name=study_id,
            study_config=study.study_config,
            create_time=rfc3339(self._clock.now()),
        )
        return study_view(self._store.add_study(project, location, new, uid=uuid.uuid4().hex))

    def get(self, project: str, location: str, study_id: str) -> Study:
        """Return a study."""
        return study_view(self.record(project, location, study_id))

    def all(self, project: str, location: str) -> list[Study]:
        """Return every study, newest first."""
        return [study_view(record) for record in self._store.studies(project, location)]

    def delete(self, project: str, location: str, study_id: str) -> None:
        """Remove a study with its trials."""
        study = _free(self.record(project, location, study_id))
        self._store.remove_study(study)
        self._suggesting.forget(study)

    def record(self, project: str, location: str, study_id: str) -> StudyRecord:
        """Return a study's record."""
        check_study_id(study_id, field="name")
        return self._store.study(project, location, study_id)

    # --- trials ---

    def create_trial(self, project: str, location: str, study_id: str, trial: Trial) -> Trial:
        """Add a trial that a user brings: to be tried, or tried already."""
        study = _free(self.record(project, location, study_id))
        problem = self._problem(study)
        reports.check_parameters(problem, trial)
        if trial.measurements:
            raise InvalidArgument(
                "A new trial cannot bring measurements.",
                "Send a finalMeasurement, or add them once the trial is ACTIVE.",
                field="trial.measurements",
            )
        state = trial.state or TrialState.REQUESTED
        if state not in (TrialState.REQUESTED, TrialState.COMPLETED):
            raise InvalidArgument(
                f"A new trial cannot be {trial.state[:64]!r}.",
                "Send REQUESTED, to have it tried, or COMPLETED with its finalMeasurement.",
                field="trial.state",
            )
        if study.state is not StudyState.ACTIVE:
            raise FailedPrecondition(
                f"The study '{study_id}' is {study.state}.",
                "Trials are added to a study that is ACTIVE.",
                field="name",
            )
        new = Trial(parameters=trial.parameters, details=TrialDetails(origin="user"))
        if state == TrialState.COMPLETED:
            given = trial.final_measurement or Measurement()
            changes = self._ended(problem, given, "trial.final_measurement")
            new = msgspec.structs.replace(new, start_time=changes["end_time"], **changes)
        elif trial.final_measurement is not None:
            raise InvalidArgument(
                "A trial that is REQUESTED has no final measurement yet.",
                "Leave it out, or set state to COMPLETED.",
                field="trial.final_measurement",
            )
        return trial_view(self._store.add_trial(study, new, TrialState(state)))

    def trial(self, project: str, location: str, study_id: str, trial_id: str) -> Trial:
        """Return a trial with all that was measured of it."""
        study, record = self._trial(project, location, study_id, trial_id)
        return self._view(study, record)

    def trials(self, project: str, location: str, study_id: str) -> list[Trial]:
        """Return every trial with all that was measured of it, by number."""
        study = self.record(project, location, study_id)
        measured = self._store.measurements(study)
        return [trial_view(t, measured.get(t.number, ())) for t in self._store.trials(study)]

    def delete_trial(self, project: str, location: str, study_id: str, trial_id: str) -> None:
        """Remove a trial; its number is not used again."""
        study, record = self._trial(project, location, study_id, trial_id)
        _free(study)
        if not self._store.remove_trial(record):
            remedy = f"List them with 'mlengine studies trials list --study {study_id}'."
            raise NotFound(f"The trial {trial_id} was deleted meanwhile.", remedy, field="name")

    def suggest(
        self, project: str, location: str, study_id: str, request: SuggestTrialsRequest
    ) -> Operation:
        """Give a client trials to try."""
        if not request.client_id or len(request.client_id) > _MAX_TEXT:
            raise InvalidArgument(
                "A client needs a name of its own.",
                f"Set clientId to 1-{_MAX_TEXT} characters: whoever asks again under it gets "
                "the trials that it has.",
                field="client_id",
            )
        if not 1 <= request.suggestion_count <= _MAX_SUGGESTIONS:
            raise InvalidArgument(
                f"{request.suggestion_count} suggestions cannot be had at once.",
                f"Ask for 1 to {_MAX_SUGGESTIONS}.",
                field="suggestion_count",
            )
        check_study_id(study_id, field="name")
        known = self._suggesting.remembered(project, location, study_id)
        try:
            return self._suggest(known or self._store.study(project, location, study_id), request)
        except NotFound:
            if known is None:
                raise
            self._suggesting.forget(known)  # another engine deleted it; is there one of its name?
        return self._suggest(self._store.study(project, location, study_id), request)

    def add_measurement(
        self,
        project: str,
        location: str,
        study_id: str,
        trial_id: str,
        measurement: Measurement | None,
    ) -> Trial:
        """Note what was measured of a trial; the answer holds that measurement alone."""
        if measurement is None:
            raise InvalidArgument("Nothing was measured.", "Send it.", field="measurement")
        points: list[Measurement] = []

        def change(study: StudyRecord, record: TrialRecord, _measured: object) -> TrialChange:
            reports.check_measurement(self._problem(_free(study)), measurement, "measurement")
            if record.state not in PENDING_TRIAL_STATES:
                raise _refused(record, "measured")
            point = msgspec.structs.replace(
                measurement,
                metrics=reports.usable(measurement),
                elapsed_time=reports.elapsed(record, self._clock.now()),
            )
            points[:] = [point] if point.metrics else []
            return TrialChange(measured=points)

        return trial_view(self._edit(project, location, study_id, trial_id, change), points)

    def complete(
        self,
        project: str,
        location: str,
        study_id: str,
        trial_id: str,
        request: CompleteTrialRequest,
    ) -> Trial:
        """Enter a trial's result in the books, where it stays."""
        if request.infeasible_reason and not request.trial_infeasible:
            raise InvalidArgument(
                "There is a reason why the trial is infeasible, but it is not.",
                "Set trialInfeasible, or leave infeasibleReason out.",
                field="infeasible_reason",
            )
        points: list[Measurement] = []

        def change(
            study: StudyRecord, record: TrialRecord, measured: Callable[[], Sequence[Measurement]]
        ) -> TrialChange:
            problem = self._problem(_free(study))
            if TrialState.COMPLETED not in TRIAL_MOVES[record.state]:
                raise _refused(record, "completed")
            points[:] = measured()
            if request.trial_infeasible:
                changes = self._infeasible(request.infeasible_reason)
            elif request.final_measurement is not None:
                final = msgspec.structs.replace(
                    request.final_measurement,
                    elapsed_time=reports.elapsed(record, self._clock.now()),
                )
                changes = self._ended(problem, final, "final_measurement")
            else:
                changes = self._with_final(reports.chosen_final(problem, points))
            return TrialChange(to=TrialState.COMPLETED, changes=changes)

        return trial_view(self._edit(project, location, study_id, trial_id, change), points)

    def stop(self, project: str, location: str, study_id: str, trial_id: str) -> Trial:
        """Ask whoever has a trial to come to an end with it."""
        points: list[Measurement] = []

        def change(
            study: StudyRecord, record: TrialRecord, measured: Callable[[], Sequence[Measurement]]
        ) -> TrialChange:
            _free(study)
            points[:] = measured()
            if record.state is TrialState.STOPPING:
                return TrialChange()
            if TrialState.STOPPING not in TRIAL_MOVES[record.state]:
                raise _refused(record, "stopped")
            return TrialChange(to=TrialState.STOPPING)

        return trial_view(self._edit(project, location, study_id, trial_id, change), points)

    def check_stopping(
        self, project: str, location: str, study_id: str, trial_id: str
    ) -> Operation:
        """Say whether a trial should come to an end; one that should is STOPPING then."""
        study, record = self._trial(project, location, study_id, trial_id)
        _free(study)
        if record.state not in PENDING_TRIAL_STATES:
            raise _refused(record, "stopped")
        now = rfc3339(self._clock.now())
        should_stop = record.state is TrialState.STOPPING or self._judge(study, record).stop
        if should_stop and record.state is TrialState.ACTIVE:
            self.stop(project, location, study_id, trial_id)
        response = CheckTrialEarlyStoppingStateResponse(
            should_stop=should_stop, start_time=now, end_time=rfc3339(self._clock.now())
        )
        ended = EndedOperation(
            operation_id=f"check_{study_id}_{trial_id}-{uuid.uuid4().hex}",
            metadata=check_metadata(study.name, record.name, now=now),
            response=tagged(response),
            subject=study.name,
        )
        return operation_view(study, self._store.note_operation(project, ended).operation)

    def optimal(self, project: str, location: str, study_id: str) -> list[Trial]:
        """Return the best trials: all that are as good as the best, or the Pareto front."""
        study = self.record(project, location, study_id)
        problem = self._problem(study)
        records = self._store.trials(study)
        best = reports.best_of(problem, [reports.tried(problem, record) for record in records])
        return [self._view(study, record) for record in records if record.number in best]

    # --- how ---

    def _trial(
        self, project: str, location: str, study_id: str, trial_id: str
    ) -> tuple[StudyRecord, TrialRecord]:
        check_study_id(study_id, field="name")
        number = check_trial_id(trial_id, field="name")
        return self._store.trial_of(project, location, study_id, number)

    def _suggest(self, study: StudyRecord, request: SuggestTrialsRequest) -> Operation:
        if _free(study).state is StudyState.INACTIVE:
            raise FailedPrecondition(
                f"The study '{study.study_id}' is INACTIVE: {study.study.inactive_reason}",
                field="name",
            )
        operation = self._suggesting.suggest(study, request.client_id, request.suggestion_count)
        return operation_view(study, operation)

    def _edit(
        self, project: str, location: str, study_id: str, trial_id: str, change: TrialEdit
    ) -> TrialRecord:
        """Change a trial in one transaction: `change` sees what nobody changes meanwhile."""
        check_study_id(study_id, field="name")
        number = check_trial_id(trial_id, field="name")
        return self._store.edit_trial(project, location, study_id, number, change)[1]

    def _view(self, study: StudyRecord, record: TrialRecord) -> Trial:
        measured = self._store.measurements(study, number=record.number)
        return trial_view(record, measured.get(record.number, ()))

    def _ended(self, problem: Problem, final: Measurement, at: str) -> dict[str, Any]:
        """Return what changes with a result; a trial whose result is no number is infeasible."""
        reports.check_measurement(problem, final, at)
        if reports.finals(problem, final, at=at) is None:
            return self._infeasible("Its final measurement is not a finite number.")
        return self._with_final(final)

    def _with_final(self, final: Measurement) -> dict[str, Any]:
        return {"final_measurement": final, "end_time": rfc3339(self._clock.now())}

    def _infeasible(self, reason: str) -> dict[str, Any]:
        return {
            "trial_infeasible": True,
            "infeasible_reason": reason[:_MAX_TEXT],
            "end_time": rfc3339(self._clock.now()),
        }

    def _judge(self, study: StudyRecord, record: TrialRecord) -> Verdict:
        config = study.study.study_config or StudyConfig()
        chosen = policy_of(config)
        if chosen is None:
            return Verdict(stop=False, why="the study has no rule for it")
        name, by_time = chosen
        metric = self._problem(study).metrics[0]
        measured = self._store.measurements(study)
        others = [
            reports.curve_of(other, measured.get(other.number, []), metric.name)
            for other in self._store.trials(study)
            if other.number != record.number and not other.trial.trial_infeasible
        ]
        its = reports.curve_of(record, measured.get(record.number, []), metric.name)
        policy = open_policy(name, Axis.ELAPSED if by_time else Axis.STEPS)
        return policy.judge(metric.goal, its, others)


def _free(study: StudyRecord) -> StudyRecord:
    """Return a study that clients may change; a tuning job alone changes its own."""
    if study.owner:
        or_cancel = "cancel the job, or " if study.state is not StudyState.INACTIVE else ""
        raise FailedPrecondition(
            f"The study '{study.study_id}' belongs to a tuning job. It is kept for jobs that go on "
            "with it (resumePreviousJobId).",
            f"It can be read; {or_cancel}make a study of your own.",
            field="name",
        )
    return study


def _refused(record: TrialRecord, what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"The trial {record.number} is {record.state} and cannot be {what}.",
        "Trials that a client has (ACTIVE, STOPPING) can.",
        field="name",
    )
