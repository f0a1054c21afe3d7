"""Studies and trials of an engine somewhere else."""

from __future__ import annotations

from typing import Any

import msgspec

from mlengine.client.calls import Calls, path_part, query_text, v1
from mlengine.core.names import location_name, study_name
from mlengine.core.resources import Operation
from mlengine.core.studies import (
    AddTrialMeasurementRequest,
    CompleteTrialRequest,
    Measurement,
    Study,
    SuggestTrialsRequest,
    Trial,
)
from mlengine.core.wire import decode_answer
from mlengine.engine.studyverbs import StudyVerbs

__all__ = ["HttpStudies"]


class HttpStudies(Calls):
    """The verbs of `StudyVerbs`, over HTTP."""

    def create_study(self, project: str, location_id: str, study_id: str, study: Study) -> Study:
        """Make a study; repeating it after a broken connection makes no second one."""
        path = v1(location_name, project, location_id) + "/studies" + query_text(studyId=study_id)
        sent = msgspec.structs.replace(study, name="")
        return self._create(path, sent, lambda: self.get_study(project, location_id, study_id))

    def get_study(self, project: str, location_id: str, study_id: str) -> Study:
        """Describe a study."""
        return self._get(Study, v1(study_name, project, location_id, study_id))

    def list_studies(self, project: str, location_id: str) -> list[Study]:
        """List studies, newest first."""
        path = v1(location_name, project, location_id) + "/studies"
        return self._list(Study, "studies", path).items

    def delete_study(self, project: str, location_id: str, study_id: str) -> None:
        """Delete a study with all of its trials."""
        self._call("DELETE", v1(study_name, project, location_id, study_id))

    def create_trial(self, project: str, location_id: str, study_id: str, trial: Trial) -> Trial:
        """Add a trial that is to be tried, or was."""
        path = v1(study_name, project, location_id, study_id) + "/trials"
        return _trial(self._call("POST", path, trial))

    def get_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> Trial:
        """Describe a trial, with all that was measured of it."""
        return self._get(Trial, _path(project, location_id, study_id, trial_id))

    def list_trials(self, project: str, location_id: str, study_id: str) -> list[Trial]:
        """List trials by number."""
        path = v1(study_name, project, location_id, study_id) + "/trials"
        return self._list(Trial, "trials", path).items

    def delete_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> None:
        """Delete a trial; its number is not used again."""
        self._call("DELETE", _path(project, location_id, study_id, trial_id))

    def suggest_trials(
        self, project: str, location_id: str, study_id: str, request: SuggestTrialsRequest
    ) -> Operation:
        """Give a client trials; asked again, it gets those that it has not completed."""
        path = v1(study_name, project, location_id, study_id) + "/trials:suggest"
        found = self._call("POST", path, request, safe=True)
        return decode_answer(Operation, found, at="operation")

    def add_trial_measurement(
        self,
        project: str,
        location_id: str,
        study_id: str,
        trial_id: str,
        measurement: Measurement | None,
    ) -> Trial:
        """Note what was measured of a trial."""
        path = _path(project, location_id, study_id, trial_id) + ":addMeasurement"
        request = AddTrialMeasurementRequest(measurement=measurement)
        return _trial(self._call("POST", path, request))

    def complete_trial(
        self,
        project: str,
        location_id: str,
        study_id: str,
        trial_id: str,
        request: CompleteTrialRequest,
    ) -> Trial:
        """Enter a trial's result in the books."""
        path = _path(project, location_id, study_id, trial_id) + ":complete"
        return _trial(self._call("POST", path, request))

    def check_trial_stopping(
        self, project: str, location_id: str, study_id: str, trial_id: str
    ) -> Operation:
        """Tell whether a trial should come to an end."""
        path = _path(project, location_id, study_id, trial_id) + ":checkEarlyStoppingState"
        return decode_answer(Operation, self._call("POST", path, safe=True), at="operation")

    def stop_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> Trial:
        """Ask whoever has a trial to come to an end with it."""
        path = _path(project, location_id, study_id, trial_id) + ":stop"
        return _trial(self._call("POST", path, safe=True))

    def list_optimal_trials(self, project: str, location_id: str, study_id: str) -> list[Trial]:
        """List the best trials, or the Pareto front of several metrics."""
        path = v1(study_name, project, location_id, study_id) + "/trials:listOptimalTrials"
        return [_trial(item) for item in self._call("POST", path, safe=True).get("trials", ())]


_: type[StudyVerbs] = HttpStudies


def _path(project: str, location_id: str, study_id: str, trial_id: str) -> str:
    return v1(study_name, project, location_id, study_id) + "/trials/" + path_part(trial_id)


def _trial(found: dict[str, Any]) -> Trial:
    return decode_answer(Trial, found, at="trial")
