"""`mlengine operations`: work that goes on after the answer."""

from __future__ import annotations

import click

from mlengine.cli.flags import region
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Group, command
from mlengine.cli.waiting import wait_for
from mlengine.core.wire import encode

__all__ = ["operations"]

operations = Group("operations", help="Work that goes on after the answer.")

_LIST_FORMAT = (
    "table(name.basename(), metadata.operationType:label=OPERATION_TYPE, done:label=DONE)"
)


def _id(text: str) -> str:
    """Accept the full name that other commands print."""
    return text.rpartition("/operations/")[2]


@command(operations, "list", form=_LIST_FORMAT, lists=True)
@region
@pass_session
def list_operations(session: Session) -> None:
    """List operations."""
    engine, project = session.engine, session.project
    session.show_all(
        session.walk(
            lambda size, token: engine.list_operations(project, page_size=size, page_token=token)
        )
    )


@command(operations, "describe")
@click.argument("operation")
@region
@pass_session
def describe(session: Session, operation: str) -> None:
    """Show everything about OPERATION."""
    session.show(encode(session.engine.get_operation(session.project, _id(operation))))


@command(operations, "cancel")
@click.argument("operation")
@region
@pass_session
def cancel(session: Session, operation: str) -> None:
    """Ask OPERATION to stop."""
    session.engine.cancel_operation(session.project, _id(operation))


@command(operations, "wait")
@click.argument("operation")
@region
@pass_session
def wait(session: Session, operation: str) -> None:
    """Wait until OPERATION has ended; fail if it failed."""
    found = session.engine.get_operation(session.project, _id(operation))
    wait_for(session, found, f"Waiting for operation [{_id(operation)}]")
