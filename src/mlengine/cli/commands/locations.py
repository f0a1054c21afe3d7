"""`mlengine locations`: where jobs and versions run."""

from __future__ import annotations

import click

from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Group, command
from mlengine.core.wire import encode

__all__ = ["locations"]

locations = Group("locations", help="Where jobs and versions run.")

_LIST_FORMAT = (
    "table(name.basename(), capabilities[].type.list():label=TYPE, "
    "capabilities[].availableAccelerators.list():label=AVAILABLE_ACCELERATORS)"
)


@command(locations, "list", form=_LIST_FORMAT, lists=True)
@pass_session
def list_locations(session: Session) -> None:
    """List locations: this engine is one."""
    engine, project = session.engine, session.project
    session.show_all(
        session.walk(
            lambda size, token: engine.list_locations(project, page_size=size, page_token=token)
        )
    )


@command(locations, "describe", form="json")
@click.argument("location")
@pass_session
def describe(session: Session, location: str) -> None:
    """Show everything about LOCATION."""
    session.show(encode(session.engine.get_location(session.project, location)))
