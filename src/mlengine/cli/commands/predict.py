"""`mlengine predict`: ask a deployed version."""

from __future__ import annotations

import json

import click

from mlengine.cli.flags import region
from mlengine.cli.instances import instance_flags, read_instances, signature_flag
from mlengine.cli.predictions import body_of, show_answer
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command

__all__ = ["predict"]


@click.command(cls=Command)
@click.option("--model", required=True, help="Model to ask.")
@click.option("--version", default="", help="Version; default: the model's default version.")
@instance_flags
@signature_flag
@region
@pass_session
def predict(
    session: Session,
    model: str,
    version: str,
    json_request: str | None,
    json_instances: str | None,
    text_instances: str | None,
    signature_name: str | None,
) -> None:
    """Ask a deployed version for predictions."""
    instances = read_instances(session, json_request, json_instances, text_instances)
    request: dict[str, object] = {"instances": instances}
    if signature_name:
        request["signature_name"] = signature_name
    body = json.dumps(request).encode()
    answer = body_of(session.engine.predict(session.project, model, version, body))
    session.write(show_answer(answer, session.form, session.flags.flatten))
