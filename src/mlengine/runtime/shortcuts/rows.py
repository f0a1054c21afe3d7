"""Rows of numbers, of many callers: their bodies become one table, or a stack of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from mlengine.runtime.shortcuts import Shortcut
from mlengine.runtime.shortcuts.kernel import Kernel
from mlengine.runtime.shortcuts.reading import reader

__all__ = ["Rows"]

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
        self._row_bytes = 8 * kernel.width
        self._read_lists = reader([(kernel.width,)])
        self._read_objects = reader([()] * len(names), names) if names else None
        if not names:
            self.read = self._read_lists  # type: ignore[assignment,method-assign]  # no call in between
        self._labels = [_encode(label) for label in kernel.labels or ()]
        self._answers = [b'{"predictions":[%b]}' % label for label in self._labels]

    def read(self, body: bytes) -> Any | None:
        if self._read_objects is not None and body.count(b"{", 0, 64) > 1:
            return self._read_objects(body)
        return self._read_lists(body)

    def count(self, asked: bytes) -> int:
        return len(asked) // self._row_bytes

    def answer(self, asked: Sequence[bytes]) -> list[bytes | None]:
        answers: list[bytes | None] = [None] * len(asked)
        for places, table in self._tables(asked):
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

    def _tables(self, asked: Sequence[bytes]) -> list[tuple[list[int], np.ndarray]]:
        """Stack requests: all into one table, or those of one length into one stack of tables."""
        groups: dict[int, list[int]] = {}
        if self._kernel.rowwise or len(set(map(len, asked))) == 1:
            groups[0] = list(range(len(asked)))
        else:
            for place, rows in enumerate(asked):
                groups.setdefault(len(rows), []).append(place)
        stacked = []
        for places in groups.values():
            # Writable, as libraries expect of what they are given.
            table = np.frombuffer(bytearray().join([asked[place] for place in places]))
            tables = 1 if self._kernel.rowwise else len(places)
            stacked.append((places, table.reshape(tables, -1, self._width)))
        return stacked

    def _answer_slices(
        self, answers: list[bytes | None], asked: Sequence[bytes], places: list[int],
        all_: np.ndarray,
    ) -> None:  # fmt: skip
        """Cut the predictions of one table into those of each request."""
        if len(all_) == len(places):
            self._answer_each(answers, places, all_[:, np.newaxis])
            return
        end = 0
        for place in places:
            start, end = end, end + self.count(asked[place])
            answers[place] = self._body(all_[start:end])

    def _answer_each(
        self, answers: list[bytes | None], places: list[int], predictions: np.ndarray
    ) -> None:
        if self._labels and predictions.shape[1] == 1:
            for place, index in zip(places, predictions[:, 0].tolist(), strict=True):
                answers[place] = self._answers[index]
            return
        if self._labels or not np.isfinite(predictions).all():
            for place, own in zip(places, predictions, strict=True):
                answers[place] = self._body(own)
            return
        for place, own in zip(places, predictions.tolist(), strict=True):
            answers[place] = b'{"predictions":%b}' % _encode(own)

    def _body(self, predictions: np.ndarray) -> bytes | None:
        if self._labels:
            labels = self._labels
            return b'{"predictions":[%b]}' % b",".join([labels[i] for i in predictions.tolist()])
        if not np.isfinite(predictions).all():
            return None
        return b'{"predictions":%b}' % _encode(predictions.tolist())


_: type[Shortcut] = Rows
