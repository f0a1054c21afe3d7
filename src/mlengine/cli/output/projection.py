"""The little language of ``--format``: which kind of output, which fields, changed how.

format     = kind [ "[" attribute { "," attribute } "]" ] [ "(" column { "," column } ")" ]
column     = path { "." transform "(" arguments ")" } { ":" attribute }
path       = key { "." key | "[" [ index ] "]" }
attribute  = name [ "=" value ]

table[no-heading](jobId.basename(), state:label=STATUS, createTime.date(tz=LOCAL):sort=1)
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = [
    "Column",
    "Format",
    "FormatError",
    "Transform",
    "parse_format",
    "parse_sort",
    "parse_transforms",
]

KINDS = ("config", "csv", "get", "json", "list", "none", "table", "value", "yaml")
_NEEDS_COLUMNS = ("csv", "get", "table", "value")

_KEY = re.compile(r"[A-Za-z0-9_@*-]+")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BARE = re.compile(r"[^,:()\[\]\"']*")
_BARE_ARGUMENT = re.compile(r"[^,)\"']*")


class FormatError(ValueError):
    """The text is not a format; the message says where it stops being one."""


class Transform(NamedTuple):
    """A function over a field's value: ``date("%Y", tz=LOCAL)``."""

    name: str
    args: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()


class Column(NamedTuple):
    """One field to show; an index of None in `path` means every item of a list."""

    path: tuple[str | int | None, ...]
    transforms: tuple[Transform, ...] = ()
    label: str = ""
    sort: int = 0
    reverse: bool = False
    optional: bool = False

    @property
    def heading(self) -> str:
        """The label, or the field's own name as ``JOB_ID``."""
        return self.label or _heading(self.path)


class Format(NamedTuple):
    """A parsed format."""

    kind: str
    attributes: tuple[tuple[str, str], ...] = ()
    columns: tuple[Column, ...] = ()

    def attribute(self, name: str, default: str = "") -> str:
        """Return an attribute's value: ``"true"`` for a bare name, ``"false"`` for ``no-name``."""
        return dict(self.attributes).get(name, default)

    def separator(self, default: str) -> str:
        """Return what stands between two cells; a tab may be written as ``\\t``."""
        return self.attribute("separator", default).replace("\\t", "\t")


def parse_format(text: str) -> Format:
    """Read a format.

    Raises:
        FormatError: It is not one; nothing has been printed yet.

    Example:
        >>> parse_format("value(jobId.basename())").columns[0].transforms[0].name
        'basename'
    """
    reader = _Reader(text)
    reader.space()
    kind = reader.take(_NAME, "a format such as json or value(name)")
    if kind not in KINDS:
        from mlengine.core.errors import did_you_mean

        raise FormatError(
            f"There is no format '{kind}'. {did_you_mean(kind, KINDS)}Formats: {', '.join(KINDS)}."
        )
    attributes = reader.attributes_in_brackets()
    columns = reader.columns() if reader.accept("(") else ()
    reader.space()
    reader.end()
    if kind in _NEEDS_COLUMNS and not columns:
        raise FormatError(f"The format '{kind}' needs fields, such as {kind}(name).")
    form = Format(kind, attributes, columns)
    if kind == "csv":
        _check_delimiter(form.separator(","))
    return form


def _check_delimiter(text: str) -> None:
    """Refuse what a CSV's reader could not tell from the end of a row or a quoted cell."""
    if len(text) != 1 or text in '"\r\n':
        raise FormatError(
            f"The separator of csv is {text!r}: it is one character, and no quote or line's end. "
            "For more than one, use value[separator=...](...)."
        )


def parse_sort(text: str) -> tuple[Column, ...]:
    """Read ``--sort-by``: keys separated by commas, ``~`` in front of one sorts it downwards."""
    keys = []
    for order, part in enumerate(text.split(","), start=1):
        reader = _Reader(part.strip())
        reverse = reader.accept("~")
        column = reader.column()
        reader.end()
        keys.append(column._replace(sort=order, reverse=reverse))
    return tuple(keys)


def parse_transforms(text: str) -> tuple[Transform, ...]:
    """Read the transforms behind a field: ``basename().upper()``."""
    reader = _Reader(text)
    reader.space()
    found = reader.transforms()
    reader.end()
    return found


