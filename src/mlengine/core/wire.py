"""JSON ⇄ resources, by the rules of Google's JSON mapping of protocol buffers.

Reading accepts camelCase and snake_case, strings for int64, ``null`` for "unset", and the strings
``NaN``, ``Infinity`` and ``-Infinity`` for what JSON has no number for; it refuses an unknown field
by name, unless it reads an answer. Writing is camelCase, int64 as strings, unset fields left out.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, Union

import msgspec

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.resources import Resource

__all__ = ["apply_mask", "camel", "decode", "decode_answer", "encode", "field_types", "snake"]

R = TypeVar("R", bound=Resource)
_MAX_SHOWN_CHARS = 128  # of a name that the caller made up
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


class _Rules(NamedTuple):
    """What is dropped in reading, nested or not."""

    output_only: bool = False
    unknown: bool = False


class _Field(NamedTuple):
    attribute: str
    camel: str
    type: Any
    int64: bool
    unset: float | None


def decode(cls: type[R], value: object, *, at: str, own_fields_only: bool = False) -> R:
    """Build a resource from parsed JSON.

    Args:
        cls: The resource's class.
        value: What the JSON parser gave.
        at: Name of the resource in messages, snake_case: ``job``, ``version``.
        own_fields_only: Drop output-only fields, as for a request body; nested ones too.

    Raises:
        InvalidArgument: Unknown field, or a value of the wrong type; the message names it.

    Example:
        >>> from mlengine.core.resources import TrainingInput
        >>> decode(TrainingInput, {"worker_count": "5"}, at="training_input").worker_count
        5
    """
    return _decode(cls, value, at, _Rules(output_only=own_fields_only))


def decode_answer(cls: type[R], value: object, *, at: str) -> R:
    """Build a resource from an engine's answer; a later engine may tell more than is known here.

    Raises:
        InvalidArgument: A value of the wrong type; the message names it.
    """
    return _decode(cls, value, at, _Rules(unknown=True))


def _decode(cls: type[R], value: object, at: str, drops: _Rules) -> R:
    if not isinstance(value, Mapping):
        raise _wrong_type(value, "an object", at)
    fields = _fields(cls)
    found: dict[str, Any] = {}
    for key, item in value.items():
        field = fields.get(key)
        if field is None and drops.unknown:
            continue
        if field is None:
            known = {f.camel for f in fields.values()}
            shown = str(key)[:_MAX_SHOWN_CHARS]
            raise InvalidArgument(
                f"Invalid JSON payload received. Unknown name \"{shown}\" at '{at}': "
                "Cannot find field.",
                did_you_mean(shown, known).strip(),
            )
        if field.attribute in found and key != field.camel:
            continue  # both spellings were sent: camelCase is the canonical one
        if item is None or (drops.output_only and field.attribute in cls.OUTPUT_ONLY):
            continue
        where = f"{at}.{field.attribute}"
        found[field.attribute] = _read(field.type, field.int64, item, where, drops)
    return cls(**found)


def encode(resource: Resource) -> dict[str, Any]:
    """Write a resource as JSON-ready builtins, unset fields left out."""
    out: dict[str, Any] = {}
    for field in _fields_in_order(type(resource)):
        value = getattr(resource, field.attribute)
        if type(value) is str:  # most of them are
            if value or field.unset is None:
                out[field.camel] = value
            continue
        if value is None or value is False or value == [] or value == {}:
            continue
        if value == "" and field.unset is not None:
            continue
        if isinstance(value, int | float) and not isinstance(value, bool) and value == field.unset:
            continue
        if field.type is float and not math.isfinite(value):
            value = _NO_NUMBERS[0 if math.isnan(value) else 1 if value > 0 else 2]
        out[field.camel] = _write(value, field.int64)
    return out


def apply_mask(mask: str, allowed: Mapping[str, str], *, field: str = "update_mask") -> list[str]:
    """Read an update mask; return the snake_case paths in it.

    Args:
        mask: Comma-separated paths, each camelCase or snake_case.
        allowed: Path in snake_case → what the caller is told that it means.
        field: The request's field, for the message.

    Raises:
        InvalidArgument: The mask is empty or names a path that cannot be updated.
    """
    paths = [snake(p.strip()) for p in mask.split(",") if p.strip()]
    if not paths:
        raise InvalidArgument(
            "An update mask is required.",
            f"Name one or more of: {', '.join(allowed)}.",
            field=field,
        )
    for path in paths:
        if path not in allowed:
            raise InvalidArgument(
                f"'{path}' cannot be updated.",
                f"Fields that can: {', '.join(allowed)}.",
                field=field,
            )
    return paths


def field_types(cls: type[Resource]) -> dict[str, Any]:
    """Return what each field of a resource holds, by its camelCase name.

    Example:
        >>> from mlengine.core.resources import TrainingInput
        >>> field_types(TrainingInput)["packageUris"]
        list[str]
    """
    return {field.camel: field.type for field in _fields_in_order(cls)}


def camel(name: str) -> str:
    """Turn ``job_dir`` into ``jobDir``; dots separate path parts."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def snake(name: str) -> str:
    """Turn ``jobDir`` into ``job_dir``."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name)


@functools.cache
def _fields_in_order(cls: type[Resource]) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for info in msgspec.structs.fields(cls):
        hint = hints[info.name]
        int64 = any(typing.get_origin(part) is typing.Annotated for part in _parts(hint))
        # Zero, but for fields in which zero says something: those that are None when unset, and
        # the few of our own that have another default.
        known = info.default is None or isinstance(info.default, int | float)
        unset = info.default if known else 0
        found.append(_Field(info.name, info.encode_name, _strip(hint), int64, unset))
    return tuple(found)


@functools.cache
def _fields(cls: type[Resource]) -> dict[str, _Field]:
    by_name: dict[str, _Field] = {}
    for field in _fields_in_order(cls):
        by_name[field.attribute] = by_name[field.camel] = field
    return by_name


def _parts(hint: Any) -> tuple[Any, ...]:
    """Return a type, and those that it is made of: ``Int64 | None``, ``list[Int64]``."""
    return (hint, *typing.get_args(hint))


def _strip(hint: Any) -> Any:
    """Drop `Annotated` and `| None` from a type."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        some = [part for part in typing.get_args(hint) if part is not type(None)]
        hint = some[0] if len(some) == 1 else hint  # of several, any is taken as it comes
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint


