"""Bodies of rows of numbers, many at a time: ``{"instances": [[1, 2.5], [0, 3]]}``.

The decoder is told what it will find, so that numbers become a table without a Python object that
anybody looks at twice. What it lets through differs from the general way in three things, and all
three are seen to here:

- A key given twice: the plain body has one colon, or one for each column by name.
- An integer and a float are read alike. Below 2**53 they are the same number; beyond, the request
  goes the general way, as do those that no 64 bits hold.
- Nothing else: rows are of one width, NaN and infinities are not JSON, null goes the general way.

Larger bodies are arrays at once (`simd`), if they are that simple.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np

from mlengine.runtime.shortcuts import Shortcut
from mlengine.runtime.shortcuts.kernel import Kernel
from mlengine.runtime.shortcuts.simd import FEW_BYTES, Arrays

__all__ = ["Rows"]

_EXACT = 2.0**53
_encode = msgspec.json.Encoder().encode


class Rows:
    """The shortcut of a model whose instances are rows of numbers.

    Args:
        kernel: Computes the predictions.
        names: Columns by name, in the kernel's order, of a model that also takes objects.
    """

    def __init__(self, kernel: Kernel, names: Sequence[str] = ()) -> None:
        self._kernel = kernel
        self._width = kernel.width
        self._decode = _lists_decoder(kernel.width)
        self._decode_objects = _objects_decoder(names) if names else None
        self._labels = [_encode(label) for label in kernel.labels or ()]
        self._answers = [b'{"predictions":[%b]}' % label for label in self._labels]
        self._arrays = Arrays([(kernel.width,)])

    def read(self, body: bytes) -> Any | None:
        if self._decode_objects is not None and body.count(b"{", 0, 64) > 1:
            return self._read_objects(body)
        if len(body) >= FEW_BYTES:
            arrays = self._arrays.read(body)
            if arrays is not None:
                return arrays[0]
        try:
            rows = self._decode(body).instances
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if not rows or body.find(b":", body.find(b":") + 1) >= 0:
            return None
        return rows

    def _read_objects(self, body: bytes) -> Any | None:
        assert self._decode_objects is not None
        try:
            rows = self._decode_objects(body).instances
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if not rows or body.count(b":") != 1 + len(rows) * self._width:
            return None
        return [msgspec.structs.astuple(row) for row in rows]

    def count(self, asked: Any) -> int:
        return len(asked)

    def answer(self, asked: Sequence[Any]) -> list[bytes | None]:
        answers: list[bytes | None] = [None] * len(asked)
        for places, table in _tables(asked, self._width, together=self._kernel.rowwise):
            try:
                with np.errstate(all="raise", under="ignore"):
                    predictions = self._kernel.run(table)
            except MemoryError:
                raise
            except Exception:  # a number it cannot take: the general way will say so
                continue
            if self._kernel.rowwise and len(places) > 1:
                self._answer_slices(answers, asked, places, predictions[0])
            else:
                self._answer_each(answers, places, predictions)
        return answers

    def _answer_slices(
        self, answers: list[bytes | None], asked: Sequence[Any], places: list[int], all_: np.ndarray
    ) -> None:
        """Cut the predictions of one table into those of each request."""
        if len(all_) == len(places):
            self._answer_each(answers, places, all_[:, np.newaxis])
            return
        end = 0
        for place in places:
            start, end = end, end + len(asked[place])
            answers[place] = self._body(all_[start:end])

    def _answer_each(
        self, answers: list[bytes | None], places: list[int], predictions: np.ndarray
    ) -> None:
        if self._labels and predictions.shape[1] == 1:
            for place, index in zip(places, predictions[:, 0].tolist(), strict=True):
                answers[place] = self._answers[index]
            return
        for place, own in zip(places, predictions, strict=True):
            answers[place] = self._body(own)

    def _body(self, predictions: np.ndarray) -> bytes | None:
        if self._labels:
            labels = self._labels
            return b'{"predictions":[%b]}' % b",".join([labels[i] for i in predictions.tolist()])
        if not np.isfinite(predictions).all():
            return None
        return b'{"predictions":%b}' % _encode(predictions.tolist())


def _tables(
    asked: Sequence[Any], width: int, *, together: bool
) -> list[tuple[list[int], np.ndarray]]:
    """Stack requests: all into one table, or those of one length into one stack of tables.

    Requests with a number that integers and floats do not share are left out.
    """
    groups: dict[int, list[int]] = {}
    if together:
        groups[0] = list(range(len(asked)))
    else:
        for place, rows in enumerate(asked):
            groups.setdefault(len(rows), []).append(place)
    stacked = []
    for length, places in groups.items():
        table = _table([asked[place] for place in places], width)
        if not (np.abs(table) < _EXACT).all():
            places = [p for p in places if (np.abs(_table([asked[p]], width)) < _EXACT).all()]
            if not places:
                continue
            table = _table([asked[place] for place in places], width)
        shape = (1, -1, width) if together else (len(places), length, width)
        stacked.append((places, table.reshape(shape)))
    return stacked


def _table(requests: list[Any], width: int) -> np.ndarray:
    if any(isinstance(rows, np.ndarray) for rows in requests):
        tables = [np.asarray(rows, np.float64).reshape(-1) for rows in requests]
        return np.concatenate(tables)
    rows = [rows[0] for rows in requests] if _all_single(requests) else [*chain(*requests)]
    # Half the time of numpy's own reading of lists.
    packed = struct.pack(f"{len(rows) * width}d", *chain.from_iterable(rows))
    # Writable, as libraries expect of what they are given.
    return np.frombuffer(bytearray(packed), dtype=np.float64)


def _all_single(requests: list[Any]) -> bool:
    return max(map(len, requests)) == 1


def _lists_decoder(width: int) -> Any:
    row = Annotated[list[float], msgspec.Meta(min_length=width, max_length=width)]
    return _decoder(list[row])


def _objects_decoder(names: Sequence[str]) -> Any:
    fields = [(f"c{index}", float) for index in range(len(names))]
    wire = {f"c{index}": name for index, name in enumerate(names)}
    row = msgspec.defstruct("Row", fields, rename=wire, forbid_unknown_fields=True, gc=False)
    return _decoder(list[row])  # type: ignore[valid-type]


def _decoder(instances: Any) -> Any:
    body = msgspec.defstruct("Body", [("instances", instances)], forbid_unknown_fields=True)
    return msgspec.json.Decoder(body).decode


_: type[Shortcut] = Rows
