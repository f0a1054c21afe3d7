"""``--filter``, ``--sort-by``, ``--limit`` and ``--flatten`` of a list, in gcloud's order.

A key of the first two is a field in any case, or a heading of the list's table: STATUS is `state`.
A heading stands for the field as it is, not as it is shown: NAME is ``projects/p/models/m``.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mlengine.cli.argv import GlobalFlags
from mlengine.cli.listkeys import ListKeys
from mlengine.cli.output import Column
from mlengine.cli.output.render import sort_rows
from mlengine.core.resources import Resource

__all__ = ["flattened", "select"]


def select(
    resources: Iterable[Resource] | Iterable[dict[str, Any]],
    flags: GlobalFlags,
    *,
    columns: Sequence[Column] = (),
    warn: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Return the rows to show; without --sort-by no more is read than --limit asks for.

    Args:
        resources: What is listed.
        flags: Which of it is shown, and in which order.
        columns: Those whose headings may stand for their fields.
        warn: Is told which keys no row has.

    Raises:
        InvalidArgument: --filter is no filter.
    """
    keys = ListKeys(columns)
    wanted = keys.read_filter(flags.filter) if flags.filter else None
    order = keys.read_sort(flags.sort_by) if flags.sort_by else ()
    rows = flattened(map(keys.encoded, resources), flags.flatten)
    if wanted or order:
        rows = keys.watched(rows)
    if wanted:
        rows = filter(wanted.matches, rows)
    if order:
        held = list(rows)
        rows = iter(sort_rows([keys.spelled(column, held) for column in order], held))
    shown = list(itertools.islice(rows, int(flags.limit)) if flags.limit else rows)
    for text in keys.missing():
        warn(text)
    return shown


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
