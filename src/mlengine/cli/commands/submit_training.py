"""`mlengine jobs submit training`: a package, a configuration and flags become one job."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from mlengine.cli.after_submit import JOB_FORMAT, report
from mlengine.cli.errors import CommandError
from mlengine.cli.flags import merge
from mlengine.cli.layering import Fields, layer, layer_list
from mlengine.cli.packages import archive_of
from mlengine.cli.session import Session, pass_session
from mlengine.cli.training_flags import ROLES, training_flags
from mlengine.cli.tree import Command
from mlengine.cli.uploads import staging_bucket, upload
from mlengine.core.errors import EngineError
from mlengine.core.names import check_id
from mlengine.core.resources import Job, TrainingInput
from mlengine.core.undocumented import without_undocumented
from mlengine.core.wire import camel, decode, encode

__all__ = ["training"]

_FIELD_OF = {
    "module_name": "pythonModule",
    "job_dir": "jobDir",
    "region": "region",
    "scale_tier": "scaleTier",
    "runtime_version": "runtimeVersion",
    "python_version": "pythonVersion",
    "service_account": "serviceAccount",
    "use_chief_in_tf_config": "useChiefInTfConfig",
    "network": "network",
    "tpu_tf_version": "workerConfig.tpuTfVersion",
}
_OPTION_FLAGS = ("strict_runtime", "strict_resources", "legacy_keras", "trial_early_stopping")
_FIELD_OF_ROLE = {"master": "master", "worker": "worker", "parameter_server": "parameterServer"}


@click.command(cls=Command, form=JOB_FORMAT, takes_rest=True)
@click.argument("job")
@training_flags
@pass_session
def training(session: Session, /, job: str, **given: Any) -> None:
    """Train a package as job JOB; what stands behind -- goes to the trainer."""
    if given["stream_logs"] and given["async_"]:
        raise click.UsageError(
            "argument --async: At most one of --async | --stream-logs can be specified."
        )
    config = _config(given["config"])
    fields = _fields(session, config, given)
    _check(fields, given)
    check_id(job, kind="job", field="job.job_id")
    _find_packages(session, job, fields, given)
    labels = merge(given["labels"])
    whole = {**config, "trainingInput": fields, "jobId": job}
    if labels is not None:
        whole["labels"] = labels
    if options := layer_list(config.get("options", {}), _options(given)):
        whole["options"] = options
    asked = decode(Job, whole, at="job")
    created = session.engine.create_job(session.project, asked)
    _say_plan(session, asked)
    report(session, created, stream_logs=given["stream_logs"])


def _config(path: str | None) -> Fields:
    """Read ``--config`` and check it against the API, in the API's words."""
    if path is None:
        return {}
    from mlengine.cli.configfile import read_config

    try:
        found = without_undocumented(read_config(path), "job")
        return encode(decode(Job, found, at="job", own_fields_only=True))
    except EngineError as error:
        raise CommandError(f"The configuration file [{path}] is not a job: {error}") from None


def _fields(session: Session, config: Fields, given: dict[str, Any]) -> Fields:
    """Lay the flags over the file's ``trainingInput``."""
    flags = {path: given[name] for name, path in _FIELD_OF.items()}
    flags["enableWebAccess"] = True if given["enable_web_access"] else None
    flags["encryptionConfig.kmsKeyName"] = _kms_key(session, given)
    flags["args"] = list(session.rest) if session.rest else None
    for role in ROLES:
        name = _FIELD_OF_ROLE[role]
        count = given.get(f"{role}_count")
        flags |= {
            f"{name}Type": given[f"{role}_machine_type"],
            f"{name}Count": None if count is None else str(count),
            f"{name}Config.acceleratorConfig": given[f"{role}_accelerator"],
            f"{name}Config.imageUri": given[f"{role}_image_uri"],
        }
    below = config.get("trainingInput", {})
    fields = layer({"region": session.settings.region}, layer_list(below, flags))
    if "jobDir" in fields:
        fields["jobDir"] = _job_dir(fields["jobDir"])
    return fields


