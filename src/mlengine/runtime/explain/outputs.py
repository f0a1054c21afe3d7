"""Of what a model answers, the numbers that are explained: one score a row for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlengine.runtime.frameworks.signatures import OUTPUT
from mlengine.runtime.prediction_error import output_error

__all__ = ["Scores", "by_name", "choose", "table_of"]

Scores = Mapping[str, np.ndarray]
"""Output → rows × labels."""


def by_name(predictions: Sequence[Any]) -> Scores:
    """Read predictions of JSON's types: numbers, lists of numbers, or objects of these.

    Example:
        >>> by_name([{"p": [0.2, 0.8], "label": "b"}])
        {'p': array([[0.2, 0.8]])}
    """
    if predictions and all(isinstance(row, dict) for row in predictions):
        names = [name for name in predictions[0] if all(name in row for row in predictions)]
        tables = {name: _table([row[name] for row in predictions]) for name in names}
    else:
        tables = {OUTPUT: _table(predictions)}
    return {name: table for name, table in tables.items() if table is not None}


def choose(scores: Scores, wanted: str) -> str:
    """Return the output that is explained: the one that was named, or the only one.

    A classifier that gives its label beside its scores is explained by these.

    Raises:
        PredictionError: Class 3: none is a number, or several are and none is named.
    """
    if wanted:
        if wanted not in scores:
            raise output_error(
                f"the model gives no numbers as {wanted!r}; it gives: {_listed(scores)}"
            )
        return wanted
    found = [name for name, table in scores.items() if table.dtype.kind == "f"] or list(scores)
    if len(found) == 1:
        return found[0]
    if not found:
        raise output_error(
            "the model's predictions are no numbers, and only numbers can be explained"
        )
    raise output_error(
        f"the model gives several outputs: {_listed(scores)}. Name one in 'outputs' of "
        "explanation_metadata.json beside the model."
    )


def table_of(value: Any) -> np.ndarray | None:
    """Return an output as rows × labels; None if it is no numbers."""
    if isinstance(value, list):
        return _table(value)
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        return None
    return array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)


def _table(values: Sequence[Any]) -> np.ndarray | None:
    if values and all(isinstance(value, dict) for value in values):
        labels = list(values[0])  # ONNX's maps: label → score
        if any(list(value) != labels for value in values):
            return None
        values = [[value[label] for label in labels] for value in values]
    try:
        array = np.array(values)
    except ValueError:
        return None
    if array.dtype.kind not in "fiub" or not len(array):
        return None
    return array.reshape(len(array), -1)


def _listed(scores: Scores) -> str:
    return ", ".join(sorted(scores)) or "none"
