"""What a filter is made of: the terms of `core.filters`, asked of resources as JSON.

Pure: time is linear in term and resource, but for a `Pattern`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from mlengine.core.clock import parse_duration_s
from mlengine.core.wire import camel

__all__ = ["Every", "Node", "Not", "OneOf", "Pattern", "Restriction", "Value"]

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


class Restriction(NamedTuple):
    """A field compared with a value."""

    path: tuple[str, ...]
    operator: str
    value: Value

    def matches(self, resource: Mapping[str, Any]) -> bool:
        found = list(_lookup(resource, self.path))
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
            return any(item not in (_UNSET, "", [], {}) for item in found)
        for item in found:
            if isinstance(item, Mapping):
                if any(self.value.like(str(key)) for key in item):
                    return True
            elif self.value.equals(item):
                return True
        return False

    def _ordered(self, item: Any) -> bool:
        order = self.value.compare(item)
        if order is None:
            return False
        return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[self.operator]


class Pattern(NamedTuple):
    """A field searched for a regular expression."""

    path: tuple[str, ...]
    pattern: re.Pattern[str]

    def matches(self, resource: Mapping[str, Any]) -> bool:
        found = _lookup(resource, self.path)
        return any(self.pattern.search(str(item)) for item in found if item is not _UNSET)


class _Unset:
    """Stands for a field that the resource could have and does not show."""


_UNSET = _Unset()


class Value:
    """The right side of a restriction, with each reading of it made once."""

    def __init__(self, text: str, pieces: list[str]) -> None:
        self.text = text
        self.pieces = pieces
        self.number = _number(text)
        self.moment = _moment(text)
        self.duration_s = _duration_s(text)

    def equals(self, item: Any) -> bool:
        if item is _UNSET:
            return self.text in ("", "false") or self.number == 0
        if isinstance(item, bool):
            return self.text.lower() == ("true" if item else "false")
        if isinstance(item, str) and self.like(item):
            return True
        return isinstance(item, str | int | float) and self.compare(item) == 0

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
        if item is _UNSET:
            return None if self.number is None else _sign(0.0, self.number)
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            return None
        if self.number is not None:
            number = _number(item) if isinstance(item, str) else float(item)
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


def _number(text: str) -> float | None:
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


def _lookup(item: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Yield what a path leads to; a list on the way stands for each of its items."""
    if isinstance(item, list):
        for part in item:
            yield from _lookup(part, path)
    elif not path:
        yield item
    elif isinstance(item, Mapping):
        key = path[0] if path[0] in item else camel(path[0])
        if key in item:
            yield from _lookup(item[key], path[1:])
        elif len(path) == 1:
            yield _UNSET
