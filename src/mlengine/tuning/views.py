"""Records of studies and trials as the API shows them, and the operations that tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mlengine.core.names import operation_name, trial_name
from mlengine.core.resources import Operation, Resource
from mlengine.core.studies import Measurement, Study, Trial
from mlengine.core.wire import encode
from mlengine.store import StudyRecord, TrialRecord

__all__ = [
    "CHECK",
    "SUGGEST",
    "check_metadata",
    "operation_view",
    "study_view",
    "suggest_metadata",
    "tagged",
    "trial_view",
]

_TYPE_URL = "type.googleapis.com/google.cloud.ml.v1."
SUGGEST = _TYPE_URL + "SuggestTrialsMetadata"
"""What the metadata of an operation is that asks for trials."""

CHECK = _TYPE_URL + "CheckTrialEarlyStoppingStateMetatdata"
"""The same of one that asks whether a trial should stop; the misspelling is Google's."""


def study_view(record: StudyRecord) -> Study:
    """Return a study with its full name."""
    return msgspec.structs.replace(record.study, name=record.name)


def trial_view(record: TrialRecord, measurements: Sequence[Measurement] = ()) -> Trial:
    """Return a trial with its full name and what was measured of it."""
    name = trial_name(record.project, record.location, record.study_id, record.number)
    return msgspec.structs.replace(record.trial, name=name, measurements=list(measurements))


def operation_view(study: StudyRecord, operation: Operation) -> Operation:
    """Return an operation with its full name, which lies in the location of its study."""
    name = operation_name(study.project, operation.name, study.location)
    return msgspec.structs.replace(operation, name=name)


def tagged(response: Resource) -> dict[str, Any]:
    """Return a response as the ``Any`` that an operation carries."""
    return {"@type": _TYPE_URL + type(response).__name__, **encode(response)}


def suggest_metadata(study: str, client_id: str, count: int, *, now: str) -> dict[str, Any]:
    """Write the metadata of an operation that asks for trials."""
    return {
        "@type": SUGGEST,
        "study": study,
        "createTime": now,
        "suggestionCount": count,
        "clientId": client_id,
    }


def check_metadata(study: str, trial: str, *, now: str) -> dict[str, Any]:
    """Write the metadata of an operation that asks whether a trial should stop."""
    return {"@type": CHECK, "study": study, "trial": trial, "createTime": now}
