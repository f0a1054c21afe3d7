"""`mlengine explain`: why a deployed version answers as it does."""

from __future__ import annotations

import json
import sys

import click

from mlengine.cli.explanations import chart
from mlengine.cli.flags import region
from mlengine.cli.instances import instance_flags, read_instances
from mlengine.cli.predictions import body_of, show_answer
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command

__all__ = ["explain"]


@click.command(cls=Command)
@click.option("--model", required=True, help="Model to ask.")
@click.option("--version", default="", help="Version; default: the model's default version.")
@instance_flags
@click.option("--chart", "drawn", is_flag=True, help="Draw a bar for each feature.")
@region
@pass_session
def explain(
    session: Session,
    model: str,
    version: str,
    json_request: str | None,
    json_instances: str | None,
    text_instances: str | None,
    drawn: bool,
) -> None:
    """Tell what each feature adds to the score of a prediction."""
    for flag, given in (("--format", session.flags.format), ("--flatten", session.flags.flatten)):
        if drawn and given:
            raise click.UsageError(
                f"argument --chart: At most one of --chart | {flag} can be specified."
            )
    instances = read_instances(session, json_request, json_instances, text_instances)
    body = json.dumps({"instances": instances}).encode()
    answer = body_of(session.engine.explain(session.project, model, version, body))
    if drawn:
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
        session.write(chart(answer, ascii="utf" not in encoding))
        return
    session.write(show_answer(answer, session.form, session.flags.flatten))