def _read(kind: Any, int64: bool, value: object, at: str, drops: _Rules) -> Any:
    origin = typing.get_origin(kind)
    if origin is list:
        if not isinstance(value, list):
            raise _wrong_type(value, "a list", at)
        (item_kind,) = typing.get_args(kind)
        if item_kind is str and all(isinstance(item, str) for item in value):
            return list(value)  # writing down where each stands is what costs
        return [
            _read(_strip(item_kind), int64, item, f"{at}[{i}]", drops)
            for i, item in enumerate(value)
        ]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong_type(value, "an object", at)
        _key, item_kind = typing.get_args(kind)
        if item_kind is Any:
            return dict(value)
        return {
            k: _read(item_kind, False, v, f"{at}.{k[:_MAX_SHOWN_CHARS]}", drops)
            for k, v in value.items()
        }
    if isinstance(kind, type) and issubclass(kind, Resource):
        return _decode(kind, value, at, drops)
    return _read_scalar(kind, int64, value, at)


def _read_scalar(kind: Any, int64: bool, value: object, at: str) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise _wrong_type(value, "true or false", at)
    if kind is str:
        if isinstance(value, str):
            return value
        raise _wrong_type(value, "a string", at)
    if kind is int:
        return _read_int(value, at, bits=64 if int64 else 32)
    if kind is float:
        if value in _NO_NUMBERS:
            return float(str(value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:  # an integer that no double can hold
                pass
        raise _wrong_type(value, "a number", at)
    return value


def _read_int(value: object, at: str, *, bits: int) -> int:
    number: int | None = None
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) <= 20:
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    if number is None:
        raise _wrong_type(value, "an integer", at)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise _wrong_type(value, f"an integer of {bits} bits", at)
    return number


def _write(value: Any, int64: bool) -> Any:
    if type(value) is str:
        return value
    if isinstance(value, Resource):
        return encode(value)
    if isinstance(value, list):
        return [_write(item, int64) for item in value]
    if isinstance(value, dict):
        return {k: _write(v, False) for k, v in value.items()}
    return str(value) if int64 else value


def _wrong_type(value: object, wanted: str, at: str) -> InvalidArgument:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return InvalidArgument(f"Invalid value {shown}.", f"This must be {wanted}.", field=at)
