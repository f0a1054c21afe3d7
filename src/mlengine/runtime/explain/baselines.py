"""What a feature is set back to where nobody has said: the middle of the golden rows, or zero.

number           the median of the golden rows; of whole numbers the lower one
anything else    what the golden rows hold most often
no golden rows   0, false, "" or null, whatever the instance's own value is one of
"""

from __future__ import annotations

import collections
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mlengine.runtime.instances import is_number
from mlengine.runtime.strictjson import dumps

__all__ = ["Path", "is_b64", "leaves", "middle", "middle_array", "mirror", "zero", "zero_array"]

Path = tuple[Any, ...]
"""Where a value stands in an instance: keys and positions."""


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Return every value of an instance that is no list or object, and where it stands.

    Example:
        >>> list(leaves({"a": 1, "b": [2, 3]}))
        [(('a',), 1), (('b', 0), 2), (('b', 1), 3)]
    """
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from leaves(item, (*path, position))
    elif isinstance(value, dict) and not is_b64(value):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value


def is_b64(value: Any) -> bool:
    """Whether a value is bytes as JSON has them: it is one value, whatever they are of."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def mirror(value: Any, numbers: Iterator[float]) -> Any:
    """Return a value of the same form with these numbers as its leaves."""
    if isinstance(value, list):
        return [mirror(item, numbers) for item in value]
    if isinstance(value, dict) and not is_b64(value):
        return {key: mirror(item, numbers) for key, item in value.items()}
    return next(numbers)


def middle(values: Sequence[Any]) -> Any:
    """Return the middle of the values that one feature had.

    Example:
        >>> middle([3, 1, 2, 9]), middle([1.0, 2.0]), middle(["a", "b", "b", None])
        (2, 1.5, 'b')
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    if all(map(is_number, known)):
        if all(isinstance(value, int) for value in known):
            return statistics.median_low(known)
        return statistics.median(known)
    counts = collections.Counter(dumps(value) for value in known)
    commonest = counts.most_common(1)[0][0]
    return next(value for value in known if dumps(value) == commonest)


def zero(value: Any) -> Any:
    """Return what stands for nothing among values like this one."""
    return {"b64": ""} if isinstance(value, dict) else None if value is None else type(value)()


def middle_array(arrays: np.ndarray) -> np.ndarray:
    """Return the middle of several arrays, element by element; the first axis is theirs."""
    if arrays.dtype.kind == "f":
        return np.asarray(np.median(arrays, axis=0), dtype=arrays.dtype)
    if arrays.dtype.kind in "iu":
        return np.asarray(np.sort(arrays, axis=0)[(len(arrays) - 1) // 2])
    flat = arrays.reshape(len(arrays), -1)
    commonest = [collections.Counter(column.tolist()).most_common(1)[0][0] for column in flat.T]
    made = np.empty(flat.shape[1], dtype=arrays.dtype)
    made[:] = commonest
    return made.reshape(arrays.shape[1:])


def zero_array(like: np.ndarray) -> np.ndarray:
    """Return an array of zeros, or of empty texts."""
    return np.full_like(like, b"") if like.dtype == object else np.zeros_like(like)
