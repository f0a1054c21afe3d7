"""How a local engine has the verbs for studies and trials."""

from __future__ import annotations

from collections.abc import Callable

from mlengine.core.names import check_project
from mlengine.core.resources import Location, Operation
from mlengine.core.studies import (
    CompleteTrialRequest,
    Measurement,
    Study,
    SuggestTrialsRequest,
    Trial,
)
from mlengine.engine.studyverbs import StudyVerbs
from mlengine.tuning.studies import Studies

__all__ = ["LocalStudies"]


class LocalStudies:
    """Implements `StudyVerbs` by `tuning.studies`, in this process.

    Args:
        studies: Does it.
        locate: Refuses a location that the engine does not have.
    """

    def __init__(self, studies: Studies, locate: Callable[[str, str], Location]) -> None:
        self._studies, self._locate = studies, locate

    def create_study(self, project: str, location_id: str, study_id: str, study: Study) -> Study:
        self._locate(check_project(project), location_id)
        return self._studies.create(project, location_id, study_id, study)

    def get_study(self, project: str, location_id: str, study_id: str) -> Study:
        return self._studies.get(project, location_id, study_id)

    def list_studies(self, project: str, location_id: str) -> list[Study]:
        self._locate(check_project(project), location_id)
        return self._studies.all(project, location_id)

    def delete_study(self, project: str, location_id: str, study_id: str) -> None:
        self._studies.delete(project, location_id, study_id)

    def create_trial(self, project: str, location_id: str, study_id: str, trial: Trial) -> Trial:
        return self._studies.create_trial(project, location_id, study_id, trial)

    def get_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> Trial:
        return self._studies.trial(project, location_id, study_id, trial_id)

    def list_trials(self, project: str, location_id: str, study_id: str) -> list[Trial]:
        return self._studies.trials(project, location_id, study_id)

    def delete_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> None:
        self._studies.delete_trial(project, location_id, study_id, trial_id)

    def suggest_trials(
        self, project: str, location_id: str, study_id: str, request: SuggestTrialsRequest
    ) -> Operation:
        return self._studies.suggest(project, location_id, study_id, request)

    def add_trial_measurement(
        self,
        project: str,
        location_id: str,
        study_id: str,
        trial_id: str,
        measurement: Measurement | None,
    ) -> Trial:
        return self._studies.add_measurement(project, location_id, study_id, trial_id, measurement)

    def complete_trial(
        self,
        project: str,
        location_id: str,
        study_id: str,
        trial_id: str,
        request: CompleteTrialRequest,
    ) -> Trial:
        return self._studies.complete(project, location_id, study_id, trial_id, request)

    def check_trial_stopping(
        self, project: str, location_id: str, study_id: str, trial_id: str
    ) -> Operation:
        return self._studies.check_stopping(project, location_id, study_id, trial_id)

    def stop_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> Trial:
        return self._studies.stop(project, location_id, study_id, trial_id)

    def list_optimal_trials(self, project: str, location_id: str, study_id: str) -> list[Trial]:
        return self._studies.optimal(project, location_id, study_id)


_: type[StudyVerbs] = LocalStudies
