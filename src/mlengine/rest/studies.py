"""``projects.locations.studies`` and their trials."""

from __future__ import annotations

from collections.abc import Sequence

from mlengine.core.resources import Resource
from mlengine.core.studies import (
    AddTrialMeasurementRequest,
    CompleteTrialRequest,
    Study,
    SuggestTrialsRequest,
    Trial,
)
from mlengine.core.wire import encode
from mlengine.rest.calls import Answer, Call

__all__ = [
    "add_measurement",
    "check_stopping",
    "complete",
    "create",
    "create_trial",
    "delete",
    "delete_trial",
    "get",
    "get_trial",
    "list_",
    "list_optimal",
    "list_trials",
    "stop",
    "suggest",
]


def create(call: Call) -> Answer:
    """Make a study."""
    study = call.decode(Study, at="study")
    study_id = call.query.get("studyId", "")
    return call.engine.create_study(call.project, call.ids["location"], study_id, study)


def get(call: Call) -> Answer:
    """Describe a study."""
    return call.engine.get_study(*_study(call))


def list_(call: Call) -> Answer:
    """List the studies of a location, newest first; ml.v1 has no pages here."""
    return _all("studies", call.engine.list_studies(call.project, call.ids["location"]))


def delete(call: Call) -> Answer:
    """Delete a study with all of its trials."""
    call.engine.delete_study(*_study(call))
    return {}


def create_trial(call: Call) -> Answer:
    """Add a trial that is to be tried, or was."""
    return call.engine.create_trial(*_study(call), call.decode(Trial, at="trial"))


def get_trial(call: Call) -> Answer:
    """Describe a trial, with all that was measured of it."""
    return call.engine.get_trial(*_trial(call))


def list_trials(call: Call) -> Answer:
    """List a study's trials by number; ml.v1 has no pages here."""
    return _all("trials", call.engine.list_trials(*_study(call)))


def delete_trial(call: Call) -> Answer:
    """Delete a trial; its number is not used again."""
    call.engine.delete_trial(*_trial(call))
    return {}


def suggest(call: Call) -> Answer:
    """Give a client trials; asked again, it gets those that it has not completed."""
    request = call.decode(SuggestTrialsRequest, at="request")
    return call.engine.suggest_trials(*_study(call), request)


def add_measurement(call: Call) -> Answer:
    """Note what was measured of a trial; the answer holds that measurement alone."""
    request = call.decode(AddTrialMeasurementRequest, at="request")
    return call.engine.add_trial_measurement(*_trial(call), request.measurement)


def complete(call: Call) -> Answer:
    """Enter a trial's result in the books, where it stays."""
    request = call.decode(CompleteTrialRequest, at="request")
    return call.engine.complete_trial(*_trial(call), request)


def check_stopping(call: Call) -> Answer:
    """Tell whether a trial should come to an end, by the study's rule."""
    return call.engine.check_trial_stopping(*_trial(call))


def stop(call: Call) -> Answer:
    """Ask whoever has a trial to come to an end with it."""
    return call.engine.stop_trial(*_trial(call))


def list_optimal(call: Call) -> Answer:
    """List the best trials, or the Pareto front of several metrics."""
    return _all("trials", call.engine.list_optimal_trials(*_study(call)))


def _study(call: Call) -> tuple[str, str, str]:
    return call.project, call.ids["location"], call.ids["study"]


def _trial(call: Call) -> tuple[str, str, str, str]:
    return *_study(call), call.ids["trial"]


def _all(key: str, items: Sequence[Resource]) -> Answer:
    """Write a list that has no pages; an empty one is exactly ``{}``."""
    return {key: [encode(item) for item in items]} if items else {}
