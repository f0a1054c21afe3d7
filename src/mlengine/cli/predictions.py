"""An answer of a prediction → text, by the first prediction unless --format says otherwise."""

from __future__ import annotations

import json
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


def show_answer(body: bytes, form: Format | None) -> str:
    """Write an answer: rows of objects as a table, other predictions on one line.

    Args:
        body: The JSON that the model's worker gave.
        form: From --format; None without it.

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
    predictions = answer.get("predictions") if isinstance(answer, dict) else None
    if form is not None:
        if isinstance(predictions, list) and _is_rows(form):
            return render(form, predictions)
        return render(form, [answer], single=True)
    if not isinstance(predictions, list):
        return render(parse_format("json"), [answer], single=True)
    if not predictions:
        return ""
    if isinstance(predictions[0], Mapping):
        return _table(predictions)
    return printable(str(predictions), newline="\\n") + "\n"


def _is_rows(form: Format) -> bool:
    """Whether a format shows predictions row by row.

    JSON and YAML show the answer as it is, and so do columns that start at its ``predictions``.
    """
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
