"""Everything wired together: the verbs of an engine, whoever offers them.

`Engine` is the one interface that the faces (`rest`, `cli`) call. `engine.local` implements it
over a store, buckets, launchers and workers; `client` implements it over HTTP. A verb takes and
gives resources (`core.resources`) and raises `core.errors`; ids are bare (``census``), names in
what is returned are full (``projects/p/models/census``), as in the API.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

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
from mlengine.engine.accessverbs import AccessVerbs
from mlengine.engine.predictionverbs import PredictionVerbs
from mlengine.engine.studyverbs import StudyVerbs
from mlengine.engine.trafficverbs import TrafficVerbs

__all__ = ["Engine", "EngineStatus", "LogPage", "Page", "PredictReply"]

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; `next_page_token` is empty on the last."""

    items: list[T]
    next_page_token: str = ""


class LogPage(msgspec.Struct, frozen=True):
    """Log entries after a cursor.

    Attributes:
        entries: Oldest first, in the order in which each task wrote them.
        cursor: Pass it back to get what follows.
        finished: The job has ended and nothing will follow.
    """

    entries: list[LogEntry]
    cursor: str
    finished: bool


class PredictReply(msgspec.Struct, frozen=True):
    """The raw answer of a prediction: an HTTP status and a JSON body."""

    status: int
    body: bytes


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What runs: processes, versions of what matters, counts.

    Attributes:
        shared: Where jobs, buckets and models lie; the home, for an engine alone.
        leading: Whether this engine runs the jobs of its database.
    """

    pid: int
    version: str
    endpoint: str
    home: str
    started: str
    gateway_pid: int
    running_jobs: int
    queued_jobs: int
    ready_versions: int
    store: str
    shared: str = ""
    leading: bool = True


class Engine(StudyVerbs, TrafficVerbs, AccessVerbs, PredictionVerbs, Protocol):
    """The verbs; some stand in `engine.studyverbs`, `trafficverbs`, `accessverbs` and so on.

    `project` is an id; a `filter` is the grammar of `core.filters`.
    """

    # jobs
    def create_job(self, project: str, job: Job) -> Job:
        """Check and queue a job; `AlreadyExists` when its id was ever used."""
        ...

    def get_job(self, project: str, job_id: str) -> Job: ...
    def list_jobs(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Job]: ...
    def update_job(self, project: str, job_id: str, job: Job, *, update_mask: str) -> Job: ...
    def cancel_job(self, project: str, job_id: str) -> None:
        """Ask a job to stop; no effect on a finished one."""
        ...

    def read_logs(
        self,
        project: str,
        job_id: str,
        *,
        cursor: str = "",
        task_name: str = "",
        wait_s: float = 0.0,
    ) -> LogPage:
        """Return what was logged after `cursor`, waiting up to `wait_s` seconds for something."""
        ...

    # models
    def create_model(self, project: str, model: Model) -> Model: ...
    def get_model(self, project: str, model_id: str) -> Model: ...
    def list_models(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Model]: ...
    def update_model(
        self, project: str, model_id: str, model: Model, *, update_mask: str
    ) -> Operation: ...
    def delete_model(self, project: str, model_id: str) -> Operation: ...

    # versions
    def create_version(self, project: str, model_id: str, version: Version) -> Operation: ...
    def get_version(self, project: str, model_id: str, version_id: str) -> Version: ...
    def list_versions(
        self,
        project: str,
        model_id: str,
        *,
        filter: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Page[Version]: ...
    def update_version(
        self, project: str, model_id: str, version_id: str, version: Version, *, update_mask: str
    ) -> Operation: ...
    def set_default_version(self, project: str, model_id: str, version_id: str) -> Version: ...
    def delete_version(self, project: str, model_id: str, version_id: str) -> Operation: ...

    # operations
    def get_operation(self, project: str, operation_id: str) -> Operation: ...
    def list_operations(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Operation]: ...
    def cancel_operation(self, project: str, operation_id: str) -> None: ...

    # predictions
    def predict(self, project: str, model_id: str, version_id: str, body: bytes) -> PredictReply:
        """Answer one request body; an empty `version_id` leaves it to the model's traffic."""
        ...

    def explain(self, project: str, model_id: str, version_id: str, body: bytes) -> PredictReply:
        """Explain the answer to one request body, as the version's explanationConfig says."""
        ...

    # projects
    def get_config(self, project: str) -> GetConfigResponse: ...
    def get_location(self, project: str, location_id: str) -> Location: ...
    def list_locations(
        self, project: str, *, page_size: int = 0, page_token: str = ""
    ) -> Page[Location]: ...

    # storage
    def create_bucket(self, bucket: Bucket) -> Bucket: ...
    def list_buckets(self) -> list[Bucket]: ...
    def delete_bucket(self, name: str, *, force: bool = False) -> None: ...
    def list_objects(
        self, bucket: str, *, prefix: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Object]:
        """List objects sorted by name."""
        ...

    def stat_object(self, bucket: str, name: str) -> Object: ...
    def read_object(self, bucket: str, name: str) -> Iterator[bytes]: ...
    def write_object(
        self, bucket: str, name: str, chunks: Iterable[bytes], *, like: str = "",
        about: Mapping[str, Any] | None = None,
    ) -> Object:  # fmt: skip
        """Store an object whole or not at all.

        Args:
            like: URI of an object whose type, encoding and metadata it gets, where both buckets
                know of such; empty: it has none.
            about: What is said of it besides, in the words of Cloud Storage's JSON, such as
                ``{"contentType": "text/html", "metadata": {"run": "7"}}``.
        """
        ...

    def delete_object(self, bucket: str, name: str) -> None: ...

    # runtimes
    def list_runtimes(self) -> list[Runtime]: ...
    def get_runtime(self, name: str) -> Runtime:
        """Return a runtime by its name or one of its aliases."""
        ...

    def build_runtime(self, name: str) -> Runtime:
        """Make a runtime's environment now, so that the first job need not wait for it."""
        ...

    def delete_runtime(self, name: str) -> None:
        """Remove a runtime's environment from the disk; the next job builds it again."""
        ...

    def collect_environments(self, *, keep_bytes: int | None = None) -> int:
        """Evict the environments used longest ago beyond a size; return the bytes freed."""
        ...

    # metrics
    def job_metrics(self, project: str, job_id: str, *, tag: str = "") -> list[MetricSeries]:
        """Return what a job reported so far, one series per tag, run and source."""
        ...

    # the engine itself
    def status(self) -> EngineStatus: ...
