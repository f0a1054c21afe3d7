"""`mlengine up`, `down` and `status`: the local engine as a process."""

from __future__ import annotations

import os

import click

from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.client import local

__all__ = ["down", "status", "up"]


@click.command(cls=Command)
@click.option("--host", help="Address to listen on (default: 127.0.0.1).")
@click.option("--port", help="Port to listen on (default: 8470); 0 takes any free one.")
@pass_session
def up(session: Session, host: str | None, port: str | None) -> None:
    """Run an engine in the foreground, until Ctrl-C or 'mlengine down'."""
    flags = ["--home", str(session.settings.home)]
    for name, value in (("--host", host), ("--port", port)):
        flags += [name, value] if value is not None else []
    argv = local.daemon_argv(*flags)
    # The engine takes this process's place: its pid is the one that was started.
    os.execv(argv[0], argv)


@click.command(cls=Command)
@pass_session
def down(session: Session) -> None:
    """Stop the local engine; running jobs and served versions go on."""
    stopped = local.stop(session.settings)
    session.say(f"Stopped the engine (process {stopped.pid}).")
    if stopped.status:
        left = [
            _count(stopped.status.running_jobs, "running job"),
            _count(stopped.status.ready_versions, "served version"),
        ]
        if any(left):
            what = " and ".join(part for part in left if part)
            session.say(f"Going on without it: {what}. The next engine takes over.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


@click.command(cls=Command)
@pass_session
def status(session: Session) -> None:
    """Show what runs; starts nothing."""
    import msgspec

    session.show(msgspec.to_builtins(local.status(session.settings)))
