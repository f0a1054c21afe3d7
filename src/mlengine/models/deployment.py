"""Takes a version from CREATING to READY or FAILED, and from DELETING to gone.

Level-triggered: `resume` starts whatever the records say is unfinished, so a version whose engine
was killed half-way is simply taken up again; every step may be done twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import Cancelled, EngineError, Internal, NotFound
from mlengine.core.resources import Version
from mlengine.core.states import VersionState
from mlengine.models import Loader, views
from mlengine.models.artifacts import Artifacts
from mlengine.store import OperationRecord, Store, VersionRecord

__all__ = ["Deployment"]

_log = logging.getLogger(__name__)


class Deployment:
    """Performs what the records of versions ask for, a few versions at a time."""

    def __init__(
        self, store: Store, artifacts: Artifacts, loader: Loader, *, clock: Clock, at_once: int = 2
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._loader = loader
        self._clock = clock
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="deploy")
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def submit(self, record: VersionRecord) -> None:
        """Work on a CREATING or DELETING version, unless that is going on already."""
        work = {VersionState.CREATING: self._create, VersionState.DELETING: self._delete}
        step = work.get(record.state)
        if step is None:
            return
        with self._lock:
            if record.uid in self._busy:
                return
            self._busy.add(record.uid)
        self._pool.submit(self._guarded, step, record)

    def resume(self) -> None:
        """Take up every unfinished version; cheap when there is none."""
        for record in self._store.versions_in({VersionState.CREATING, VersionState.DELETING}):
            self.submit(record)

    def close(self) -> None:
        """Let the step at hand end and start no other."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _guarded(self, step: Callable[[VersionRecord], None], record: VersionRecord) -> None:
        try:
            step(record)
        except EngineError as error:
            # The store or the disk is away: the reconciler comes back to it.
            _log.warning("version %s is left for later: %s", record.uid, error)
        except Exception:
            _log.exception("deploying %s", record.uid)
        finally:
            with self._lock:
                self._busy.discard(record.uid)

    def _create(self, record: VersionRecord) -> None:
        operation = self._operation_of(record)
        try:
            self._stop_if_cancelled(operation)
            digest = self._artifacts.commit(record.uid, record.version.deployment_uri)
            self._stop_if_cancelled(operation)
            self._loader.load(record, self._artifacts.path(record.uid))
            self._stop_if_cancelled(operation)
        except Exception as error:
            self._fail(record, operation, error)
            return
        ready = self._store.move_version(record, VersionState.READY, digest=digest)
        self._loader.publish()
        if operation and ready:
            self._finish(operation, version=self._view(ready))

    def _fail(
        self, record: VersionRecord, operation: OperationRecord | None, error: Exception
    ) -> None:
        if not isinstance(error, EngineError):
            _log.exception("creating version %s", record.uid, exc_info=error)
            error = Internal(f"{type(error).__name__}: {error}", "See the engine's log.")
        self._loader.unload(record)
        message = f"Create Version failed. {error}"
        failed = self._store.move_version(record, VersionState.FAILED, error_message=message)
        if operation and failed:
            code = error.rpc_code
            self._finish(operation, error={"code": code, "message": message})

    def _delete(self, record: VersionRecord) -> None:
        operation = self._operation_of(record)
        self._loader.publish()
        self._loader.unload(record)
        self._artifacts.remove(record.uid)
        try:
            self._store.remove_version(record)
        except EngineError as error:
            # It became the default of others meanwhile; it has no artefact any more.
            self._store.move_version(record, VersionState.FAILED, error_message=str(error))
            if operation:
                self._finish(operation, error={"code": error.rpc_code, "message": str(error)})
            return
        self._loader.publish()
        if operation:
            self._finish(operation, version=None)

    def _finish(
        self,
        operation: OperationRecord,
        *,
        version: Version | None = None,
        error: dict[str, object] | None = None,
    ) -> None:
        metadata = dict(operation.operation.metadata)
        metadata["endTime"] = rfc3339(self._clock.now())
        if version:
            metadata["version"] = {k: v for k, v in views.tagged(version).items() if k != "@type"}
        self._store.finish_operation(
            operation.project,
            operation.operation_id,
            metadata=metadata,
            response=None if error else views.tagged(version),
            error=error,
        )

    def _operation_of(self, record: VersionRecord) -> OperationRecord | None:
        for operation in self._store.open_operations():
            if operation.subject == record.uid:
                return operation
        return None

    def _stop_if_cancelled(self, operation: OperationRecord | None) -> None:
        if operation is None:
            return
        newest = self._store.operation(operation.project, operation.operation_id)
        if newest.operation.metadata.get("isCancellationRequested"):
            raise Cancelled(
                "The operation was cancelled.", "Delete the version, or create another."
            )

    def _view(self, record: VersionRecord) -> Version:
        try:
            model = self._store.model(record.project, record.model_id)
        except NotFound:
            return views.version_view(record, default_version_id="")
        return views.version_view(record, default_version_id=model.default_version_id)
