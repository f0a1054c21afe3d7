"""What the records say should answer predictions, made true: workers, gateway, routes.

Level-triggered, as all reconciling here: `tick` starts what is missing, stops what no record wants,
and pushes a new routing snapshot whenever it differs from the last one that the gateway took. How
many workers a version has at the time is the `scaler`'s; each that is served may have none.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlengine.core.access import token_digest
from mlengine.core.clock import rfc3339
from mlengine.core.errors import EngineError, FailedPrecondition, NotFound, Unavailable
from mlengine.core.names import model_name, parse_version, version_name
from mlengine.core.resources import Version
from mlengine.core.states import VersionState
from mlengine.models import Loader
from mlengine.models.artifacts import Artifacts
from mlengine.models.requestlogging import table_of
from mlengine.models.surroundings import SurroundingsOf
from mlengine.prediction import call
from mlengine.prediction.control import GatewayControl, ensure_gateway
from mlengine.prediction.desks import desk_of
from mlengine.prediction.gateway.info import LOG_NAME, GatewayInfo
from mlengine.prediction.grants import grants_of
from mlengine.prediction.libraries import keep_library
from mlengine.prediction.options import ServingOptions, served_as
from mlengine.prediction.routing import Route, Snapshot, not_ready
from mlengine.prediction.scaling.fleet import Fleet
from mlengine.prediction.scaling.scaler import Scaler, Served
from mlengine.prediction.scaling.wakes import WakeListener
from mlengine.prediction.sockets import socket_dir
from mlengine.prediction.traffic.experiments import traffic_routes
from mlengine.prediction.workers.compilation import compile_artifact
from mlengine.prediction.workers.deathwatch import DeathWatch
from mlengine.prediction.workers.logs import KnownLogs
from mlengine.prediction.workers.marks import Marks
from mlengine.prediction.workers.pool import WorkerPool
from mlengine.prediction.workers.warmth import WarmWorkers
from mlengine.runtime import failpoints
from mlengine.store import Store, VersionRecord

__all__ = ["Serving"]

_log = logging.getLogger(__name__)
_PING_S = 5.0
_SERVED = {VersionState.READY, VersionState.UPDATING}
_RUNS = {*_SERVED, VersionState.CREATING}


class Serving:
    """The `Loader` of versions, and the keeper of the gateway."""

    def __init__(
        self, options: ServingOptions, store: Store, artifacts: Artifacts,
        surroundings: SurroundingsOf, *, token: str,
    ) -> None:  # fmt: skip
        self._options = options
        self._surroundings = surroundings
        self._store = store
        self._artifacts = artifacts
        self._digest = token_digest(token)
        self._run = run = options.home / "run"
        self._control = GatewayControl(run)
        self._warm = WarmWorkers(run / "zygotes", limit=options.warm_workers,
                                 idle_s=options.warm_idle_s)  # fmt: skip
        self._pool = WorkerPool(options.home, max_body_bytes=options.limits.max_body_bytes,
                                load_timeout_s=options.load_timeout_s, gpus=options.gpus,
                                warm=self._warm)  # fmt: skip
        self._fleet = Fleet(self._pool, surroundings.prepare)
        self._versions: Mapping[str, Served] = {}
        self._scaler = Scaler(
            self._fleet, self._control, versions=lambda: self._versions, reroute=self.reroute,
            load_timeout_s=options.load_timeout_s, memory_bytes=options.memory_bytes,
        )  # fmt: skip
        self._marks = Marks()
        self._logs = KnownLogs(options.home / "logs")
        self._listener: WakeListener | None = None
        self._gateway: GatewayInfo | None = None
        self._pushed: Snapshot | None = None
        self._generation = 0
        self._watch: DeathWatch | None = None
        # Snapshots are made and pushed one at a time: an older one never follows a newer one.
        self._publishing = threading.Lock()
        # The loop and the watch may both find the gateway gone: one of them starts it.
        self._keeping = threading.Lock()
        self._used: dict[str, float] = {}
        # Uids of versions that answered their trial; their routes are open before a record says
        # READY, so that whoever reads that is served whatever happens to this engine.
        self._answering: set[str] = set()

    # --- the engine's life ---

    @property
    def engine_socket(self) -> Path:
        """Unix socket that the gateway relays to; the engine listens there."""
        return socket_dir(self._run) / "engine.sock"

    @property
    def endpoint(self) -> str:
        """URL of the gateway; empty before `start`."""
        return self._gateway.url if self._gateway else ""

    @property
    def gateway_pid(self) -> int:
        """Process id of the gateway; 0 before `start`."""
        return self._gateway.pid if self._gateway else 0

    def start(self) -> None:
        """Adopt the workers and the gateway of an engine that died, or start a gateway."""
        self._fleet.adopt()
        self._import_ahead()
        self._pool.start_watching()
        self._control.save(self._snapshot())
        self._keep_gateway()
        self.publish()
        self._listener = WakeListener(self._run, self._scaler.wake)
        # A dead gateway is a dead service: its restart does not wait for the next round.
        self._watch = DeathWatch(
            lambda: [self.gateway_pid], self._keep_gateway, name="gateway-watch"
        )

    def _import_ahead(self) -> None:
        """Begin to import, beside all else that a start takes, what the next caller waits for.

        That is taken to be a caller of the version that was used last, unless a desk answers him.
        """
        served = [(record.version.last_use_time or record.version.create_time, record)
                  for record in self._store.versions_in(_SERVED)]  # fmt: skip
        if not served:
            return
        _, record = max(served, key=lambda one: one[0])
        spec = self._served(record, self._artifacts.path(record.uid)).spec
        is_forked = not spec.gpus and (spec.wants is None or spec.wants.codeless)
        if is_forked and not desk_of(spec) and not self._fleet.count(record.uid):
            self._pool.expect(spec.artifact, spec.framework, threads=spec.threads)

    def stop(self) -> None:
        """Stop the gateway, then every worker: nothing is left running."""
        if self._watch is not None:
            self._watch.close()
        try:
            self._control.shutdown()
        except EngineError as error:
            _log.warning("stopping the gateway: %s", error)
        if self._listener is not None:
            self._listener.close()
        self.let_go()
        self._pool.close()
        self._scaler.close()

    def let_go(self) -> None:
        """Fork no worker any more: who waits for a warm interpreter waits no longer."""
        self._warm.close()

    def tick(self) -> None:
        """Bring gateway, workers and routes to what the records say."""
        self._keep_gateway()
        self.publish()  # before a worker is stopped: nobody is sent to it any more then
        self._stop_strays()
        self._pool.tick()
        self._warm.reap()
        self._mark_loops()
        counted = self._control.stats()
        self._give_up_stuck(counted)
        self._scaler.tick(counted)

    def _stop_strays(self) -> None:
        """Stop workers that no record wants: another engine deleted the version, or one died."""
        # Asked first: who is started after that has a record that is read below.
        running = self._fleet.uids()
        records = self._store.versions_in(set(VersionState))
        for uid in running - {record.uid for record in records if record.state in _RUNS}:
            self._end(uid)
        self._fleet.stop(self._fleet.strays())
        # Their logs after them: who runs may write there.
        self._logs.keep({record.uid for record in records})

    def _give_up_stuck(self, counted: Mapping[str, Mapping[str, Any]]) -> None:
        """End workers that took requests and answered nobody for as long as one may take."""
        for of in counted.values():
            for stuck in of.get("stuck", ()):
                most_s = self._options.limits.predict_timeout_s
                self._pool.give_up(stuck, f"it gave no answer within {most_s:g} s.")

    def _mark_loops(self) -> None:
        """Say of versions whose workers keep dying why they do; unsay it once they live."""
        for record, message in self._marks.due(self._store.versions_in(_SERVED), self._pool):

            def change(version: Version, message: str = message) -> Version:
                return msgspec.structs.replace(version, error_message=message)

            with contextlib.suppress(NotFound):
                self._store.edit_version(record.project, record.model_id, record.version_id, change)

    def _keep_gateway(self) -> None:
        with self._keeping:
            known = self._gateway
            self._gateway = ensure_gateway(
                self._run, host=self._options.host,
                port=known.port if known else self._options.port,
                log=self._options.home / "logs" / LOG_NAME, doors=self._options.doors,
            )  # fmt: skip
            if known is None or known.pid != self._gateway.pid:
                self._pushed = None  # a new one knows only what was saved: tell it again

    # --- what the models room asks for ---

    def load(self, record: VersionRecord, artifact: Path, *, cancelled: Callable[[], bool]) -> None:
        """Start a worker on an artefact; return once it loaded the model and answered."""
        served = self._served(record, artifact)
        python = ""
        if served.spec.wants is not None:
            wants = served.spec.wants
            python = self._surroundings.prepare(record.uid, wants, cancelled=cancelled).python
        if record.version.options is not None and record.version.options.compile:
            compile_artifact(
                self._options.home, artifact, uid=record.uid, framework=record.version.framework,
                python=python or sys.executable, timeout_s=self._options.load_timeout_s,
                memory_bytes=served.spec.memory_bytes, cancelled=cancelled,
            )  # fmt: skip
        try:
            if not self._fleet.sockets(record.uid):
                self._scaler.load(served)
            if not call.ping(self._fleet.sockets(record.uid)[0], _PING_S):
                raise FailedPrecondition("The model was loaded, but its worker does not answer.")
            keep_library(self._store, record, *self._fleet.library(record.uid))
            self._answering.add(record.uid)
            self.publish()
        except FailedPrecondition as error:
            self.unload(record)
            raise FailedPrecondition(
                f'Bad model detected with error: "{error.problem}"', error.remedy
            ) from None

    def unload(self, record: VersionRecord) -> None:
        """Stop a version's workers after their requests in flight."""
        self._answering.discard(record.uid)
        self._end(record.uid)
        if record.state == VersionState.DELETING:
            self._logs.remove(record.uid)  # while it is recorded: whoever dies here comes back

    def _end(self, uid: str) -> None:
        """Stop a version's workers, which are in no route any more."""
        self._scaler.drain(self._fleet.sockets(uid))
        self._fleet.stop_all(uid)

    def publish(self) -> None:
        """Push the routes to the gateway if they differ from what it has."""
        self._publish()

    def enforce(self) -> None:
        """Push them as `publish` does, and return only when the gateway decides by them.

        An engine that was not started has no gateway; the first one begins with them.

        Raises:
            Unavailable: The gateway lives and does not take them: it decides by older ones.
        """
        if self._gateway is None:
            return
        try:
            self._keep_gateway()
            done = self._publish()
        except (EngineError, OSError) as error:
            _log.warning("the gateway is not to be had: %s", error)
            done = False
        if not done:
            raise Unavailable(
                "It is recorded, but the gateway does not answer and goes by what it knew before.",
                "Repeat the command; the engine tries again by itself, too.",
            )

    def _publish(self) -> bool:
        """Tell whether the gateway has the newest routes now."""
        with self._publishing:
            snapshot = self._snapshot()
            if snapshot != self._pushed:
                self._push(snapshot, save=True)
            return self._pushed == snapshot

    def reroute(self, version: str) -> None:
        """Tell the gateway which workers a version has now; all else stays as it knows it.

        Nothing is read from the store and no file is written: somebody waits. A gateway that is
        started from an older file finds nobody at a socket or asks for a wake, and is told anew.
        """
        with self._publishing:
            served, known = self._versions.get(version), self._pushed
            route = known.versions.get(version) if known is not None else None
            if served is None or known is None or route is None or not route.wakes:
                return
            route = msgspec.structs.replace(route, sockets=self._fleet.sockets(served.uid))
            self._push(
                msgspec.structs.replace(known, versions={**known.versions, version: route}),
                save=False,
            )

    def _push(self, snapshot: Snapshot, *, save: bool) -> None:
        self._generation += 1
        failpoints.hit("routing.before-push")
        try:
            self._control.push(
                msgspec.structs.replace(snapshot, generation=self._generation), save=save
            )
        except (EngineError, OSError) as error:
            _log.warning("the gateway takes no routes, or none that outlive it: %s", error)
            return
        self._pushed = snapshot

    def _served(self, record: VersionRecord, artifact: Path) -> Served:
        packages = self._artifacts.packages(record.uid)
        return served_as(record, artifact, packages, self._options)

    def _snapshot(self) -> Snapshot:
        versions: dict[str, Route] = {}
        served: dict[str, Served] = {}
        for record in self._store.versions_in(set(VersionState)):
            name = version_name(record.project, record.model_id, record.version_id)
            state = record.state
            if state == VersionState.CREATING and record.uid in self._answering:
                state = VersionState.READY
            versions[name] = Route(state=str(state))
            if state in _SERVED:
                served[name] = one = self._served(record, self._artifacts.path(record.uid))
                table, share = table_of(record.version)
                versions[name] = Route(
                    state=str(state), sockets=self._fleet.sockets(record.uid), wakes=True,
                    max_body_bytes=one.spec.max_body_bytes, log_table=table, log_share=share,
                    desk=desk_of(one.spec),
                )  # fmt: skip
        self._versions = served
        models = {
            model_name(project, model_id): version_name(project, model_id, default)
            if default
            else ""
            for (project, model_id), default in self._store.default_versions().items()
        }
        return Snapshot(
            token_digest=self._digest,
            grants=grants_of(self._store),
            allowed_hosts=self._options.allowed_hosts,
            open_paths=self._options.open_paths,
            project=self._options.project,
            engine_socket=str(self.engine_socket),
            versions=versions,
            models=models,
            traffic=traffic_routes(self._store),
            access_logs=sorted(model_name(*model) for model in self._store.logged_models()),
            may_stay_awake=self._options.may_stay_awake,
            logging=self._options.logging,
            limits=self._options.limits,
        )

    # --- predictions of an embedded engine, and what the gateway counted ---

    def predict(
        self, record: VersionRecord, body: bytes, *, explain: bool = False
    ) -> tuple[int, bytes]:
        """Answer one request, or explain its answer, without the gateway; status and JSON body."""
        if record.state not in _SERVED:
            name = version_name(record.project, record.model_id, record.version_id)
            raise not_ready(name, str(record.state))
        served = self._served(record, self._artifacts.path(record.uid))
        self._scaler.awake(served)
        sockets = self._fleet.sockets(record.uid) or [""]
        ask = call.explain_once if explain else call.predict_once
        return ask(sockets[0], body, self._options.limits.predict_timeout_s)

    def record_use(self) -> None:
        """Write into the records when each version was last used, by the gateway's count."""
        for name, counted in self._control.stats().items():
            used_s = float(counted.get("last_use_time") or 0.0)
            if used_s <= self._used.get(name, 0.0):
                continue
            ref = parse_version(name, field="name")
            moment = rfc3339(datetime.datetime.fromtimestamp(used_s, datetime.UTC))

            def change(version: Version, moment: str = moment) -> Version:
                newest = max(version.last_use_time, moment)  # another engine's may be newer
                return msgspec.structs.replace(version, last_use_time=newest)

            try:
                self._store.edit_version(ref.project, ref.model_id, ref.version_id, change)
            except NotFound:
                continue
            self._used[name] = used_s


_: type[Loader] = Serving
