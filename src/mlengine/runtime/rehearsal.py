"""Asks a loaded model for its golden rows: what its trainer saved is what it must answer.

The rows decide and the libraries explain. A version whose rows come out right is served, whatever
the versions of its libraries; where these differ, it says so. One whose rows come out wrong has
FAILED, and the difference of the libraries is the first thing to look at.
"""

from __future__ import annotations

import copy
import json
import platform
import sys
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.runtime.frameworks import Model, ask
from mlengine.runtime.golden import LIBRARIES_FILE, MAX_ROWS, ROWS_FILE
from mlengine.runtime.instances import is_number
from mlengine.runtime.prediction_error import PredictionError, load_error
from mlengine.runtime.strictjson import StrictJsonError, dumps, loads

__all__ = ["TOLERANCE", "GoldenRow", "differs", "read_rows", "rehearse"]

TOLERANCE = 1e-5
"""Largest difference of two numbers, relative to the larger or to 1; whole numbers have none."""

_SHOWN = 300


class GoldenRow(NamedTuple):
    """A line of ``golden.jsonl``."""

    line: int
    instance: Any
    prediction: Any


def rehearse(
    model: Model, directory: Path, *, signature_name: str = ""
) -> tuple[list[GoldenRow], list[str]]:
    """Replay the golden rows that lie beside a model.

    Args:
        model: As loaded.
        directory: Where the rows lie.
        signature_name: The signature that they are of; default: the one that requests get.

    Returns:
        The rows, none if the model came without; and what the libraries give to think about.

    Raises:
        PredictionError: Class 0: a row comes out otherwise, or the file cannot be read.
    """
    rows = read_rows(directory)
    notes = _library_notes(directory)
    kwargs = {"signature_name": signature_name} if signature_name else {}
    for row, got in zip(rows, _answers(model, rows, kwargs, notes), strict=True):
        if differs(row.prediction, got):
            text = (
                f"golden row {row.line} comes out otherwise: the trainer saved "
                f"{_shown(row.prediction)}, the model answers {_shown(got)}"
            )
            raise load_error(_explained(text, row, notes))
    return rows, [f"{note}. Its golden rows come out right." for note in notes] if rows else notes


def read_rows(directory: Path) -> list[GoldenRow]:
    """Read the golden rows of a model directory; none if it has no such file.

    Raises:
        PredictionError: Class 0: a line is no golden row.
    """
    rows = []
    try:
        with (directory / ROWS_FILE).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append(_row(number, line))
                if len(rows) == MAX_ROWS:
                    break
    except FileNotFoundError:
        return []
    except OSError as error:
        raise load_error(f"{ROWS_FILE} cannot be read: {error}") from error
    return rows


def differs(wanted: Any, got: Any) -> bool:
    """Return whether two JSON values are different answers.

    Example:
        >>> differs({"p": 0.5}, {"p": 0.500001}), differs([1.0, "a"], [1, "b"])
        (False, True)
    """
    if isinstance(wanted, dict) and isinstance(got, dict):
        return wanted.keys() != got.keys() or any(differs(wanted[k], got[k]) for k in wanted)
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) != len(got) or any(map(differs, wanted, got))
    if is_number(wanted) and is_number(got):
        if isinstance(wanted, int) and isinstance(got, int):
            return wanted != got
        return bool(abs(wanted - got) > TOLERANCE * max(abs(wanted), abs(got), 1.0))
    return type(wanted) is not type(got) or bool(wanted != got)


def _answers(
    model: Model, rows: list[GoldenRow], kwargs: dict[str, Any], notes: list[str]
) -> list[Any]:
    try:
        return _asked(model, rows, kwargs)
    except (PredictionError, StrictJsonError):
        pass  # whose fault it is shows when they are asked one by one
    answers = []
    for row in rows:
        try:
            answers += _asked(model, [row], kwargs)
        except (PredictionError, StrictJsonError) as error:
            text = f"golden row {row.line} was refused: {error}"
            raise load_error(_explained(text, row, notes)) from error
    return answers


def _asked(model: Model, rows: list[GoldenRow], kwargs: dict[str, Any]) -> list[Any]:
    # Code of the user's may edit what it is given, and a row may be asked again, and is shown.
    instances = copy.deepcopy([row.instance for row in rows])
    written: Any = loads(dumps(ask(model, instances, kwargs)))
    return list(written)


def _row(number: int, line: bytes) -> GoldenRow:
    try:
        value = loads(line)
    except StrictJsonError as error:
        raise load_error(f"{ROWS_FILE}, line {number}: not valid JSON: {error}") from None
    if not isinstance(value, dict) or set(value) != {"instance", "prediction"}:
        raise load_error(
            f'{ROWS_FILE}, line {number}: expected an object with "instance" and "prediction"'
        )
    return GoldenRow(number, value["instance"], value["prediction"])


def _library_notes(directory: Path) -> list[str]:
    """Say which libraries are of another version than when the model was saved."""
    try:
        saved = json.loads((directory / LIBRARIES_FILE).read_text(encoding="utf-8"))
        libraries = dict(saved["libraries"])
        python = str(saved["python"])
    except (OSError, ValueError, KeyError, TypeError):
        return []  # it came without, or from another tool
    notes = []
    if _minor(python) != _minor(platform.python_version()):
        notes.append(f"The model was saved with Python {python}, and is served with "
                     f"{platform.python_version()}")  # fmt: skip
    for name, version in sorted(libraries.items()):
        # What the model has not led to import does not matter to it.
        here = getattr(sys.modules.get(name), "__version__", None)
        if here is not None and _minor(str(version)) != _minor(str(here)):
            notes.append(f"The model was saved with {name} {version}, and is served with {here}")
    return notes


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _explained(text: str, row: GoldenRow, notes: list[str]) -> str:
    return ". ".join([f"{text} (instance {_shown(row.instance)})", *notes])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
