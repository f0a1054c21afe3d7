"""Jobs that run a trainer package."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument, Unavailable
from mlengine.core.resources import Job, JobOptions, TrainingInput, TrainingOutput
from mlengine.environments import Environment, Environments, check_archive_name
from mlengine.storage import Buckets
from mlengine.storage.paths import is_uri, parse_uri
from mlengine.store import JobRecord
from mlengine.training import notes
from mlengine.training.access import BucketAccess
from mlengine.training.checks import check_training_input, running_limit_s
from mlengine.training.cluster import SERVICE_PORT, Cluster
from mlengine.training.imports import heavy_modules
from mlengine.training.jobpackages import drop_packages, job_packages
from mlengine.training.kinds import Preparation, all_ran_s, ml_units
from mlengine.training.launchers import (
    AttemptSpec,
    ExitRecord,
    ReplicaSpec,
    SidecarSpec,
    WarmStart,
)
from mlengine.training.localise import localise
from mlengine.training.mirroring import Mirrors
from mlengine.training.neighbours import neighbours
from mlengine.training.newfolders import NewFolders
from mlengine.training.places import Places
from mlengine.training.plan import ReplicaPlan, plan_replicas
from mlengine.training.ports import Ports
from mlengine.training.replicas import Program, replica_specs
from mlengine.training.tfconfig import chief_role
from mlengine.training.trials.children import base_input, own_id
from mlengine.training.trials.hyperparameters import is_tuning
from mlengine.training.trials.reports import TrialReports, unknown_flag
from mlengine.training.uris import takes_job_dir, takes_uris_apart
from mlengine.training.verdict import judge

__all__ = ["TrainerJobs"]


class TrainerJobs:
    """The `JobKind` of training jobs.

    Args:
        buckets: Where packages are read and job directories lie.
        environments: Where packages are installed.
        grace_s: Seconds between SIGTERM and SIGKILL.
        evaluator_grace_s: Seconds that evaluators have to end by themselves after the chief.
        log_quota_bytes: Most that an attempt's logs may hold, its replicas' together.
        notify: Socket on which supervisors say that something happened.
        cpus: Says what there is for replicas that share it; None counts this machine's.
        access: How replicas' own programs reach buckets; None: only by the paths they are given.
        mirrors: Copies of what jobs have in object stores; None: only folders are of use.
        new_folders: What was made in buckets for jobs which are not over.
        unfinished: Lists the jobs that may be writing at this moment.
    """

    def __init__(
        self,
        buckets: Buckets,
        environments: Environments,
        *,
        grace_s: float,
        evaluator_grace_s: float = 120.0,
        log_quota_bytes: int,
        notify: str,
        cpus: Callable[[], float] | None = None,
        access: BucketAccess | None = None,
        mirrors: Mirrors | None = None,
        new_folders: NewFolders,
        unfinished: Callable[[], Iterable[JobRecord]] = tuple,
    ) -> None:
        self._buckets = buckets
        self._environments = environments
        self._grace_s = grace_s
        self._evaluator_grace_s = evaluator_grace_s
        self._log_quota_bytes = log_quota_bytes
        self._notify = notify
        self._cpus = cpus or (lambda: float(len(os.sched_getaffinity(0))))
        self._ports = Ports()
        self._access = access
        self._new_folders = new_folders
        self._places = Places(buckets, mirrors, new_folders)
        self._reports = TrialReports()
        self._unfinished = unfinished

    def check(self, project: str, job: Job) -> Sequence[str]:
        """Refuse what can never run: bad fields, missing packages, a job dir nobody can write.

        Returns:
            In what its runtime is not the one that was asked for.
        """
        spec = _input(job)
        check_training_input(spec)
        options = job.options or JobOptions()
        warnings = self._environments.check(
            spec.runtime_version,
            spec.python_version,
            strict=options.strict_runtime,
            legacy_keras=options.legacy_keras,
        )
        for index, uri in enumerate(spec.package_uris):
            field = f"training_input.package_uris[{index}]"
            try:
                found = self._buckets.stat(parse_uri(uri, field=field))
            except Unavailable:
                raise
            except EngineError as error:
                raise InvalidArgument(
                    f"The package {uri} cannot be read: {error.problem}",
                    "Submit with --package-path, which uploads it.",
                    field=field,
                ) from None
            check_archive_name(found.name, field=field)
        if spec.job_dir:
            self._check_job_dir(job, spec.job_dir)
        return warnings

    def _check_job_dir(self, job: Job, uri: str) -> None:
        if is_uri(uri):
            self._places.check_job_dir(uri, is_tuning=is_tuning(job))
        elif not Path(uri).is_absolute():
            raise InvalidArgument(
                f"The job directory {uri!r} is neither a gs:// URI nor an absolute path.",
                "Write gs://BUCKET/PATH.",
                field="training_input.job_dir",
            )

    def prepare(self, preparation: Preparation) -> AttemptSpec:
        """Fetch and install the packages; say what to run."""
        record, log = preparation.record, preparation.log
        self._new_folders.begin(record.uid)
        spec = _input(record.job)
        plan = plan_replicas(spec)
        if plan.replicas > 1:
            for line in plan.describe():
                log(line)
        environment = self._environment(spec, preparation)
        program = self._program(spec, environment, preparation)
        replicas = replica_specs(
            program,
            plan,
            self._cluster(spec, plan, runtime=environment.runtime),
            record=record,
            training_input=base_input(record),
            attempt_dir=preparation.attempt_dir,
            machine_cpus=self._cpus(),
            gpus=preparation.gpus,
        )
        replicas, sidecars = self._give_access(replicas, preparation)
        log(f"Running module {spec.python_module}.")
        return AttemptSpec(
            job=f"projects/{record.project}/jobs/{record.job_id}",
            attempt=record.attempt,
            notify=self._notify,
            grace_s=self._grace_s,
            evaluator_grace_s=self._evaluator_grace_s,
            max_running_s=running_limit_s(spec),
            log_quota_bytes=self._log_quota_bytes,
            replicas=replicas,
            warm=_warm_start(environment),
            sidecars=sidecars,
            places=program.places,
        )

    def _give_access(
        self, replicas: list[ReplicaSpec], preparation: Preparation
    ) -> tuple[list[ReplicaSpec], list[SidecarSpec]]:
        """Let the replicas' own programs reach the buckets; warn of what cannot."""
        if self._access is None:
            return replicas, []
        access = self._access.prepare(preparation.attempt_dir, project=preparation.record.project)
        if access.problem:
            preparation.warn(access.problem)
        given = [msgspec.structs.replace(r, env=access.apply(r.env)) for r in replicas]
        return given, access.sidecars

    def _environment(self, spec: TrainingInput, preparation: Preparation) -> Environment:
        """Fetch the packages and make their environment; tell what it is and what it cost."""
        options = preparation.record.job.options or JobOptions()
        attempt_dir = preparation.attempt_dir
        packages = job_packages(
            self._buckets, spec.package_uris, attempt_dir.parent, preparation.log
        )
        found = self._environments.prepare(
            packages,
            runtime_version=spec.runtime_version,
            python_version=spec.python_version,
            strict=options.strict_runtime,
            legacy_keras=options.legacy_keras,
            log=preparation.log,
            read_log=f"mlengine jobs stream-logs {own_id(preparation.record)}",
            cancelled=preparation.cancelled,
        )
        # Before its inputs are fetched, which may take longer than an environment is kept unnamed.
        notes.write_environment_note(attempt_dir, found.path)
        for warning in found.warnings:
            preparation.warn(warning)
        how = "reused" if found.hit else "built"
        preparation.log(f"Environment {found.digest[:12]} {how} in {found.seconds:.2f} s.")
        preparation.report(
            runtime=found.runtime,
            environment=found.digest,
            environment_hit=found.hit,
            environment_seconds=found.seconds,
        )
        return found

    def _program(
        self, spec: TrainingInput, environment: Environment, preparation: Preparation
    ) -> Program:
        """Return what all replicas run; the folders that they write to exist then."""
        layer = environment.site_packages
        verbatim = self._access is not None and layer is not None and takes_uris_apart(layer)
        argv = [str(environment.python), "-m", spec.python_module]
        places: list[str] = []
        if verbatim:
            argv += spec.args
        else:

            def resolve(uri: str) -> str | None:
                path = self._places.resolve(uri, preparation)
                places.extend([path] if path else [])
                return path

            argv += [localise(a, resolve) for a in spec.args]
        job_dir = outputs = ""
        if spec.job_dir:
            job_dir = self._open_job_dir(spec.job_dir, preparation, verbatim=verbatim)
            outputs = spec.job_dir if verbatim else job_dir
            if layer is None or takes_job_dir(layer):
                slash = "/" * spec.job_dir.endswith("/")  # some join it to names as text
                argv += ["--job-dir", outputs.removesuffix("/") + slash]
            else:
                preparation.log("The trainer reads AIP_MODEL_DIR: it is not given --job-dir.")
        if verbatim and any("gs://" in argument for argument in argv):
            preparation.log("The trainer reads gs:// by itself: its arguments are as written.")
        return Program(
            argv=argv,
            environment=environment,
            job_dir=job_dir,
            outputs=outputs,
            environ=os.environ,
            places=places + [job_dir] * job_dir.startswith("/"),
        )

    def _open_job_dir(self, uri: str, preparation: Preparation, *, verbatim: bool) -> str:
        if is_uri(uri):
            return self._places.open_job_dir(uri, preparation, verbatim=verbatim)
        Path(uri).mkdir(parents=True, exist_ok=True)
        return uri

    def _cluster(self, spec: TrainingInput, plan: ReplicaPlan, *, runtime: str) -> Cluster:
        """Find ports for everybody."""
        alone = plan.replicas == 1
        primary = chief_role(
            runtime,
            alone=alone,
            evaluators=plan.counts().get("evaluator", 0),
            use_chief=spec.use_chief_in_tf_config,
        )
        counts = plan.counts(primary)
        ports = self._ports.take(Cluster.ports_needed(counts))
        return Cluster.of(counts, [SERVICE_PORT, *ports[1:]] if alone else ports)

    def collect(
        self, record: JobRecord, attempt_dir: Path, exit_record: ExitRecord
    ) -> dict[str, Any]:
        """Fill in the training output, and judge what the trainer left in its job dir.

        Raises:
            NotYet: An object store does not answer, and not all of it is there.
        """
        left_out = self._places.settle(record, exit_record)
        job_dir = self._own_job_dir(record)
        beside = neighbours(record, self._unfinished()) if job_dir else []
        begun_s = time.monotonic()
        verdict = judge(record, attempt_dir, job_dir, exit_record, beside=beside)
        judge_s = time.monotonic() - begun_s
        ran_s = all_ran_s(record, attempt_dir, exit_record)
        output = TrainingOutput(consumed_m_l_units=ml_units(record.job, ran_s))
        wrong = verdict.failed
        if record.parent:
            output.trials = [self._reports.ended(record, attempt_dir, job_dir)]
            wrong = wrong or unknown_flag(record, attempt_dir, exit_record)
        return {
            "training_output": output,
            "error_message": wrong,
            "warnings": [*left_out, *verdict.warnings],
            "judge_seconds": round(judge_s, 3),
        }

    def _own_job_dir(self, record: JobRecord) -> Path | None:
        uri = _input(record.job).job_dir
        try:
            if not is_uri(uri):
                return Path(uri) if uri else None
            return self._places.job_dir(record, uri)
        except EngineError:  # its bucket was deleted meanwhile
            return None

    def progress(self, record: JobRecord, attempt_dir: Path) -> dict[str, Any]:
        """Return what a trial has measured; any other trainer's progress is in its log."""
        if not record.parent:
            return {}
        found = self._reports.running(record, attempt_dir, lambda: self._own_job_dir(record))
        return {} if found is None else {"training_output": TrainingOutput(trials=[found])}

    def tidy(self, record: JobRecord, job_dir: Path) -> None:
        """Remove its packages, and what was made for it in buckets and is empty.

        What a trainer wrote into its working folder is its user's.
        """
        drop_packages(job_dir)
        self._places.release(record)  # last: its note says that there is something to tidy


def _warm_start(environment: Environment) -> WarmStart | None:
    """Say how replicas may be forked, unless the packages replace a library of the runtime."""
    layer = environment.site_packages
    if layer is None or environment.shadowed:
        return None
    return WarmStart(
        base_python=str(environment.base_python),
        python=str(environment.python),
        site_packages=str(layer),
        modules=heavy_modules(layer),
    )


def _input(job: Job) -> TrainingInput:
    if job.training_input is None:
        raise FailedPrecondition(f"The job {job.job_id} is not a training job.", "Submit it again.")
    return job.training_input
