"""`mlengine models get-iam-policy` and its like: who has which role over a model."""

from __future__ import annotations

from collections.abc import Callable

import click

from mlengine.cli.configfile import read_config
from mlengine.cli.flags import region
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.errors import Aborted
from mlengine.core.policies import Policy, add_binding, remove_binding
from mlengine.core.wire import decode, encode

__all__ = ["add", "get", "remove", "set_"]

_TRIES = 5
_MASK = "bindings,etag"


@click.command(cls=Command)
@click.argument("model")
@region
@pass_session
def get(session: Session, model: str) -> None:
    """Show who has which role over MODEL."""
    session.show(encode(session.engine.get_iam_policy("models", session.project, model)))


@click.command(cls=Command)
@click.argument("model")
@click.argument("policy_file")
@region
@pass_session
def set_(session: Session, model: str, policy_file: str) -> None:
    """Give MODEL the policy of POLICY_FILE, JSON or YAML, in place of the one that it has."""
    policy = decode(Policy, read_config(policy_file), at="policy")
    found = session.engine.set_iam_policy(
        "models", session.project, model, policy, update_mask=_MASK
    )
    _updated(session, model, found)


@click.command(cls=Command)
@click.argument("model")
@click.option("--member", required=True, help="user:NAME or serviceAccount:KEY_ID.")
@click.option("--role", required=True, help="roles/ml.modelUser, for one.")
@region
@pass_session
def add(session: Session, model: str, member: str, role: str) -> None:
    """Give MEMBER a role over MODEL."""
    _change(session, model, lambda policy: add_binding(policy, role, member))


@click.command(cls=Command)
@click.argument("model")
@click.option("--member", required=True, help="user:NAME or serviceAccount:KEY_ID.")
@click.option("--role", required=True, help="The role to take away.")
@region
@pass_session
def remove(session: Session, model: str, member: str, role: str) -> None:
    """Take a role over MODEL from MEMBER."""
    _change(session, model, lambda policy: remove_binding(policy, role, member))


def _change(session: Session, model: str, change: Callable[[Policy], Policy]) -> None:
    engine, project = session.engine, session.project
    for left in reversed(range(_TRIES)):
        policy = change(engine.get_iam_policy("models", project, model))
        try:
            found = engine.set_iam_policy("models", project, model, policy, update_mask=_MASK)
        except Aborted:  # somebody else set another policy in between
            if not left:
                raise
            continue
        _updated(session, model, found)
        return


def _updated(session: Session, model: str, policy: Policy) -> None:
    session.say(f"Updated IAM policy for model [{model}].")
    session.show(encode(policy))
