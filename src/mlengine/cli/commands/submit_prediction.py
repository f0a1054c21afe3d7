"""`mlengine jobs submit prediction`: a model over files."""

from __future__ import annotations

from typing import Any

import click

from mlengine.cli.after_submit import JOB_FORMAT, report
from mlengine.cli.errors import CommandError
from mlengine.cli.flags import LABELS, LIST, Choice, merge
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.names import model_name, version_name
from mlengine.core.resources import Job, PredictionInput

__all__ = ["prediction"]

_FORMATS = {"TEXT": "JSON", "JSON": "JSON", "TF_RECORD": "TF_RECORD",
            "TF_RECORD_GZIP": "TF_RECORD_GZIP"}  # fmt: skip


@click.command(cls=Command, form=JOB_FORMAT)
@click.argument("job")
@click.option("--model", help="Model of this project.")
@click.option("--version", help="Version of the model; default: the model's default version.")
@click.option("--model-dir", metavar="URI", help="A model that is not deployed, gs://...")
@click.option("--input-paths", type=LIST, multiple=True, required=True, help="Files; may have *.")
@click.option("--data-format", type=Choice(*_FORMATS), required=True, help="What the files hold.")
@click.option("--output-data-format", type=Choice("JSON", "CSV"), help="Default: json.")
@click.option("--output-path", metavar="URI", required=True, help="Folder for the predictions.")
@click.option("--region", help="Default: the setting 'region'.")
@click.option("--max-worker-count", type=click.IntRange(min=1), help="Most processes at one time.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Instances of one call of the model."
)
@click.option("--signature-name", default="", help="Signature of a SavedModel.")
@click.option("--runtime-version", default="", help="Recorded.")
@click.option("--labels", type=LABELS, multiple=True, help="Labels of the job.")
@click.option("--stream-logs", is_flag=True, help="Wait for the end and show the log.")
@click.option("--accelerator-type", hidden=True)
@click.option("--accelerator-count", hidden=True)
@pass_session
def prediction(session: Session, /, job: str, **given: Any) -> None:
    """Predict over files as job JOB."""
    if given["accelerator_type"] or given["accelerator_count"]:
        raise CommandError("--accelerator-type is not supported: predictions run on CPUs.")
    made = Job(job_id=job, labels=merge(given["labels"]) or {})
    made.prediction_input = PredictionInput(
        **_source(session, given),
        data_format=_FORMATS[given["data_format"]],
        output_data_format=given["output_data_format"] or "",
        input_paths=merge(given["input_paths"]) or [],
        output_path=given["output_path"],
        region=given["region"] or session.settings.region,
        max_worker_count=given["max_worker_count"] or 0,
        batch_size=given["batch_size"] or 0,
        runtime_version=given["runtime_version"],
        signature_name=given["signature_name"],
    )
    created = session.engine.create_job(session.project, made)
    report(session, created, stream_logs=given["stream_logs"])


def _source(session: Session, given: dict[str, Any]) -> dict[str, str]:
    """Return which of the three fields names the model."""
    model, version, uri = given["model"], given["version"], given["model_dir"]
    if bool(model) == bool(uri):
        raise click.UsageError("Exactly one of (--model | --model-dir) must be specified.")
    if version and not model:
        raise click.UsageError("argument --version: it goes with --model, not --model-dir.")
    if uri:
        return {"uri": uri}
    if version:
        return {"version_name": version_name(session.project, model, version)}
    return {"model_name": model_name(session.project, model)}
