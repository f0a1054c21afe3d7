"""`mlengine storage`: buckets and objects, with the commands of gsutil."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Branch, Group, command

if TYPE_CHECKING:
    from mlengine.cli.objects import EngineObjects
    from mlengine.storage.transfer import CopyStep

__all__ = ["storage"]

storage = Group(
    "storage",
    help="Buckets and objects.",
    branches={"buckets": Branch("mlengine.cli.commands.buckets:buckets", "Buckets.")},
)

_recursive = click.option(
    "-r", "-R", "--recursive", is_flag=True, help="Folders, with all beneath them."
)
_readable = click.option("--readable-sizes", is_flag=True, help="Sizes as 1.5MiB.")


def _store(session: Session) -> EngineObjects:
    from mlengine.cli.objects import EngineObjects

    return EngineObjects(session.engine)


@command(storage, "cp")
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@_recursive
@pass_session
def cp(session: Session, sources: tuple[str, ...], destination: str, recursive: bool) -> None:
    """Copy SOURCES to DESTINATION: gs://BUCKET/... or paths of this machine."""
    from mlengine.storage.transfer import plan_copy, run_copy

    store = _store(session)
    steps = plan_copy(
        sources,
        destination,
        recursive=recursive,
        store=store,
        on_skip=lambda what, why: session.warn(f"Skipping {what}: it {why}."),
    )
    copied = run_copy(steps, store, _show_progress if sys.stderr.isatty() else None)
    noun = "file" if len(steps) == 1 else "files"
    session.say(f"Copied {len(steps)} {noun} ({size_text(copied)}).")


def _show_progress(step: CopyStep, done_bytes: int) -> None:
    from mlengine.cli.progress import show

    show(f"Copying {step.source}", done_bytes, step.size)
    if done_bytes >= step.size:
        sys.stderr.write("\n")


@command(storage, "ls", lists=True)
@click.argument("uris", nargs=-1)
@_recursive
@click.option("-l", "--long", "long_", is_flag=True, help="Also sizes and times.")
@_readable
@pass_session
def ls(
    session: Session, uris: tuple[str, ...], recursive: bool, long_: bool, readable_sizes: bool
) -> None:
    """List buckets, or what lies at URIS, one after the other."""
    from mlengine.core.clock import rfc3339
    from mlengine.storage.backends import ObjectInfo
    from mlengine.storage.transfer import list_places

    if not uris:
        rows = [{"url": f"gs://{bucket.name}/"} for bucket in session.engine.list_buckets()]
    else:
        rows = [
            {"url": place.uri, "size": str(place.size), "updated": rfc3339(place.updated)}
            if isinstance(place, ObjectInfo)
            else {"url": str(place)}
            for uri in uris
            for place in list_places(uri, recursive=recursive, store=_store(session))
        ]
    if session.form:
        session.show_all(rows)
        return
    from mlengine.cli.listing import select
    from mlengine.cli.output.escape import printable

    for row in select(rows, session.flags):
        line = printable(row["url"], newline="\\n")
        if long_:
            size = row.get("size", "")
            size = size_text(int(size)) if size and readable_sizes else size
            line = f"{size:>12}  {row.get('updated', ''):20}  {line}"
        session.write(line + "\n")


@command(storage, "rm")
@click.argument("uris", nargs=-1, required=True)
@_recursive
@pass_session
def rm(session: Session, uris: tuple[str, ...], recursive: bool) -> None:
    """Remove the objects at URIS."""
    from mlengine.storage.transfer import plan_remove, run_remove

    store = _store(session)
    doomed = plan_remove(
        uris,
        recursive=recursive,
        store=store,
        on_skip=lambda what, why: session.warn(f"Skipping {what}: it {why}."),
    )
    removed = run_remove(doomed, store, lambda path: session.say(f"Removing {path}"))
    session.say(f"Removed {removed} {'object' if removed == 1 else 'objects'}.")


@command(storage, "cat")
@click.argument("uris", nargs=-1, required=True)
@pass_session
def cat(session: Session, uris: tuple[str, ...]) -> None:
    """Print the bytes of the objects at URIS, as they are."""
    from mlengine.storage.paths import BucketPath, parse_uri
    from mlengine.storage.sources import find_sources, ignore

    store = _store(session)
    sys.stdout.flush()
    for uri in uris:
        parse_uri(uri, wildcards=True)
        for source in find_sources(uri, recursive=False, store=store, on_skip=ignore):
            for file in source.files:
                if not isinstance(file.place, BucketPath):
                    raise CommandError(f"[{uri}] is not in a bucket.")
                for piece in session.engine.read_object(file.place.bucket, file.place.name):
                    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


@command(storage, "du")
@click.argument("uri")
@click.option("-s", "--summarize", is_flag=True, help="Only the total.")
@_readable
@pass_session
def du(session: Session, uri: str, summarize: bool, readable_sizes: bool) -> None:
    """Show how many bytes lie at URI; the total comes last."""
    from mlengine.storage.transfer import disk_usage

    usages = disk_usage(uri, store=_store(session))
    rows = [
        {"url": str(u.path), "size": str(u.size), "objects": str(u.objects)}
        for u in (usages[-1:] if summarize else usages)
    ]
    if session.form:
        session.show_all(rows)
        return
    from mlengine.cli.output.escape import printable

    for row in rows:
        size = size_text(int(row["size"])) if readable_sizes else row["size"]
        session.write(f"{size:<12} {printable(row['url'], newline=chr(92) + 'n')}\n")


def size_text(size_bytes: int) -> str:
    """Write a size for people.

    Example:
        >>> size_text(1536), size_text(3)
        ('1.5 KiB', '3 B')
    """
    size, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"
