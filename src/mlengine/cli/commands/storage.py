"""`mlengine storage`: buckets and objects, with the commands and global flags of gsutil."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Branch, Group, command

if TYPE_CHECKING:
    from mlengine.cli.objects import EngineObjects
    from mlengine.storage.transfer import CopyStep

__all__ = ["progress_of", "size_text", "storage", "store_of", "warn_of_skipped"]

_MOVES, _BUCKETS = "mlengine.cli.commands.storage_moves:", "mlengine.cli.commands.buckets:"


def _be_quiet(ctx: click.Context, _option: click.Parameter, is_given: bool) -> None:
    session: Session = ctx.obj
    if is_given:  # `-mq`; alone it is the global flag, which is read before
        session.flags = session.flags._replace(quiet=True)


def _check_settings(_ctx: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> None:
    """Let pass what only tunes gsutil; a key or an account would be another one than was asked."""
    for value in values:
        name = value.partition("=")[0].lower()
        if not name.startswith(("gsutil:", "boto:")) or "cryption_key" in name:
            raise click.BadParameter(
                f"{value!r} is not supported: only GSUtil:... and Boto:... without keys are read "
                "over. Leave it out."
            )


storage = Group(
    "storage",
    help="Buckets and objects.",
    branches={
        "buckets": Branch(_BUCKETS + "buckets", "Buckets."),
        "mb": Branch(_BUCKETS + "mb", "Make buckets, as `buckets create`."),
        "mv": Branch(_MOVES + "mv", "Move SOURCES to DESTINATION."),
        "rb": Branch(_BUCKETS + "rb", "Delete empty buckets, as `buckets delete`."),
        "rsync": Branch(_MOVES + "rsync", "Make DESTINATION hold what SOURCE holds."),
    },
    params=[
        click.Option(
            ["-m"], is_flag=True, expose_value=False,
            help="Changes nothing: files go one after the other all the same.",
        ),
        click.Option(
            ["-q"], is_flag=True, expose_value=False, callback=_be_quiet,
            help="No progress: neither bars nor a line for each file.",
        ),
        click.Option(
            ["-o", "settings"], multiple=True, metavar="GSUtil:K=V", expose_value=False,
            callback=_check_settings, help="Changes nothing: gsutil's own tuning.",
        ),
    ],
)  # fmt: skip

_recursive = click.option(
    "-r", "-R", "--recursive", is_flag=True, help="Folders, with all beneath them."
)
_readable = click.option("--readable-sizes", is_flag=True, help="Sizes as 1.5MiB.")


def store_of(session: Session) -> EngineObjects:
    """Return the engine's buckets, as `storage.transfer` wants to see them."""
    from mlengine.cli.objects import EngineObjects

    return EngineObjects(session.engine)


def warn_of_skipped(session: Session) -> Callable[[str, str], None]:
    """Return what tells the person what is left out, and why."""
    return lambda what, why: session.warn(f"Skipping {what}: it {why}.")


def progress_of(session: Session, what: str) -> Callable[[CopyStep, int], None] | None:
    """Return what shows how far a step is; None where nobody looks, or wants to."""
    if session.flags.quiet or not sys.stderr.isatty():
        return None
    from mlengine.cli.progress import show

    def tell(step: CopyStep, done_bytes: int) -> None:
        show(f"{what} {step.source}", done_bytes, step.size)
        if done_bytes >= step.size:
            sys.stderr.write("\n")

    return tell


@command(storage, "cp")
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@_recursive
@pass_session
def cp(session: Session, sources: tuple[str, ...], destination: str, recursive: bool) -> None:
    """Copy SOURCES to DESTINATION: gs://BUCKET/... or paths of this machine.

    Only bytes are copied, no content type or metadata of an object.
    """
    from mlengine.storage.transfer import plan_copy, run_copy

    store = store_of(session)
    steps = plan_copy(
        sources,
        destination,
        recursive=recursive,
        store=store,
        on_skip=warn_of_skipped(session),
    )
    copied = run_copy(steps, store, progress_of(session, "Copying"))
    noun = "file" if len(steps) == 1 else "files"
    session.say(f"Copied {len(steps)} {noun} ({size_text(copied)}).")


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
    from mlengine.storage.browse import list_places

    if not uris:
        rows = [{"url": f"gs://{bucket.name}/"} for bucket in session.engine.list_buckets()]
    else:
        rows = [
            {"url": place.uri, "size": str(place.size), "updated": rfc3339(place.updated)}
            if isinstance(place, ObjectInfo)
            else {"url": str(place)}
            for uri in uris
            for place in list_places(uri, recursive=recursive, store=store_of(session))
        ]
    if session.form:
        session.show_all(rows)
        return
    from mlengine.cli.listing import select
    from mlengine.cli.output.escape import printable

    for row in select(rows, session.flags, warn=session.warn):
        line = printable(row["url"], newline="\\n")
        if long_:
            size = row.get("size", "")
            size = size_text(int(size)) if size and readable_sizes else size
            line = f"{size:>12}  {row.get('updated', ''):20}  {line}"
        session.write(line + "\n")


@command(storage, "rm")
@click.argument("uris", nargs=-1, required=True)
@_recursive
@click.option("-f", "--force", is_flag=True, help="No error where nothing matches.")
@pass_session
def rm(session: Session, uris: tuple[str, ...], recursive: bool, force: bool) -> None:
    """Remove the objects at URIS.

    -r gs://BUCKET also removes the bucket, once it is empty; -r gs://BUCKET/* and gs://BUCKET/**
    leave it.
    """
    from mlengine.storage.browse import plan_removal, run_remove

    store = store_of(session)
    doomed = plan_removal(
        uris,
        recursive=recursive,
        force=force,
        store=store,
        on_skip=warn_of_skipped(session),
    )
    tell = None if session.flags.quiet else lambda path: session.say(f"Removing {path}")
    removed = run_remove(doomed.objects, store, tell)
    for bucket in doomed.buckets:
        session.engine.delete_bucket(bucket)
        if tell:
            tell(f"gs://{bucket}/")
    text = f"Removed {removed} {'object' if removed == 1 else 'objects'}"
    if doomed.buckets:
        count = len(doomed.buckets)
        text += f" and {count} {'bucket' if count == 1 else 'buckets'}"
    session.say(text + ".")


@command(storage, "cat")
@click.argument("uris", nargs=-1, required=True)
@pass_session
def cat(session: Session, uris: tuple[str, ...]) -> None:
    """Print the bytes of the objects at URIS, as they are."""
    from mlengine.storage.paths import BucketPath, parse_uri
    from mlengine.storage.sources import find_sources, ignore

    store = store_of(session)
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
    from mlengine.storage.browse import disk_usage

    usages = disk_usage(uri, store=store_of(session))
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
