"""One page of a list: filtered, sealed with a token, the same way for every kind of resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from mlengine.core import filters, paging
from mlengine.core.resources import Job, Model, Operation, Resource, Version
from mlengine.core.wire import encode
from mlengine.engine import Page

__all__ = ["list_page"]

_CHUNK = 200
_KINDS: dict[str, type[Resource]] = {
    "jobs": Job,
    "models": Model,
    "versions": Version,
    "operations": Operation,
}


class _Record(Protocol):
    @property
    def seq(self) -> int: ...


R = TypeVar("R", bound=_Record)
V = TypeVar("V", bound=Resource)


def list_page(
    fetch: Callable[[int | None, int], Sequence[R]],
    view: Callable[[R], V],
    scope: tuple[str, ...],
    *,
    filter: str,
    page_size: int,
    page_token: str,
    key: bytes,
) -> Page[V]:
    """Return one page, newest first; it stays exact while new records are added.

    Args:
        fetch: Returns at most so many (second) records older than a `seq` (first).
        view: Turns a record into what the caller sees; the filter looks at that.
        scope: What is listed, and of whom, for the seal of the token.
        filter: In the grammar of `core.filters`; empty matches all.
        page_size: As requested; 0 is the default.
        page_token: Of the page before, or empty.
        key: The engine's secret for seals.
    """
    size = paging.page_size(page_size)
    matches = filters.parse(filter, _KINDS[scope[0]])
    place = paging.position(page_token, *scope, filter, key=key)
    before = int(place) if place else None
    items: list[V] = []
    while True:
        # Without a filter, one more than the page tells whether another follows.
        records = fetch(before, _CHUNK if filter else size + 1)
        for record in records:
            if len(items) == size:
                return Page(items, paging.page_token(str(before), *scope, filter, key=key))
            shown = view(record)
            if matches.matches(encode(shown)):
                items.append(shown)
            before = record.seq
        if len(records) < (_CHUNK if filter else size + 1):
            return Page(items)
