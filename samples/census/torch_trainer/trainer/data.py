"""Census rows as the UCI Machine Learning Repository writes them.

One person a line, fifteen values, no header; the last value is the label::

    39, State-gov, 77516, Bachelors, 13, ..., 40, United-States, <=50K

UCI's own test file is read as it is, too: its first line is a comment and its labels
end in a dot.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

__all__ = ["COLUMNS", "LABELS", "NUMERIC", "Row", "Table", "read"]

COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
)
NUMERIC = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
LABELS = ("<=50K", ">50K")

Row = list[float | str]

_GZIP_MAGIC = b"\x1f\x8b"
_IS_NUMERIC = tuple(column in NUMERIC for column in COLUMNS)


class Table(NamedTuple):
    """Rows in the order of ``COLUMNS``, and the label of each."""

    rows: list[Row]
    labels: list[str]


def read(paths: Iterable[str | Path]) -> Table:
    """Read CSV files, plain or gzipped, one after the other.

    An unknown number (``?`` or nothing) becomes NaN; an unknown word stays the word ``?``,
    which is a category like any other.

    Raises:
        OSError: A file cannot be read.
        ValueError: A line is not a census row (the message names file and line), or
            the files hold no row at all.
    """
    names = [str(path) for path in paths]
    table = Table([], [])
    for name in names:
        with _open(name) as lines:
            for row, label in _parse(lines, name):
                table.rows.append(row)
                table.labels.append(label)
    if not table.rows:
        raise ValueError(f"No census rows in {', '.join(names) or 'no files'}.")
    return table


def _open(path: str) -> TextIO:
    # By content, not by suffix: a bucket or a cache may have renamed the file.
    with open(path, "rb") as file:
        zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    if zipped:
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return open(path, encoding="utf-8", newline="")


def _parse(lines: TextIO, name: str) -> Iterator[tuple[Row, str]]:
    reader = csv.reader(lines, skipinitialspace=True)
    for values in reader:
        if not values or values[0].startswith("|"):
            continue
        try:
            yield _row(values)
        except ValueError as error:
            raise ValueError(f"{name}:{reader.line_num}: {error}") from None


def _row(values: list[str]) -> tuple[Row, str]:
    if len(values) != len(COLUMNS) + 1:
        raise ValueError(
            f"{len(values)} values where a census row has {len(COLUMNS) + 1}: "
            f"{', '.join(COLUMNS)}, label."
        )
    *features, label = (value.strip() for value in values)
    label = label.removesuffix(".")
    if label not in LABELS:
        raise ValueError(f"label {label!r} is neither {LABELS[0]!r} nor {LABELS[1]!r}.")
    row: Row = [
        _number(value, column) if numeric else value
        for value, column, numeric in zip(features, COLUMNS, _IS_NUMERIC, strict=True)
    ]
    return row, label


def _number(value: str, column: str) -> float:
    if value in ("", "?"):
        return math.nan
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{column} is {value!r}, which is not a number.") from None
