"""`mlengine versions create`: an artefact becomes a version that answers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from mlengine.cli.commands.versions import model_option, read_version_config
from mlengine.cli.errors import CommandError
from mlengine.cli.flags import ACCELERATOR, LABELS, LIST, Choice, merge, region
from mlengine.cli.layering import Fields, layer_list
from mlengine.cli.packages import check_remote, packed
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.cli.uploads import staging_bucket, upload, upload_tree
from mlengine.cli.waiting import wait_for
from mlengine.core.choices import FRAMEWORKS
from mlengine.core.errors import EngineError
from mlengine.core.resources import Version
from mlengine.core.wire import decode, encode

__all__ = ["create"]

_CONFIGURABLE = (
    "autoScaling", "container", "deploymentUri", "description", "explanationConfig", "framework",
    "labels", "machineType", "manualScaling", "options", "packageUris", "predictionClass",
    "pythonVersion", "requestLoggingConfig", "routes", "runtimeVersion", "serviceAccount",
)  # fmt: skip
_CONTAINER = ("command", "args", "env_vars", "ports", "predict_route", "health_route")
_METRICS = {"cpu-usage": "CPU_USAGE", "gpu-duty-cycle": "GPU_DUTY_CYCLE"}
_FIELD_OF = {
    "runtime_version": "runtimeVersion",
    "python_version": "pythonVersion",
    "framework": "framework",
    "machine_type": "machineType",
    "accelerator": "acceleratorConfig",
    "description": "description",
    "service_account": "serviceAccount",
    "prediction_class": "predictionClass",
    "min_nodes": "autoScaling.minNodes",
    "max_nodes": "autoScaling.maxNodes",
    "max_predict_bytes": "options.maxPredictBytes",
    "max_batch_size": "options.maxBatchSize",
    "batch_deadline_ms": "options.batchDeadlineMs",
    "compile": "options.compile",
    "memory_bytes": "options.memoryBytes",
    "image": "container.image",
    "predict_route": "routes.predict",
    "health_route": "routes.health",
}
_METHODS = {
    "INTEGRATED_GRADIENTS": ("integratedGradientsAttribution", "numIntegralSteps"),
    "SAMPLED_SHAPLEY": ("sampledShapleyAttribution", "numPaths"),
    "XRAI": ("xraiAttribution", "numIntegralSteps"),
}
_STEPS = {"num_paths": "numPaths", "num_integral_steps": "numIntegralSteps"}


@click.command(cls=Command)
@click.argument("version")
@model_option
@click.option("--origin", metavar="DIR", help="Folder of the model: gs://... or here.")
@click.option("--from-job", metavar="JOB", help="Deploy what that job exported.")
@click.option("--trial", default="", help="With --from-job: this trial instead of the best.")
@click.option("--staging-bucket", metavar="gs://B", help="Where a local --origin is uploaded to.")
@click.option("--framework", type=Choice(*FRAMEWORKS), help="Default: seen from the files.")
@click.option("--runtime-version", help="Libraries, such as 2.15; see 'mlengine runtimes list'.")
@click.option("--python-version", help="Python of those libraries.")
@click.option("--machine-type", help="How many cores it may use, and whether it sleeps.")
@click.option("--accelerator", type=ACCELERATOR, help="GPUs of each worker: type=...,count=1.")
@click.option("--min-nodes", type=click.IntRange(min=0),
              help="Fewest workers; default 0 (mls1-... may sleep, others keep one).")  # fmt: skip
@click.option("--max-nodes", type=click.IntRange(min=1),
              help="Most workers; default: as many as there are cores, less one.")  # fmt: skip
@click.option("--max-predict-bytes", type=click.IntRange(min=1),
              help="Longest request, to 1 GiB; default: setting max_predict_bytes.")  # fmt: skip
@click.option("--max-batch-size", type=click.IntRange(min=1),
              help="Most instances in a call that requests share; default 1024.")  # fmt: skip
@click.option("--memory-bytes", type=click.IntRange(min=1),
              help="Most that a worker may hold; default: what all may hold together.")  # fmt: skip
@click.option("--network", is_flag=True, help="Let its code reach the internet.")
@click.option("--batch-deadline-ms", type=click.IntRange(min=0),
              help="How long a request may wait for others; default 0.")  # fmt: skip
@click.option("--compile", type=Choice("ONNX"),
              help="Answer from ONNX, tables from numbers, if equal; default: not.")  # fmt: skip
@click.option("--metric-targets", type=LABELS, multiple=True,
              help="How busy its workers are to be, in percent; default cpu-usage=60.")  # fmt: skip
@click.option("--description", help="What it is.")
@click.option("--labels", type=LABELS, multiple=True, help="Labels of the version.")
@click.option("--config", metavar="FILE", help="A Version as YAML or JSON; flags go over it.")
@click.option("--service-account", help="Refused here: it runs as the engine's user.")
@click.option("--prediction-class", help="Class of a custom prediction routine.")
@click.option("--package-uris", type=LIST, multiple=True, metavar="PACKAGE,...",
              help="Packages of that class, or of the model: gs://..., or archives and "
              "folders here.")  # fmt: skip
@click.option("--explanation-method", type=Choice(*_METHODS), help="Kind of explanations.")
@click.option("--num-integral-steps", type=int,
              help="Of integrated-gradients: points on the way; default 50.")  # fmt: skip
@click.option("--num-paths", type=int,
              help="Of sampled-shapley: orders in which features enter; default 50.")  # fmt: skip
@click.option("--image", hidden=True)
@click.option("--command", type=LIST, multiple=True, hidden=True)
@click.option("--args", type=LIST, multiple=True, hidden=True)
@click.option("--env-vars", type=LABELS, multiple=True, hidden=True)
@click.option("--ports", type=LIST, multiple=True, hidden=True)
@click.option("--predict-route", hidden=True)
@click.option("--health-route", hidden=True)
@click.option("--async", "async_", is_flag=True, help="Do not wait; print the operation.")
@region
@pass_session
def create(session: Session, /, version: str, model: str, **given: Any) -> None:
    """Deploy the model in --origin, or of --from-job, as VERSION; wait until it answers."""
    from mlengine.models.checks import check_supported

    fields = _fields(given)
    check_supported(decode(Version, fields, at="version"))  # before anything is uploaded
    origin = _origin(session, fields, given)  # before packages are built
    is_here = origin is not None and not origin.startswith("gs://")
    with tempfile.TemporaryDirectory(prefix="mlengine-package-") as folder:
        archives = _archives(session, fields, Path(folder))
        if archives or is_here:
            # What the engine would find itself, but only when a large model had been uploaded.
            check_remote(session, fields.get("packageUris") or [], "--package-uris")
        if origin is not None:
            fields["deploymentUri"] = _uploaded(session, origin, given) if is_here else origin
        _set_packages(session, fields, given, archives)
    made = decode(Version, {**fields, "name": version}, at="version")
    operation = session.engine.create_version(session.project, model, made)
    if given["async_"]:
        session.show(encode(operation))
        return
    wait_for(session, operation, "Creating version (this might take a few minutes)...")


def _fields(given: dict[str, Any]) -> Fields:
    if not given["image"] and any(given[name] for name in _CONTAINER):
        raise CommandError(
            "--image was not provided, but other container related flags were specified. "
            "Please specify --image."
        )
    flags = {path: given[name] for name, path in _FIELD_OF.items()}
    flags["options.network"] = given["network"] or None
    flags["labels"] = merge(given["labels"])
    flags["packageUris"] = merge(given["package_uris"])
    flags["container.command"] = merge(given["command"])
    flags["container.args"] = merge(given["args"])
    flags["container.env"] = _named(merge(given["env_vars"]))
    flags["container.ports"] = _ports(merge(given["ports"]))
    flags["autoScaling.metrics"] = _targets(merge(given["metric_targets"]))
    flags.update(_explanation(given))
    return layer_list(_config(given["config"]), flags)


def _config(path: str | None) -> Fields:
    """Read ``--config`` and check it against the API, in the API's words."""
    found = read_version_config(path, _CONFIGURABLE)
    try:
        return encode(decode(Version, found, at="version", own_fields_only=True))
    except EngineError as error:
        raise CommandError(f"The configuration file [{path}] is not a version: {error}") from None


