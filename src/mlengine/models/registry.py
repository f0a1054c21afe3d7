"""The verbs of models and versions: check, record, hand the slow part to `deployment`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.names import (
    check_id,
    check_labels,
    model_name,
    parse_version,
    project_flag,
    project_number,
    version_name,
)
from mlengine.core.resources import Model, Operation, OperationMetadata, Version
from mlengine.core.states import VersionState
from mlengine.core.wire import apply_mask, encode
from mlengine.models import views
from mlengine.models.artifacts import Artifacts
from mlengine.models.checks import (
    MODEL_MASK,
    VERSION_MASK,
    check_model,
    check_version,
    rescaled,
)
from mlengine.models.requestlogging import check_logging, relogged
from mlengine.store import ModelRecord, NewOperation, Store, VersionRecord

__all__ = ["Models"]

_METADATA_TYPE = "type.googleapis.com/google.cloud.ml.v1.OperationMetadata"
_PATCHED = ("description", "labels", "online_prediction_logging",
            "online_prediction_console_logging")  # fmt: skip


class Models:
    """Models and versions of every project.

    Args:
        store: Where the records are.
        artifacts: Where model directories are copied from and to.
        clock: For times that people read.
        deploy: Called with a CREATING or DELETING version whose operation waits; returns at once.
        publish: Called before a verb returns that changed what a prediction is answered: the next
            call of whoever waited for it is decided by that.
        scalable: Raises when the scaling of a version cannot be honoured.
        servable: Raises when the machine type of a new version cannot be; it never changes, and
            one of an earlier mlengine may have any.
        runnable: Raises when the runtime of a new version cannot be had.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        *,
        clock: Clock,
        deploy: Callable[[VersionRecord], None],
        publish: Callable[[], None],
        scalable: Callable[[Version], None] = lambda _version: None,
        servable: Callable[[Version], None] = lambda _version: None,
        runnable: Callable[[Version], None] = lambda _version: None,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self._deploy = deploy
        self._publish = publish
        self._scalable = scalable
        self._servable = servable
        self._runnable = runnable

    # --- models ---

    def create_model(self, project: str, model: Model) -> Model:
        """Record a model; it has no version and cannot predict yet."""
        record = self._store.add_model(project, check_model(model))
        self._publish()
        return self.model_view(record)

    def model(self, project: str, model_id: str) -> Model:
        """Return a model.

        Raises:
            NotFound: There is none of that name.
        """
        return self.model_view(self.model_record(project, model_id))

    def model_record(self, project: str, model_id: str) -> ModelRecord:
        """Return a model's record; the error says how to create it."""
        check_id(model_id, kind="model", field="name")
        try:
            return self._store.model(project, model_id)
        except NotFound:
            flag = project_flag(model_name(project, model_id))
            raise NotFound(
                f'The model resource: "{model_id}" was not found.',
                "Please create the model resource first by using "
                f"'mlengine models create {model_id}{flag}'.",
                field="name",
            ) from None

    def model_view(self, record: ModelRecord) -> Model:
        """Return the API's view of a model's record."""
        default = None
        if record.default_version_id:
            try:
                default = self._store.version(
                    record.project, record.model_id, record.default_version_id
                )
            except NotFound:  # removed between the two reads
                default = None
        return views.model_view(record, default=default)

    def update_model(
        self, project: str, model_id: str, model: Model, *, update_mask: str
    ) -> Operation:
        """Change description, labels, the default version, or what is logged."""
        paths = apply_mask(update_mask, MODEL_MASK)
        self.model_record(project, model_id)
        if "labels" in paths:
            check_labels(model.labels, field="model.labels")
        default = ""
        if "default_version.name" in paths:
            default = _named_default(project, model_id, model)
            self.version_record(project, model_id, default)

        def change(old: Model) -> Model:
            if "etag" in paths:
                _check_etag(model.etag, old.etag)
            new = {p: getattr(model, p) for p in _PATCHED if p in paths}
            return msgspec.structs.replace(old, **new)

        notes: list[NewOperation] = []

        def note(record: ModelRecord, version: VersionRecord | None) -> NewOperation:
            view = views.model_view(record, default=version)
            notes.append(self._done(project, "UPDATE_MODEL", model_id, response=view))
            return notes[-1]

        self._store.edit_model(project, model_id, change, default=default, operation=note)
        if default or "online_prediction_logging" in paths:
            self._publish()
        return views.new_operation_view(project, notes[-1])

    def delete_model(self, project: str, model_id: str) -> Operation:
        """Remove a model that has no versions left."""
        labels = self.model_record(project, model_id).model.labels
        noted = self._done(project, "DELETE_MODEL", model_id, response=None, labels=labels)
        self._store.remove_model(project, model_id, operation=noted)
        self._publish()
        return views.new_operation_view(project, noted)

    # --- versions ---

    def create_version(self, project: str, model_id: str, version: Version) -> Operation:
        """Record a CREATING version and start to load it; the operation tells how that ended."""
        self.model_record(project, model_id)
        version = check_version(version)
        check_logging(version, project)
        self._servable(version)
        self._scalable(version)
        self._runnable(version)
        self._artifacts.check_source(
            version.deployment_uri, version.framework, routine=bool(version.prediction_class)
        )
        self._artifacts.check_packages(version.package_uris)
        version.create_time = rfc3339(self._clock.now())
        version.machine_type = version.machine_type or "mls1-c1-m2"
        notes: list[NewOperation] = []

        def note(record: VersionRecord) -> NewOperation:
            notes.append(self._opened("CREATE_VERSION", record))
            return notes[-1]

        uid = uuid.uuid4().hex
        record = self._store.add_version(project, model_id, version, uid=uid, operation=note)
        self._deploy(record)
        self._publish()
        return views.new_operation_view(project, notes[-1])

    def version(self, project: str, model_id: str, version_id: str) -> Version:
        """Return a version."""
        return self.version_view(self.version_record(project, model_id, version_id))

    def version_record(self, project: str, model_id: str, version_id: str) -> VersionRecord:
        """Return a version's record; the error names what is missing, model or version."""
        self.model_record(project, model_id)
        check_id(version_id, kind="version", field="name")
        try:
            return self._store.version(project, model_id, version_id)
        except NotFound:
            known = [v.version_id for v in self._store.versions(project, model_id)]
            raise NotFound.among(
                "version", version_id, known,
                f"See 'mlengine versions list --model {model_id}'.", field="name",
            ) from None  # fmt: skip

    def version_view(self, record: VersionRecord) -> Version:
        """Return the API's view of a version's record."""
        model = self._store.model(record.project, record.model_id)
        return views.version_view(record, default_version_id=model.default_version_id)

    def update_version(
        self, project: str, model_id: str, version_id: str, version: Version, *, update_mask: str
    ) -> Operation:
        """Change description, labels, request log or number of nodes; the nodes follow soon."""
        paths = apply_mask(update_mask, VERSION_MASK)
        record = self.version_record(project, model_id, version_id)
        if record.state in (VersionState.CREATING, VersionState.UPDATING, VersionState.DELETING):
            raise _busy(record)
        if "labels" in paths:
            check_labels(version.labels, field="version.labels")

        def change(old: Version) -> Version:
            if "etag" in paths:  # here, where nobody else can change it any more
                _check_etag(version.etag, old.etag)
            new = {p: getattr(version, p) for p in ("description", "labels") if p in paths}
            changed = rescaled(msgspec.structs.replace(old, **new), version, paths)
            changed = relogged(changed, version, paths)
            check_logging(changed, project)
            self._scalable(changed)
            return changed

        notes: list[NewOperation] = []

        def note(changed: VersionRecord) -> NewOperation:
            default = version_id if changed.version.is_default else ""
            view = views.version_view(changed, default_version_id=default)
            notes.append(self._done(project, "UPDATE_VERSION", model_id, version_id, response=view))
            return notes[-1]

        self._store.edit_version(project, model_id, version_id, change, operation=note)
        if any(path.startswith("request_logging_config") for path in paths):
            self._publish()
        return views.new_operation_view(project, notes[-1])

    def set_default(self, project: str, model_id: str, version_id: str) -> Version:
        """Make a READY version the one that answers when none is named."""
        self.version_record(project, model_id, version_id)
        record = self._store.set_default(project, model_id, version_id)
        self._publish()
        return self.version_view(record)

    def delete_version(self, project: str, model_id: str, version_id: str) -> Operation:
        """Stop serving a version and remove it; the default only when it is the last."""
        record = self.version_record(project, model_id, version_id)
        if record.state in (VersionState.CREATING, VersionState.UPDATING, VersionState.DELETING):
            raise _busy(record)
        model = self._store.model(project, model_id)
        others = len(self._store.versions(project, model_id, limit=2)) > 1
        if others and model.default_version_id == version_id:
            raise FailedPrecondition(
                f"The version '{version_id}' is the default of model '{model_id}'.",
                self._before_the_default(record),
                field="name",
            )
        noted = self._opened("DELETE_VERSION", record)
        moved = self._store.move_version(
            record, VersionState.DELETING, operation=lambda _moved: noted
        )
        if moved is None:
            raise Aborted("The version was changed by somebody else.", "Read it, then try again.")
        self._deploy(moved)
        return views.new_operation_view(project, noted)

    def _before_the_default(self, record: VersionRecord) -> str:
        """Return what is to be done before a default goes that is not the last version."""
        of = (record.project, record.model_id)
        hopeful = (VersionState.READY, VersionState.CREATING, VersionState.UPDATING)
        others = {
            one.state
            for one in self._store.versions_in(hopeful)
            if (one.project, one.model_id) == of and one.uid != record.uid
        }
        how = f"'mlengine versions set-default VERSION --model {record.model_id}'."
        if VersionState.READY in others:
            return f"Make another version the default first: {how}"
        if others:  # and it can neither be the default yet nor be deleted
            return f"No other version is READY yet. Wait until one is, then make it that: {how}"
        return (
            "No other version is READY, so none can be the default. Delete the others first: "
            f"'mlengine versions list --model {record.model_id}' names them."
        )

    # --- operations ---

    def _opened(self, kind: str, record: VersionRecord) -> NewOperation:
        """Return an operation that `Deployment` will end."""
        view = views.version_view(record, default_version_id="")
        metadata = self._metadata(kind, record.project, record.model_id, view, view.labels)
        millis = int(self._clock.now().timestamp() * 1000)
        verb = kind.split("_")[0].lower()
        # Google's ids end in milliseconds; the tail keeps two of one millisecond apart.
        tail = uuid.uuid4().hex[:6]
        operation_id = (
            f"{verb}_{record.model_id}_{record.version_id}-{millis}{int(tail, 16) % 1000:03}"
        )
        return NewOperation(operation_id=operation_id, metadata=metadata, subject=record.uid)

    def _done(
        self,
        project: str,
        kind: str,
        model_id: str,
        version_id: str = "",
        *,
        response: Model | Version | None,
        labels: Mapping[str, str] | None = None,
    ) -> NewOperation:
        """Return an operation that is over with the change that it stands for."""
        version = response if isinstance(response, Version) else None
        labels = response.labels if response is not None else labels or {}
        metadata = self._metadata(kind, project, model_id, version, labels)
        metadata["endTime"] = metadata["createTime"]
        parts = [kind.split("_")[0].lower(), model_id, version_id]
        operation_id = "_".join(p for p in parts if p) + f"-{uuid.uuid4().hex[:12]}"
        return NewOperation(
            operation_id=operation_id, metadata=metadata, response=views.tagged(response)
        )

    def _metadata(
        self,
        kind: str,
        project: str,
        model_id: str,
        version: Version | None,
        labels: Mapping[str, str],
    ) -> dict[str, Any]:
        now = rfc3339(self._clock.now())
        return {
            "@type": _METADATA_TYPE,
            **encode(
                OperationMetadata(
                    create_time=now,
                    start_time=now,
                    operation_type=kind,
                    model_name=model_name(project, model_id),
                    version=version,
                    labels=dict(labels),
                    project_number=project_number(project),
                )
            ),
        }


def _named_default(project: str, model_id: str, model: Model) -> str:
    """Return the id of the version that a patch makes the default."""
    name = model.default_version.name if model.default_version else ""
    if "/" not in name:
        return name
    ref = parse_version(name, field="model.default_version.name")
    if (ref.project, ref.model_id) != (project, model_id):
        raise InvalidArgument(
            f"{name!r} is not a version of this model.",
            "Name one of its own versions.",
            field="model.default_version.name",
        )
    return ref.version_id


def _check_etag(sent: str, current: str) -> None:
    """Raise unless a patch is of what there is now; one that sends no etag does not ask."""
    if sent and sent != current:
        raise Aborted(
            f"The etag {sent!r} is not the current one.", "Read the resource again, then retry."
        )


def _busy(record: VersionRecord) -> FailedPrecondition:
    name = version_name(record.project, record.model_id, record.version_id)
    return FailedPrecondition(
        f"{name} is {record.state}.", "Wait until its operation is done.", field="name"
    )
