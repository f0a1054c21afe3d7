"""`mlengine storage`: buckets and objects, with the commands and global flags of gsutil."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mlengine.cli.carrying import carry, progress_of
from mlengine.cli.errors import CommandError
from mlengine.cli.objectheaders import read_headers, with_help
from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Branch, Group, command
from mlengine.core.sizes import size_text

if TYPE_CHECKING:
    from mlengine.cli.objects import EngineObjects
    from mlengine.storage.backends import ObjectInfo
    from mlengine.storage.transfer import CopyStep

__all__ = [
    "no_clobber_option",
    "storage",
    "store_of",
    "tell_of_existing",
    "warn_of_skipped",
]

_WRITING = ("cp", "mv", "rsync")
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


def _take_headers(ctx: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> None:
    session: Session = ctx.obj
    try:
        session.about = read_headers(values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


class _Storage(Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_help(args, self.list_commands(ctx)))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(ctx, args)
        session: Session = ctx.obj
        if session.about and found[0] not in _WRITING:
            raise click.UsageError(
                f"argument -h: headers go with {', '.join(_WRITING)}, not with {found[0]}.", ctx
            )
        return found


storage = _Storage(
    "storage",
    help="Buckets and objects.",
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
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
        click.Option(
            ["-h", "headers"], multiple=True, metavar="HEADER:VALUE", expose_value=False,
            callback=_take_headers,
            help="What cp, mv and rsync say of objects: Content-Type, Cache-Control, "
            "x-goog-meta-...; without a header: help.",
        ),
    ],
)  # fmt: skip

_recursive = click.option(
    "-r", "-R", "--recursive", is_flag=True, help="Folders, with all beneath them."
)
# Declared here, -h asks these commands for no help: scripts say `ls -lh` and `du -sh`.
_readable = click.option("-h", "--readable-sizes", is_flag=True, help="Sizes as 1.5 MiB.")
no_clobber_option = click.option(
    "-n", "--no-clobber", is_flag=True, help="Leave what is there already."
)


def store_of(session: Session, *, destination: str = "") -> EngineObjects:
    """Return the engine's buckets, as `storage.transfer` wants to see them.

    Args:
        session: Of the command.
        destination: Where it writes to, if it does.

    Raises:
        CommandError: Headers were given, and nothing is written that could have any.
    """
    from mlengine.cli.objects import EngineObjects
    from mlengine.storage.sources import is_remote

    if session.about and not is_remote(destination):
        raise CommandError(
            f"'{destination}' is in no bucket: -h says something of objects. Leave it out."
        )
    return EngineObjects(session.engine, about=session.about or None)


def warn_of_skipped(session: Session) -> Callable[[str, str], None]:
    """Return what tells the person what is left out, and why."""
    return lambda what, why: session.warn(f"Skipping {what}: it {why}.")


@command(storage, "cp")
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@_recursive
@no_clobber_option
@pass_session
def cp(
    session: Session,
    sources: tuple[str, ...],
    destination: str,
    recursive: bool,
    no_clobber: bool,
) -> None:
    """Copy SOURCES to DESTINATION: gs://BUCKET/... or paths of this machine.

    A - is standard input, or standard output. From bucket to bucket, content type, encoding and
    metadata of an object go along.
    """
    from mlengine.storage.transfer import leave_existing, plan_copy, run_copy

    store = store_of(session, destination=destination)
    if "-" in (*sources, destination):
        from mlengine.storage.streams import check_streams

        check_streams(sources, destination, recursive=recursive)
        _stream(session, sources, destination, no_clobber=no_clobber)
        return
    steps = plan_copy(
        sources,
        destination,
        recursive=recursive,
        store=store,
        on_skip=warn_of_skipped(session),
    )
    if no_clobber:
        steps = leave_existing(steps, store, tell_of_existing(session))
    tell = progress_of(session, "Copying")
    carried = carry(
        session, steps, lambda step: run_copy([step], store, tell, store.write_like),
        again="'cp -n' or 'rsync' copies the rest",
    )  # fmt: skip
    _say_copied(session, *carried)


def tell_of_existing(session: Session) -> Callable[[CopyStep], None]:
    """Return what tells the person what is there already."""
    return lambda step: session.say(f"Skipping existing item: {step.destination}")


def _say_copied(session: Session, files: int, size: int) -> None:
    noun = "file" if files == 1 else "files"
    session.say(f"Copied {files} {noun} ({size_text(size)}).")


def _stream(
    session: Session, sources: tuple[str, ...], destination: str, *, no_clobber: bool
) -> None:
    from mlengine.storage.streams import read_in, write_out

    store = store_of(session, destination=destination)
    if destination == "-":
        sys.stdout.flush()
        on_skip = warn_of_skipped(session)
        carried = write_out(sources, sys.stdout.buffer, store, on_skip=on_skip)
    elif sys.stdin is None:
        raise CommandError("There is no standard input to copy. Pipe something in.")
    else:
        carried = read_in(destination, sys.stdin.buffer, store, no_clobber=no_clobber)
        if not carried.files:
            session.say(f"Skipping existing item: {destination}")
    _say_copied(session, *carried)


@command(storage, "ls", lists=True)
@click.argument("uris", nargs=-1)
@_recursive
@click.option("-l", "--long", "long_", is_flag=True, help="Also sizes and times.")
@click.option("-L", "full", is_flag=True, help="What `stat` tells of each object.")
@click.option(
    "-a", is_flag=True, expose_value=False, help="Changes nothing: nothing older is kept."
)
@click.option("-d", "itself", is_flag=True, help="Folders themselves, not what is in them.")
@_readable
@pass_session
def ls(
    session: Session,
    uris: tuple[str, ...],
    recursive: bool,
    long_: bool,
    full: bool,
    itself: bool,
    readable_sizes: bool,
) -> None:
    """List buckets, or what lies at URIS, one after the other.

    Wildcards may stand in a bucket's name too; gs:// means all buckets.
    """
    from mlengine.storage.backends import ObjectInfo
    from mlengine.storage.browse import list_places, stat_lines

    store = store_of(session)
    places = [
        place
        for uri in uris or ("gs://",)
        for place in list_places(
            uri,
            recursive=recursive,
            itself=itself,
            store=store,
            buckets=lambda: [bucket.name for bucket in session.engine.list_buckets()],
        )
    ]
    rows = [_row(p) if isinstance(p, ObjectInfo) else {"url": str(p)} for p in places]
    if session.form:
        session.show_all(rows)
        return
    from mlengine.cli.listing import select
    from mlengine.cli.output.escape import printable

    told = {p.uri: stat_lines(p) for p in places if full and isinstance(p, ObjectInfo)}
    for row in select(rows, session.flags, warn=session.warn):
        short = _long_line(row, readable=readable_sizes) if long_ else row["url"]
        for line in told.get(row["url"], [short]):
            session.write(printable(line, newline="\\n") + "\n")


def _long_line(row: dict[str, str], *, readable: bool) -> str:
    size = row.get("size", "")
    size = size_text(int(size)) if size and readable else size
    return f"{size:>12}  {row.get('updated', ''):20}  {row['url']}"


def _row(info: ObjectInfo) -> dict[str, str]:
    from mlengine.core.clock import rfc3339

    return {"url": info.uri, "size": str(info.size), "updated": rfc3339(info.updated)}


@command(storage, "stat")
@click.argument("uris", nargs=-1, required=True)
@pass_session
def stat(session: Session, uris: tuple[str, ...]) -> None:
    """Show the size and time of the objects at URIS; whether one is there, by the exit code."""
    from mlengine.cli.output.escape import printable
    from mlengine.storage.browse import find_objects, stat_lines

    store = store_of(session)
    for uri in uris:
        found = find_objects(uri, store=store)
        if session.form:
            session.show_all(map(_row, found))
        elif not session.flags.quiet:
            lines = [line for info in found for line in stat_lines(info)]
            session.write("".join(printable(line, newline="\\n") + "\n" for line in lines))


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
@click.option(
    "-r",
    "--range",
    "span",
    default="",
    metavar="RANGE",
    help="Only these bytes: START-END, START- or -COUNT.",
)
@click.option("-h", "-d", "--display-url", is_flag=True, help="A line with its name before each.")
@pass_session
def cat(session: Session, uris: tuple[str, ...], span: str, display_url: bool) -> None:
    """Print the bytes of the objects at URIS, as they are."""
    from mlengine.storage.paths import parse_uri
    from mlengine.storage.streams import WHOLE, parse_span, write_out

    for uri in uris:
        parse_uri(uri, wildcards=True)
    part = parse_span(span) if span else WHOLE
    sys.stdout.flush()
    write_out(uris, sys.stdout.buffer, store_of(session), span=part, has_headings=display_url)


@command(storage, "du")
@click.argument("uris", nargs=-1, required=True)
@click.option("-s", "--summarize", is_flag=True, help="Only the total of each.")
@click.option("-c", "--total", is_flag=True, help="Also the total of all, at the end.")
@_readable
@pass_session
def du(
    session: Session, uris: tuple[str, ...], summarize: bool, total: bool, readable_sizes: bool
) -> None:
    """Show how many bytes lie at each of URIS; its total comes last."""
    from mlengine.storage.browse import disk_usage

    store = store_of(session)
    found = [disk_usage(uri, store=store) for uri in uris]
    rows = [
        {"url": str(u.path), "size": str(u.size), "objects": str(u.objects)}
        for usages in found
        for u in (usages[-1:] if summarize else usages)
    ]
    if total:
        size = sum(usages[-1].size for usages in found)
        objects = sum(usages[-1].objects for usages in found)
        rows.append({"url": "total", "size": str(size), "objects": str(objects)})
    if session.form:
        session.show_all(rows)
        return
    from mlengine.cli.output.escape import printable

    for row in rows:
        size_shown = size_text(int(row["size"])) if readable_sizes else row["size"]
        session.write(f"{size_shown:<12} {printable(row['url'], newline=chr(92) + 'n')}\n")
