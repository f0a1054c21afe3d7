"""`mlengine storage buckets`, and gsutil's `mb` and `rb`."""

from __future__ import annotations

import click

from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Command, Group, command
from mlengine.cli.uploads import bucket_of
from mlengine.core.errors import NotFound
from mlengine.core.resources import Bucket
from mlengine.core.wire import encode

__all__ = ["buckets", "mb", "rb"]

_NO_EFFECT = "Changes nothing: there is"

buckets = Group("buckets", help="Buckets: named stores behind gs://NAME/...")


@command(buckets, "create")
@click.argument("names", nargs=-1, required=True)
@click.option("--backing", default="", metavar="URL", help="Its bytes; default: a folder here.")
@click.option("-l", "--location", expose_value=False, hidden=True)
@pass_session
def create(session: Session, names: tuple[str, ...], backing: str) -> None:
    """Make the buckets NAMES."""
    if backing and len(names) > 1:
        raise click.UsageError("argument --backing: it goes with one bucket.")
    _create(session, names, backing=backing)


def _create(session: Session, names: tuple[str, ...], *, backing: str = "") -> None:
    for name in names:
        made = session.engine.create_bucket(Bucket(name=_name(name), backing=backing))
        session.say(f"Created gs://{made.name}/")


@command(buckets, "list", form="table(name, backing:optional, createTime.date(tz=LOCAL))",
         lists=True)  # fmt: skip
@pass_session
def list_buckets(session: Session) -> None:
    """List buckets."""
    session.show_all(session.engine.list_buckets())


@command(buckets, "describe")
@click.argument("name")
@pass_session
def describe(session: Session, name: str) -> None:
    """Show everything about the bucket NAME."""
    found = session.engine.list_buckets()
    wanted = _name(name)
    for bucket in found:
        if bucket.name == wanted:
            session.show(encode(bucket))
            return
    raise NotFound.among(
        "bucket", wanted, [b.name for b in found], "See 'mlengine storage buckets list'."
    )


@command(buckets, "delete")
@click.argument("names", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Also when it holds objects.")
@pass_session
def delete(session: Session, names: tuple[str, ...], force: bool) -> None:
    """Delete the buckets NAMES."""
    if force:
        listed = ", ".join(f"gs://{_name(name)}/" for name in names)
        session.confirm(f"This will delete {listed} with everything in it.")
    _delete(session, names, force=force)


def _delete(session: Session, names: tuple[str, ...], *, force: bool = False) -> None:
    for name in names:
        session.engine.delete_bucket(_name(name), force=force)
        session.say(f"Deleted gs://{_name(name)}/")


@click.command("mb", cls=Command)
@click.argument("names", nargs=-1, required=True)
@click.option("-l", "region", metavar="REGION", expose_value=False, help=f"{_NO_EFFECT} one place.")
@click.option(
    "-p",
    "project",
    metavar="PROJECT",
    expose_value=False,
    help="Changes nothing: buckets belong to the engine, not to a project.",
)
@click.option(
    "-c",
    "-s",
    "storage_class",
    metavar="CLASS",
    expose_value=False,
    help=f"{_NO_EFFECT} one class.",
)
@pass_session
def mb(session: Session, names: tuple[str, ...]) -> None:
    """Make the buckets NAMES, each gs://BUCKET."""
    _create(session, names)


@click.command("rb", cls=Command)
@click.argument("names", nargs=-1, required=True)
@pass_session
def rb(session: Session, names: tuple[str, ...]) -> None:
    """Delete the buckets NAMES, each gs://BUCKET; they have to be empty."""
    _delete(session, names)


def _name(text: str) -> str:
    return bucket_of(text, "NAME")
