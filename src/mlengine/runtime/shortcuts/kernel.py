"""A model's own arithmetic on tables of numbers, and the steps it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Kernel", "NoKernel"]


class NoKernel(Exception):
    """The model has no kernel; the text says why."""


class Kernel(NamedTuple):
    """How to compute predictions of a stack of tables.

    Attributes:
        name: What it is, for those who ask which way a version answers.
        width: Numbers in a row.
        run: From an array of doubles (requests, rows, width) to the predictions (requests, rows)
            or (requests, rows, outputs); with `labels`, the numbers of the labels. It may raise
            whatever it likes: the requests then go the general way.
        labels: A classifier's classes, as JSON-able values.
        rowwise: A row's prediction is the same, to the last bit, in any company: trees compare and
            add, and do so row by row. Matrix products are not: BLAS rounds the sum of a row
            differently when other rows stand beside it, so each request gets a product of its own.
        landmarks: For some columns, numbers at which the model changes its mind.
    """

    name: str
    width: int
    run: Callable[[np.ndarray], Any]
    labels: Sequence[Any] | None = None
    rowwise: bool = False
    landmarks: dict[int, np.ndarray] = {}
