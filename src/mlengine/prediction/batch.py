"""Batch prediction jobs: which model, which files, and where the answers go.

The work itself is `runtime.batch`, run like any replica; this room resolves names to files before
it, and puts its output into the bucket after it, whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlengine.core.errors import FailedPrecondition, InvalidArgument, did_you_mean
from mlengine.core.names import parse_model_or_version, parse_version
from mlengine.core.resources import Job, JobOptions, PredictionInput, PredictionOutput
from mlengine.core.states import JobState, VersionState
from mlengine.environments import unused_runtime_warning
from mlengine.models.artifacts import Artifacts
from mlengine.models.registry import Models
from mlengine.models.surroundings import SurroundingsOf, Wants, request_of, wanted
from mlengine.prediction.batchfolder import OWN, clear, give_up, local_inputs
from mlengine.prediction.batchresults import check_place, publish
from mlengine.prediction.scaling.fields import threads_of
from mlengine.prediction.workers.workerfolder import read_plain
from mlengine.runtime.boot import boot_command
from mlengine.runtime.manifest import manifest_of
from mlengine.runtime.process import THREADS
from mlengine.storage import Buckets
from mlengine.storage.paths import parse_uri
from mlengine.store import JobRecord, VersionRecord
from mlengine.training.checks import check_region
from mlengine.training.kinds import Preparation, all_ran_s, hours_of
from mlengine.training.launchers import AttemptSpec, ExitRecord, Outcome, ReplicaSpec
from mlengine.training.places import is_local, remote_trouble
from mlengine.training.tfconfig import base_environment

__all__ = ["REFUSED_OPTIONS", "BatchJobs"]

_FORMATS = {"JSON": "JSON", "TEXT": "JSON", "TF_RECORD": "TF_RECORD",
            "TF_RECORD_GZIP": "TF_RECORD_GZIP"}  # fmt: skip
_OUTPUTS = ("", "JSON", "CSV", "DATA_FORMAT_UNSPECIFIED")
_INPUTS = "prediction_input.input_paths"
_TASK = "master-replica-0"
_MOST_COUNTED = (1 << 63) - 1
DEFAULT_BATCH_SIZE = 64

# Options of training jobs that have no meaning here: accepting one silently would be a lie.
REFUSED_OPTIONS: dict[str, str] = {
    "strict_runtime": "A batch prediction runs in its version's own runtime; leave it out.",
    "strict_resources": "A batch prediction asks for no machine; leave it out.",
    "legacy_keras": "A batch prediction runs in its version's own runtime; leave it out.",
    "allow": "A batch prediction has no export that is judged; leave it out.",
}


class BatchJobs:
    """The `JobKind` of batch predictions.

    Args:
        buckets: Where inputs are read and outputs go.
        models: Resolves model and version names.
        artifacts: Where the versions' own copies lie.
        surroundings: Makes what a version's code runs in.
        grace_s: Seconds between SIGTERM and SIGKILL.
        log_quota_bytes: Most that the log may hold.
        notify: Socket on which supervisors say that something happened.
        cpus: Returns those of the machine, or of all machines, that jobs run on.
    """

    def __init__(
        self,
        buckets: Buckets,
        models: Models,
        artifacts: Artifacts,
        surroundings: SurroundingsOf,
        *,
        grace_s: float,
        log_quota_bytes: int,
        notify: str,
        cpus: Callable[[], float],
    ) -> None:
        self._buckets = buckets
        self._models = models
        self._artifacts = artifacts
        self._surroundings = surroundings
        self._grace_s = grace_s
        self._log_quota_bytes = log_quota_bytes
        self._notify = notify
        self._cpus = cpus

    def check(self, project: str, job: Job) -> Sequence[str]:
        """Refuse what can never run: bad fields, missing files, a version that is not READY.

        Returns:
            That the runtime is not the one that the job asks for.
        """
        spec = _input(job)
        _check_options(job.options or JobOptions())
        _check_source(spec)
        check_region(spec.region, field="prediction_input.region")
        _check_formats(spec)
        if not spec.input_paths:
            raise _bad("input_paths", "There are no input paths.", "Name at least one gs:// file.")
        self._buckets.expand_inputs(spec.input_paths, field=_INPUTS)
        if not spec.output_path:
            raise _bad("output_path", "There is no output path.", "Name a gs:// directory.")
        check_place(self._buckets, spec.output_path, field="prediction_input.output_path")
        for attribute in ("max_worker_count", "batch_size"):
            if getattr(spec, attribute) < 0:
                raise _bad(attribute, f"{getattr(spec, attribute)} is negative.", "Leave it out.")
        if spec.uri:
            self._artifacts.check_source(spec.uri, "", field="uri")  # as Google calls it here
        return self._warnings(spec, None if spec.uri else self._record(project, spec))

    def _warnings(self, spec: PredictionInput, record: VersionRecord | None) -> list[str]:
        asked, own = spec.runtime_version, platform.python_version()
        warning = unused_runtime_warning(asked, own_version=own)
        wants = self._wants(record) if warning and record is not None else None
        if record is not None and wants is not None and not wants.plain:
            if asked.strip().lower() == record.version.runtime_version.strip().lower():
                return []
            warning = (
                f"runtime '{asked}' is not used here: this runs in what the version "
                f"'{record.version_id}' itself asks for. Leave runtimeVersion out."
            )
        return [warning] if warning else []

    def _wants(self, record: VersionRecord) -> Wants | None:
        """Return what a version must be run in; None if it asks for nothing."""
        packages = self._artifacts.packages(record.uid)
        return wanted(record.version, self._artifacts.path(record.uid), packages)

    def _record(self, project: str, spec: PredictionInput) -> VersionRecord:
        """Return the READY version that the input's model or version name means now."""
        field = "prediction_input." + ("version_name" if spec.version_name else "model_name")
        name = spec.version_name or spec.model_name
        if "/" not in name:
            name = f"projects/{project}/models/{name}"
        parse = parse_version if spec.version_name else parse_model_or_version
        ref = parse(name, field=field)
        version_id = ref.version_id
        if not version_id:
            version_id = self._models.model_record(ref.project, ref.model_id).default_version_id
        if not version_id:
            raise FailedPrecondition(
                f"The model '{ref.model_id}' has no version.", "Create one first.", field=field
            )
        record = self._models.version_record(ref.project, ref.model_id, version_id)
        if record.state not in (VersionState.READY, VersionState.UPDATING):
            raise FailedPrecondition(
                f"The version '{version_id}' is {record.state}.",
                "Name a version that is READY.",
                field=field,
            )
        return record

    def prepare(self, preparation: Preparation) -> AttemptSpec:
        """Find the model and the input files; say what to run."""
        record, folder = preparation.record, preparation.attempt_dir
        between = give_up(preparation)
        spec = _input(record.job)
        framework, python = "", sys.executable
        code: dict[str, Any] = {}
        network, threads = False, 1
        if spec.uri:
            artifact = folder / "model"
            if not artifact.exists():
                aside = folder / "model.part"
                shutil.rmtree(aside, ignore_errors=True)  # of a try that was cut
                with self._carrying(spec.uri):
                    files = self._buckets.download(spec.uri, aside, between=between)
                self._artifacts.check_code((file.name for file in files), spec.uri, field="uri")
                aside.rename(artifact)
            uri = spec.uri
            preparation.log(f"Model directory: {uri}")
        else:
            version = self._record(record.project, spec)
            artifact, framework = self._artifacts.path(version.uid), version.version.framework
            network = bool(version.version.options and version.version.options.network)
            uri = version.version.deployment_uri
            threads = threads_of(version.version, cpus=self._cpus())
            python, code = self._code_of(version, preparation)
            code["version"] = version.uid  # one of another uid may be in its place next time
            preparation.log(f"Model version: {version.model_id}/{version.version_id}")
        with self._carrying(*spec.input_paths):
            found = self._buckets.expand_inputs(spec.input_paths, field=_INPUTS)
            inputs = local_inputs(self._buckets, found, folder, between=between)
        preparation.log(f"Reading {len(inputs)} file(s).")
        plan: dict[str, Any] = {
            "artifact": str(artifact),
            "framework": framework,
            "artifact_uri": uri,
            "inputs": inputs,
            "input_names": [item.uri for item in found],
            "network": network,
            **code,
            **_fixed_plan(spec, folder),
        }
        (folder / "batch.json").write_text(json.dumps(plan))
        written = [plan[name] for name in ("output_dir", "progress", "shards_dir")]
        read = [str(artifact), str(manifest_of(artifact)), *inputs]
        return self._attempt(record, folder, [*read, *written], python, threads)

    def _code_of(
        self, record: VersionRecord, preparation: Preparation
    ) -> tuple[str, dict[str, Any]]:
        """Return the interpreter of a version, and what a plan says of the code that it runs."""
        version = record.version
        wants = self._wants(record)
        if wants is None:
            return sys.executable, {}
        found = self._surroundings.prepare(record.uid, wants, cancelled=preparation.cancelled)
        return found.python or sys.executable, {
            "notes": list(found.notes),
            "prediction_class": version.prediction_class,
            "package_uris": version.package_uris,
            "version_request": request_of(version),
        }

    def _attempt(
        self, record: JobRecord, folder: Path, places: list[str], python: str, threads: int
    ) -> AttemptSpec:
        """Say how `runtime.batch` is run, confined, on the plan in the attempt's folder."""
        work = folder / "work"
        work.mkdir(exist_ok=True)
        replica = ReplicaSpec(
            task=_TASK,
            role="master",
            index=0,
            argv=boot_command(python, "mlengine.runtime.batchstart", str(folder / "batch.json")),
            env={**dict.fromkeys(THREADS, str(threads)), **base_environment(os.environ)},
            cwd=str(work),
        )
        return AttemptSpec(
            job=f"projects/{record.project}/jobs/{record.job_id}",
            attempt=record.attempt,
            notify=self._notify,
            grace_s=self._grace_s,
            max_running_s=None,
            log_quota_bytes=self._log_quota_bytes,
            replicas=[replica],
            places=places,
        )

    def collect(
        self, record: JobRecord, attempt_dir: Path, exit_record: ExitRecord
    ) -> dict[str, Any]:
        """Put the finished output into the bucket; an unfinished one is not shown to anybody."""
        spec = _input(record.job)
        if exit_record.outcome is Outcome.SUCCEEDED:
            _check_plain(attempt_dir)
            with self._carrying(spec.output_path):
                publish(self._buckets, attempt_dir / OWN / "output", spec.output_path)
        elif load_error := _progress(attempt_dir).get("load_error"):
            raise FailedPrecondition(str(load_error))
        output = self._output(record, attempt_dir)
        output.node_hours = hours_of(all_ran_s(record, attempt_dir, exit_record))
        return {"prediction_output": output}

    def _carrying(self, *uris: str) -> contextlib.AbstractContextManager[None]:
        """Have what an object store does not answer tried again in a while."""
        places = [parse_uri(uri, wildcards=True).bucket for uri in uris]
        here = all(is_local(self._buckets, bucket) for bucket in places)
        return contextlib.nullcontext() if here else remote_trouble()

    def progress(self, record: JobRecord, attempt_dir: Path) -> dict[str, Any]:
        """Return how many instances were answered so far."""
        return {"prediction_output": self._output(record, attempt_dir)}

    def tidy(self, record: JobRecord, job_dir: Path) -> None:
        """Remove what was fetched, and the output, unless it is whole and its bucket refused it."""
        clear(job_dir, keep_whole_output=record.state is JobState.FAILED)

    def _output(self, record: JobRecord, attempt_dir: Path) -> PredictionOutput:
        counts = _progress(attempt_dir)
        return PredictionOutput(
            output_path=_input(record.job).output_path,
            prediction_count=_count(counts.get("prediction_count")),
            error_count=_count(counts.get("error_count")),
        )


