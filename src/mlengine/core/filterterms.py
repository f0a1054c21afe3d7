"""What a filter is made of: the terms of `core.filters`, asked of resources as JSON.

Pure: time is linear in term and resource, but for a `Pattern`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from mlengine.core.clock import parse_duration_s
from mlengine.core.names import last_id
from mlengine.core.wire import camel

__all__ = [
    "UNSET",
    "Every",
    "Key",
    "Name",
    "Node",
    "Not",
    "OneOf",
    "Path",
    "Pattern",
    "Restriction",
    "Value",
    "number_in",
    "reach",
    "spread",
]

_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(?:\.[0-9]{1,300})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)


class Node(Protocol):
    """A term of a filter."""

    def matches(self, resource: Mapping[str, Any]) -> bool:
        """Tell whether a resource passes."""
        ...


class Every(NamedTuple):
    """AND."""

    parts: tuple[Node, ...]

    def matches(self, resource: Mapping[str, Any]) -> bool:
        return all(part.matches(resource) for part in self.parts)


class OneOf(NamedTuple):
    """OR."""

    parts: tuple[Node, ...]

    def matches(self, resource: Mapping[str, Any]) -> bool:
        return any(part.matches(resource) for part in self.parts)


class Not(NamedTuple):
    """NOT."""

    part: Node

    def matches(self, resource: Mapping[str, Any]) -> bool:
        return not self.part.matches(resource)


class Key(Protocol):
    """The left side of a term."""

    def found(self, resource: Mapping[str, Any]) -> list[Any]:
        """Return what a resource has there: an item for each of a list, `UNSET` for no field."""
        ...


class Path(NamedTuple):
    """A key that is camelCase or snake_case."""

    names: tuple[str, ...]

    def found(self, resource: Mapping[str, Any]) -> list[Any]:
        return list(spread(reach(resource, self.names, _own_name)))


class Name(NamedTuple):
    """The key of a resource's own name, whole and as the id that it ends with: people mean this."""

    def found(self, resource: Mapping[str, Any]) -> list[Any]:
        name = resource.get("name", UNSET)
        return [name, last_id(name)] if isinstance(name, str) else [name]


class Restriction(NamedTuple):
    """A field compared with a value."""

    key: Key
    operator: str
    value: Value

    def matches(self, resource: Mapping[str, Any]) -> bool:
        found = self.key.found(resource)
        if self.operator == "!=":
            return not self._equal(found)
        if self.operator == "=":
            return self._equal(found)
        if self.operator == ":":
            return self._has(found)
        return any(self._ordered(item) for item in found)

    def _equal(self, found: list[Any]) -> bool:
        return any(self.value.equals(item) for item in found)

    def _has(self, found: list[Any]) -> bool:
        if self.value.text == "*":
            return any(item not in (UNSET, "", [], {}) for item in found)
        return any(self.value.is_in(item) for item in found)

    def _ordered(self, item: Any) -> bool:
        order = self.value.compare(item)
        if order is None:
            return False
        return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[self.operator]


class Pattern(NamedTuple):
    """A field searched for a regular expression."""

    key: Key
    pattern: re.Pattern[str]

    def matches(self, resource: Mapping[str, Any]) -> bool:
        found = self.key.found(resource)
        return any(self.pattern.search(str(item)) for item in found if item is not UNSET)


class _Unset:
    """Stands for a field that the resource could have and does not show."""


UNSET = _Unset()


class Value:
    """The right side of a restriction, with each reading of it made once."""

    def __init__(self, text: str, pieces: list[str]) -> None:
        self.text = text
        self.pieces = pieces
        self.number = number_in(text)
        self.moment = _moment(text)
        self.duration_s = _duration_s(text)

    def equals(self, item: Any) -> bool:
        if item is UNSET:
            return self.text in ("", "false") or self.number == 0
        if isinstance(item, bool):
            return self.text.lower() == ("true" if item else "false")
        if isinstance(item, str) and self.like(item):
            return True
        return isinstance(item, str | int | float) and self.compare(item) == 0

    def is_in(self, item: Any) -> bool:
        """Tell whether ``:`` holds: a map has the value as a key, anything else equals it."""
        if isinstance(item, Mapping):
            return any(self.like(str(key)) for key in item)
        return self.equals(item)

    def like(self, text: str) -> bool:
        """Match literally between the stars: first piece at the start, last at the end."""
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            return text == first
        if not text.startswith(first):
            return False
        at = len(first)
        for piece in self.pieces[1:-1]:
            at = text.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return len(text) - at >= len(last) and text.endswith(last)

    def compare(self, item: Any) -> int | None:
        """Return the sign of item - value, or None when they cannot be ordered."""
        if item is UNSET:
            return None if self.number is None else _sign(0.0, self.number)
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            return None
        if self.number is not None:
            number = number_in(item) if isinstance(item, str) else float(item)
            return None if number is None else _sign(number, self.number)
        if not isinstance(item, str):
            return None
        if self.moment is not None:
            moment = _moment(item)
            return None if moment is None else _sign(moment, self.moment)
        if self.duration_s is not None and (duration_s := _duration_s(item)) is not None:
            return _sign(duration_s, self.duration_s)
        return (item > self.text) - (item < self.text)


def _sign(left: float, right: float) -> int:
    return (left > right) - (left < right)


def number_in(text: str) -> float | None:
    """Return the number that a text is: the API has 64-bit integers and parameters as texts."""
    return float(text) if _NUMBER.fullmatch(text) else None


def _moment(text: str) -> float | None:
    if len(text) < 10 or not text[:4].isdigit() or text[4] != "-":
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()


def _duration_s(text: str) -> float | None:
    try:
        return parse_duration_s(text)
    except ValueError:
        return None


def reach(
    item: Any,
    path: tuple[str, ...],
    own_name: Callable[[Mapping[str, Any], str], str | None],
) -> Iterator[Any]:
    """Yield what a path leads to; a list on the way stands for each of its items.

    Args:
        item: Where the path begins.
        path: Names of fields.
        own_name: Gives the name that a map itself has for one of the path; None if it has none.
    """
    if not path:
        yield item
    elif isinstance(item, list):
        for part in item:
            yield from reach(part, path, own_name)
    elif isinstance(item, Mapping):
        key = own_name(item, path[0])
        if key is not None:
            yield from reach(item[key], path[1:], own_name)
        elif len(path) == 1:
            yield UNSET


def spread(items: Iterable[Any]) -> Iterator[Any]:
    """Yield items, those of a list one by one."""
    for item in items:
        if isinstance(item, list):
            yield from spread(item)
        else:
            yield item


def _own_name(item: Mapping[str, Any], name: str) -> str | None:
    key = name if name in item else camel(name)
    return key if key in item else None
