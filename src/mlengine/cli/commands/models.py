"""`mlengine models`: names that versions live under."""

from __future__ import annotations

import click

from mlengine.cli.flags import LABELS, LIST, label_updates, merge, region, updated_labels
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Branch, Group, command
from mlengine.cli.waiting import wait_for
from mlengine.core.resources import Model
from mlengine.core.wire import encode

__all__ = ["models"]

models = Group(
    "models",
    help="Models: names that versions live under.",
    branches={
        "set-traffic": Branch(
            "mlengine.cli.commands.traffic:set_traffic", "Share predictions among versions."
        ),
        "describe-traffic": Branch(
            "mlengine.cli.commands.traffic:describe_traffic", "Show which versions answer."
        ),
        "compare": Branch(
            "mlengine.cli.commands.traffic:compare", "Compare two versions by their answers."
        ),
        "stats": Branch(
            "mlengine.cli.commands.model_stats:stats", "Show how versions are asked and answer."
        ),
        "outcome": Branch(
            "mlengine.cli.commands.traffic:outcome", "Say what became of a prediction."
        ),
        "get-iam-policy": Branch("mlengine.cli.commands.iam:get", "Show who has which role."),
        "set-iam-policy": Branch("mlengine.cli.commands.iam:set_", "Say who has which role."),
        "add-iam-policy-binding": Branch("mlengine.cli.commands.iam:add", "Give a role."),
        "remove-iam-policy-binding": Branch("mlengine.cli.commands.iam:remove", "Take a role."),
    },
)

_LIST_FORMAT = "table(name.basename(), defaultVersion.name.basename():label=DEFAULT_VERSION_NAME)"


@command(models, "create")
@click.argument("model")
@click.option("--region", default="", help="Recorded; an engine has one namespace.")
@click.option("--regions", type=LIST, multiple=True, help="As --region; one only.")
@click.option("--description", default="", help="What it is for.")
@click.option("--enable-logging", is_flag=True, help="Log requests.")
@click.option("--enable-console-logging", is_flag=True,
              help="Recorded: what workers print is always in logs/worker-*.log.")  # fmt: skip
@click.option("--labels", type=LABELS, multiple=True, help="Labels of the model.")
@pass_session
def create(
    session: Session,
    model: str,
    region: str,
    regions: tuple[list[str], ...],
    description: str,
    enable_logging: bool,
    enable_console_logging: bool,
    labels: tuple[dict[str, str], ...],
) -> None:
    """Make MODEL, without a version."""
    named = merge(regions) or []
    if region and named:
        raise click.UsageError(
            "argument --region: At most one of --region | --regions can be specified."
        )
    if len(named) > 1:
        raise click.UsageError("argument --regions: a model has one region.")
    made = session.engine.create_model(
        session.project,
        Model(
            name=model,
            regions=[region] if region else named,
            description=description,
            online_prediction_logging=enable_logging,
            online_prediction_console_logging=enable_console_logging,
            labels=merge(labels) or {},
        ),
    )
    session.say(f"Created ai platform model [{made.name}].")


@command(models, "list", form=_LIST_FORMAT, lists=True)
@region
@pass_session
def list_models(session: Session) -> None:
    """List models."""
    engine, project = session.engine, session.project
    session.show_all(
        session.walk(
            lambda size, token: engine.list_models(project, page_size=size, page_token=token)
        )
    )


@command(models, "describe")
@click.argument("model")
@region
@pass_session
def describe(session: Session, model: str) -> None:
    """Show everything about MODEL."""
    session.show(encode(session.engine.get_model(session.project, model)))


@command(models, "update")
@click.argument("model")
@click.option("--description", help="What it is for.")
@label_updates
@region
@pass_session
def update(
    session: Session,
    model: str,
    description: str | None,
    update_labels: tuple[dict[str, str], ...],
    clear_labels: bool,
    remove_labels: tuple[list[str], ...],
) -> None:
    """Change the description or the labels of MODEL."""
    old = session.engine.get_model(session.project, model)
    labels = updated_labels(
        old.labels,
        update_labels=update_labels,
        clear_labels=clear_labels,
        remove_labels=remove_labels,
    )
    mask = [name for name, new in (("description", description), ("labels", labels))
            if new is not None]  # fmt: skip
    if not mask:
        session.say("No update to perform.")
        return
    if labels is not None:
        mask.append("etag")  # labels that somebody sets meanwhile are not lost
    change = Model(description=description or "", labels=labels or {}, etag=old.etag)
    operation = session.engine.update_model(
        session.project, model, change, update_mask=",".join(mask)
    )
    wait_for(session, operation, f"Updating model [{model}]")
    session.say(f"Updated ai platform model [{model}].")


@command(models, "delete")
@click.argument("model")
@region
@pass_session
def delete(session: Session, model: str) -> None:
    """Delete MODEL, which must have no versions."""
    session.confirm(f"This will delete model [{model}]...")
    operation = session.engine.delete_model(session.project, model)
    wait_for(session, operation, f"Deleting model [{model}]")