def _progress(attempt_dir: Path) -> dict[str, Any]:
    """Return what `runtime.batch` last wrote of itself; nothing before its first word."""
    data = read_plain(attempt_dir / OWN / "progress.json")
    try:
        counts = json.loads(data) if data is not None else {}
    except (ValueError, RecursionError):
        return {}
    return counts if isinstance(counts, dict) else {}


def _count(said: object) -> int:
    """Return a count that a model may have written in the batch's stead; 0 when it is none."""
    return said if type(said) is int and 0 <= said <= _MOST_COUNTED else 0


def _check_plain(attempt_dir: Path) -> None:
    """Raise when the output is a link: the model may write there, and lead us anywhere."""
    for folder in (attempt_dir / OWN, attempt_dir / OWN / "output"):
        if folder.is_symlink():
            raise FailedPrecondition(
                "The batch prediction left a symbolic link in place of its output.",
                "See that the model's code does not touch the folder; run the job again.",
            )


def _input(job: Job) -> PredictionInput:
    if job.prediction_input is None:
        raise FailedPrecondition(f"{job.job_id} is not a prediction job.", "Submit it again.")
    return job.prediction_input


def _check_options(options: JobOptions) -> None:
    for attribute, remedy in REFUSED_OPTIONS.items():
        if getattr(options, attribute):
            raise InvalidArgument(
                f"Batch predictions do not support '{attribute}'.", remedy,
                field=f"job.options.{attribute}",
            )  # fmt: skip


