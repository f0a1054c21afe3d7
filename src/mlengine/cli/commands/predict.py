"""`mlengine predict`: ask a deployed version."""

from __future__ import annotations

import json

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.flags import region
from mlengine.cli.instances import instance_flags, read_instances
from mlengine.cli.predictions import show_answer
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command

__all__ = ["predict"]


@click.command(cls=Command)
@click.option("--model", required=True, help="Model to ask.")
@click.option("--version", default="", help="Version; default: the model's default version.")
@instance_flags
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
    instances = read_instances(json_request, json_instances, text_instances)
    request: dict[str, object] = {"instances": instances}
    if signature_name:
        request["signature_name"] = signature_name
    body = json.dumps(request).encode()
    reply = session.engine.predict(session.project, model, version, body)
    if reply.status != 200:
        text = reply.body.decode("utf-8", "replace").strip()
        raise CommandError(f"HTTP request failed. Response: {text}")
    session.write(show_answer(reply.body, session.form))
