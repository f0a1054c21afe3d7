"""Of what a model answers, the numbers that are explained: one score a row for each label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mlengine.runtime.frameworks.signatures import OUTPUT
from mlengine.runtime.instances import is_number
from mlengine.runtime.prediction_error import ErrorClass, PredictionError, output_error

__all__ = ["Labels", "NoNumbers", "Scores", "by_name", "choose", "table_of", "taken"]

Scores = Mapping[str, np.ndarray | PredictionError]
"""Output → rows × labels; or why there are none, for whoever needs this output."""

Labels = dict[str, dict[Any, None]]
"""Output → the labels of its scores, in their order, where it is a map of labels to scores."""


class NoNumbers(PredictionError):
    """A model answers, and with no numbers at all."""


def by_name(predictions: Sequence[Any], labels: Labels | None = None) -> Scores:
    """Read predictions of JSON's types: numbers, lists of numbers, or objects of these.

    Args:
        predictions: One for each row.
        labels: What earlier predictions of the same request were called, which is added to: their
            order stays, for a routine may name the best label of each row first.

    Example:
        >>> by_name([{"p": [0.2, 0.8], "label": "b"}])
        {'p': array([[0.2, 0.8]])}
        >>> by_name([{"p": {"a": 0.9, "b": 0.1}}, {"p": {"b": 0.7, "a": 0.3}}])["p"].tolist()
        [[0.9, 0.1], [0.3, 0.7]]
    """
    labels = {} if labels is None else labels
    columns = {OUTPUT: predictions}
    if predictions and all(isinstance(row, dict) for row in predictions):
        names = [name for name in predictions[0] if all(name in row for row in predictions)]
        columns = {name: [row[name] for row in predictions] for name in names}
    made = {name: _table(values, name, labels) for name, values in columns.items()}
    return {name: table for name, table in made.items() if table is not None}


def taken(scores: Scores, output: str) -> np.ndarray:
    """Return the rows of an output that there is.

    Raises:
        PredictionError: Class 3: its rows have several labels.
    """
    table = scores[output]
    if isinstance(table, PredictionError):
        raise table
    return table


def choose(scores: Scores, wanted: str) -> str:
    """Return the output that is explained: the one that was named, or the only one.

    A classifier that gives its label beside its scores is explained by these.

    Raises:
        NoNumbers: Class 3: none is a number.
        PredictionError: Class 3: several are and none is named, or the one that is named is not.
    """
    if wanted:
        if wanted not in scores:
            text = f"the model gives no numbers as {wanted!r}; it gives: {_listed(scores)}"
            raise (PredictionError if scores else NoNumbers)(ErrorClass.OUTPUTS, text)
        return wanted
    known = {name: table for name, table in scores.items() if isinstance(table, np.ndarray)}
    floats = [name for name, table in known.items() if table.dtype.kind == "f"]
    found = floats or list(known) or list(scores)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoNumbers(
            ErrorClass.OUTPUTS,
            "the model's predictions are no numbers, and only numbers can be explained. Have it "
            "answer with numbers; a routine may do so for a key of the request, such as "
            '"probabilities": true',
        )
    raise output_error(
        f"the model gives several outputs: {_listed(scores)}. Name one in 'outputs' of "
        "explanation_metadata.json beside the model."
    )


def table_of(value: Any) -> np.ndarray | None:
    """Return an output as rows × labels; None if it is no numbers."""
    if isinstance(value, list):
        table = _table(value, OUTPUT, {})
        return None if isinstance(table, PredictionError) else table
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        return None
    return array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)


def _table(
    values: Sequence[Any], output: str, labels: Labels
) -> np.ndarray | PredictionError | None:
    if values and all(isinstance(value, dict) for value in values):
        known = labels.setdefault(output, dict.fromkeys(values[0]))
        if odd := next((keys for value in values if (keys := value.keys() ^ known)), None):
            numbers = (number for value in values for number in value.values())
            return _odd_label(output, odd) if all(map(is_number, numbers)) else None
        values = [[value[label] for label in known] for value in values]
    try:
        array = np.array(values)
    except ValueError:
        return None
    if array.dtype.kind not in "fiub" or not array.size:
        return None
    return array.reshape(len(array), -1)


def _odd_label(output: str, labels: Iterable[Any]) -> PredictionError:
    return output_error(
        f"the output {output!r} has the label {min(map(str, labels))!r} for some rows only, and "
        "an explanation compares the scores of one label. Have the model give every row the same "
        "labels, in any order."
    )


def _listed(scores: Scores) -> str:
    return ", ".join(sorted(scores)) or "none"
