"""Records of models, versions and operations as the API shows them."""

from __future__ import annotations

import msgspec

from mlengine.core.names import model_name, operation_name, parse_study, version_name
from mlengine.core.resources import Model, Operation, Version
from mlengine.core.wire import encode
from mlengine.store import ModelRecord, NewOperation, OperationRecord, VersionRecord

__all__ = ["model_view", "new_operation_view", "operation_view", "tagged", "version_view"]

_TYPE_URL = "type.googleapis.com/google.cloud.ml.v1."


def version_view(record: VersionRecord, *, default_version_id: str) -> Version:
    """Return the version with its full name and `isDefault` filled in."""
    return msgspec.structs.replace(
        record.version,
        name=version_name(record.project, record.model_id, record.version_id),
        is_default=record.version_id == default_version_id,
    )


def model_view(record: ModelRecord, *, default: VersionRecord | None) -> Model:
    """Return the model with its full name and its default version, whole."""
    return msgspec.structs.replace(
        record.model,
        name=model_name(record.project, record.model_id),
        default_version=default
        and version_view(default, default_version_id=record.default_version_id),
    )


def operation_view(record: OperationRecord) -> Operation:
    """Return the operation with its full name; that of a study's is in the study's location."""
    study = str(record.operation.metadata.get("study", ""))
    location = parse_study(study, field="study").location_id if study else ""
    return msgspec.structs.replace(
        record.operation, name=operation_name(record.project, record.operation_id, location)
    )


def new_operation_view(project: str, noted: NewOperation) -> Operation:
    """Return an operation that was recorded just now, without reading it again."""
    return Operation(
        name=operation_name(project, noted.operation_id),
        metadata=noted.metadata,
        done=noted.response is not None,
        response=noted.response,
    )


def tagged(resource: Model | Version | None) -> dict[str, object]:
    """Return a resource as the ``Any`` that an operation's response carries; None is ``Empty``."""
    if resource is None:
        return {"@type": "type.googleapis.com/google.protobuf.Empty"}
    return {"@type": _TYPE_URL + type(resource).__name__, **encode(resource)}
