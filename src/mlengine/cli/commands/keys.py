"""`mlengine keys`: who else may call, for what, and how much of it."""

from __future__ import annotations

from collections.abc import Iterable

import click

from mlengine.cli.flags import LIST, merge
from mlengine.cli.session import Session, pass_session
from mlengine.cli.spans import read_span
from mlengine.cli.tree import Group, command
from mlengine.core.clock import SystemClock, rfc3339
from mlengine.core.errors import EngineError, NotFound
from mlengine.core.keys import Key
from mlengine.core.permissions import ENGINE_ROLES, PROJECT_ROLES
from mlengine.core.wire import encode

__all__ = ["keys"]

keys = Group("keys", help="Keys: who else may call, for what, and how much of it.")

_LIST_FORMAT = (
    "table(name.basename():label=KEY_ID, member, role:optional, models.list():optional, "
    "expireTime.date(tz=LOCAL):label=EXPIRES:optional, "
    "revokeTime.date(tz=LOCAL):label=REVOKED:optional)"
)


@command(keys, "create")
@click.argument("key")
@click.option("--role", type=click.Choice([*PROJECT_ROLES, *ENGINE_ROLES]),
              help="What it may do in the project; monitor: read the metrics.")  # fmt: skip
@click.option("--models", type=LIST, multiple=True, help="Models it may ask, if that is all.")
@click.option("--requests-per-second", type=float, default=0.0, metavar="N",
              help="Most predictions in the long run; 0: no limit.")  # fmt: skip
@click.option("--burst", type=int, default=0, metavar="N", help="Most at once above that.")
@click.option("--daily-quota", type=int, default=0, metavar="N",
              help="Most predictions of a day, in UTC; 0: no limit.")  # fmt: skip
@click.option("--expires", default="", metavar="TIME", help="30d, 12h, or 2031-05-06T07:08:09Z.")
@click.option("--member", default="", help="user:NAME, as policies name it; default: the key's id.")
@pass_session
def create(
    session: Session,
    key: str,
    role: str | None,
    models: tuple[list[str], ...],
    requests_per_second: float,
    burst: int,
    daily_quota: int,
    expires: str,
    member: str,
) -> None:
    """Make KEY and print its text, which is shown this once."""
    made = session.engine.create_key(
        session.project,
        Key(
            name=key,
            role=role or "",
            models=merge(models) or [],
            requests_per_second=requests_per_second,
            burst=burst,
            daily_quota=daily_quota,
            expire_time=_expiry(expires),
            member=member,
        ),
    )
    if session.is_format_given:
        session.show(encode(made))
    else:
        session.write(made.key_string + "\n")
    session.say(f"Created key [{made.name}]. Its text is not kept: put it away now.")
    _warn_of_missing(session, made.models)
    if not (made.role or made.models):
        session.say(
            "It may do nothing yet. Give it a model with 'mlengine models "
            f"add-iam-policy-binding MODEL --member {made.member} --role roles/ml.modelUser'."
        )


@command(keys, "list", form=_LIST_FORMAT, lists=True)
@pass_session
def list_keys(session: Session) -> None:
    """List the keys of the project, revoked ones too."""
    session.show_all(session.engine.list_keys(session.project))


@command(keys, "describe")
@click.argument("key")
@pass_session
def describe(session: Session, key: str) -> None:
    """Show everything about KEY but its text, which nobody has but its bearer."""
    session.show(encode(session.engine.get_key(session.project, key)))


@command(keys, "revoke")
@click.argument("key")
@pass_session
def revoke(session: Session, key: str) -> None:
    """Have KEY count no more, at once and for ever."""
    session.confirm(f"This will revoke key [{key}].")
    session.engine.revoke_key(session.project, key)
    session.say(f"Revoked key [{key}].")


def _warn_of_missing(session: Session, models: Iterable[str]) -> None:
    """Warn of models that are not there: a key may be for one to come, or its name be misspelt."""
    for model in models:
        try:
            session.engine.get_model(session.project, model)
        except NotFound:
            session.warn(
                f"There is no model [{model}] in project [{session.project}] now; the key may ask "
                "it as soon as there is."
            )
        except EngineError:  # the key is made and shown: what cannot be seen is no failure of it
            pass


def _expiry(text: str) -> str:
    """Turn ``30d`` into a time; a time stays as it is."""
    try:
        span = read_span(text)
        return text if span is None else rfc3339(SystemClock().now() + span)
    except OverflowError:
        raise click.UsageError(f"argument --expires: {text!r} is too far away.") from None
