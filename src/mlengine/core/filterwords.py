"""The terms of gcloud's ``--filter``: keys and values in any case, and values word by word.

    state=failed          is FAILED too
    name:census           is a word of projects/p/models/census; name:cen* begins one
    TRAININGINPUT.region  is trainingInput.region

A word is letters, digits and underscores. The API's own `filter` is stricter (`core.filterterms`).

Pure; time is at most the product of value and resource.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlengine.core.filterterms import UNSET, Value, reach, spread
from mlengine.core.resources import Resource
from mlengine.core.wire import camel, field_types

__all__ = ["AnyCaseKey", "AnyCaseValue", "is_field", "own_name"]


class AnyCaseKey:
    """A key whose names are found in any case.

    Args:
        names: What was typed, dot by dot.
        alias: The path that it stands for where a resource has no field of just that name.
        change: Makes of what is there what is compared.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        alias: tuple[str, ...] = (),
        change: Callable[[Any], Any] | None = None,
    ) -> None:
        self.names, self._alias, self._change = names, alias, change

    def path(self, resource: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the path to take in a resource."""
        return self._alias if self._alias and self.names[0] not in resource else self.names

    def found(self, resource: Mapping[str, Any]) -> list[Any]:
        items = reach(resource, self.path(resource), own_name)
        if self._change is None:
            return list(spread(items))
        changed = [self._change(None if item is UNSET else item) for item in items]
        return [UNSET if item is None else item for item in spread(changed)]

    def is_in(self, resource: Mapping[str, Any]) -> bool:
        """Tell whether a resource shows such a field."""
        items = reach(resource, self.path(resource), own_name)
        return any(item is not UNSET for item in items)


class AnyCaseValue(Value):
    """A value that equals texts of any case, and of which ``:`` finds words."""

    def __init__(self, text: str, pieces: list[str]) -> None:
        super().__init__(text, [piece.casefold() for piece in pieces])

    def equals(self, item: Any) -> bool:
        if item is UNSET and self.text.lower() == "false":
            return True
        return super().equals(item)

    def like(self, text: str) -> bool:
        return super().like(text.casefold())

    def is_in(self, item: Any) -> bool:
        if isinstance(item, Mapping):
            return any(self._is_word_of(part) for part in (*item, *item.values()))
        return self.equals(item) or self._is_word_of(item)

    def _is_word_of(self, item: Any) -> bool:
        return isinstance(item, str) and _has_words(item.casefold(), self.pieces)


def own_name(item: Mapping[str, Any], name: str) -> str | None:
    """Return a map's own name for `name`, whatever its case; None if it has none.

    Example:
        >>> own_name({"jobId": "census"}, "JOB_ID")
        'jobId'
    """
    if name in item:
        return name
    if (other := camel(name)) in item:
        return other
    wanted = _bare(name)
    return next((key for key in item if isinstance(key, str) and _bare(key) == wanted), None)


def is_field(kind: type[Resource], path: Sequence[str]) -> bool:
    """Tell whether resources of a kind have such a field, set or not; a map's key is none."""
    here: Any = kind
    for name in path:
        while typing.get_origin(here) is list:
            (here,) = typing.get_args(here)
        known = field_types(here) if isinstance(here, type) and issubclass(here, Resource) else {}
        key = own_name(known, name)
        if key is None:
            return False
        here = known[key]
    return True


def _bare(name: str) -> str:
    return name.replace("_", "").casefold()


def _has_words(text: str, pieces: Sequence[str]) -> bool:
    """Find pieces one behind the other, the first where a word begins, the last where one ends."""
    if pieces == [""]:
        return False  # it is a word of nothing
    first, *rest = pieces
    at = _find(text, first, 0, begins=True, ends=not rest)
    if at < 0 or not rest:
        return at >= 0
    at += len(first)
    for piece in rest[:-1]:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return _find(text, rest[-1], at, begins=False, ends=True) >= 0


def _find(text: str, piece: str, at: int, *, begins: bool, ends: bool) -> int:
    while (at := text.find(piece, at)) >= 0:
        if (not begins or _is_edge(text, at)) and (not ends or _is_edge(text, at + len(piece))):
            return at
        at += 1
    return -1


def _is_edge(text: str, at: int) -> bool:
    inside = 0 < at < len(text)
    return not (inside and _is_of_word(text[at - 1]) and _is_of_word(text[at]))


def _is_of_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"
