"""An engine of dictionaries: every verb of the Protocol, no process, no disk.

Simple but honest: it checks what the contract makes visible (ids are consumed, masks are read,
pages are walked), so that a face or a client tested against it is tested against an engine.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from mlengine.core import filters, paging
from mlengine.core.errors import AlreadyExists, FailedPrecondition, NotFound
from mlengine.core.names import check_bucket_id, check_id, model_name, operation_name, version_name
from mlengine.core.predictions import LoggedPrediction
from mlengine.core.resources import (
    Bucket,
    GetConfigResponse,
    Job,
    JobDetails,
    Location,
    LogEntry,
    MetricSeries,
    Model,
    Object,
    Operation,
    OperationMetadata,
    PredictionOutput,
    Resource,
    Runtime,
    Version,
)
from mlengine.core.wire import apply_mask, encode
from mlengine.engine import Engine, EngineStatus, LogPage, Page, PredictReply
from tests.fakes.access import FakeAccess
from tests.fakes.predictions import FakePredictions
from tests.fakes.studies import FakeStudies
from tests.fakes.traffic import FakeTraffic

R = TypeVar("R", bound=Resource)

NOW = "2018-03-02T06:50:06Z"
_TYPE = "type.googleapis.com/google.cloud.ml.v1."
_EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}


class FakeEngine(FakeAccess, FakeTraffic, FakePredictions, FakeStudies):
    """Keeps everything in dictionaries; work finishes at once, jobs stay QUEUED.

    Attributes:
        before: Called with the verb's name first; a test may raise, block or count in it.
        warnings: What every new job's `details` warn of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[tuple[str, str], Job] = {}
        self.models: dict[tuple[str, str], Model] = {}
        self.versions: dict[tuple[str, str, str], Version] = {}
        self.operations: dict[tuple[str, str], Operation] = {}
        self.buckets: dict[str, Bucket] = {}
        self.objects: dict[tuple[str, str], bytes] = {}
        self.likes: dict[str, str] = {}  # of URIs that were written like another
        self.about: dict[str, dict[str, Any]] = {}  # what was said of them
        self.logs: dict[tuple[str, str], list[LogEntry]] = {}
        self.metrics: dict[tuple[str, str], list[MetricSeries]] = {}
        self.runtimes: dict[str, Runtime] = {
            name: Runtime(name=name, description=f"{name} libraries", aliases=[f"my-{name}"],
                          python=python, built=name == "local")
            for name, python in (("local", ""), ("2.15", ">=3.10,<3.12"))
        }  # fmt: skip
        self.before: Callable[[str], None] = lambda verb: None
        self.warnings: list[str] = []
        self.logged: list[LoggedPrediction] = []
        self._changed = threading.Condition()
        self._ids = itertools.count(1519973406339)

    # jobs

    def create_job(self, project: str, job: Job) -> Job:
        self.before("create_job")
        check_id(job.job_id, kind="job", field="job.job_id")
        key = (project, job.job_id)
        if key in self.jobs:
            problem = "A job with this id already exists."
            raise AlreadyExists(problem, field="job.job_id")
        told = JobDetails(warnings=self.warnings) if self.warnings else None
        stored = _changed(job, state="QUEUED", create_time=NOW, etag=_etag(job), details=told)
        if job.prediction_input is not None:
            stored.prediction_output = PredictionOutput(
                output_path=job.prediction_input.output_path, prediction_count=1
            )
        self.jobs[key] = stored
        return stored

    def get_job(self, project: str, job_id: str) -> Job:
        self.before("get_job")
        return _found(self.jobs, (project, job_id), "job")

    def list_jobs(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Job]:
        self.before("list_jobs")
        mine = [job for key, job in reversed(self.jobs.items()) if key[0] == project]
        return _page(mine, "jobs", project, filter, page_size, page_token)

    def update_job(self, project: str, job_id: str, job: Job, *, update_mask: str) -> Job:
        self.before("update_job")
        return _update(self.jobs, (project, job_id), job, update_mask, ("labels", "etag"))

    def cancel_job(self, project: str, job_id: str) -> None:
        self.before("cancel_job")
        job = _found(self.jobs, (project, job_id), "job")
        if job.state not in ("SUCCEEDED", "FAILED", "CANCELLED"):
            job.state = "CANCELLED"

    def read_logs(
        self,
        project: str,
        job_id: str,
        *,
        cursor: str = "",
        task_name: str = "",
        wait_s: float = 0.0,
    ) -> LogPage:
        self.before("read_logs")
        job = _found(self.jobs, (project, job_id), "job")
        start = int(cursor or "0")
        lines = self.logs.setdefault((project, job_id), [])
        with self._changed:
            self._changed.wait_for(lambda: len(lines) > start or _ended(job), timeout=wait_s)
            new = [e for e in lines[start:] if task_name in ("", e.task_name)]
            return LogPage(new, str(len(lines)), _ended(job))

    def job_metrics(self, project: str, job_id: str, *, tag: str = "") -> list[MetricSeries]:
        self.before("job_metrics")
        _found(self.jobs, (project, job_id), "job")
        return [s for s in self.metrics.get((project, job_id), []) if tag in ("", s.tag)]

    def say(self, project: str, job_id: str, entry: LogEntry) -> None:
        """Log a line, as a replica of the job would."""
        with self._changed:
            self.logs.setdefault((project, job_id), []).append(entry)
            self._changed.notify_all()

    # models

    def create_model(self, project: str, model: Model) -> Model:
        self.before("create_model")
        check_id(model.name, kind="model", field="model.name")
        key = (project, model.name)
        if key in self.models:
            problem = "A model with the same name already exists."
            raise AlreadyExists(problem, field="model.name")
        regions = model.regions or ["us-central1"]
        name = model_name(project, model.name)
        self.models[key] = _changed(model, name=name, regions=regions, etag=_etag(model))
        return self.models[key]

    def get_model(self, project: str, model_id: str) -> Model:
        self.before("get_model")
        return _found(self.models, (project, model_id), "model")

    def list_models(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Model]:
        self.before("list_models")
        mine = [model for key, model in self.models.items() if key[0] == project]
        return _page(mine, "models", project, filter, page_size, page_token)

    def update_model(
        self, project: str, model_id: str, model: Model, *, update_mask: str
    ) -> Operation:
        self.before("update_model")
        key = (project, model_id)
        paths = apply_mask(update_mask, dict.fromkeys(_MODEL_FIELDS, ""))
        if "default_version.name" in paths:
            wanted = model.default_version.name if model.default_version else ""
            self.set_default_version(project, model_id, wanted)
        for path in set(paths) - {"default_version.name"}:
            setattr(_found(self.models, key, "model"), path, getattr(model, path))
        return self._done(project, "UPDATE_MODEL", model_id, self.models[key])

    def delete_model(self, project: str, model_id: str) -> Operation:
        self.before("delete_model")
        _found(self.models, (project, model_id), "model")
        if any(key[:2] == (project, model_id) for key in self.versions):
            raise FailedPrecondition(
                f"The model {model_id!r} has versions.", "Delete them first.", field="name"
            )
        del self.models[project, model_id]
        return self._done(project, "DELETE_MODEL", model_id, None)

    # versions

    def create_version(self, project: str, model_id: str, version: Version) -> Operation:
        self.before("create_version")
        model = _found(self.models, (project, model_id), "model")
        check_id(version.name, kind="version", field="version.name")
        key = (project, model_id, version.name)
        if key in self.versions:
            problem = "A version with the same name already exists."
            raise AlreadyExists(problem, field="version.name")
        name = version_name(project, model_id, version.name)
        first = model.default_version is None
        stored = _changed(version, name=name, state="READY", create_time=NOW, is_default=first)
        self.versions[key] = stored
        if first:
            model.default_version = stored
        return self._done(project, "CREATE_VERSION", model_id, stored)

    def get_version(self, project: str, model_id: str, version_id: str) -> Version:
        self.before("get_version")
        return _found(self.versions, (project, model_id, version_id), "version")

    def list_versions(
        self,
        project: str,
        model_id: str,
        *,
        filter: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Page[Version]:
        self.before("list_versions")
        _found(self.models, (project, model_id), "model")
        mine = [v for key, v in self.versions.items() if key[:2] == (project, model_id)]
        return _page(mine, "versions", f"{project}/{model_id}", filter, page_size, page_token)

    def update_version(
        self, project: str, model_id: str, version_id: str, version: Version, *, update_mask: str
    ) -> Operation:
        self.before("update_version")
        key = (project, model_id, version_id)
        updated = _update(
            self.versions, key, version, update_mask, ("description", "labels", "etag")
        )
        return self._done(project, "UPDATE_VERSION", model_id, updated)

    def set_default_version(self, project: str, model_id: str, version_id: str) -> Version:
        self.before("set_default_version")
        chosen = _found(self.versions, (project, model_id, version_id), "version")
        for key, version in self.versions.items():
            if key[:2] == (project, model_id):
                version.is_default = version is chosen
        self.models[project, model_id].default_version = chosen
        return chosen

    def delete_version(self, project: str, model_id: str, version_id: str) -> Operation:
        self.before("delete_version")
        key = (project, model_id, version_id)
        version = _found(self.versions, key, "version")
        siblings = [k for k in self.versions if k[:2] == key[:2] and k != key]
        if version.is_default and siblings:
            raise FailedPrecondition(
                f"The version {version_id!r} is the default.", "Choose another default first."
            )
        del self.versions[key]
        if not siblings:
            self.models[project, model_id].default_version = None
        return self._done(project, "DELETE_VERSION", model_id, None)

    # operations

    def get_operation(self, project: str, operation_id: str) -> Operation:
        self.before("get_operation")
        return _found(self.operations, (project, operation_id), "operation")

    def list_operations(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Operation]:
        self.before("list_operations")
        mine = [op for key, op in self.operations.items() if key[0] == project]
        return _page(mine, "operations", project, filter, page_size, page_token)

    def cancel_operation(self, project: str, operation_id: str) -> None:
        self.before("cancel_operation")
        _found(self.operations, (project, operation_id), "operation")

    def begin(self, project: str, operation_id: str) -> Operation:
        """Start an operation that does not end."""
        name = operation_name(project, operation_id)
        running = Operation(name=name, metadata={"@type": _TYPE + "OperationMetadata"})
        self.operations[project, operation_id] = running
        return running

    def _done(self, project: str, kind: str, model_id: str, result: Resource | None) -> Operation:
        operation_id = f"{kind.lower()}_{model_id}-{next(self._ids)}"
        about = OperationMetadata(
            create_time=NOW,
            end_time=NOW,
            operation_type=kind,
            model_name=model_name(project, model_id),
            version=result if isinstance(result, Version) else None,
        )
        response = _EMPTY
        if result is not None:
            response = {"@type": _TYPE + type(result).__name__, **encode(result)}
        operation = self.begin(project, operation_id)
        operation.metadata |= encode(about)
        operation.done, operation.response = True, response
        return operation

    # predictions, projects

    def predict(self, project: str, model_id: str, version_id: str, body: bytes) -> PredictReply:
        self.before("predict")
        if (project, model_id) not in self.models:
            return PredictReply(404, b'{"error":{"code":404,"status":"NOT_FOUND"}}')
        answer = {"predictions": [len(body)], "version": version_id}
        return PredictReply(200, msgspec.json.encode(answer))

    def explain(self, project: str, model_id: str, version_id: str, body: bytes) -> PredictReply:
        self.before("explain")
        if (project, model_id) not in self.models:
            return PredictReply(404, b'{"error":{"code":404,"status":"NOT_FOUND"}}')
        found = {"attributions": {"age": 0.3, "hours": [-0.1, 0.0]}, "approx_error": 0.0,
                 "baseline_score": 0.5, "example_score": 0.7, "label_index": 1,
                 "output_name": "probability"}  # fmt: skip
        return PredictReply(
            200, msgspec.json.encode({"explanations": [{"attributions_by_label": [found]}]})
        )

    def get_config(self, project: str) -> GetConfigResponse:
        self.before("get_config")
        account = "service-7@cloud-ml.google.com.iam.gserviceaccount.com"
        return GetConfigResponse(service_account=account, service_account_project=7)

    def get_location(self, project: str, location_id: str) -> Location:
        self.before("get_location")
        if location_id != "us-central1":
            raise NotFound.among("location", location_id, ["us-central1"], "", field="name")
        capabilities: list[dict[str, Any]] = [{"type": "TRAINING"}]
        name = f"projects/{project}/locations/{location_id}"
        return Location(name=name, capabilities=capabilities)

    def list_locations(
        self, project: str, *, page_size: int = 0, page_token: str = ""
    ) -> Page[Location]:
        self.before("list_locations")
        mine = [self.get_location(project, "us-central1")]
        return _page(mine, "locations", project, "", page_size, page_token)

    # storage

    def create_bucket(self, bucket: Bucket) -> Bucket:
        self.before("create_bucket")
        check_bucket_id(bucket.name)
        if bucket.name in self.buckets:
            raise AlreadyExists(f"The bucket {bucket.name!r} already exists.", field="bucket.name")
        self.buckets[bucket.name] = _changed(bucket, create_time=NOW)
        return self.buckets[bucket.name]

    def list_buckets(self) -> list[Bucket]:
        self.before("list_buckets")
        return [self.buckets[name] for name in sorted(self.buckets)]

    def delete_bucket(self, name: str, *, force: bool = False) -> None:
        self.before("delete_bucket")
        _found(self.buckets, name, "bucket")
        inside = [key for key in self.objects if key[0] == name]
        if inside and not force:
            raise FailedPrecondition(f"The bucket {name!r} is not empty.", "Use force.")
        for key in inside:
            del self.objects[key]
        del self.buckets[name]

    def list_objects(
        self, bucket: str, *, prefix: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Object]:
        self.before("list_objects")
        _found(self.buckets, bucket, "bucket")
        names = sorted(n for b, n in self.objects if b == bucket and n.startswith(prefix))
        mine = [self.stat_object(bucket, name) for name in names]
        return _page(mine, "objects", f"{bucket}/{prefix}", "", page_size, page_token)

    def stat_object(self, bucket: str, name: str) -> Object:
        self.before("stat_object")
        data = _found(self.objects, (bucket, name), "object")
        return Object(bucket=bucket, name=name, size=len(data), updated=NOW)

    def read_object(self, bucket: str, name: str) -> Iterator[bytes]:
        self.before("read_object")
        data = _found(self.objects, (bucket, name), "object")
        for at in range(0, len(data), 65536):
            self.before("read_object piece")
            yield data[at : at + 65536]

    def write_object(
        self, bucket: str, name: str, chunks: Iterable[bytes], *, like: str = "",
        about: Mapping[str, Any] | None = None,
    ) -> Object:  # fmt: skip
        self.before("write_object")
        _found(self.buckets, bucket, "bucket")
        self.objects[bucket, name] = b"".join(chunks)
        if like:
            self.likes[f"gs://{bucket}/{name}"] = like
        if about:
            self.about[f"gs://{bucket}/{name}"] = dict(about)
        return self.stat_object(bucket, name)

    def delete_object(self, bucket: str, name: str) -> None:
        self.before("delete_object")
        _found(self.objects, (bucket, name), "object")
        del self.objects[bucket, name]

    # runtimes

    def list_runtimes(self) -> list[Runtime]:
        self.before("list_runtimes")
        return list(self.runtimes.values())

    def get_runtime(self, name: str) -> Runtime:
        self.before("get_runtime")
        return _found(self.runtimes, name.removeprefix("my-"), "runtime")

    def build_runtime(self, name: str) -> Runtime:
        self.before("build_runtime")
        found = self.get_runtime(name)
        found.built, found.size_bytes, found.last_use_time = True, 1_300_000_000, NOW
        return found

    def delete_runtime(self, name: str) -> None:
        self.before("delete_runtime")
        found = self.get_runtime(name)
        if not found.built:
            raise NotFound(f"The runtime {name!r} is not built.", "Build it.", field="name")
        found.built, found.size_bytes = False, 0

    def collect_environments(self, *, keep_bytes: int | None = None) -> int:
        self.before("collect_environments")
        held = sum(runtime.size_bytes for runtime in self.runtimes.values())
        return max(held - (20 << 30 if keep_bytes is None else keep_bytes), 0)

    def status(self) -> EngineStatus:
        self.before("status")
        return EngineStatus(
            pid=1,
            version="0",
            endpoint="http://127.0.0.1:1",
            home="/home",
            started=NOW,
            gateway_pid=2,
            running_jobs=0,
            queued_jobs=len(self.jobs),
            ready_versions=len(self.versions),
            store="memory",
        )


_: type[Engine] = FakeEngine

_MODEL_FIELDS = ("description", "labels", "etag", "default_version.name")


def _found(where: dict[Any, Any], key: Any, kind: str) -> Any:
    if key not in where:
        shown = key if isinstance(key, str) else key[-1]
        raise NotFound.among(kind, shown, [], f"List the {kind}s.", field="name")
    return where[key]


def _changed(resource: R, **changes: Any) -> R:
    return msgspec.structs.replace(resource, **changes)


def _update(where: dict[Any, R], key: Any, new: R, mask: str, allowed: tuple[str, ...]) -> R:
    found: R = _found(where, key, type(new).__name__.lower())
    for path in apply_mask(mask, dict.fromkeys(allowed, "")):
        setattr(found, path, getattr(new, path))
    return found


def _page(
    items: list[R], kind: str, scope: str, filter: str, page_size: int, page_token: str
) -> Page[R]:
    size = paging.page_size(page_size)
    kinds: dict[str, type[Resource]] = {
        "jobs": Job, "models": Model, "versions": Version, "operations": Operation,
    }  # fmt: skip
    passes = filters.parse(filter, kinds.get(kind))
    kept = [item for item in items if passes.matches(encode(item))]
    start = int(paging.position(page_token, kind, scope, filter) or "0")
    rest = len(kept) > start + size
    token = paging.page_token(str(start + size), kind, scope, filter) if rest else ""
    return Page(kept[start : start + size], token)


def _ended(job: Job) -> bool:
    return job.state in ("SUCCEEDED", "FAILED", "CANCELLED")


def _etag(resource: Resource) -> str:
    return hashlib.blake2b(msgspec.json.encode(encode(resource)), digest_size=6).hexdigest()
