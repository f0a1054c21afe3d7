"""The `filter` of list methods: text → a predicate over resources as JSON.

    expression  = group { "AND" group | group }          groups side by side mean AND
    group       = term { "OR" term }                     OR binds tighter than AND (AIP-160)
    term        = [ "NOT" | "-" ] ( "(" expression ")" | restriction )
    restriction = path operator value
    path        = name { "." name }                      trainingInput.region, labels."a.b"
    operator    = ":" | "=" | "!=" | "<" | "<=" | ">" | ">="

A name may be camelCase or snake_case. In a value ``*`` stands for any characters and ``\\*`` for
itself; quotes (double or single) allow spaces. ``:`` asks whether a list, a map or a text *has* the
value, and ``path:*`` whether it is there at all; with these and ``=`` a resource's own ``name`` is
also the id that it ends with. Numbers, RFC 3339 times and durations compare as such; an unset field
equals its zero value, because answers leave it out. A name that the resource does not have is
refused, but for what is in a map.

``--filter`` of the commands takes what gcloud's takes beyond that:

    restriction = path ( "~" | "!~" ) pattern            a regular expression is found, or is not
                | path ( ":" | "=" | "!=" ) "(" value { [ "OR" | "," ] value } ")"
    path        = name { "." name } { "." transform "(" arguments ")" }

and asks in any case and word by word (`core.filterwords`).

Pure: time is linear in filter and resource but for a regular expression, which only a command's own
filter may hold; depth is bounded, nothing reaches a database.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.filterterms import (
    Every,
    Key,
    Name,
    Node,
    Not,
    OneOf,
    Path,
    Pattern,
    Restriction,
    Value,
)
from mlengine.core.filterwords import AnyCaseKey, AnyCaseValue
from mlengine.core.resources import Resource
from mlengine.core.wire import camel, field_types

__all__ = ["MAX_DEPTH", "MAX_FILTER_BYTES", "Filter", "parse"]

MAX_FILTER_BYTES = 10 * 1024
MAX_DEPTH = 50
_SHOWN = 100  # letters of a field's name that the caller made up

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*|[0-9][A-Za-z0-9_\-]*")
_OPERATOR = re.compile(r"!=|<=|>=|[:=<>]")
_OPERATOR_OF_GCLOUD = re.compile(r"!=|<=|>=|!~|[:=<>~]")
# Colons stay inside, so that a time needs no quotes.
_BARE_VALUE = re.compile(r"[^\s()<>=!\"',]+")
_BARE_PATTERN = re.compile(r"[^\s()\"']+")
_ARGUMENTS = re.compile(r"""(?:[^()"']|"[^"]*"|'[^']*')*\)""")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|' + r"'((?:[^'\\]|\\.)*)'", re.DOTALL)


class Filter:
    """A parsed filter.

    Example:
        >>> parse("state=FAILED AND jobId:rnn*").matches({"jobId": "rnn_1", "state": "FAILED"})
        True
    """

    def __init__(self, root: Node | None) -> None:
        self._root = root

    def matches(self, resource: Mapping[str, Any]) -> bool:
        """Tell whether `resource`, as `core.wire.encode` writes it, passes."""
        return self._root is None or self._root.matches(resource)


def parse(
    text: str,
    kind: type[Resource] | None = None,
    *,
    of_gcloud: bool = False,
    key_of: Callable[[tuple[str, ...], str], Key] | None = None,
) -> Filter:
    """Read a filter over resources of a kind, or over any; an empty one lets everything pass.

    Args:
        text: The filter.
        kind: What it is over; names of other fields are refused.
        of_gcloud: Whether it may hold what only gcloud's ``--filter`` knows.
        key_of: Makes the key of a path's names and of the transforms behind them, such as
            ``date("%Y")``; may raise `InvalidArgument`. Without it there are no transforms.

    Raises:
        InvalidArgument: It is longer than `MAX_FILTER_BYTES`, nested deeper than `MAX_DEPTH`, not
            of the grammar (the message tells at which character), or names an unknown field.
    """
    if len(text.encode("utf-8", "replace")) > MAX_FILTER_BYTES:
        raise InvalidArgument(
            f"The filter is longer than {MAX_FILTER_BYTES} bytes.",
            "Ask for less at once.",
            field="filter",
        )
    return Filter(_Parser(text, kind, of_gcloud, key_of).parse())


class _Parser:
    def __init__(
        self,
        text: str,
        kind: type[Resource] | None,
        of_gcloud: bool,
        key_of: Callable[[tuple[str, ...], str], Key] | None,
    ) -> None:
        self.text, self.at, self.depth, self.kind = text, 0, 0, kind
        self.of_gcloud, self.key_of = of_gcloud, key_of

    def parse(self) -> Node | None:
        self._skip_space()
        if self.at == len(self.text):
            return None
        root = self._expression()
        if self.at < len(self.text):
            raise self._error("Unexpected text")
        return root

    def _expression(self) -> Node:
        parts = [self._group()]
        while self.at < len(self.text) and self.text[self.at] != ")":
            self._keyword("AND")
            parts.append(self._group())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _group(self) -> Node:
        parts = [self._term()]
        while self._keyword("OR"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else OneOf(tuple(parts))

    def _term(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error("The filter is nested too deep")
        try:
            if self._keyword("NOT") or self._symbol("-"):
                return Not(self._term())
            if self._symbol("("):
                inner = self._expression()
                if not self._symbol(")"):
                    raise self._error("A ')' is missing")
                return inner
            return self._restriction()
        finally:
            self.depth -= 1

    def _restriction(self) -> Node:
        names, calls = self._path()
        operators = _OPERATOR_OF_GCLOUD if self.of_gcloud else _OPERATOR
        match = operators.match(self.text, self.at)
        if match is None:
            known = ": = != ~ !~ < <= > >=" if self.of_gcloud else ": = != < <= > >="
            raise self._error(f"An operator ({known}) is missing")
        _check_path(self.kind, names)
        operator = match[0]
        key = self._key(tuple(names), calls, operator)
        self._move(match.end())
        if operator.endswith("~"):
            found = Pattern(key, self._pattern())
            return Not(found) if operator == "!~" else found
        if self.of_gcloud and operator in (":", "=", "!=") and self._symbol("("):
            positive = ":" if operator == ":" else "="
            some = OneOf(tuple(Restriction(key, positive, value) for value in self._values()))
            return Not(some) if operator == "!=" else some
        return Restriction(key, operator, self._value())

    def _key(self, names: tuple[str, ...], calls: str, operator: str) -> Key:
        if self.key_of is not None:
            return self.key_of(names, calls)
        if calls:
            raise self._error(f"The transform {calls[:_SHOWN]!r} cannot be used")
        if self.of_gcloud:
            return AnyCaseKey(names)
        return Name() if names == ("name",) and operator in (":", "=", "!=") else Path(names)

    def _path(self) -> tuple[list[str], str]:
        """Read the names of a path, and the text of what gcloud lets stand behind them."""
        names, start = [self._name()], len(self.text)
        while self._symbol("."):
            at = self.at
            name = self._name()
            if self.of_gcloud and self._symbol("("):
                start = min(start, at)
                self._arguments()
            elif start < len(self.text):
                raise self._error("A '(' behind the transform is missing")
            else:
                names.append(name)
        return names, self.text[start : self.at].strip()

    def _arguments(self) -> None:
        match = _ARGUMENTS.match(self.text, self.at)
        if match is None:
            raise self._error("A ')' is missing")
        self._move(match.end())

    def _name(self) -> str:
        quoted = _QUOTED.match(self.text, self.at)
        if quoted:
            self._move(quoted.end())
            return "".join(_unescape(_inside(quoted), stars=False))
        match = _NAME.match(self.text, self.at)
        if match is None or match[0] in ("AND", "OR", "NOT"):
            raise self._error("A field name is missing")
        self._move(match.end())
        return match[0]

    def _values(self) -> list[Value]:
        """Read the rest of a list of values, up to its closing bracket."""
        found = [self._value(ends=" \t\r\n),")]
        while not self._symbol(")"):
            if self.at == len(self.text):
                raise self._error("A ')' is missing")
            if not self._symbol(","):
                self._keyword("OR")
            found.append(self._value(ends=" \t\r\n),"))
        return found

    def _pattern(self) -> re.Pattern[str]:
        quoted = _QUOTED.match(self.text, self.at)
        match = quoted or _BARE_PATTERN.match(self.text, self.at)
        if match is None:
            raise self._error("A regular expression is missing")
        try:
            pattern = re.compile(_inside(quoted) if quoted else match[0])
        except (re.error, OverflowError, RecursionError) as error:
            raise self._error(f"No regular expression ({error})") from None
        self._move(match.end())
        return pattern

    def _value(self, ends: str = " \t\r\n)") -> Value:
        match = _QUOTED.match(self.text, self.at)
        raw = _inside(match) if match else ""
        if match is None:
            match = _BARE_VALUE.match(self.text, self.at)
            if match is None or match[0] in ("AND", "OR", "NOT"):
                raise self._error("A value is missing")
            raw = match[0]
        if match.end() < len(self.text) and self.text[match.end()] not in ends:
            self.at = match.end()
            raise self._error("A space is missing")
        self._move(match.end())
        pieces = _unescape(raw, stars=True)
        value = AnyCaseValue if self.of_gcloud else Value
        return value(raw if len(pieces) > 1 else pieces[0], pieces)

    def _keyword(self, word: str) -> bool:
        end = self.at + len(word)
        if not self.text.startswith(word, self.at):
            return False
        if end < len(self.text) and self.text[end] not in " \t\r\n(":
            return False
        self._move(end)
        return True

    def _symbol(self, symbol: str) -> bool:
        if not self.text.startswith(symbol, self.at):
            return False
        self._move(self.at + len(symbol))
        return True

    def _move(self, to: int) -> None:
        self.at = to
        self._skip_space()

    def _skip_space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _error(self, problem: str) -> InvalidArgument:
        shown = self.text[self.at : self.at + 20]
        where = f"at character {self.at + 1}: {shown!r}" if shown else "at the end"
        return InvalidArgument(
            f"{problem} in the filter, {where}.",
            "Write it like: jobId:census* AND state=FAILED.",
            field="filter",
        )


def _check_path(kind: type[Resource] | None, path: Sequence[str]) -> None:
    """Refuse a path to what such a resource does not have; a map may hold any key."""
    here: Any = kind or Any
    for depth, name in enumerate(path):
        while typing.get_origin(here) is list:
            (here,) = typing.get_args(here)
        if here is Any or typing.get_origin(here) is dict:
            return
        known = field_types(here) if isinstance(here, type) and issubclass(here, Resource) else {}
        key = name if name in known else camel(name)
        if key not in known:
            raise InvalidArgument(
                f"The filter names {'.'.join(path[: depth + 1])[:_SHOWN]!r}, which is no field of "
                f"a {getattr(kind, '__name__', '')}.",
                f"{did_you_mean(name, known)}Its fields: {', '.join(known) or 'none'}.",
                field="filter",
            )
        here = known[key]


def _inside(match: re.Match[str]) -> str:
    return match[1] if match[1] is not None else match[2]


def _unescape(raw: str, *, stars: bool) -> list[str]:
    """Take escapes out; with `stars`, split at each star that is not escaped."""
    pieces, current, escaped = [], [], False
    for char in raw:
        if escaped:
            current.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "*" and stars:
            pieces.append("".join(current))
            current = []
        else:
            current.append(char)
    pieces.append("".join(current))
    return pieces
