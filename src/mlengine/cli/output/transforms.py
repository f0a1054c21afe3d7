"""Looking a field up in a resource, and the transforms of a projection."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlengine.cli.output.projection import Column, FormatError, Transform

__all__ = ["TRANSFORMS", "check_transforms", "column_value", "lookup", "transformed"]

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII
)
DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"


def column_value(resource: Any, column: Column) -> Any:
    """Return a column's value in `resource`; None when it is not there."""
    return transformed(lookup(resource, column.path), column.transforms)


def transformed(value: Any, transforms: Sequence[Transform]) -> Any:
    """Return a value as transforms leave it, one after the other."""
    for transform in transforms:
        value = TRANSFORMS[transform.name](value, transform)
    return value


def lookup(resource: Any, path: Sequence[str | int | None]) -> Any:
    """Return what lies at `path`, or None.

    Example:
        >>> lookup({"trials": [{"id": "1"}, {"id": "2"}]}, ("trials", None, "id"))
        ['1', '2']
    """
    for place, key in enumerate(path):
        if key is None:
            if not isinstance(resource, list):
                return None
            found = [lookup(item, path[place + 1 :]) for item in resource]
            return [item for item in found if item is not None]
        if isinstance(key, int):
            in_it = isinstance(resource, list) and -len(resource) <= key < len(resource)
            resource = resource[key] if in_it else None
        else:
            resource = resource.get(key) if isinstance(resource, Mapping) else None
        if resource is None:
            return None
    return resource


def check_transforms(columns: Sequence[Column]) -> None:
    """Raise `FormatError` for a transform that does not exist, before anything is done."""
    for column in columns:
        for transform in column.transforms:
            if transform.name not in TRANSFORMS:
                from mlengine.core.errors import did_you_mean

                hint = did_you_mean(transform.name, TRANSFORMS)
                raise FormatError(
                    f"There is no transform '{transform.name}()'. {hint}"
                    f"Transforms: {', '.join(sorted(TRANSFORMS))}."
                )
            # A time zone or a number in its arguments may be wrong: any value shows it.
            TRANSFORMS[transform.name]("2000-01-01T00:00:00Z", transform)


def _basename(value: Any, _transform: Transform) -> Any:
    return value.rsplit("/", 1)[-1] if isinstance(value, str) else value


def _segment(value: Any, transform: Transform) -> Any:
    if not isinstance(value, str):
        return value
    try:
        number = int(transform.args[0]) if transform.args else -1
    except ValueError:
        raise FormatError(f"segment({transform.args[0]}) needs a number.") from None
    parts = value.split("/")
    return parts[number] if -len(parts) <= number < len(parts) else None


def _date(value: Any, transform: Transform) -> Any:
    if not isinstance(value, str):
        return value
    named = dict(transform.named)
    pattern = transform.args[0] if transform.args else named.get("format", DATE_FORMAT)
    moment = _moment(value)
    if moment is None:
        return value
    zone = named.get("tz", "")
    if zone.upper() == "LOCAL":
        moment = moment.astimezone()
    elif zone:
        moment = moment.astimezone(_zone(zone))
    return moment.strftime(pattern or DATE_FORMAT)


def _moment(text: str) -> datetime.datetime | None:
    match = _RFC3339.fullmatch(text)
    if not match:
        return None
    seconds, fraction, zone = match.groups()
    # Nine decimals occur on the wire; a datetime holds six.
    whole = f"{seconds}{(fraction or '')[:7]}{zone or 'Z'}"
    try:
        return datetime.datetime.fromisoformat(whole.upper())
    except ValueError:
        return None


def _zone(name: str) -> datetime.tzinfo:
    if name.upper() in ("UTC", "Z"):
        return datetime.UTC
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise FormatError(f"There is no time zone '{name}'. Use LOCAL or UTC.") from None


def _scope(value: Any, transform: Transform) -> Any:
    """Return what stands behind the last of a segment's kind; without one, the last part."""
    if not isinstance(value, str):
        return value
    if not transform.args:
        return value.rsplit("/", 1)[-1]
    for segment in transform.args:
        _, found, rest = f"/{value}".rpartition(f"/{segment}/")
        if found:
            return rest
    return value


def _join(value: Any, transform: Transform, default: str) -> Any:
    if not isinstance(value, list | dict):
        return value
    named = dict(transform.named)
    separator = named.get("separator") or (transform.args[0] if transform.args else default)
    parts = [f"{k}={v}" for k, v in sorted(value.items())] if isinstance(value, dict) else value
    return separator.join(str(part) for part in parts)


def _length(value: Any, _transform: Transform) -> Any:
    return len(value) if isinstance(value, list | dict | str) else 0


def _size(value: Any, _transform: Transform) -> Any:
    """Write bytes in the largest unit that leaves a number of one or more; nothing for zero."""
    try:
        number = float(value or 0)
    except (TypeError, ValueError):
        return value
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while abs(number) >= 1024 and len(units) > 1:
        number /= 1024
        units.pop(0)
    return f"{number:.1f} {units[0]}" if number else None


def _yesno(value: Any, transform: Transform) -> Any:
    named = dict(transform.named)
    yes, no, *_ = *transform.args, *("Yes", "No")[len(transform.args) :], ""
    return named.get("yes", yes) if value else named.get("no", no)


TRANSFORMS: Mapping[str, Callable[[Any, Transform], Any]] = {
    "basename": _basename,
    "color": lambda value, _: value,  # it marks words on a terminal, and changes none
    "date": _date,
    "join": lambda value, transform: _join(value, transform, "/"),
    "len": _length,
    "list": lambda value, transform: _join(value, transform, ","),
    "lower": lambda value, _: value.lower() if isinstance(value, str) else value,
    "scope": _scope,
    "segment": _segment,
    "size": _size,
    "upper": lambda value, _: value.upper() if isinstance(value, str) else value,
    "yesno": _yesno,
}
