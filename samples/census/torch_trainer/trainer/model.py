"""A small network over one-hot words and scaled numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from trainer.data import COLUMNS, LABELS, NUMERIC, Row, Table

__all__ = ["Encoder", "as_tensor", "auc", "build", "targets"]

_LONG_TAILED = ("capital_gain", "capital_loss")


class Encoder:
    """Turns census rows into numbers; learnt from the training rows.

    Example:
        >>> Encoder(table).encode(table.rows).shape  # doctest: +SKIP
        (32561, 108)
    """

    def __init__(self, table: Table) -> None:
        self._words: dict[int, list[str]] = {}
        self._scales: dict[int, tuple[float, float]] = {}
        for index, name in enumerate(COLUMNS):
            values = [row[index] for row in table.rows]
            if name in NUMERIC:
                numbers = _numbers(values, name)
                self._scales[index] = (float(np.nanmean(numbers)), float(np.nanstd(numbers)) or 1.0)
            else:
                self._words[index] = sorted({str(value) for value in values})

    @property
    def width(self) -> int:
        """How many numbers a row becomes."""
        return len(self._scales) + sum(len(words) for words in self._words.values())

    def encode(self, rows: Sequence[Row]) -> np.ndarray:
        """Return float32 of shape ``(len(rows), width)``; an unknown word is all zeros."""
        parts = []
        for index, name in enumerate(COLUMNS):
            values = [row[index] for row in rows]
            if index in self._scales:
                mean, deviation = self._scales[index]
                scaled = (np.nan_to_num(_numbers(values, name), nan=mean) - mean) / deviation
                parts.append(scaled[:, None].astype(np.float32))
            else:
                words = np.array(self._words[index])
                parts.append((np.array(values)[:, None] == words).astype(np.float32))
        return np.concatenate(parts, axis=1)


def _numbers(values: Sequence[float | str], name: str) -> np.ndarray:
    numbers = np.array(values, dtype=np.float64)
    return np.log1p(numbers) if name in _LONG_TAILED else numbers


def targets(table: Table) -> np.ndarray:
    """Return 1.0 where the income is the higher one, float32 of shape ``(rows,)``."""
    return np.array([label == LABELS[1] for label in table.labels], dtype=np.float32)


def build(width: int, *, hidden: int) -> nn.Module:
    """Return an untrained network: ``(rows, width)`` to logits of shape ``(rows, 1)``."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, 1),
    )  # fmt: skip


def auc(earns_more: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a higher income has the higher score."""
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    for value in _ties(score[order]):
        tied = order[value]
        ranks[tied] = ranks[tied].mean()
    positive = earns_more == 1.0
    wins = ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / (positive.sum() * (~positive).sum()))


def _ties(ordered: np.ndarray) -> list[slice]:
    edges = np.flatnonzero(np.diff(ordered)) + 1
    bounds = [0, *edges.tolist(), len(ordered)]
    pairs = itertools.pairwise(bounds)
    return [slice(start, end) for start, end in pairs if end - start > 1]


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """Return the same numbers as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(values))
