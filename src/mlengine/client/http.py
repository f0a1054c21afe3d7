"""An engine somewhere else: every verb of `Engine`, over HTTP.

Errors come back as the classes that the engine raised, so a command cannot tell the difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from mlengine.client.access import HttpAccess
from mlengine.client.calls import json_in, paging, path_part, query_text, v1
from mlengine.client.predictions import HttpPredictions
from mlengine.client.studies import HttpStudies
from mlengine.client.traffic import HttpTraffic
from mlengine.client.transport import Transport, error_in
from mlengine.client.trust import Trust
from mlengine.core.errors import InvalidArgument
from mlengine.core.names import (
    job_name,
    location_name,
    model_name,
    operation_name,
    project_name,
    version_name,
)
from mlengine.core.resources import (
    Bucket,
    GetConfigResponse,
    Job,
    Location,
    LogEntry,
    MetricSeries,
    Model,
    Object,
    Operation,
    Runtime,
    Version,
)
from mlengine.core.wire import decode_answer, encode
from mlengine.engine import Engine, EngineStatus, LogPage, Page, PredictReply

__all__ = ["HttpEngine"]

_ANYBODYS = Trust()
_PREDICT_WAIT_S = 3600.0
"""How long a prediction may take: its version has to wake, and then `predict_timeout_s` holds."""
_BUILD_WAIT_S = 1800.0
"""How long building a runtime may take: it is fetched, and may wait for another who builds it."""


class HttpEngine(HttpStudies, HttpTraffic, HttpAccess, HttpPredictions):
    """An `Engine` behind an address.

    Threads may share one. Verbs that change nothing, and creates with an id, are repeated when a
    connection breaks; other verbs only when nothing had been sent yet.

    Args:
        endpoint: ``http://127.0.0.1:8470``, ``https://…`` or ``unix:/path/to/socket``.
        token: The engine's access token, or a key.
        timeout_s: The longest silence to bear, in seconds.
        trust: Whose certificate it may show, over https.

    Raises:
        InvalidArgument: The endpoint is not an address.

    Example:
        >>> engine = HttpEngine("http://127.0.0.1:8470", "mle_token")
        >>> engine.list_jobs("local").items  # doctest: +SKIP
        []
    """

    def __init__(
        self, endpoint: str, token: str, *, timeout_s: float = 60.0, trust: Trust = _ANYBODYS
    ) -> None:
        super().__init__(Transport(endpoint, token, timeout_s=timeout_s, trust=trust))

    def __enter__(self) -> HttpEngine:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections; the engine can still be used."""
        self._transport.close()

    # jobs

    def create_job(self, project: str, job: Job) -> Job:
        """Check and queue a job; repeating it after a broken connection makes no second one."""
        path = v1(project_name, project) + "/jobs"
        return self._create(path, job, lambda: self.get_job(project, job.job_id), as_kept=_as_kept)

    def get_job(self, project: str, job_id: str) -> Job:
        """Describe a job."""
        return self._get(Job, v1(job_name, project, job_id))

    def list_jobs(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Job]:
        """List jobs, newest first."""
        query = paging(page_size, page_token, filter=filter)
        return self._list(Job, "jobs", v1(project_name, project) + "/jobs" + query)

    def update_job(self, project: str, job_id: str, job: Job, *, update_mask: str) -> Job:
        """Change what the mask names."""
        path = v1(job_name, project, job_id) + query_text(updateMask=update_mask)
        return decode_answer(Job, self._call("PATCH", path, job), at="job")

    def cancel_job(self, project: str, job_id: str) -> None:
        """Ask a job to stop; no effect on a finished one."""
        self._call("POST", v1(job_name, project, job_id) + ":cancel", safe=True)

    def read_logs(
        self,
        project: str,
        job_id: str,
        *,
        cursor: str = "",
        task_name: str = "",
        wait_s: float = 0.0,
    ) -> LogPage:
        """Return what was logged after `cursor`; the engine waits at most 30 seconds at a time."""
        wait = f"{wait_s:.3f}" if wait_s else ""
        query = query_text(cursor=cursor, taskName=task_name, wait_s=wait)
        path = "/api" + v1(job_name, project, job_id) + "/logs" + query
        found = self._call("GET", path, safe=True, extra_wait_s=wait_s)
        entries = [decode_answer(LogEntry, entry, at="entry") for entry in found.get("entries", ())]
        return LogPage(entries, str(found["cursor"]), bool(found.get("finished")))

    def job_metrics(self, project: str, job_id: str, *, tag: str = "") -> list[MetricSeries]:
        """Return what a job reported so far, one series per tag, run and source."""
        path = "/api" + v1(job_name, project, job_id) + "/metrics" + query_text(tag=tag)
        return self._list(MetricSeries, "metrics", path).items

    # models

    def create_model(self, project: str, model: Model) -> Model:
        """Make a model; repeating it after a broken connection makes no second one."""
        path = v1(project_name, project) + "/models"
        return self._create(path, model, lambda: self.get_model(project, model.name))

    def get_model(self, project: str, model_id: str) -> Model:
        """Describe a model."""
        return self._get(Model, v1(model_name, project, model_id))

    def list_models(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Model]:
        """List models."""
        query = paging(page_size, page_token, filter=filter)
        return self._list(Model, "models", v1(project_name, project) + "/models" + query)

    def update_model(
        self, project: str, model_id: str, model: Model, *, update_mask: str
    ) -> Operation:
        """Change what the mask names."""
        path = v1(model_name, project, model_id) + query_text(updateMask=update_mask)
        return self._operation("PATCH", path, model)

    def delete_model(self, project: str, model_id: str) -> Operation:
        """Delete a model that has no versions."""
        return self._operation("DELETE", v1(model_name, project, model_id))

    # versions

    def create_version(self, project: str, model_id: str, version: Version) -> Operation:
        """Deploy an artefact; the operation ends when it answers."""
        path = v1(model_name, project, model_id) + "/versions"
        return self._operation("POST", path, version)

    def get_version(self, project: str, model_id: str, version_id: str) -> Version:
        """Describe a version."""
        return self._get(Version, v1(version_name, project, model_id, version_id))

    def list_versions(
        self,
        project: str,
        model_id: str,
        *,
        filter: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Page[Version]:
        """List a model's versions."""
        query = paging(page_size, page_token, filter=filter)
        path = v1(model_name, project, model_id) + "/versions" + query
        return self._list(Version, "versions", path)

    def update_version(
        self, project: str, model_id: str, version_id: str, version: Version, *, update_mask: str
    ) -> Operation:
        """Change what the mask names."""
        path = v1(version_name, project, model_id, version_id) + query_text(updateMask=update_mask)
        return self._operation("PATCH", path, version)

    def set_default_version(self, project: str, model_id: str, version_id: str) -> Version:
        """Make a version the one that answers for its model."""
        path = v1(version_name, project, model_id, version_id) + ":setDefault"
        return decode_answer(Version, self._call("POST", path, safe=True), at="version")

    def delete_version(self, project: str, model_id: str, version_id: str) -> Operation:
        """Delete a version."""
        return self._operation("DELETE", v1(version_name, project, model_id, version_id))

    # operations

    def get_operation(self, project: str, operation_id: str) -> Operation:
        """Describe an operation."""
        return self._get(Operation, v1(operation_name, project, operation_id))

    def list_operations(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Operation]:
        """List operations."""
        query = paging(page_size, page_token, filter=filter)
        path = v1(project_name, project) + "/operations" + query
        return self._list(Operation, "operations", path)

    def cancel_operation(self, project: str, operation_id: str) -> None:
        """Ask an operation to stop."""
        self._call("POST", v1(operation_name, project, operation_id) + ":cancel", safe=True)

    # predictions

    def predict(self, project: str, model_id: str, version_id: str, body: bytes) -> PredictReply:
        """Answer one request body; whatever the status, the body is the engine's own."""
        return self._ask(":predict", project, model_id, version_id, body)

    def explain(self, project: str, model_id: str, version_id: str, body: bytes) -> PredictReply:
        """Explain the answer to one request body; as `predict`."""
        return self._ask(":explain", project, model_id, version_id, body)

    def _ask(
        self, verb: str, project: str, model_id: str, version_id: str, body: bytes
    ) -> PredictReply:
        path = v1(model_name, project, model_id)
        if version_id:
            path = v1(version_name, project, model_id, version_id)
        reply = self._transport.send(
            "POST", path + verb, body=body, safe=False, extra_wait_s=_PREDICT_WAIT_S
        )
        return PredictReply(reply.status, reply.body)

    # projects

    def get_config(self, project: str) -> GetConfigResponse:
        """Tell the identity of the service in a project."""
        return self._get(GetConfigResponse, v1(project_name, project) + ":getConfig")

    def get_location(self, project: str, location_id: str) -> Location:
        """Describe a location."""
        return self._get(Location, v1(location_name, project, location_id))

    def list_locations(
        self, project: str, *, page_size: int = 0, page_token: str = ""
    ) -> Page[Location]:
        """List locations."""
        query = paging(page_size, page_token)
        return self._list(Location, "locations", v1(project_name, project) + "/locations" + query)

    # storage

    def create_bucket(self, bucket: Bucket) -> Bucket:
        """Make a bucket."""
        return decode_answer(Bucket, self._call("POST", "/api/v1/buckets", bucket), at="bucket")

    def list_buckets(self) -> list[Bucket]:
        """List buckets."""
        return self._list(Bucket, "buckets", "/api/v1/buckets").items

    def delete_bucket(self, name: str, *, force: bool = False) -> None:
        """Delete a bucket; one that holds objects only with `force`."""
        self._call("DELETE", f"{_bucket(name)}{query_text(force='true' if force else '')}")

    def list_objects(
        self, bucket: str, *, prefix: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Object]:
        """List objects sorted by name."""
        query = paging(page_size, page_token, prefix=prefix)
        return self._list(Object, "objects", f"{_bucket(bucket)}/objects{query}")

    def stat_object(self, bucket: str, name: str) -> Object:
        """Tell an object's size and time."""
        return self._get(Object, f"{_bucket(bucket)}/objects/{quote(name)}")

    def read_object(self, bucket: str, name: str) -> Iterator[bytes]:
        """Return the bytes in pieces; `Unavailable` is raised among them if they break off."""
        reply, pieces = self._transport.download(f"{_bucket(bucket)}/content/{quote(name)}")
        if reply.status != 200:
            raise error_in(reply)
        return pieces

    def write_object(
        self, bucket: str, name: str, chunks: Iterable[bytes], *, like: str = "",
        about: Mapping[str, Any] | None = None,
    ) -> Object:  # fmt: skip
        """Store an object whole or not at all; `like` names one whose type and metadata it gets."""
        query = query_text(like=like, about=json.dumps(about) if about else "")
        reply = self._transport.upload(f"{_bucket(bucket)}/content/{quote(name)}{query}", chunks)
        return decode_answer(Object, json_in(reply), at="object")

    def delete_object(self, bucket: str, name: str) -> None:
        """Delete an object."""
        self._call("DELETE", f"{_bucket(bucket)}/objects/{quote(name)}")

    # runtimes

    def list_runtimes(self) -> list[Runtime]:
        """List runtimes."""
        return self._list(Runtime, "runtimes", "/api/v1/runtimes").items

    def get_runtime(self, name: str) -> Runtime:
        """Describe a runtime."""
        return self._get(Runtime, _runtime(name))

    def build_runtime(self, name: str) -> Runtime:
        """Build a runtime's environment; returns when it is there."""
        found = self._call("POST", _runtime(name) + ":build", safe=True, extra_wait_s=_BUILD_WAIT_S)
        return decode_answer(Runtime, found, at="runtime")

    def delete_runtime(self, name: str) -> None:
        """Remove a runtime's environment from the disk."""
        self._call("DELETE", _runtime(name))

    def collect_environments(self, *, keep_bytes: int | None = None) -> int:
        """Evict the environments used longest ago; return the bytes freed."""
        query = query_text(keepBytes="" if keep_bytes is None else str(keep_bytes))
        found = self._call("POST", "/api/v1/environments:collect" + query, safe=True)
        return int(found.get("freedBytes", 0))

    # the engine itself

    def status(self) -> EngineStatus:
        """Tell what runs, and how much."""
        return msgspec.convert(self._call("GET", "/api/v1/status", safe=True), EngineStatus)


_: type[Engine] = HttpEngine


def _bucket(name: str) -> str:
    return f"/api/v1/buckets/{path_part(name)}"


def _runtime(name: str) -> str:
    return f"/api/v1/runtimes/{path_part(name)}"


def _as_kept(job: Job) -> Job:
    """Return a job with its hyperparameters in an engine's words: the JSON is its user's own."""
    # Here: only the repetition of a tuning job's creation needs it.
    from mlengine.training.trials.hyperparameters import hyperparameters_of

    spec = job.training_input
    if spec is None or spec.hyperparameters is None:
        return job
    try:
        asked = encode(hyperparameters_of(spec))
    except InvalidArgument:  # a later engine's, which knows more fields
        return job
    kept = msgspec.structs.replace(spec, hyperparameters=asked)
    return msgspec.structs.replace(job, training_input=kept)