def _explanation(given: dict[str, Any]) -> dict[str, Any]:
    attribution, own = _METHODS.get(given["explanation_method"], ("", ""))
    for flag, setting in _STEPS.items():
        if given[flag] is not None and setting != own:
            methods = [name for name, (_field, other) in _METHODS.items() if other == setting]
            raise click.UsageError(
                f"argument --{flag.replace('_', '-')}: it goes with --explanation-method "
                f"{' or '.join(name.lower().replace('_', '-') for name in methods)}."
            )
    if not attribution:
        return {}
    steps = next(given[flag] for flag, setting in _STEPS.items() if setting == own)
    return {f"explanationConfig.{attribution}": {own: 50 if steps is None else steps}}


def _named(values: dict[str, str] | None) -> list[dict[str, str]] | None:
    return None if values is None else [{"name": k, "value": v} for k, v in values.items()]


def _ports(values: list[str] | None) -> list[dict[str, int]] | None:
    if values is None:
        return None
    if not all(value.isdecimal() for value in values):
        raise click.UsageError(f"argument --ports: {','.join(values)} are not numbers.")
    return [{"containerPort": int(value)} for value in values]


def _targets(values: dict[str, str] | None) -> list[dict[str, Any]] | None:
    if values is None:
        return None
    for name, target in values.items():
        if name not in _METRICS or not target.isdecimal():
            raise click.UsageError(
                f"argument --metric-targets: {name}={target}: write "
                f"{' or '.join(_METRICS)}=PERCENT."
            )
    return [{"name": _METRICS[name], "target": int(target)} for name, target in values.items()]


