"""Bodies of numbers as tables: ``{"instances": [[1, 2.5], [0, 3]]}``, or objects of lists of them.

Whoever reads is told what to find, so that numbers become a table without an object that anybody
looks at twice. What is read differs from the general way in three things, and all three are seen to
here:

- A key given twice: each member is taken once, and nothing beside them.
- An integer and a float are read alike. Below 2**53 they are the same number; a body with a larger
  one goes the general way.
- Nothing else: lists are of one shape, NaN and infinities are not JSON, null goes the general way.

`speedups.Reader` does so in C, in a tenth of the time; `msgspec` where it was not built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from mlengine.runtime.speedups import Reader

__all__ = ["body_decoder", "object_type", "reader", "reader_in_python"]

_EXACT = 2.0**53

Read = Callable[[bytes], bytes | None]


def reader(shapes: Sequence[tuple[int, ...]], names: Sequence[str] = ()) -> Read:
    """Return the function from a body to the doubles of its rows; None if it is anything else.

    Args:
        shapes: The shape of each member of an instance; ``()`` is a number.
        names: The members' names, of instances that are objects; none: an instance is its only
            member.

    Raises:
        ValueError: A name that JSON writes with escapes.

    Example:
        >>> read = reader([(2,), ()], ["a", "b"])
        >>> np.frombuffer(read(b'{"instances": [{"b": 3, "a": [1, 2.5]}]}')).tolist()
        [1.0, 2.5, 3.0]
        >>> read(b'{"instances": [{"a": [1, 2.5]}]}') is None
        True
    """
    if Reader is not None:
        return Reader(list(shapes), list(names)).read
    return reader_in_python(shapes, names)


def reader_in_python(shapes: Sequence[tuple[int, ...]], names: Sequence[str] = ()) -> Read:
    """Return what `reader` does, for those who have it not in C."""
    values = [_nested(float, shape) for shape in shapes]
    decode = body_decoder(object_type(names, values) if names else values[0])

    def read(body: bytes) -> bytes | None:
        try:
            rows = decode(body).instances
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        # A key that is given twice is counted, and lost.
        if not rows or body.count(b":") != 1 + len(rows) * len(names):
            return None
        members = zip(*map(msgspec.structs.astuple, rows), strict=True) if names else [rows]
        columns = [np.array(member, np.float64).reshape(len(rows), -1) for member in members]
        table = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        return table.tobytes() if (np.abs(table) < _EXACT).all() else None

    return read


def body_decoder(instance: Any) -> Callable[[bytes], Any]:
    """Return what reads bodies of such instances with `msgspec`, and nothing beside them."""
    fields = [("instances", list[instance])]
    body = msgspec.defstruct("Body", fields, forbid_unknown_fields=True)
    return msgspec.json.Decoder(body).decode


def object_type(names: Sequence[str], values: Sequence[Any]) -> Any:
    """Return what `msgspec` is to expect of an object of these members and no others."""
    fields = [(f"c{index}", value) for index, value in enumerate(values)]
    wire = {f"c{index}": name for index, name in enumerate(names)}
    return msgspec.defstruct("Row", fields, rename=wire, forbid_unknown_fields=True, gc=False)


def _nested(kind: Any, shape: Sequence[int]) -> Any:
    for size in reversed(shape):
        kind = Annotated[list[kind], msgspec.Meta(min_length=size, max_length=size)]
    return kind
