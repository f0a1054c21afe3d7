"""Batch prediction: every row of some files through one model.

    python -m mlengine.runtime.batch SPEC.json

Differences from the service, on purpose: the order of the input is kept, and each input row gives
exactly one output row or one error row. A batch that fails is halved until the row that fails
stands alone, so that one bad row costs one row.

Exit status: 0 done (with or without error rows), 3 the model could not be loaded (the last line
on stderr says why), 2 the specification is wrong.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlengine.runtime import process
from mlengine.runtime.batch_input import Row, read_rows
from mlengine.runtime.batch_output import BatchOutput
from mlengine.runtime.frameworks import Model, ask, load
from mlengine.runtime.prediction_error import PredictionError

__all__ = ["LOAD_FAILED", "main"]

LOAD_FAILED = 3
_DEFAULT_BATCH_SIZE = 64
_PROGRESS_EVERY_S = 1.0


def main(argv: list[str]) -> int:
    """Run the batch that a specification file describes; return the exit status.

    The specification is an object: ``artifact`` (directory), ``framework``, ``signature_name``,
    ``inputs`` (local paths), ``input_names`` (what error rows call them; default: the paths),
    ``data_format``, ``output_dir``, ``output_format`` (``JSON`` or ``CSV``), ``batch_size``,
    ``progress`` (a JSON file with ``prediction_count`` and ``error_count``, written each second;
    with ``load_error`` instead when the model could not be loaded).
    """
    if len(argv) != 1:
        print("usage: python -m mlengine.runtime.batch SPEC.json", file=sys.stderr)
        return 2
    process.scrub_environment()
    process.send_prints_to_stderr()
    spec = json.loads(Path(argv[0]).read_bytes())
    try:
        model = load(
            Path(spec["artifact"]),
            framework=spec.get("framework") or "",
            signature_name=spec.get("signature_name") or "",
            where=spec.get("artifact_uri") or "",
        )
    except PredictionError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        message = " ".join(str(error).split())
        print(message, file=sys.stderr)
        if spec.get("progress"):
            process.write_json(Path(spec["progress"]), {"load_error": message})
        return LOAD_FAILED
    for warning in model.describe()["warnings"]:
        print(f"WARNING: {warning}", file=sys.stderr)
    _run(model, spec)
    return 0


def _run(model: Model, spec: dict[str, Any]) -> None:
    paths = [Path(path) for path in spec["inputs"]]
    rows = read_rows(
        paths,
        names=spec.get("input_names") or [str(path) for path in paths],
        data_format=spec.get("data_format") or "JSON",
        raw_text=model.describe()["raw_text"],
    )
    progress = _Progress(Path(spec["progress"]) if spec.get("progress") else None)
    as_csv = spec.get("output_format") == "CSV"
    with BatchOutput(Path(spec["output_dir"]), as_csv=as_csv) as output:
        for batch in _batches(rows, int(spec.get("batch_size") or _DEFAULT_BATCH_SIZE)):
            _write(batch, _predict(model, [r for r in batch if r.error is None]), output)
            progress.tell(output)
    progress.tell(output, now=True)


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _predict(model: Model, rows: list[Row]) -> list[Any]:
    """Return a prediction for each row; a `PredictionError` in the place of one that failed."""
    try:
        return ask(model, [row.instance for row in rows], {})
    except PredictionError as error:
        if len(rows) == 1:
            return [error]
        middle = len(rows) // 2
        return _predict(model, rows[:middle]) + _predict(model, rows[middle:])


def _write(batch: list[Row], predictions: list[Any], output: BatchOutput) -> None:
    rest = iter(predictions)
    for row in batch:
        if row.error is not None:
            output.add_error(row, row.error)
        elif isinstance(prediction := next(rest), PredictionError):
            output.add_error(row, str(prediction))
        else:
            output.add(row, prediction)


class _Progress:
    """Tells how far the run is, at most once a second."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._next_s = 0.0
        self._told: dict[str, int] = {}

    def tell(self, output: BatchOutput, *, now: bool = False) -> None:
        if not now and time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _PROGRESS_EVERY_S
        counts = {"prediction_count": output.prediction_count, "error_count": output.error_count}
        if counts == self._told:
            return
        self._told = counts
        print(
            f"{output.prediction_count} predictions, {output.error_count} errors", file=sys.stderr
        )
        if self._path is not None:
            process.write_json(self._path, counts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
