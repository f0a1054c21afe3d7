"""`mlengine version`."""

from __future__ import annotations

import platform

import click

from mlengine import __version__
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command

__all__ = ["version"]


@click.command(cls=Command)
@pass_session
def version(session: Session) -> None:
    """Show the version of mlengine and of the Python it runs on."""
    session.show({"mlengine": __version__, "python": platform.python_version()})
