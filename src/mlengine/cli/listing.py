"""``--filter``, ``--sort-by``, ``--limit`` and ``--flatten`` of a list, in gcloud's order."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from mlengine.cli.argv import GlobalFlags
from mlengine.cli.output import parse_sort
from mlengine.cli.output.render import sort_rows
from mlengine.core.resources import Resource
from mlengine.core.wire import encode

__all__ = ["flattened", "select"]


def select(
    resources: Iterable[Resource] | Iterable[dict[str, Any]], flags: GlobalFlags
) -> list[dict[str, Any]]:
    """Return the rows to show; without --sort-by no more is read than --limit asks for."""
    rows: Iterator[dict[str, Any]] = (
        encode(item) if isinstance(item, Resource) else item for item in resources
    )
    rows = flattened(rows, flags.flatten)
    if flags.filter:
        from mlengine.core.filters import parse

        wanted = parse(flags.filter, of_gcloud=True)
        rows = (row for row in rows if wanted.matches(row))
    if flags.sort_by:
        rows = iter(sort_rows(parse_sort(flags.sort_by), list(rows)))
    return list(itertools.islice(rows, int(flags.limit)) if flags.limit else rows)


def flattened(rows: Iterable[Any], keys: str) -> Iterator[Any]:
    """Yield every row, or what the lists at `keys` make of it; keys are as --flatten has them."""
    for key in filter(None, keys.split(",")):
        rows = _flatten(rows, key.strip().removesuffix("[]").split("."))
    yield from rows


def _flatten(rows: Iterable[Any], path: list[str]) -> Iterator[Any]:
    """Yield a row once for every item of the list at `path`, with the item in the list's place."""
    for row in rows:
        place: Any = row
        for name in path:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, list):
            yield row
            continue
        for item in place:
            flat = copy.deepcopy(row)
            inner: Any = flat
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = item
            yield flat
