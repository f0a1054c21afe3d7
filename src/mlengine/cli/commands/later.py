"""Commands of gcloud's tree that no engine answers yet: they exist, and say so."""

from __future__ import annotations

import click

from mlengine.cli.errors import answered
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.errors import Unimplemented

__all__ = ["explain"]

_ANY = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}


def _refuse(session: Session, what: str) -> None:
    error = Unimplemented(f"{what} not supported yet.", "It is on the list of what comes next.")
    answered(error)  # the API answers the same
    raise error


@click.command(cls=Command, context_settings=_ANY)
@click.argument("anything", nargs=-1, type=click.UNPROCESSED)
@pass_session
def explain(session: Session, anything: tuple[str, ...]) -> None:
    """Explain predictions (not supported yet)."""
    _refuse(session, "Explanations are")