def _origin(session: Session, fields: Fields, given: dict[str, Any]) -> str | None:
    """Return the artefact's gs://..., or its folder here; None where `fields` say all of it."""
    origin: str | None = given["origin"]
    if given["from_job"]:
        if origin is not None:
            raise click.UsageError(
                "argument --from-job: At most one of --from-job | --origin can be specified."
            )
        from mlengine.cli.joborigins import origin_of_job

        origin = origin_of_job(session, given["from_job"], trial=given["trial"])
    elif given["trial"]:
        raise click.UsageError("argument --trial: --from-job must go with it.")
    if origin is None:
        if not fields.get("deploymentUri") and "container" not in fields:
            raise CommandError(
                "Either `--origin` must be provided or `deploymentUri` must be provided in the "
                "file given by `--config`."
            )
    elif not origin.startswith("gs://") and not Path(origin).is_dir():
        raise CommandError(f"--origin [{origin}] is neither gs://BUCKET/... nor a folder here.")
    return origin


def _uploaded(session: Session, folder: str, given: dict[str, Any]) -> str:
    bucket = staging_bucket(session, given["staging_bucket"])
    return upload_tree(session, Path(folder), bucket)


def _archives(session: Session, fields: Fields, folder: Path) -> dict[str, list[Path]]:
    """Return the archives of each package that is on this machine; folders are packed first."""
    here = [text for text in fields.get("packageUris") or [] if not text.startswith("gs://")]
    archives: dict[str, list[Path]] = {}
    for index, text in enumerate(here):
        into = folder / str(index)
        into.mkdir()
        archives[text] = packed(session, [text], "--package-uris", into)
    return archives


def _set_packages(
    session: Session, fields: Fields, given: dict[str, Any], archives: dict[str, list[Path]]
) -> None:
    """Upload the packages that are on this machine; their order stays."""
    if not archives:
        return
    from mlengine.training.packaging import package_digest

    bucket = staging_bucket(session, given["staging_bucket"])
    uris: list[str] = []
    for text in fields["packageUris"]:
        files = archives.get(text)
        uris += upload(session, files, bucket, package_digest(files)) if files else [text]
    fields["packageUris"] = uris
