"""`mlengine storage mv` and `rsync`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlengine.cli.carrying import carry, comparing, progress_of
from mlengine.cli.commands.storage import (
    no_clobber_option,
    store_of,
    tell_of_existing,
    warn_of_skipped,
)
from mlengine.cli.flags import LIST, merge
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command
from mlengine.core.sizes import size_text

if TYPE_CHECKING:
    from mlengine.storage.sources import File

__all__ = ["mv", "rsync"]


@click.command("mv", cls=Command)
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@no_clobber_option
@pass_session
def mv(session: Session, sources: tuple[str, ...], destination: str, no_clobber: bool) -> None:
    """Move SOURCES to DESTINATION: objects and files, and folders with all beneath them.

    Each is removed from its old place once it is whole at the new one. From bucket to bucket,
    content type, encoding and metadata of an object go along.
    """
    from mlengine.storage.transfer import leave_existing, plan_move, run_move

    if "-" in (*sources, destination):
        from mlengine.storage.streams import check_streams

        check_streams(sources, destination, move=True)
    store = store_of(session, destination=destination)
    steps = plan_move(sources, destination, store=store, on_skip=warn_of_skipped(session))
    if no_clobber:
        steps = leave_existing(steps, store, tell_of_existing(session))
    tell = progress_of(session, "Moving")
    count, moved = carry(
        session, steps, lambda step: run_move([step], store, tell, store.write_like),
        again="the same command moves the rest",
    )  # fmt: skip
    noun = "file" if count == 1 else "files"
    session.say(f"Moved {count} {noun} ({size_text(moved)}).")


@click.command("rsync", cls=Command)
@click.argument("source")
@click.argument("destination")
@click.option("-r", "-R", "--recursive", is_flag=True, help="Also what lies in folders.")
@click.option(
    "-d",
    "--delete-unmatched-destination-objects",
    "delete",
    is_flag=True,
    help="Remove what only DESTINATION has.",
)
@click.option(
    "-x",
    "excluded",
    multiple=True,
    metavar="REGEX",
    help="Leave alone, at both, names beneath them that begin so.",
)
@click.option("--exclude", type=LIST, multiple=True, help="The same, several expressions.")
@pass_session
def rsync(
    session: Session,
    source: str,
    destination: str,
    recursive: bool,
    delete: bool,
    excluded: tuple[str, ...],
    exclude: tuple[list[str], ...],
) -> None:
    """Make DESTINATION hold what SOURCE holds: folders of this machine, or gs://BUCKET/...

    Files of one size are compared by their bytes, and only those that differ are copied. What is
    left out, such as links, is said and not removed at DESTINATION.
    """
    from mlengine.storage.mirror import plan_sync, same_bytes
    from mlengine.storage.transfer import remove_place, run_copy

    store = store_of(session, destination=destination)
    tell = progress_of(session, "Copying")
    with comparing(session) as note:

        def is_same(one: File, other: File) -> bool:
            note(one)
            return one.size == other.size and same_bytes(one.place, other.place, store)

        plan = plan_sync(
            source, destination, recursive=recursive, delete=delete, store=store, is_same=is_same,
            on_skip=warn_of_skipped(session), exclude=[*excluded, *(merge(exclude) or ())],
        )  # fmt: skip
        count, copied = carry(
            session, plan.steps, lambda step: run_copy([step], store, tell, store.write_like),
            again="the same command goes on from there",
        )  # fmt: skip
    for place in plan.doomed:
        remove_place(place, store)
        if not session.flags.quiet:
            session.say(f"Removing {place}")
    noun = "file" if count == 1 else "files"
    removed = f", removed {len(plan.doomed)}" if delete else ""
    session.say(f"Copied {count} {noun} ({size_text(copied)}){removed}.")
