"""`mlengine versions logs`: what the workers of a version printed."""

from __future__ import annotations

import sys

import click

from mlengine.cli.flags import region
from mlengine.cli.output.escape import printable
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.wire import encode

__all__ = ["logs"]


@click.command(cls=Command, has_limit=True)
@click.argument("version")
@click.option("--model", required=True, help="Model that the version belongs to.")
@region
@pass_session
def logs(session: Session, version: str, model: str) -> None:
    """Show what the workers of VERSION printed: the last 100 lines of each log, or --limit.

    What its code prints and raises is there. The log that was written last comes last; the line
    above each, on stderr, names the file on the engine's machine.
    """
    limit = int(session.flags.limit or 0)
    found = session.engine.version_logs(session.project, model, version, limit=limit)
    if session.is_format_given:
        session.show(encode(found))
        return
    for log in found.logs:
        sys.stdout.flush()  # the lines of the file before
        session.say(f"==> {log.file}")
        session.write("".join(printable(line) + "\n" for line in log.lines))
    if not found.logs:
        session.say(f"No worker of version [{version}] has printed anything on this engine.")
