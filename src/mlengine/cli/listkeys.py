"""The keys that ``--filter`` and ``--sort-by`` name, and which of them no row of the list has."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlengine.cli.output.projection import Column, FormatError, parse_sort, parse_transforms
from mlengine.cli.output.transforms import check_transforms, transformed
from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.filterwords import AnyCaseKey, is_field, own_name
from mlengine.core.resources import Resource
from mlengine.core.wire import encode, field_types

if TYPE_CHECKING:
    from mlengine.core.filters import Filter

__all__ = ["ListKeys"]

_Path = tuple[str | int | None, ...]


class ListKeys:
    """The keys of one list.

    Args:
        columns: Those whose headings may stand for their fields; of one heading, the first.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._aliases = {column.heading.upper(): column.path for column in reversed(columns)}
        self._kinds: set[type[Resource]] = set()
        self._names: dict[str, None] = {}  # of all rows, in the order of their coming
        self._absent: list[tuple[str, AnyCaseKey]] = []

    def read_filter(self, text: str) -> Filter:
        """Read --filter.

        Raises:
            InvalidArgument: It is no filter, or names a transform that does not exist.
        """
        from mlengine.core.filters import parse

        return parse(text, of_gcloud=True, key_of=self._filter_key)

    def read_sort(self, text: str) -> tuple[Column, ...]:
        """Read --sort-by; `spelled` says where its keys are."""
        columns = parse_sort(text)
        for column in columns:
            self._absent.append(("--sort-by", self._key(_names(column.path))))
        return columns

    def encoded(self, item: Resource | dict[str, Any]) -> dict[str, Any]:
        """Return a resource as a row."""
        if isinstance(item, Resource):
            self._kinds.add(type(item))
            return encode(item)
        return item

    def watched(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pass rows on, and see which keys they have."""
        for row in rows:
            self._names.update(dict.fromkeys(row))
            self._absent = [(flag, key) for flag, key in self._absent if not key.is_in(row)]
            yield row

    def spelled(self, column: Column, rows: Sequence[Mapping[str, Any]]) -> Column:
        """Return a column of --sort-by with its path as the rows spell it."""
        path = column.path
        if len(path) > 1 or not any(path[0] in row for row in rows):
            path = self._alias(path) or path
        spelled = (_own_path(row, path) for row in rows)
        return column._replace(path=next((own for own in spelled if own), path))

    def missing(self) -> Iterator[str]:
        """Yield a warning for each flag with keys that are in no row; of no rows, nothing."""
        known = self._known()
        for flag in ("--filter", "--sort-by") if self._names else ():
            absent = [key for its, key in self._absent if its == flag and not self._is_field(key)]
            names = list(dict.fromkeys(".".join(key.names) for key in absent))
            if names:
                yield (
                    f"{flag} keys were not present in any resource: {', '.join(names)}. "
                    f"{did_you_mean(names[0], known)}Keys: {', '.join(known)}."
                )

    def _filter_key(self, names: tuple[str, ...], calls: str) -> AnyCaseKey:
        key = self._key(names, _change(names, calls) if calls else None)
        self._absent.append(("--filter", key))
        return key

    def _key(
        self, names: tuple[str, ...], change: Callable[[Any], Any] | None = None
    ) -> AnyCaseKey:
        alias = _names(self._alias(names))
        # A parameter may be called `step.size`: it is meant, though a trial has a field `step`.
        return AnyCaseKey(alias if alias and len(names) > 1 else names, alias, change)

    def _alias(self, path: _Path) -> _Path:
        """Return the path of the column with such a heading, dots and all; empty for none."""
        names = _names(path)
        return self._aliases.get(".".join(names).upper(), ()) if len(names) == len(path) else ()

    def _is_field(self, key: AnyCaseKey) -> bool:
        """Tell whether a key is a field that just happens to be unset in every row."""
        paths = (key.names, key.path({}))
        return any(is_field(kind, path) for kind in self._kinds for path in paths)

    def _known(self) -> list[str]:
        """Return the keys that there are, headings first."""
        fields = [name for kind in self._kinds for name in field_types(kind)]
        return list(dict.fromkeys([*reversed(self._aliases), *fields, *self._names]))


def _change(names: tuple[str, ...], calls: str) -> functools.partial[Any]:
    try:
        transforms = parse_transforms(calls)
        check_transforms([Column(names, transforms)])
    except FormatError as error:
        raise InvalidArgument(
            str(error), 'Write it like: createTime.date("%Y")=2026.', field="filter"
        ) from None
    return functools.partial(transformed, transforms=transforms)


def _names(path: _Path) -> tuple[str, ...]:
    """Return a path as filters have it: a list stands for each of its items."""
    return tuple(part for part in path if isinstance(part, str))


def _own_path(item: Any, path: _Path) -> _Path:
    """Spell a path as `item` does; empty if nothing is there."""
    own: list[str | int | None] = []
    for place, part in enumerate(path):
        if part is None:
            rests = (_own_path(inner, path[place + 1 :]) for inner in _items(item))
            return (*own, None, *next((rest for rest in rests if rest), path[place + 1 :]))
        if isinstance(part, int):
            items = _items(item)
            if not -len(items) <= part < len(items):
                return ()
            own.append(part)
            item = items[part]
        else:
            name = own_name(item, part) if isinstance(item, Mapping) else None
            if name is None:
                return ()
            own.append(name)
            item = item[name]
    return tuple(own)


def _items(item: Any) -> list[Any]:
    return item if isinstance(item, list) else []