def _check_source(spec: PredictionInput) -> None:
    named = [n for n in ("model_name", "version_name", "uri") if getattr(spec, n)]
    if len(named) != 1:
        what = " and ".join(named) or "none"
        raise InvalidArgument(
            f"Exactly one of modelName, versionName and uri is needed; there is {what}.",
            "Name one.",
            field="prediction_input",
        )


def _check_formats(spec: PredictionInput) -> None:
    if spec.data_format not in _FORMATS:
        hint = did_you_mean(spec.data_format.upper(), list(_FORMATS))
        raise _bad(
            "data_format", f"{spec.data_format!r} is not an input format.",
            f"{hint}Use one of {', '.join(_FORMATS)}.",
        )  # fmt: skip
    if spec.output_data_format not in _OUTPUTS:
        raise _bad("output_data_format", f"{spec.output_data_format!r} is not an output format.",
                   "Use JSON or CSV.")  # fmt: skip


def _bad(attribute: str, problem: str, remedy: str) -> InvalidArgument:
    return InvalidArgument(problem, remedy, field=f"prediction_input.{attribute}")


def _fixed_plan(spec: PredictionInput, folder: Path) -> dict[str, Any]:
    """Return what of a plan needs no look at a model or a bucket."""
    return {
        "signature_name": spec.signature_name,
        "data_format": _FORMATS[spec.data_format],
        "output_dir": str(folder / OWN / "output"),
        "output_format": "CSV" if spec.output_data_format == "CSV" else "JSON",
        "batch_size": spec.batch_size or DEFAULT_BATCH_SIZE,
        "progress": str(folder / OWN / "progress.json"),
        "shards_dir": str(folder.parent / "shards" / "rows"),  # the next attempt goes on with them
    }
