"""`mlengine up`, `down` and `status`: the local engine as a process."""

from __future__ import annotations

import os

import click

from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.client.daemoncommand import daemon_argv

__all__ = ["down", "status", "up"]


@click.command(cls=Command)
@click.option("--host", help="Address to listen on (default: 127.0.0.1).")
@click.option("--port", help="Port to listen on (default: 8470); 0 takes any free one.")
@click.option("--backend", help="Where replicas run: process (default), ray://HOST:PORT or ray.")
@click.option("--tls-cert", help="PEM file of the certificate to answer with, for TLS.")
@click.option("--tls-key", help="PEM file of that certificate's private key.")
@click.option("--grpc-port", help="Port for the Open Inference Protocol over gRPC; 0: none.")
@pass_session
def up(session: Session, /, **options: str | None) -> None:
    """Run an engine in the foreground: until Ctrl-C, 'mlengine down', or its terminal closes."""
    flags = ["--home", str(session.settings.home)]
    flags += ["--project", session.flags.project] if session.flags.project else []
    for name, value in options.items():
        flags += [f"--{name.replace('_', '-')}", value] if value is not None else []
    argv = daemon_argv(*flags)
    # The engine takes this process's place: its pid is the one that was started.
    os.execv(argv[0], argv)


@click.command(cls=Command)
@pass_session
def down(session: Session) -> None:
    """Stop the local engine, or what one that died left to serve; running jobs go on."""
    from mlengine.client import local  # late: `up` has no use for a client

    stopped = local.stop(session.settings)
    if not stopped.pid:
        session.say("No engine was running; stopped the gateway and workers that one had left.")
        return
    session.say(f"Stopped the engine (process {stopped.pid}).")
    running = stopped.status.running_jobs if stopped.status else 0
    if running:
        noun = "job goes on without it" if running == 1 else "jobs go on without it"
        session.say(f"{running} running {noun}; the next engine takes over.")


@click.command(cls=Command)
@pass_session
def status(session: Session) -> None:
    """Show what runs; starts nothing."""
    import msgspec

    from mlengine.client import local

    session.show(msgspec.to_builtins(local.status(session.settings)))
