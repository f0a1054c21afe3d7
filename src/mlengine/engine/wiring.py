"""Settings → one wired engine: the only place that knows every part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from mlengine.core.clock import Clock, SystemClock
from mlengine.core.errors import EngineError
from mlengine.core.states import STARTED_JOB_STATES, VersionState
from mlengine.engine.access import Access
from mlengine.engine.backend import Backend, backend_of
from mlengine.engine.lead import Lead
from mlengine.engine.local import LocalEngine
from mlengine.engine.places import expanded
from mlengine.engine.reconciler import PERIOD_S, Reconciler
from mlengine.engine.runtimes import Runtimes
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.environments import Environments
from mlengine.models.artifacts import Artifacts
from mlengine.models.deployment import Deployment
from mlengine.models.registry import Models
from mlengine.models.surroundings import SurroundingsOf
from mlengine.prediction.batch import BatchJobs
from mlengine.prediction.control import GatewayControl
from mlengine.prediction.gateway.doors import Doors
from mlengine.prediction.options import ServingOptions
from mlengine.prediction.routing import Limits, Logging
from mlengine.prediction.scaling.fields import check_machine, check_scaling
from mlengine.prediction.serving import Serving
from mlengine.prediction.sockets import socket_dir
from mlengine.prediction.traffic.experiments import Experiments
from mlengine.storage import Buckets
from mlengine.store import Store, open_store
from mlengine.training.access import BucketAccess
from mlengine.training.inventory import Inventory, probe, share_out
from mlengine.training.jobs import Jobs
from mlengine.training.kinds import JobKind
from mlengine.training.mirroring import Mirrors
from mlengine.training.newfolders import NewFolders
from mlengine.training.reconciler import JobReconciler
from mlengine.training.retrying import Retrying
from mlengine.training.tidying import Tidying
from mlengine.training.trainer import TrainerJobs
from mlengine.training.trials.tuningjobs import TuningJobs
from mlengine.tuning.advisor import Advisor
from mlengine.tuning.studies import Studies

__all__ = ["Wired", "wire"]


class Wired:
    """A running engine: its verbs, and how to start and stop what is behind them."""

    def __init__(
        self,
        engine: LocalEngine,
        reconciler: Reconciler,
        serving: Serving,
        access: Access,
        *,
        openers: list[Callable[[], object]],
        releasers: list[Callable[[], None]],
        closers: list[Callable[[], None]],
    ) -> None:
        self.engine = engine
        self.reconciler = reconciler
        self.serving = serving
        self.access = access
        self._openers = openers
        self._releasers = releasers
        self._closers = closers

    def start(self) -> None:
        """Open the front door, then take up whatever the records say is unfinished."""
        for step in self._openers:
            step()
        self.reconciler.start()

    def let_go(self) -> None:
        """Have callers who wait for something to happen answered now: `stop` is to follow."""
        for release in self._releasers:
            release()

    def stop(self) -> None:
        """Stop serving; running jobs go on under their supervisors."""
        self.let_go()
        self.reconciler.stop()
        for close in self._closers:
            close()


def wire(
    settings: Settings,
    shared: SharedFolder,
    *,
    open_paths: Mapping[str, str] = MappingProxyType({}),
    clock: Clock | None = None,
) -> Wired:
    """Build an engine over a home folder; nothing is started yet.

    Args:
        settings: Its home folder, and everything that can be chosen.
        shared: What engines of one database have in common; the token that callers must show, too.
        open_paths: Path → the one method for which no token is needed; the gateway asks.
        clock: For tests.

    Raises:
        FailedPrecondition: The store is damaged, of a newer mlengine, or another folder's.
    """
    clock = clock or SystemClock()
    store = _open_store(settings, shared)
    lead = Lead(store)
    buckets = Buckets(store, settings.folder("buckets"), private=[settings.home, shared.path])
    artifacts = _artifacts(settings, buckets)
    options = _serving_options(settings, open_paths)
    surroundings = SurroundingsOf(_environments(settings), settings.home)
    serving = Serving(options, store, artifacts, surroundings, token=shared.token())
    deployment = Deployment(store, artifacts, serving, clock=clock, leading=lead.held,
                            spread_s=2 * PERIOD_S if settings.shared else 0.0)  # fmt: skip
    models = _models(store, artifacts, deployment, serving, surroundings, clock, options)
    experiments = _experiments(settings, store, serving, clock)
    jobs_root = settings.folder("jobs")
    mirrors = Mirrors(store, buckets, jobs_root, clock=clock, leading=lead.held)
    backend = backend_of(settings, jobs_root)
    kinds = _kinds(settings, store, buckets, models, artifacts, surroundings, mirrors, backend)
    advisor = Advisor(clock)
    runner = _runner(settings, store, kinds, backend, lead, clock, advisor)
    runtimes = Runtimes(surroundings, store, jobs_root, max_bytes=settings.environments_max_bytes)
    sweeps = _sweeps(settings, store, buckets, artifacts, kinds)
    studies = Studies(store, advisor, clock=clock)
    note = partial(shared.note, store)
    reconciler = _reconciler(lead, backend, runner, deployment, serving, experiments, mirrors,
                             _notify_socket(settings), studies, sweeps=sweeps,
                             tidy=runtimes.tidy, note=note)  # fmt: skip
    jobs = Jobs(store, kinds, jobs_root, clock=clock, wake=reconciler.wake,
                admissible=backend.capacity.check, queued=runner.queued)  # fmt: skip
    access = Access(store, clock=clock, enforce=serving.enforce)
    engine = LocalEngine(settings, store, buckets, jobs, models, serving, experiments, runtimes,
                         studies, access, clock=clock, page_key=shared.page_key(),
                         leading=lead.held)  # fmt: skip
    closers = [
        runner.close, mirrors.close, backend.close, serving.let_go, deployment.close,
        studies.close, experiments.collect, serving.stop, lead.only(note), store.close,
    ]  # fmt: skip
    sweep = surroundings.environments.sweep
    return Wired(engine, reconciler, serving, access, openers=[backend.open, serving.start, sweep],
                 closers=closers, releasers=[jobs.close, runtimes.let_go])  # fmt: skip


def _models(
    store: Store,
    artifacts: Artifacts,
    deployment: Deployment,
    serving: Serving,
    surroundings: SurroundingsOf,
    clock: Clock,
    options: ServingOptions,
) -> Models:
    return Models(
        store,
        artifacts,
        clock=clock,
        deploy=deployment.submit,
        publish=serving.publish,
        scalable=partial(check_scaling, gpus=len(options.gpus)),
        servable=check_machine,
        runnable=surroundings.check,
    )


def _experiments(settings: Settings, store: Store, serving: Serving, clock: Clock) -> Experiments:
    control = GatewayControl(settings.run)
    return Experiments(store, control.tally, clock=clock, publish=serving.publish)


def _open_store(settings: Settings, shared: SharedFolder) -> Store:
    store = open_store(settings.database_url)
    try:
        shared.claim(store)
    except EngineError:
        store.close()
        raise
    return store


def _reconciler(
    lead: Lead,
    backend: Backend,
    runner: JobReconciler,
    deployment: Deployment,
    serving: Serving,
    experiments: Experiments,
    mirrors: Mirrors,
    notify: Path,
    studies: Studies,
    *,
    sweeps: Sequence[Callable[[], None]],
    tidy: Callable[[], None],
    note: Callable[[], None],
) -> Reconciler:
    """Have what acts on jobs and versions done by the engine that leads, the rest by each."""
    reconciler = Reconciler(
        [
            backend.look,
            lead.only(lambda: runner.tick(reconciler.wake)),
            lead.only(mirrors.tick),
            lead.only(deployment.resume),
            lead.only(studies.resume),
            serving.tick,
            lead.only(note),
        ],
        [
            *map(lead.only, [runner.expire_waiting, *sweeps]),
            serving.record_use,
            experiments.collect,
            tidy,
        ],
        notify_socket=notify,
    )
    return reconciler


def _runner(
    settings: Settings,
    store: Store,
    kinds: Mapping[str, JobKind],
    backend: Backend,
    lead: Lead,
    clock: Clock,
    advisor: Advisor,
) -> JobReconciler:
    return JobReconciler(
        store,
        backend.launcher,
        kinds,
        settings.folder("jobs"),
        clock=clock,
        capacity=backend.capacity,
        retrying=Retrying(
            clock, max_retries=settings.max_retries, backoff_s=settings.retry_backoff_s
        ),
        tuning=TuningJobs(
            store,
            settings.folder("jobs"),
            clock=clock,
            advise=advisor.suggest,
            stop_advice=advisor.close,
            leading=lead.held,
        ),
        leading=lead.held,
        alone=not settings.shared,
    )


def _artifacts(settings: Settings, buckets: Buckets) -> Artifacts:
    return Artifacts(
        buckets, settings.folder("models"), max_bytes=settings.max_model_bytes,
        allow_code=settings.allow_model_code,
    )  # fmt: skip


def _environments(settings: Settings) -> Environments:
    return Environments(
        settings.home / "environments",
        timeout_s=settings.install_timeout_s,
        allow_direct=settings.allow_direct_requirements,
    )


def _serving_options(settings: Settings, open_paths: Mapping[str, str]) -> ServingOptions:
    machine = probe(gpus="none")
    return ServingOptions(
        home=settings.home,
        host=settings.host,
        port=settings.port,
        allowed_hosts=settings.allowed_host_names,
        open_paths=dict(open_paths),
        limits=Limits(
            max_body_bytes=settings.max_predict_bytes,
            predict_timeout_s=settings.predict_timeout_s,
        ),
        load_timeout_s=settings.load_timeout_s,
        doors=_doors(settings),
        project=settings.project,
        idle_after_s=settings.idle_after_s,
        memory_bytes=settings.serving_memory_bytes or machine.memory_bytes // 2,
        cpus=machine.cpus,
        gpus=_serving_gpus(settings),
        may_stay_awake=settings.stay_awake and _has_time(machine),
        warm_workers=settings.warm_workers,
        warm_idle_s=settings.warm_workers_idle_s,
        logging=Logging(
            tables=str(settings.folder("tables")), access=str(settings.home / "logs/predictions")
        ),
    )


def _serving_gpus(settings: Settings) -> tuple[str, ...]:
    if not settings.serving_gpus:
        return ()  # nobody waits for the driver
    found = probe(gpus=settings.gpus)
    return share_out(found, jobs=settings.gpus, versions=settings.serving_gpus)[1]


def _has_time(machine: Inventory) -> bool:
    """Tell whether a gateway and a worker have a CPU each, whose time is not rationed.

    What is used up of a ration while waiting is missed when there is something to compute.
    """
    return machine.cpus >= 2 and machine.cpus == len(os.sched_getaffinity(0))


def _doors(settings: Settings) -> Doors:
    def place(name: str) -> str:
        path: str = getattr(settings, name)
        return str(expanded(path, f"The setting '{name}'").absolute()) if path else ""

    doors = Doors(
        tls_cert=place("tls_cert"),
        tls_key=place("tls_key"),
        grpc_port=settings.grpc_port or -1,
    )
    doors.check()
    return doors


def _kinds(
    settings: Settings,
    store: Store,
    buckets: Buckets,
    models: Models,
    artifacts: Artifacts,
    surroundings: SurroundingsOf,
    mirrors: Mirrors,
    backend: Backend,
) -> dict[str, JobKind]:
    notify = str(_notify_socket(settings))
    return {
        "training": TrainerJobs(
            buckets,
            surroundings.environments,
            grace_s=settings.grace_s,
            evaluator_grace_s=settings.evaluator_grace_s,
            log_quota_bytes=settings.log_quota_bytes,
            notify=notify,
            access=BucketAccess(buckets, settings.folder("buckets"), settings.run, os.environ),
            mirrors=mirrors,
            new_folders=_new_folders(settings),
            cpus=lambda: backend.capacity.inventory.cpus,
            unfinished=partial(store.jobs_in, STARTED_JOB_STATES),
        ),
        "prediction": BatchJobs(
            buckets,
            models,
            artifacts,
            surroundings,
            grace_s=settings.grace_s,
            log_quota_bytes=settings.log_quota_bytes,
            notify=notify,
            cpus=lambda: backend.capacity.inventory.cpus,
        ),
    }


def _notify_socket(settings: Settings) -> Path:
    """Return where supervisors tell the engine that something happened."""
    return socket_dir(settings.run) / "notify.sock"


def _new_folders(settings: Settings) -> NewFolders:
    return NewFolders(settings.folder("jobs").with_name("newfolders"))


def _sweeps(
    settings: Settings,
    store: Store,
    buckets: Buckets,
    artifacts: Artifacts,
    kinds: Mapping[str, JobKind],
) -> list[Callable[[], None]]:
    """Return what looks, now and then, for what was left behind."""
    tidy = kinds["training"].tidy
    tidying = Tidying(store, _new_folders(settings), settings.folder("jobs"), tidy)
    return [partial(_sweep, buckets), partial(_sweep_artifacts, store, artifacts), tidying.tick]


def _sweep_artifacts(store: Store, artifacts: Artifacts) -> None:
    artifacts.sweep(version.uid for version in store.versions_in({VersionState.FAILED}))


def _sweep(buckets: Buckets) -> None:
    buckets.sweep()
