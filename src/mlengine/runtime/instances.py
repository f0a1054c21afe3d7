"""What a prediction request asks: its instances, and keyword arguments for the model."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlengine.runtime.prediction_error import input_error
from mlengine.runtime.strictjson import StrictJsonError, loads

__all__ = [
    "Request",
    "RequestError",
    "columns_problem",
    "decode_b64",
    "is_number",
    "kind_of",
    "parse_request",
    "rows_problem",
]


class RequestError(ValueError):
    """The body is no prediction request; nothing was asked of the model."""


class Request(NamedTuple):
    """A parsed predict body; `kwargs` holds every top-level key but ``instances``."""

    instances: list[Any]
    kwargs: dict[str, Any]


def parse_request(body: bytes) -> Request:
    """Read the body of a predict call.

    Raises:
        RequestError: Not strict JSON, not an object, or ``instances`` is missing or no list.

    Example:
        >>> parse_request(b'{"instances": [[1, 2]], "signature_name": "serve"}')
        Request(instances=[[1, 2]], kwargs={'signature_name': 'serve'})
    """
    try:
        value = loads(body)
    except StrictJsonError as error:
        raise RequestError(f"Invalid JSON payload received. {error}") from None
    if not isinstance(value, dict):
        raise RequestError(
            f'Invalid JSON request: expected an object with "instances", got {kind_of(value)}'
        )
    if "instances" not in value:
        raise RequestError('Invalid JSON request: missing "instances" attribute')
    instances = value.pop("instances")
    if not isinstance(instances, list):
        raise RequestError('Invalid JSON request: "instances" must be a list')
    return Request(instances, value)


def decode_b64(value: Any) -> Any:
    """Replace every object whose only key is ``b64`` by the bytes that it stands for.

    Raises:
        PredictionError: Class 1: the text is not base64.
    """
    if isinstance(value, dict):
        if len(value) == 1 and "b64" in value:
            return _bytes_of(value["b64"])
        return {key: decode_b64(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode_b64(item) for item in value]
    return value


def _bytes_of(text: Any) -> bytes:
    if not isinstance(text, str):
        raise input_error(f'"b64" must be a base64 string, got {kind_of(text)}')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise input_error(f'"b64" is not valid base64: {error}') from None


def kind_of(value: object) -> str:
    """Name a JSON value's type as its author would: ``a list of 3``, ``a string``, ``null``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, bytes):
        return "base64 bytes"
    return f"a list of {len(value)}" if isinstance(value, list) else "an object"


def rows_problem(instances: Sequence[Any], width: int | None, *, numbers: bool) -> str | None:
    """Say what keeps instances from being the rows of one table; None when nothing does.

    Called after a model refused them, to tell the caller's mistakes from the model's.

    Args:
        instances: As parsed from JSON.
        width: Values in a row, if the model knows.
        numbers: The model takes nothing but numbers.
    """
    row_is = f"a list of {width} values" if width is not None else "a list of values"
    for index, row in enumerate(instances):
        if not isinstance(row, list):
            if width is None and not numbers:
                continue
            return f"instance {index} is {kind_of(row)}, expected {row_is}"
        if width is None and isinstance(instances[0], list):
            width = len(instances[0])
        if width is not None and len(row) != width:
            return f"instance {index} has {len(row)} values, expected {width}"
        for position, item in enumerate(row):
            if not (is_number(item) if numbers else _is_scalar(item)):
                return (
                    f"instance {index} has {kind_of(item)} at position {position}, "
                    f"expected {'a number' if numbers else 'a value'}"
                )
    return None


def is_number(value: object) -> bool:
    """Return whether a JSON value is a number; to Python ``true`` is one, too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_scalar(item: Any) -> bool:
    return not isinstance(item, list | dict)


def columns_problem(instances: Sequence[Any], names: Sequence[str]) -> str | None:
    """Say where instances that are objects lack a column, or have one that the model does not."""
    known = set(names)
    for index, row in enumerate(instances):
        if not isinstance(row, dict):
            return f"instance {index} is {kind_of(row)}, expected an object like instance 0"
        if missing := [name for name in names if name not in row]:
            return f"instance {index} lacks {missing[0]!r}; expected the columns {list(names)}"
        if extra := sorted(set(row) - known):
            return f"instance {index} has the unknown column {extra[0]!r}; expected {list(names)}"
    return None
