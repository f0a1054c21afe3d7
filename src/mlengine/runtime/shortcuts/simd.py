"""Numbers in nested lists of JSON as arrays, by simdjson: in a third of the time of a decoder.

It makes no object of a number, but flattens lists as they come, so that their shape is for us to
see: an array is given only for lists that have it throughout. Without simdjson (there may be no
build of it for a Python or a processor) nothing is read here.

J. Langdale, D. Lemire, "Parsing Gigabytes of JSON per Second", VLDB Journal 28, 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["FEW_BYTES", "Arrays"]

FEW_BYTES = 1000
"""To read less, and to put together what many such bodies held, takes as long either way."""

_SHORTEST_LIST = 4  # to see that a list is whole takes as long as to read some numbers


class Arrays:
    """Reads bodies ``{"instances": [...]}`` of lists, or of objects of lists, all of one shape.

    Args:
        shapes: The shape of each input of an instance.
        names: The inputs' names, of instances that are objects; none: an instance is its input.

    Example:
        >>> arrays = Arrays([(4,)])
        >>> (column,) = arrays.read(b'{"instances": [[1, 2.5, 0, -3], [4, 5, 6, 7]]}')
        >>> column.tolist()
        [[1.0, 2.5, 0.0, -3.0], [4.0, 5.0, 6.0, 7.0]]
        >>> arrays.read(b'{"instances": [[1, 2.5, 0, -3], [4]]}') is None
        True
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], names: Sequence[str] = ()) -> None:
        self._shapes, self._names = list(shapes), list(names)
        self._brackets = sum(_lists(shape) for shape in shapes)
        is_worth_it = all(shape and shape[-1] >= _SHORTEST_LIST for shape in shapes)
        self._parser = _parser() if is_worth_it else None

    def read(self, body: bytes) -> list[np.ndarray] | None:
        """Return an array of each input, all instances long; None if a body is anything else.

        Integers of 64 bits become the floats that are next to them.
        """
        # Bytes before it that simdjson passes over are no JSON to others.
        if self._parser is None or not body.startswith(b"{"):
            return None
        try:
            document = self._parser.parse(body)
            instances = document["instances"]
            count = len(instances)
            # A list within a list would be flattened; one of two equal keys is counted, and lost.
            if len(document) != 1 or body.count(b"[") != 1 + count * self._brackets:
                return None
            if self._names:
                return self._of_objects(instances, count)
            (shape,) = self._shapes
            _check(instances, (count, *shape))
            return [_shaped(instances.as_buffer(of_type="d"), (count, *shape))]
        except (ValueError, LookupError, TypeError, RuntimeError, AttributeError):
            return None  # not JSON, not numbers, or not of this shape

    def _of_objects(self, instances: Any, count: int) -> list[np.ndarray]:
        rows = list(instances)
        if set(map(len, rows)) != {len(self._names)}:
            raise ValueError(self._names)
        found = []
        for name, shape in zip(self._names, self._shapes, strict=True):
            values = [row[name] for row in rows]
            if len(shape) == 1:
                _check(values, (count, *shape))
            else:
                for value in values:
                    _check(value, shape)
            flat = b"".join([value.as_buffer(of_type="d") for value in values])
            found.append(_shaped(bytearray(flat), (count, *shape)))
        return found


def _parser() -> Any:
    try:
        import simdjson
    except ModuleNotFoundError:
        return None
    return simdjson.Parser()


def _lists(shape: tuple[int, ...]) -> int:
    """Return how many lists a nested list of a shape is made of."""
    return sum(math.prod(shape[:depth]) for depth in range(len(shape)))


def _shaped(flat: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.frombuffer(flat, np.float64)
    if not array.size or array.size != math.prod(shape):
        raise ValueError(shape)
    return array.reshape(shape)


def _check(values: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError where nested lists are not of a shape."""
    if len(values) != shape[0]:
        raise ValueError(shape)
    rest = shape[1:]
    if len(rest) == 1:
        if set(map(len, values)) != {rest[0]}:
            raise ValueError(shape)
    elif rest:
        for row in values:
            _check(row, rest)
