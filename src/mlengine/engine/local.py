"""The engine itself: every verb of `Engine`, over a store, buckets, a launcher and workers."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine import __version__
from mlengine.core.callers import current_caller
from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import EngineError, FailedPrecondition, NotFound
from mlengine.core.limits import MAX_LOG_WAIT_S
from mlengine.core.names import check_project, location_name, project_number
from mlengine.core.paging import page_size as checked_page_size
from mlengine.core.paging import page_token as sealed
from mlengine.core.paging import position
from mlengine.core.resources import (
    Bucket,
    GetConfigResponse,
    Job,
    Location,
    MetricSeries,
    Model,
    Object,
    Operation,
    Runtime,
    Version,
)
from mlengine.core.states import STARTED_JOB_STATES, JobState, VersionState
from mlengine.engine import Engine, EngineStatus, LogPage, Page, PredictReply
from mlengine.engine.access import Access, LocalAccess
from mlengine.engine.listing import list_page
from mlengine.engine.predictions import LocalPredictions
from mlengine.engine.runtimes import Runtimes
from mlengine.engine.settings import Settings
from mlengine.engine.studies import LocalStudies
from mlengine.engine.traffic import LocalTraffic
from mlengine.models.registry import Models
from mlengine.models.views import operation_view
from mlengine.prediction.requestlog.tables import Tables
from mlengine.prediction.serving import Serving
from mlengine.prediction.traffic.experiments import Experiments
from mlengine.storage import Buckets
from mlengine.storage.gcs.shelving import write_described
from mlengine.storage.paths import BucketPath, is_uri, parse_uri
from mlengine.store import Store, VersionRecord
from mlengine.training.jobs import Jobs
from mlengine.training.looks import Looks, Place
from mlengine.training.mirrors import mirror_path
from mlengine.tuning.studies import Studies

__all__ = ["LOCATIONS", "LocalEngine"]

LOCATIONS = ("local", "us-central1")
_CHUNK_BYTES = 1 << 20


class LocalEngine(LocalStudies, LocalTraffic, LocalAccess, LocalPredictions):
    """Implements `Engine` in this process; `engine.wiring` builds it."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        buckets: Buckets,
        jobs: Jobs,
        models: Models,
        serving: Serving,
        experiments: Experiments,
        runtimes: Runtimes,
        studies: Studies,
        access: Access,
        *,
        clock: Clock,
        page_key: bytes,
        leading: Callable[[], bool],
    ) -> None:
        super().__init__(studies, self.get_location)
        self._settings = settings
        self._store = store
        self._buckets = buckets
        self._jobs = jobs
        self._models = models
        self._serving = serving
        self._experiments = experiments
        self._runtimes = runtimes
        self._access = access
        self._page_secret = page_key
        self._tables = Tables(settings.folder("tables"), now=lambda: rfc3339(clock.now()))
        self._leading = leading
        self._looks = Looks()
        self._started = rfc3339(clock.now())

    @property
    def _page_key(self) -> bytes:
        """The secret of the caller's page tokens: nobody goes on with somebody else's list."""
        caller = current_caller()
        if caller.is_owner:
            return self._page_secret
        return hashlib.blake2b(caller.key.encode(), key=self._page_secret[:64]).digest()

    # --- jobs ---

    def create_job(self, project: str, job: Job) -> Job:
        self._access.check_job(check_project(project), job)
        return self._jobs.create(project, job)

    def get_job(self, project: str, job_id: str) -> Job:
        return self._jobs.view(self._jobs.record(project, job_id))

    def list_jobs(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Job]:
        return list_page(
            lambda before, limit: self._store.jobs(project, before_seq=before, limit=limit),
            self._jobs.list_view(),
            ("jobs", check_project(project)),
            filter=filter, page_size=page_size, page_token=page_token, key=self._page_key,
        )  # fmt: skip

    def update_job(self, project: str, job_id: str, job: Job, *, update_mask: str) -> Job:
        return self._jobs.update(project, job_id, job, update_mask=update_mask)

    def cancel_job(self, project: str, job_id: str) -> None:
        self._jobs.cancel(project, job_id)

    def read_logs(
        self,
        project: str,
        job_id: str,
        *,
        cursor: str = "",
        task_name: str = "",
        wait_s: float = 0.0,
    ) -> LogPage:
        entries, after, finished = self._jobs.read_logs(
            project,
            job_id,
            cursor=cursor,
            task_name=task_name,
            wait_s=min(max(wait_s, 0.0), MAX_LOG_WAIT_S),
        )
        return LogPage(list(entries), after, finished)

    def job_metrics(self, project: str, job_id: str, *, tag: str = "") -> list[MetricSeries]:
        record = self._jobs.record(project, job_id)
        attempt_dirs = self._jobs.attempt_dirs(record)
        places = {"": Place(self._job_dir(record.job, attempt_dirs), attempt_dirs)}
        for trial, folders in self._jobs.trial_dirs(record).items():
            places[trial] = Place(None, folders)
        return self._looks.look(record.uid, places, tag=tag)

    def _job_dir(self, job: Job, attempt_dirs: Sequence[Path]) -> Path | None:
        """Return where a training job's directory, or its event files, lie on this machine."""
        uri = job.training_input.job_dir if job.training_input else ""
        if not is_uri(uri):
            return Path(uri) if uri else None
        try:
            return self._buckets.local_path(uri)
        except EngineError:  # a bucket that is no folder, or is deleted: the logs still tell
            copies = [mirror_path(folder.parent, parse_uri(uri)) for folder in attempt_dirs[:1]]
            return next((path for path in copies if path.is_dir()), None)

    # --- models and versions ---

    def create_model(self, project: str, model: Model) -> Model:
        return self._models.create_model(check_project(project), model)

    def get_model(self, project: str, model_id: str) -> Model:
        return self._models.model(project, model_id)

    def list_models(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Model]:
        return list_page(
            lambda before, limit: self._store.models(project, before_seq=before, limit=limit),
            self._models.model_view,
            ("models", check_project(project)),
            filter=filter, page_size=page_size, page_token=page_token, key=self._page_key,
        )  # fmt: skip

    def update_model(
        self, project: str, model_id: str, model: Model, *, update_mask: str
    ) -> Operation:
        return self._models.update_model(project, model_id, model, update_mask=update_mask)

    def delete_model(self, project: str, model_id: str) -> Operation:
        return self._models.delete_model(project, model_id)

    def create_version(self, project: str, model_id: str, version: Version) -> Operation:
        return self._models.create_version(project, model_id, version)

    def get_version(self, project: str, model_id: str, version_id: str) -> Version:
        return self._models.version(project, model_id, version_id)

    def list_versions(
        self,
        project: str,
        model_id: str,
        *,
        filter: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Page[Version]:
        self._models.model_record(project, model_id)
        return list_page(
            lambda before, limit: self._store.versions(
                project, model_id, before_seq=before, limit=limit
            ),
            self._models.version_view,
            ("versions", project, model_id),
            filter=filter, page_size=page_size, page_token=page_token, key=self._page_key,
        )  # fmt: skip

    def update_version(
        self, project: str, model_id: str, version_id: str, version: Version, *, update_mask: str
    ) -> Operation:
        return self._models.update_version(
            project, model_id, version_id, version, update_mask=update_mask
        )

    def set_default_version(self, project: str, model_id: str, version_id: str) -> Version:
        return self._models.set_default(project, model_id, version_id)

    def delete_version(self, project: str, model_id: str, version_id: str) -> Operation:
        return self._models.delete_version(project, model_id, version_id)

    # --- operations ---

    def get_operation(self, project: str, operation_id: str) -> Operation:
        return operation_view(self._store.operation(project, operation_id))

    def list_operations(
        self, project: str, *, filter: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Operation]:
        return list_page(
            lambda before, limit: self._store.operations(project, before_seq=before, limit=limit),
            operation_view,
            ("operations", check_project(project)),
            filter=filter, page_size=page_size, page_token=page_token, key=self._page_key,
        )  # fmt: skip

    def cancel_operation(self, project: str, operation_id: str) -> None:
        record = self._store.operation(project, operation_id)
        if record.operation.done:
            return
        metadata = {**record.operation.metadata, "isCancellationRequested": True}
        with contextlib.suppress(FailedPrecondition):  # it has ended by now
            self._store.edit_operation(project, operation_id, metadata)

    # --- predictions ---

    def predict(self, project: str, model_id: str, version_id: str, body: bytes) -> PredictReply:
        version = self._asked(project, model_id, version_id, body)
        return PredictReply(*self._serving.predict(version, body))

    def explain(self, project: str, model_id: str, version_id: str, body: bytes) -> PredictReply:
        version = self._asked(project, model_id, version_id, body)
        return PredictReply(*self._serving.predict(version, body, explain=True))

    def _asked(self, project: str, model_id: str, version_id: str, body: bytes) -> VersionRecord:
        self._models.model_record(project, model_id)
        version_id = version_id or self._experiments.choose(project, model_id, body)
        if not version_id:
            raise NotFound(
                f"The model '{model_id}' has no default version.", "Create a version first.",
                field="name",
            )  # fmt: skip
        return self._models.version_record(project, model_id, version_id)

    # --- projects ---

    def get_config(self, project: str) -> GetConfigResponse:
        check_project(project)
        return GetConfigResponse(
            service_account=f"mlengine@{project}.local",
            service_account_project=project_number(project),
        )

    def get_location(self, project: str, location_id: str) -> Location:
        if location_id not in LOCATIONS:
            raise NotFound.among(
                "location", location_id, LOCATIONS, "An engine has 'local'.", field="name"
            )
        kinds = ("TRAINING", "BATCH_PREDICTION", "ONLINE_PREDICTION")
        return Location(
            name=location_name(check_project(project), location_id),
            capabilities=[{"type": kind} for kind in kinds],
        )

    def list_locations(
        self, project: str, *, page_size: int = 0, page_token: str = ""
    ) -> Page[Location]:
        size, scope = checked_page_size(page_size), ("locations", check_project(project))
        start = int(position(page_token, *scope, key=self._page_key) or 0)
        end = start + size
        items = [self.get_location(project, location) for location in LOCATIONS[start:end]]
        return Page(
            items, sealed(str(end), *scope, key=self._page_key) if end < len(LOCATIONS) else ""
        )

    # --- storage ---

    def create_bucket(self, bucket: Bucket) -> Bucket:
        return self._buckets.create(bucket)

    def list_buckets(self) -> list[Bucket]:
        return self._buckets.list()

    def delete_bucket(self, name: str, *, force: bool = False) -> None:
        self._buckets.delete(name, force=force)

    def list_objects(
        self, bucket: str, *, prefix: str = "", page_size: int = 0, page_token: str = ""
    ) -> Page[Object]:
        scope = ("objects", bucket, prefix)
        size = min(page_size, 1000) if page_size > 100 else checked_page_size(page_size)
        after = position(page_token, *scope, key=self._page_key)
        found = self._buckets.objects(bucket, prefix=prefix, after=after, limit=size + 1)
        items = [info.resource() for info in found[:size]]
        if len(found) <= size:
            return Page(items)
        return Page(items, sealed(items[-1].name, *scope, key=self._page_key))

    def stat_object(self, bucket: str, name: str) -> Object:
        return self._buckets.stat(BucketPath(bucket, name)).resource()

    def read_object(self, bucket: str, name: str) -> Iterator[bytes]:
        # Opened before the first byte is asked for: what cannot be read is an error, not a stream.
        data = self._buckets.open_read(BucketPath(bucket, name))

        def chunks() -> Iterator[bytes]:
            with data:
                while chunk := data.read(_CHUNK_BYTES):
                    yield chunk

        return chunks()

    def write_object(
        self, bucket: str, name: str, chunks: Iterable[bytes], *, like: str = "",
        about: Mapping[str, Any] | None = None,
    ) -> Object:  # fmt: skip
        target = BucketPath(bucket, name)
        if not like and not about:
            return self._buckets.write(target, chunks).resource()
        other = parse_uri(like, field="like") if like else None
        info = write_described(self._buckets, target, chunks, like=other, about=about or {})
        return info.resource()

    def delete_object(self, bucket: str, name: str) -> None:
        self._buckets.delete_object(BucketPath(bucket, name))

    # --- runtimes ---

    def list_runtimes(self) -> list[Runtime]:
        return self._runtimes.list()

    def get_runtime(self, name: str) -> Runtime:
        return self._runtimes.get(name)

    def build_runtime(self, name: str) -> Runtime:
        return self._runtimes.build(name)

    def delete_runtime(self, name: str) -> None:
        self._runtimes.delete(name)

    def collect_environments(self, *, keep_bytes: int | None = None) -> int:
        return self._runtimes.collect(keep_bytes)

    # --- the engine itself ---

    def status(self) -> EngineStatus:
        return EngineStatus(
            pid=os.getpid(),
            version=__version__,
            endpoint=self._serving.endpoint,
            home=str(self._settings.home),
            started=self._started,
            gateway_pid=self._serving.gateway_pid,
            running_jobs=self._store.count_jobs(STARTED_JOB_STATES),
            queued_jobs=self._store.count_jobs({JobState.QUEUED}),
            ready_versions=len(self._store.versions_in({VersionState.READY})),
            store=self._settings.store_name,
            shared=str(self._settings.shared_folder),
            leading=self._leading(),
        )


_: type[Engine] = LocalEngine