def _job_dir(text: str) -> str:
    """Return where the job writes; a folder of this machine may be written as file://."""
    path = text.removeprefix("file://")
    if text and not path.startswith(("gs://", "/")):
        raise CommandError(f"--job-dir [{text}] is neither gs://BUCKET/... nor an absolute path.")
    return path


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the flags of `Job.options` that were given."""
    options: dict[str, Any] = {camel(name): given[name] or None for name in _OPTION_FLAGS}
    options["maxRetries"] = given["max_retries"]
    options["allow"] = list(given["allow"]) or None
    return options


def _say_plan(session: Session, job: Job) -> None:
    """Say what a job of many replicas, or of many trials, comes to."""
    from mlengine.training.plan import plan_replicas

    try:
        plan = plan_replicas(job.training_input or TrainingInput())
    except EngineError:  # the engine, which has taken the job, is newer than this client
        return
    if plan.replicas > 1:
        session.say(f"Replicas: {plan.members()}: {plan.totals()}.")
    spec = job.training_input
    if spec is not None and spec.hyperparameters is not None:
        from mlengine.training.trials.hyperparameters import hyperparameters_of

        asked = hyperparameters_of(spec)
        pace = f"{asked.parallel} at a time" if asked.parallel > 1 else "one after the other"
        each = f", each {plan.members()}" if plan.replicas > 1 else ""
        session.say(
            f"Trials: {asked.trials}, {pace}{each}. See them with: mlengine jobs trials "
            f"{job.job_id}"
        )


def _kms_key(session: Session, given: dict[str, Any]) -> str | None:
    key: str | None = given["kms_key"]
    parts = [given["kms_keyring"], given["kms_location"]]
    if key is None:
        if any(parts) or given["kms_project"]:
            raise click.UsageError("argument --kms-key: Must be specified.")
        return None
    if "/" in key:
        return key
    if not all(parts):
        raise click.UsageError("argument --kms-keyring --kms-location: Must be specified.")
    project = given["kms_project"] or session.project
    return f"projects/{project}/locations/{parts[1]}/keyRings/{parts[0]}/cryptoKeys/{key}"


def _check(fields: Fields, given: dict[str, Any]) -> None:
    """Find what is wrong before anything is built or uploaded."""
    from mlengine.training.checks import check_supported

    if given["master_image_uri"] and given["runtime_version"]:
        raise CommandError("Only one of --master-image-uri, --runtime-version can be set.")
    if given["scale_tier"] == "CUSTOM" and not fields.get("masterType"):
        raise CommandError("--master-machine-type is required if scale-tier is set to `CUSTOM`.")
    for role in ("worker", "parameter_server"):
        kind, count = given[f"{role}_machine_type"], given[f"{role}_count"]
        if (kind is None) != (count is None):
            flag = "--" + role.replace("_", "-")
            there, absent = ("machine-type", "count") if kind else ("count", "machine-type")
            raise click.UsageError(f"argument {flag}-{there}: {flag}-{absent} must go with it.")
    check_supported(decode(TrainingInput, fields, at="job.training_input"))


def _find_packages(session: Session, job: str, fields: Fields, given: dict[str, Any]) -> None:
    """Build and upload what is local, and put the URIs of all packages into `fields`."""
    named = merge(given["packages"]) or []
    remote = [text for text in named if text.startswith("gs://")]
    local = [text for text in named if not text.startswith("gs://")]
    package_path: str | None = given["package_path"]
    if named or package_path:
        files = [archive_of(text, "--packages") for text in local]
        with tempfile.TemporaryDirectory(prefix="mlengine-package-") as folder:
            if package_path:
                files = _build(session, package_path, fields, given, Path(folder)) + files
            fields["packageUris"] = remote + _upload(session, job, fields, given, files)
    elif not fields.get("packageUris") and not fields.get("masterConfig", {}).get("imageUri"):
        raise CommandError(
            "Non-custom jobs must have packages. Give the trainer's folder with --package-path, "
            "or archives with --packages."
        )


def _build(
    session: Session, package_path: str, fields: Fields, given: dict[str, Any], into: Path
) -> list[Path]:
    from mlengine.training.packaging import build_packages, find_module_problem

    module = fields.get("pythonModule", "")
    if module and not given["packages"] and (Path(package_path) / "__init__.py").is_file():
        problem = find_module_problem(Path(package_path), module)
        if problem:
            raise CommandError(f"argument --module-name: {problem}")
    return build_packages(Path(package_path), into, warn=session.warn)


def _upload(
    session: Session, job: str, fields: Fields, given: dict[str, Any], files: list[Path]
) -> list[str]:
    if not files:
        return []
    from mlengine.training.packaging import check_unique, package_digest

    check_unique(files)
    digest = package_digest(files)
    job_dir = str(fields.get("jobDir", ""))
    if not given["staging_bucket"] and job_dir.startswith("gs://"):
        bucket, _slash, folder = job_dir.removeprefix("gs://").rstrip("/").partition("/")
        place = f"{folder}/packages" if folder else "packages"
        return upload(session, files, bucket, f"{place}/{digest}")
    bucket = staging_bucket(session, given["staging_bucket"])
    return upload(session, files, bucket, f"{job}/{digest}")
