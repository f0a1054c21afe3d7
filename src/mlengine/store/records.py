"""What `Store` hands out of jobs, models, versions, operations and events: values of one moment."""

from __future__ import annotations

from typing import Any

import msgspec

from mlengine.core.resources import Job, Model, Operation, Version
from mlengine.core.states import JobState, VersionState

__all__ = [
    "EndedOperation",
    "EventRecord",
    "JobRecord",
    "ModelRecord",
    "NewOperation",
    "OperationRecord",
    "VersionRecord",
]


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was read.

    Attributes:
        seq: Order of creation over all projects; never used again.
        uid: Safe as a folder name, unique for ever, also between ids that differ in case only.
        job: The API's view; `job.state` and `job.etag` are filled in.
        attempt: Number of the newest attempt; 0 before the first. It fences every write.
        parent: The uid of the job that this one is a part of, as a trial is of a tuning job; empty
            for a job of its own. A child's id is its parent's, a slash and a number, so that it is
            never one that a user gave.
    """

    seq: int
    project: str
    uid: str
    job: Job
    attempt: int
    parent: str = ""

    @property
    def state(self) -> JobState:
        return JobState(self.job.state)

    @property
    def job_id(self) -> str:
        return self.job.job_id


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it was read; `default_version_id` is empty while it has no version.

    `model.name` is the bare id, `model.etag` is filled in, `model.default_version` never is.
    """

    seq: int
    project: str
    model_id: str
    model: Model
    default_version_id: str


class VersionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it was read; `digest` is of its committed artefact, empty before that.

    `version.name` is the bare id; its state, etag and `is_default` are filled in.
    """

    seq: int
    project: str
    model_id: str
    version_id: str
    uid: str
    version: Version
    digest: str = ""

    @property
    def state(self) -> VersionState:
        return VersionState(self.version.state)


class OperationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A long-running operation as it was read; `subject` names what it works on, for recovery.

    `operation.name` is the bare id.
    """

    seq: int
    project: str
    operation_id: str
    operation: Operation
    subject: str = ""


class NewOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation to be recorded with the change that it tells of.

    Attributes:
        subject: What it works on until it is finished.
        response: Of one that is done with that change.
    """

    operation_id: str
    metadata: dict[str, Any]
    subject: str = ""
    response: dict[str, Any] | None = None


class EndedOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that ends well in the very transaction that does what it is for.

    `operation_id` is that of an open one, or of one that nobody has seen yet; `subject` names what
    the latter worked on.
    """

    operation_id: str
    metadata: dict[str, Any]
    response: dict[str, Any]
    subject: str = ""


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One change, in the order in which changes were committed."""

    seq: int
    time: str
    project: str
    resource: str
    kind: str
    detail: dict[str, Any]
