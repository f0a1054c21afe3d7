"""Resources as text in a row, and what every kind of record shares."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from mlengine.core.errors import Internal
from mlengine.core.resources import Resource
from mlengine.core.wire import decode, encode
from mlengine.store.database import Transaction

__all__ = ["apply", "etag", "page", "read", "text"]

R = TypeVar("R", bound=Resource)


def text(resource: Resource, **columns: Any) -> str:
    """Write a resource as JSON, less the attributes that have a column of their own."""
    bare = msgspec.structs.replace(resource, **columns)
    return msgspec.json.encode(encode(bare)).decode()


def read(cls: type[R], body: str, **columns: Any) -> R:
    """Read a resource as it was written, with the columns' attributes put back."""
    stored = decode(cls, msgspec.json.decode(body), at=cls.__name__.lower())
    return msgspec.structs.replace(stored, **columns)


def etag(seq: int, revision: int) -> str:
    """Return what tells one revision from every other, also from those of a removed namesake.

    Example:
        >>> etag(7, 1)
        'Ny4x'
    """
    return base64.b64encode(f"{seq}.{revision}".encode()).decode()


def apply(change: Callable[[R], R], before: R, *, fixed: tuple[str, ...]) -> R:
    """Apply a caller's change to a copy; `fixed` attributes are not the caller's to change."""
    copy = read(type(before), text(before))
    after = change(copy)
    for name in fixed:
        if getattr(after, name) != getattr(before, name):
            raise Internal(
                f"An edit changed {name} from {getattr(before, name)!r} to "
                f"{getattr(after, name)!r}.",
                "This is a defect of mlengine: an edit may not; please report it.",
            )
    return after


def page(
    tx: Transaction,
    select: sa.Select[Any],
    seq: sa.Column[int],
    *,
    before_seq: int | None,
    limit: int,
) -> list[sa.Row[Any]]:
    """Return a page of rows, newest first."""
    if before_seq is not None:
        select = select.where(seq < before_seq)
    return tx.rows(select.order_by(seq.desc()).limit(limit))