class _Reader:
    """Reads from left to right and never back."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def space(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1

    def accept(self, token: str) -> bool:
        self.space()
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise self._wrong(f"'{token}'")

    def take(self, pattern: re.Pattern[str], wanted: str) -> str:
        self.space()
        match = pattern.match(self._text, self._at)
        if not match or not match.group():
            raise self._wrong(wanted)
        self._at = match.end()
        return match.group()

    def end(self) -> None:
        if self._at < len(self._text):
            raise self._wrong("the end")

    def _wrong(self, wanted: str) -> FormatError:
        return FormatError(
            f"The format {self._text!r} is not understood: {wanted} was expected at "
            f"character {self._at + 1}."
        )

    def attributes_in_brackets(self) -> tuple[tuple[str, str], ...]:
        found: list[tuple[str, str]] = []
        if self.accept("[") and not self.accept("]"):
            found.append(self._attribute())
            while self.accept(","):
                found.append(self._attribute())
            self.expect("]")
        return tuple(found)

    def _attribute(self) -> tuple[str, str]:
        name = self.take(_NAME, "an attribute")
        if self.accept("="):
            return name, self._value(_BARE)
        return (name[3:], "false") if name.startswith("no-") else (name, "true")

    def _value(self, bare: re.Pattern[str]) -> str:
        self.space()
        quote = self._text[self._at : self._at + 1]
        if quote and quote in "\"'":
            end = self._text.find(quote, self._at + 1)
            if end < 0:
                raise self._wrong(f"a closing {quote}")
            text, self._at = self._text[self._at + 1 : end], end + 1
            return text
        match = bare.match(self._text, self._at)
        assert match  # it may match nothing, but it matches
        self._at = match.end()
        return match.group().strip()

    def columns(self) -> tuple[Column, ...]:
        if self.accept(")"):
            return ()
        found = [self.column()]
        while self.accept(","):
            if self.accept(")"):  # a comma at the end is no column
                return tuple(found)
            found.append(self.column())
        self.expect(")")
        return tuple(found)

    def column(self) -> Column:
        path: list[str | int | None] = []
        transforms: list[Transform] = []
        self.accept(".")  # gcloud allows `.basename()`-like leading dots
        while True:
            key = self.take(_KEY, "a field's name")
            if self.accept("("):
                transforms.append(self._transform(key))
            elif transforms:
                raise self._wrong("a '(' behind the transform")
            else:
                path.append(key)
                self._indices(path)
            if not self.accept("."):
                break
        return self._column_attributes(Column(tuple(path), tuple(transforms)))

    def _indices(self, path: list[str | int | None]) -> None:
        while self.accept("["):
            if self.accept("]"):
                path.append(None)
                continue
            text = self.take(re.compile(r"-?[0-9]{1,6}"), "an index")
            self.expect("]")
            path.append(int(text))

    def transforms(self) -> tuple[Transform, ...]:
        found: list[Transform] = []
        while not found or self.accept("."):
            name = self.take(_KEY, "a transform's name")
            self.expect("(")
            found.append(self._transform(name))
        return tuple(found)

    def _transform(self, name: str) -> Transform:
        args: list[str] = []
        named: list[tuple[str, str]] = []
        while not self.accept(")"):
            self.space()
            quoted = self._text[self._at : self._at + 1] in ("'", '"')
            value = self._value(_BARE_ARGUMENT)
            key, equals, rest = value.partition("=")
            if equals and not quoted and _NAME.fullmatch(key):
                named.append((key, rest or self._value(_BARE_ARGUMENT)))
            else:
                args.append(value)
            if not self.accept(","):
                self.expect(")")
                break
        return Transform(name, tuple(args), tuple(named))

    def _column_attributes(self, column: Column) -> Column:
        while self.accept(":"):
            name, value = self._attribute()
            if name == "label":
                column = column._replace(label=value)
            elif name == "sort":
                if not re.fullmatch("[0-9]{1,6}", value):
                    raise self._wrong("a number for sort=")
                column = column._replace(sort=int(value))
            elif name == "reverse":
                column = column._replace(reverse=value == "true")
            elif name == "optional":
                column = column._replace(optional=value == "true")
            elif name not in ("align", "wrap", "alias"):  # those change only a look
                raise self._wrong("one of label, sort, reverse, optional")
        return column


def _heading(path: tuple[str | int | None, ...]) -> str:
    names = [part for part in path if isinstance(part, str)]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", names[-1] if names else "")
    return words.replace("-", "_").upper()
