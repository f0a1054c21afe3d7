"""`mlengine runtimes`: the libraries that ``--runtime-version`` can ask for."""

from __future__ import annotations

import click

from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Group, command
from mlengine.core.wire import encode

__all__ = ["runtimes"]

runtimes = Group("runtimes", help="Pinned libraries that jobs ask for with --runtime-version.")

_LIST_FORMAT = (
    "table(name, python:optional, built.yesno(yes=yes, no=no), "
    "sizeBytes.size():label=SIZE:optional, description)"
)


@command(runtimes, "list", form=_LIST_FORMAT, lists=True, has_uris=False)
@pass_session
def list_runtimes(session: Session) -> None:
    """List runtimes, and which of them are built here."""
    session.show_all(session.engine.list_runtimes())


@command(runtimes, "describe")
@click.argument("name")
@pass_session
def describe(session: Session, name: str) -> None:
    """Show everything about the runtime NAME: pins, interpreter, the log of its last build."""
    session.show(encode(session.engine.get_runtime(name)))


@command(runtimes, "build")
@click.argument("names", nargs=-1, required=True)
@pass_session
def build(session: Session, names: tuple[str, ...]) -> None:
    """Build the runtimes NAMES now, so that no job has to wait for it."""
    found = [session.engine.get_runtime(name) for name in names]
    for runtime in found:
        if runtime.built:
            session.say(f"The runtime [{runtime.name}] is built already.")
            continue
        session.say(f"Building the runtime [{runtime.name}]...", end="")
        made = session.engine.build_runtime(runtime.name)
        session.say(f"done ({_megabytes(made.size_bytes)}).")
        if made.problem:
            session.warn(made.problem)


@command(runtimes, "delete")
@click.argument("names", nargs=-1, required=True)
@pass_session
def delete(session: Session, names: tuple[str, ...]) -> None:
    """Remove what is built of the runtimes NAMES; the next job builds it again."""
    found = [session.engine.get_runtime(name) for name in names]
    listed = ", ".join(f"[{runtime.name}]" for runtime in found)
    session.confirm(f"This will delete what is built of {listed}, and all environments over it.")
    for runtime in found:
        session.engine.delete_runtime(runtime.name)
        session.say(f"Deleted what was built of [{runtime.name}].")


@command(runtimes, "gc")
@click.option("--keep-bytes", type=click.IntRange(min=0), metavar="N",
              help="What may stay; default: the setting environments_max_bytes.")  # fmt: skip
@pass_session
def gc(session: Session, keep_bytes: int | None) -> None:
    """Remove environments that no job uses, those used longest ago first."""
    freed = session.engine.collect_environments(keep_bytes=keep_bytes)
    session.say(f"Freed {_megabytes(freed)}.")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"
