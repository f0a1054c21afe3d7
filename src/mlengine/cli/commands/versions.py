"""`mlengine versions`: deployed artefacts of a model."""

from __future__ import annotations

from typing import Any

import click

from mlengine.cli.configfile import read_config
from mlengine.cli.errors import CommandError
from mlengine.cli.flags import label_updates, region, updated_labels
from mlengine.cli.layering import Fields, layer_list
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Branch, Group, command
from mlengine.cli.waiting import wait_for
from mlengine.core.resources import Version
from mlengine.core.wire import decode, encode

__all__ = ["model_option", "read_version_config", "versions"]

versions = Group(
    "versions",
    help="Versions: deployed artefacts of a model.",
    branches={
        "create": Branch("mlengine.cli.commands.create_version:create", "Deploy a model."),
        "logs": Branch(
            "mlengine.cli.commands.version_logs:logs", "Show what the workers of VERSION printed."
        ),
    },
)

_LIST_FORMAT = "table(name.basename(), deploymentUri, state)"
_UPDATABLE = ("autoScaling", "description", "manualScaling", "requestLoggingConfig")

model_option = click.option("--model", required=True, help="Model that the version belongs to.")


def read_version_config(path: str | None, allowed: tuple[str, ...]) -> Fields:
    """Read ``--config`` of a version.

    Raises:
        CommandError: It has a field that may not stand there, or a wrong value.
    """
    if path is None:
        return {}
    found = read_config(path)
    for name in found:
        if name not in allowed:
            raise CommandError(
                f"Invalid field [{name}] in configuration file [{path}]. "
                f"Allowed fields: [{', '.join(sorted(allowed))}]."
            )
    return found


@command(versions, "list", form=_LIST_FORMAT, lists=True)
@model_option
@region
@pass_session
def list_versions(session: Session, model: str) -> None:
    """List the versions of a model."""
    engine, project = session.engine, session.project
    session.show_all(
        session.walk(
            lambda size, token: engine.list_versions(
                project, model, page_size=size, page_token=token
            )
        )
    )


@command(versions, "describe")
@click.argument("version")
@model_option
@region
@pass_session
def describe(session: Session, version: str, model: str) -> None:
    """Show everything about VERSION."""
    session.show(encode(session.engine.get_version(session.project, model, version)))


@command(versions, "set-default")
@click.argument("version")
@model_option
@region
@pass_session
def set_default(session: Session, version: str, model: str) -> None:
    """Let VERSION answer for its model."""
    session.show(encode(session.engine.set_default_version(session.project, model, version)))


@command(versions, "delete")
@click.argument("version")
@model_option
@region
@pass_session
def delete(session: Session, version: str, model: str) -> None:
    """Delete VERSION."""
    session.confirm(f"This will delete version [{version}]...")
    operation = session.engine.delete_version(session.project, model, version)
    wait_for(session, operation, f"Deleting version [{version}]")


@command(versions, "update")
@click.argument("version")
@model_option
@click.option("--description", help="What it is.")
@click.option("--config", metavar="FILE", help="A Version as YAML or JSON.")
@click.option("--bigquery-table-name", help="Where requests are logged.")
@click.option("--sampling-percentage", type=float, help="Share of requests that is logged, 0 to 1.")
@label_updates
@region
@pass_session
def update(session: Session, /, version: str, model: str, **given: Any) -> None:
    """Change VERSION without deploying it again."""
    old = session.engine.get_version(session.project, model, version)
    labels = updated_labels(
        old.labels,
        update_labels=given["update_labels"],
        clear_labels=given["clear_labels"],
        remove_labels=given["remove_labels"],
    )
    flags = {
        "description": given["description"],
        "requestLoggingConfig.bigqueryTableName": given["bigquery_table_name"],
        "requestLoggingConfig.samplingPercentage": given["sampling_percentage"],
        "labels": labels,
        "etag": None if labels is None else old.etag,  # labels set meanwhile are not lost
    }
    fields = layer_list(read_version_config(given["config"], _UPDATABLE), flags)
    if not fields:
        session.say("No update to perform.")
        return
    operation = session.engine.update_version(
        session.project,
        model,
        version,
        decode(Version, fields, at="version"),
        update_mask=",".join(_mask(fields)),
    )
    wait_for(session, operation, f"Updating version [{version}]")
    session.say(f"Updated AI Platform version [{version}].")


def _mask(fields: Fields) -> list[str]:
    """Name what is sent; scaling is named leaf by leaf, labels as a whole."""
    paths = []
    for name, value in fields.items():
        inner = value if name != "labels" and isinstance(value, dict) else None
        paths += [f"{name}.{leaf}" for leaf in inner] if inner else [name]
    return paths
