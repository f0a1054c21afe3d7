"""An answer of a prediction → text, by the first prediction unless --format says otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mlengine.cli.errors import CommandError
from mlengine.cli.output import Format, parse_format, render
from mlengine.cli.output.escape import printable
from mlengine.cli.output.tables import plain_table
from mlengine.engine import PredictReply

__all__ = ["body_of", "show_answer"]


def body_of(reply: PredictReply) -> bytes:
    """Return the answer in a reply.

    Raises:
        CommandError: It is an error; as gcloud says it.
    """
    if reply.status != 200:
        text = reply.body.decode("utf-8", "replace").strip()
        raise CommandError(f"HTTP request failed. Response: {text}")
    return reply.body


def show_answer(body: bytes, form: Format | None, flatten: str = "") -> str:
    """Write an answer: rows of objects as a table, other predictions on one line.

    Args:
        body: The JSON that the model's worker gave.
        form: From --format; None without it.
        flatten: The keys of --flatten: of the answer, or of what is shown row by row.

    Raises:
        CommandError: The body is no JSON.

    Example:
        >>> show_answer(b'{"predictions": [0.25, 0.5]}', None)
        '[0.25, 0.5]\\n'
    """
    try:
        answer = json.loads(body)
    except ValueError:
        raise CommandError(f"The answer is not JSON: {body[:200]!r}") from None
    from mlengine.cli.listing import flattened  # heavy, and `local train` comes this way too

    predictions = answer.get("predictions") if isinstance(answer, dict) else None
    is_by_row = isinstance(predictions, list) and _is_by_row(form, flatten)
    rows = list(flattened(predictions or () if is_by_row else [answer], flatten))
    if form is not None or not is_by_row:
        return render(form or parse_format("json"), rows, single=not is_by_row and not flatten)
    if not rows:
        return ""
    if isinstance(rows[0], Mapping):
        return _table(rows)
    return printable(str(rows), newline="\\n") + "\n"


def _is_by_row(form: Format | None, flatten: str) -> bool:
    """Whether predictions are shown row by row.

    JSON and YAML show the answer as it is, and so do columns and keys that start at its
    ``predictions``.
    """
    if any(re.match(r"\s*predictions\b", key) for key in flatten.split(",")):
        return False
    if form is None:
        return True
    if any(column.path[:1] == ("predictions",) for column in form.columns):
        return False
    return form.kind in ("csv", "get", "list", "table", "value")


def _table(predictions: list[Any]) -> str:
    """Lay the rows out under one heading per key; not as fields, for a key may be any text."""
    keys = sorted({key for row in predictions if isinstance(row, Mapping) for key in row})
    rows = [
        [_cell(row.get(key)) if isinstance(row, Mapping) else _cell(row) for key in keys]
        for row in predictions
    ]
    return plain_table([printable(key.upper(), newline="\\n") for key in keys], rows)


def _cell(value: Any) -> str:
    return "" if value is None else printable(str(value), newline="\\n")
