"""What `Engine` has for studies and trials."""

from __future__ import annotations

from typing import Protocol

from mlengine.core.resources import Operation
from mlengine.core.studies import (
    CompleteTrialRequest,
    Measurement,
    Study,
    SuggestTrialsRequest,
    Trial,
)

__all__ = ["StudyVerbs"]


class StudyVerbs(Protocol):
    """The verbs; `location_id` is a location of the engine, and nothing differs between those."""

    def create_study(
        self, project: str, location_id: str, study_id: str, study: Study
    ) -> Study: ...
    def get_study(self, project: str, location_id: str, study_id: str) -> Study: ...
    def list_studies(self, project: str, location_id: str) -> list[Study]:
        """List studies, newest first."""
        ...

    def delete_study(self, project: str, location_id: str, study_id: str) -> None:
        """Delete a study with all of its trials."""
        ...

    def create_trial(self, project: str, location_id: str, study_id: str, trial: Trial) -> Trial:
        """Add a trial: REQUESTED, to be handed out first, or COMPLETED elsewhere."""
        ...

    def get_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> Trial: ...
    def list_trials(self, project: str, location_id: str, study_id: str) -> list[Trial]:
        """List trials by number."""
        ...

    def delete_trial(
        self, project: str, location_id: str, study_id: str, trial_id: str
    ) -> None: ...
    def suggest_trials(
        self, project: str, location_id: str, study_id: str, request: SuggestTrialsRequest
    ) -> Operation:
        """Give a client trials; asked again, it gets those that it has not completed."""
        ...

    def add_trial_measurement(
        self,
        project: str,
        location_id: str,
        study_id: str,
        trial_id: str,
        measurement: Measurement | None,
    ) -> Trial:
        """Note what was measured; the answer holds that measurement alone."""
        ...

    def complete_trial(
        self,
        project: str,
        location_id: str,
        study_id: str,
        trial_id: str,
        request: CompleteTrialRequest,
    ) -> Trial: ...
    def check_trial_stopping(
        self, project: str, location_id: str, study_id: str, trial_id: str
    ) -> Operation:
        """Tell whether a trial should come to an end."""
        ...

    def stop_trial(self, project: str, location_id: str, study_id: str, trial_id: str) -> Trial: ...
    def list_optimal_trials(self, project: str, location_id: str, study_id: str) -> list[Trial]:
        """List the best trials, or the Pareto front of several metrics."""
        ...
