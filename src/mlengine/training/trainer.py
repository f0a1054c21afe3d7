"""Jobs that run a trainer package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument
from mlengine.core.resources import Job, TrainingInput, TrainingOutput
from mlengine.environments import Environments, check_archive_name, runtime_warning
from mlengine.storage import Buckets
from mlengine.storage.paths import is_uri, parse_uri
from mlengine.store import JobRecord
from mlengine.training.checks import check_training_input, running_limit_s
from mlengine.training.kinds import Preparation, hours_run
from mlengine.training.launchers import AttemptSpec, ExitRecord, ReplicaSpec
from mlengine.training.localise import localise
from mlengine.training.tfconfig import replica_environment

__all__ = ["TrainerJobs"]

_TASK = "master-replica-0"


class TrainerJobs:
    """The `JobKind` of training jobs.

    Args:
        buckets: Where packages are read and job directories lie.
        environments: Where packages are installed.
        grace_s: Seconds between SIGTERM and SIGKILL.
        log_quota_bytes: Most that one replica's log may hold.
        notify: Socket on which supervisors say that something happened.
    """

    def __init__(
        self,
        buckets: Buckets,
        environments: Environments,
        *,
        grace_s: float,
        log_quota_bytes: int,
        notify: str,
    ) -> None:
        self._buckets = buckets
        self._environments = environments
        self._grace_s = grace_s
        self._log_quota_bytes = log_quota_bytes
        self._notify = notify

    def check(self, project: str, job: Job) -> None:
        """Refuse what can never run: bad fields, missing packages, a job dir nobody can write."""
        spec = _input(job)
        check_training_input(spec)
        for index, uri in enumerate(spec.package_uris):
            field = f"training_input.package_uris[{index}]"
            try:
                found = self._buckets.stat(parse_uri(uri, field=field))
            except EngineError as error:
                raise InvalidArgument(
                    f"The package {uri} cannot be read: {error.problem}",
                    "Submit with --package-path, which uploads it.",
                    field=field,
                ) from None
            check_archive_name(found.name, field=field)
        if spec.job_dir:
            self._job_dir(spec.job_dir)

    def _job_dir(self, uri: str) -> Path:
        field = "training_input.job_dir"
        if is_uri(uri):
            return self._buckets.local_path(uri, field=field)
        path = Path(uri)
        if not path.is_absolute():
            raise InvalidArgument(
                f"The job directory {uri!r} is neither a gs:// URI nor an absolute path.",
                "Write gs://BUCKET/PATH.",
                field=field,
            )
        return path

    def prepare(self, preparation: Preparation) -> AttemptSpec:
        """Fetch and install the packages; say what to run."""
        record, log = preparation.record, preparation.log
        spec = _input(record.job)
        if warning := runtime_warning(spec.runtime_version):
            preparation.warn(warning)
        packages = self._fetch(spec, preparation)
        environment = self._environments.prepare(
            packages, runtime_version=spec.runtime_version, log=log, cancelled=preparation.cancelled
        )
        how = "reused" if environment.hit else "built"
        log(f"Environment {environment.digest[:12]} {how} in {environment.seconds:.2f} s.")
        argv = [str(environment.python), "-m", spec.python_module]
        argv += [localise(a, self._resolve) for a in spec.args]
        job_dir = ""
        if spec.job_dir:
            folder = self._job_dir(spec.job_dir)
            folder.mkdir(parents=True, exist_ok=True)
            job_dir = str(folder)
            argv += ["--job-dir", job_dir]
        work = preparation.attempt_dir / "work"
        work.mkdir(exist_ok=True)
        env = replica_environment(
            os.environ,
            project=record.project,
            job_id=record.job_id,
            training_input=spec,
            attempt_dir=preparation.attempt_dir,
            job_dir=job_dir,
            python=environment.python,
        )
        log(f"Running module {spec.python_module}.")
        return AttemptSpec(
            job=f"projects/{record.project}/jobs/{record.job_id}",
            attempt=record.attempt,
            notify=self._notify,
            grace_s=self._grace_s,
            max_running_s=running_limit_s(spec),
            log_quota_bytes=self._log_quota_bytes,
            replicas=[
                ReplicaSpec(task=_TASK, role="master", index=0, argv=argv, env=env, cwd=str(work))
            ],
        )

    def _fetch(self, spec: TrainingInput, preparation: Preparation) -> list[Path]:
        folder = preparation.attempt_dir / "packages"
        folder.mkdir(exist_ok=True)
        paths = []
        for uri in spec.package_uris:
            source = parse_uri(uri, field="training_input.package_uris")
            preparation.log(f"Downloading the package: {uri}")
            path = folder / Path(source.name).name
            with self._buckets.open_read(source) as data, path.open("wb") as out:
                while chunk := data.read(1 << 20):
                    out.write(chunk)
            paths.append(path)
        return paths

    def _resolve(self, uri: str) -> str | None:
        try:
            path = self._buckets.local_path(uri, field="training_input.args")
        except EngineError:
            return None  # a public bucket, or one that is not a folder: the trainer may know how
        return f"{path}/" if uri.endswith("/") else str(path)

    def collect(
        self, record: JobRecord, attempt_dir: Path, exit_record: ExitRecord
    ) -> dict[str, Any]:
        """Fill in the training output; what the trainer exported is in its job dir already."""
        hours = hours_run(exit_record)
        return {"training_output": TrainingOutput(consumed_m_l_units=hours)}

    def progress(self, record: JobRecord, attempt_dir: Path) -> dict[str, Any]:
        """Return nothing: a trainer's progress is in its log."""
        return {}


def _input(job: Job) -> TrainingInput:
    if job.training_input is None:
        raise FailedPrecondition(f"The job {job.job_id} is not a training job.", "Submit it again.")
    return job.training_input
