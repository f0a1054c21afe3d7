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
from mlengine.core.errors import (
    Cancelled,
    EngineError,
    FailedPrecondition,
    Internal,
    NotFound,
    Unavailable,
)
from mlengine.core.resources import Version
from mlengine.core.states import VersionState
from mlengine.models import Loader, views
from mlengine.models.artifacts import Artifacts
from mlengine.models.settling import outcome
from mlengine.runtime import failpoints
from mlengine.store import OperationRecord, Store, StoreAway, VersionRecord

__all__ = ["Deployment"]

_log = logging.getLogger(__name__)
_LET_GO_S = 0.05


class Deployment:
    """Performs what the records of versions ask for, a few versions at a time.

    Args:
        store: Where the records are.
        artifacts: Where the versions' own copies of their models lie.
        loader: Makes a version answer.
        clock: For times that people read.
        at_once: How many versions are worked on at one time.
        leading: Asked before anything is done: engines of one database take turns.
        spread_s: After how long other engines have seen what was recorded: whoever is told that a
            version is created may ask any of them for a prediction.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        loader: Loader,
        *,
        clock: Clock,
        at_once: int = 2,
        leading: Callable[[], bool] = lambda: True,
        spread_s: float = 0.0,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._loader = loader
        self._clock = clock
        self._leading = leading
        self._spread_s = spread_s
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="deploy")
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._at_work: dict[str, VersionRecord] = {}
        self._closing = False

    def submit(self, record: VersionRecord) -> None:
        """Work on a CREATING or DELETING version, unless that is going on already.

        While another engine leads nothing happens here: it finds the record by itself.
        """
        work = {VersionState.CREATING: self._create, VersionState.DELETING: self._delete}
        step = work.get(record.state)
        if step is None or not self._leading():
            return
        with self._lock:
            if record.uid in self._busy or self._closing:
                return
            self._busy.add(record.uid)
            self._pool.submit(self._guarded, step, record)

    def resume(self) -> None:
        """Take up every unfinished version, end operations that are over; cheap without any."""
        for record in self._store.versions_in({VersionState.CREATING, VersionState.DELETING}):
            self.submit(record)
        # Operations are read first: each was opened with the move of its version, so a version that
        # is settled now was settled by the work that the operation stands for.
        operations = self._store.open_operations()
        if operations:
            versions = {v.uid: v for v in self._store.versions_in(set(VersionState))}
            for operation in operations:
                self._settle(operation, versions.get(operation.subject))

    def close(self) -> None:
        """Let the steps at hand end and start no other; a model that is loading is let go of."""
        with self._lock:
            self._closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        pause = threading.Event()
        while at_work := list(self._at_work.values()):
            for record in at_work:
                # It stays CREATING, and the next engine takes it up: loading may take minutes.
                self._loader.unload(record)
            pause.wait(_LET_GO_S)
        self._pool.shutdown(wait=True)

    def _guarded(self, step: Callable[[VersionRecord], None], record: VersionRecord) -> None:
        self._at_work[record.uid] = record
        try:
            if self._leading():  # it may have waited for its turn for minutes
                step(record)
        except EngineError as error:
            # The store or the disk is away: the reconciler comes back to it.
            _log.warning("version %s is left for later: %s", record.uid, error)
        except Exception:
            _log.exception("deploying %s", record.uid)
        finally:
            del self._at_work[record.uid]
            with self._lock:
                self._busy.discard(record.uid)

    def _create(self, record: VersionRecord) -> None:
        try:
            self._stop_if_cancelled(record)
            version = record.version
            digest = self._artifacts.commit(
                record.uid, version.deployment_uri, packages=version.package_uris
            )
            self._stop_if_cancelled(record)
            self._loader.load(
                record,
                self._artifacts.path(record.uid),
                cancelled=lambda: self._let_go() or self._is_cancelled(record),
            )
            self._stop_if_cancelled(record)
        except StoreAway:
            raise
        except Exception as error:
            if not self._let_go():
                self._fail(record, error)
            return
        if self._let_go():
            return
        failpoints.hit("version.before-ready")
        ready = self._store.move_version(record, VersionState.READY, digest=digest)
        failpoints.hit("version.after-ready")
        self._loader.publish()
        operation = self._operation_of(record, "CREATE_VERSION")
        if operation and ready:
            threading.Event().wait(self._spread_s)
            self._finish(operation, version=self._view(ready))

    def _let_go(self) -> bool:
        """Return whether the version is another engine's now, or the next one's."""
        return self._closing or not self._leading()

    def _fail(self, record: VersionRecord, error: Exception) -> None:
        if isinstance(error, OSError):
            what = f"{error.strerror or error}: {error.filename or 'the home folder'}."
            error = Unavailable(what, "Free some space or check the disk; then create it again.")
        if not isinstance(error, EngineError):
            _log.exception("creating version %s", record.uid, exc_info=error)
            error = Internal(f"{type(error).__name__}: {error}", "See the engine's log.")
        self._loader.unload(record)
        message = f"Create Version failed. {error}"
        try:
            failed = self._store.move_version(record, VersionState.FAILED, error_message=message)
        except StoreAway:
            if self._let_go():
                raise
            self._artifacts.remove(record.uid)  # on a full disk this makes the room to say so
            failed = self._store.move_version(record, VersionState.FAILED, error_message=message)
        self._loader.publish()
        if failed:  # nothing can serve it any more, and it may be large
            self._artifacts.remove(record.uid)
        operation = self._operation_of(record, "CREATE_VERSION")
        if operation and failed:
            code = error.rpc_code
            self._finish(operation, error={"code": code, "message": message})

    def _delete(self, record: VersionRecord) -> None:
        self._loader.publish()
        self._loader.unload(record)
        self._artifacts.remove(record.uid)
        try:
            self._store.remove_version(record)
        except FailedPrecondition as error:
            # It became the default of others meanwhile; it has no artefact any more.
            self._store.move_version(record, VersionState.FAILED, error_message=str(error))
            operation = self._operation_of(record, "DELETE_VERSION")
            if operation:
                self._finish(operation, error={"code": error.rpc_code, "message": str(error)})
            return
        self._loader.publish()
        operation = self._operation_of(record, "DELETE_VERSION")
        if operation:
            self._finish(operation, version=None)

    def _settle(self, operation: OperationRecord, version: VersionRecord | None) -> None:
        with self._lock:
            if operation.subject in self._busy:
                return
        kind = str(operation.operation.metadata.get("operationType", ""))
        if not kind:  # of studies: others see to those
            return
        ended = outcome(kind, self._view(version) if version else None)
        if ended is not None:
            self._finish(operation, version=ended.version, error=ended.error)

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

    def _operation_of(self, record: VersionRecord, kind: str) -> OperationRecord | None:
        for operation in self._store.open_operations():
            found = operation.operation.metadata.get("operationType")
            if operation.subject == record.uid and found == kind:
                return operation
        return None

    def _is_cancelled(self, record: VersionRecord) -> bool:
        operation = self._operation_of(record, "CREATE_VERSION")
        return bool(operation and operation.operation.metadata.get("isCancellationRequested"))

    def _stop_if_cancelled(self, record: VersionRecord) -> None:
        if self._is_cancelled(record):
            raise Cancelled(
                "The operation was cancelled.", "Delete the version, or create another."
            )

    def _view(self, record: VersionRecord) -> Version:
        try:
            model = self._store.model(record.project, record.model_id)
        except NotFound:
            return views.version_view(record, default_version_id="")
        return views.version_view(record, default_version_id=model.default_version_id)
