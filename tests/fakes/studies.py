"""The studies of an engine of dictionaries: one suggestion like another, no rule, no model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from mlengine.core.errors import AlreadyExists, NotFound
from mlengine.core.names import operation_name, study_name
from mlengine.core.resources import Operation
from mlengine.core.studies import (
    CompleteTrialRequest,
    Measurement,
    Study,
    SuggestTrialsRequest,
    Trial,
)
from mlengine.core.wire import encode

__all__ = ["FakeStudies"]

_TYPE = "type.googleapis.com/google.cloud.ml.v1."


class FakeStudies:
    """Keeps studies and trials in dictionaries.

    Attributes:
        before: Called with the verb's name first.
    """

    before: Callable[[str], None]
    operations: dict[tuple[str, str], Operation]

    def __init__(self) -> None:
        self.studies: dict[str, Study] = {}
        self.trials: dict[str, dict[str, Trial]] = {}
        self._numbers = itertools.count(1)

    def create_study(self, project: str, location_id: str, study_id: str, study: Study) -> Study:
        self.before("create_study")
        name = study_name(project, location_id, study_id)
        if name in self.studies:
            raise AlreadyExists("A study with this id already exists.", field="study_id")
        self.studies[name] = msgspec.structs.replace(study, name=name, state="ACTIVE")
        self.trials[name] = {}
        return self.studies[name]

    def get_study(self, project: str, location_id: str, study_id: str) -> Study:
        self.before("get_study")
        return self.studies[self._name(project, location_id, study_id)]

    def list_studies(self, project: str, location_id: str) -> list[Study]:
        self.before("list_studies")
        prefix = study_name(project, location_id, "")
        return [s for name, s in reversed(self.studies.items()) if name.startswith(prefix)]

    def delete_study(self, project: str, location_id: str, study_id: str) -> None:
        self.before("delete_study")
        name = self._name(project, location_id, study_id)
        del self.studies[name], self.trials[name]

    def create_trial(self, project: str, location_id: str, study_id: str, trial: Trial) -> Trial:
        self.before("create_trial")
        return self._add(self._name(project, location_id, study_id), trial)

    def get_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> Trial:
        self.before("get_trial")
        found = self.trials[self._name(project, location_id, study_id)].get(trial_id)
        if found is None:
            raise NotFound(f"The study '{study_id}' has no trial {trial_id}.", field="name")
        return found

    def list_trials(self, project: str, location_id: str, study_id: str) -> list[Trial]:
        self.before("list_trials")
        return list(self.trials[self._name(project, location_id, study_id)].values())

    def delete_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> None:
        self.before("delete_trial")
        self.get_trial(project, location_id, study_id, trial_id)
        del self.trials[self._name(project, location_id, study_id)][trial_id]

    def suggest_trials(
        self, project: str, location_id: str, study_id: str, request: SuggestTrialsRequest
    ) -> Operation:
        self.before("suggest_trials")
        name = self._name(project, location_id, study_id)
        mine = [t for t in self.trials[name].values()
                if (t.client_id, t.state) == (request.client_id, "ACTIVE")]  # fmt: skip
        while len(mine) < request.suggestion_count:
            mine.append(self._add(name, Trial(state="ACTIVE", client_id=request.client_id)))
        response = {"trials": [encode(trial) for trial in mine], "studyState": "ACTIVE"}
        return self._ended(project, location_id, "SuggestTrialsResponse", response)

    def add_trial_measurement(
        self,
        project: str,
        location_id: str,
        study_id: str,
        trial_id: str,
        measurement: Measurement | None,
    ) -> Trial:
        self.before("add_trial_measurement")
        trial = self.get_trial(project, location_id, study_id, trial_id)
        trial.measurements.append(measurement or Measurement())
        return trial

    def complete_trial(
        self,
        project: str,
        location_id: str,
        study_id: str,
        trial_id: str,
        request: CompleteTrialRequest,
    ) -> Trial:
        self.before("complete_trial")
        trial = self.get_trial(project, location_id, study_id, trial_id)
        trial.state, trial.final_measurement = "COMPLETED", request.final_measurement
        trial.trial_infeasible = request.trial_infeasible
        trial.infeasible_reason = request.infeasible_reason
        return trial

    def check_trial_stopping(
        self, project: str, location_id: str, study_id: str, trial_id: str
    ) -> Operation:
        self.before("check_trial_stopping")
        trial = self.get_trial(project, location_id, study_id, trial_id)
        response = {"shouldStop": trial.state == "STOPPING"}
        return self._ended(project, location_id, "CheckTrialEarlyStoppingStateResponse", response)

    def stop_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> Trial:
        self.before("stop_trial")
        trial = self.get_trial(project, location_id, study_id, trial_id)
        trial.state = "STOPPING"
        return trial

    def list_optimal_trials(self, project: str, location_id: str, study_id: str) -> list[Trial]:
        self.before("list_optimal_trials")
        trials = self.trials[self._name(project, location_id, study_id)]
        return [trial for trial in trials.values() if trial.final_measurement]

    def _name(self, project: str, location_id: str, study_id: str) -> str:
        name = study_name(project, location_id, study_id)
        if name not in self.studies:
            raise NotFound(f"The study '{study_id}' was not found.", field="name")
        return name

    def _add(self, name: str, trial: Trial) -> Trial:
        number = str(len(self.trials[name]) + 1)
        state = trial.state or "REQUESTED"
        made = msgspec.structs.replace(trial, name=f"{name}/trials/{number}", state=state)
        self.trials[name][number] = made
        return made

    def _ended(
        self, project: str, location_id: str, kind: str, response: dict[str, Any]
    ) -> Operation:
        operation_id = f"study-{next(self._numbers)}"
        operation = Operation(
            name=operation_name(project, operation_id, location_id),
            done=True,
            response={"@type": _TYPE + kind, **response},
        )
        self.operations[project, operation_id] = operation
        return operation
