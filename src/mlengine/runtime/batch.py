"""Batch prediction: every row of some files through one model.

    python -m mlengine.runtime.batch SPEC.json

Differences from the service, on purpose: the order of the input is kept, and each input row gives
exactly one output row or one error row. A batch that fails is halved until the row that fails
stands alone, so that one bad row costs one row. A run that was killed goes on behind the last shard
that was whole (`batch_output`), if it is told to keep them.

A model that has a direct way is asked that way, each row by itself as far as its rounding goes: a
file gets the very bytes that its rows would get online.

Exit status: 0 done (with or without error rows), 3 the model could not be loaded, 4 an input file
cannot be read (the last line on stderr says why), 2 the specification is wrong.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlengine.runtime import process
from mlengine.runtime.batch_input import InputFileError, Row, read_rows, reading
from mlengine.runtime.batch_output import SHARD_ROWS, BatchOutput
from mlengine.runtime.frameworks import Model, ask
from mlengine.runtime.opening import Opened, open_model
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.strictjson import dumps

__all__ = ["INPUT_FAILED", "LOAD_FAILED", "main"]

LOAD_FAILED = 3
INPUT_FAILED = 4
_DEFAULT_BATCH_SIZE = 64
_PROGRESS_EVERY_S = 1.0


def main(argv: list[str]) -> int:
    """Run the batch that a specification file describes; return the exit status.

    The specification is an object: ``artifact`` (directory), ``framework``, ``signature_name``,
    ``inputs`` (local paths), ``input_names`` (what error rows call them; default: the paths),
    ``data_format``, ``output_dir``, ``output_format`` (``JSON`` or ``CSV``), ``batch_size``,
    ``version`` (what a later run must be of to go on with this one's shards), ``shards_dir``
    (where it finds what this one had done) and ``shard_rows``,
    ``progress`` (a JSON file with ``prediction_count`` and ``error_count``, written each second;
    with ``load_error`` besides when the model could not be loaded, or an input file not be read).
    """
    if len(argv) != 1:
        print("usage: python -m mlengine.runtime.batch SPEC.json", file=sys.stderr)
        return 2
    process.scrub_environment()
    process.send_prints_to_stderr()
    spec = json.loads(Path(argv[0]).read_bytes())
    progress = _Progress(Path(spec["progress"]) if spec.get("progress") else None)
    try:
        opened = open_model(spec)
    except PredictionError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        progress.fail(str(error))
        return LOAD_FAILED
    for warning in opened.about["warnings"]:
        print(f"WARNING: {warning}", file=sys.stderr)
    print(f"Answers are given this way: {opened.about['way']}", file=sys.stderr)
    try:
        _run(opened, spec, progress)
    except InputFileError as error:
        progress.fail(str(error))
        return INPUT_FAILED
    return 0


def _run(opened: Opened, spec: dict[str, Any], progress: _Progress) -> None:
    rows = read_rows(
        [Path(path) for path in spec["inputs"]],
        names=_names(spec),
        data_format=spec.get("data_format") or "JSON",
        raw_text=opened.about["raw_text"],
    )
    as_csv = spec.get("output_format") == "CSV"
    shards = Path(spec["shards_dir"]) if spec.get("shards_dir") else None
    output = BatchOutput(
        Path(spec["output_dir"]), as_csv=as_csv, shards=shards,
        plan=_plan_of(spec) if shards else "", shard_rows=spec.get("shard_rows") or SHARD_ROWS,
    )  # fmt: skip
    with output:
        if output.finished_rows:
            print(f"{output.finished_rows} rows were done before.", file=sys.stderr)
            for _ in itertools.islice(rows, output.finished_rows):
                pass
        for batch in _batches(rows, int(spec.get("batch_size") or _DEFAULT_BATCH_SIZE)):
            _write(batch, _answers(opened, [r for r in batch if r.error is None]), output)
            output.end_batch(len(batch))
            progress.tell(output)
    progress.tell(output, now=True)


def _names(spec: dict[str, Any]) -> list[str]:
    """Return what the user calls each input file."""
    return list(spec.get("input_names") or spec["inputs"])


def _plan_of(spec: dict[str, Any]) -> str:
    """Return the text that two runs share if, and only if, they would write the same."""
    model = sorted(path for path in Path(spec["artifact"]).rglob("*") if path.is_file())
    digests = [_digest(path) for path in model]
    for path, name in zip(spec["inputs"], _names(spec), strict=True):
        with reading(name):
            digests.append(_digest(Path(path)))
    named = ("framework", "signature_name", "input_names", "data_format", "output_format",
             "batch_size", "shard_rows", "prediction_class", "version")  # fmt: skip
    return json.dumps([[spec.get(name) for name in named], digests])


def _digest(path: Path) -> str:
    total = hashlib.blake2b()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def _answers(opened: Opened, rows: list[Row]) -> list[Any]:
    """Return a prediction for each row, those of the direct way first."""
    answers: list[Any] = [None] * len(rows)
    rest = list(range(len(rows)))
    if (shortcut := opened.shortcut) is not None:
        # JSON has no bytes: `dumps` would make another text of them.
        said = [at for at, row in enumerate(rows) if not isinstance(row.instance, bytes)]
        read = [(at, shortcut.read(dumps({"instances": [rows[at].instance]}))) for at in said]
        asked = [(at, one) for at, one in read if one is not None]
        found = shortcut.answer([one for _, one in asked]) if asked else []
        for (at, _), body in zip(asked, found, strict=True):
            if body is not None:
                answers[at] = json.loads(body)["predictions"]
        rest = [at for at in rest if answers[at] is None]
        answers = [answer[0] if answer else None for answer in answers]
    general = _predict(opened.model, [rows[at] for at in rest]) if rest else []
    for at, prediction in zip(rest, general, strict=True):
        answers[at] = prediction
    return answers


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _predict(model: Model, rows: list[Row]) -> list[Any]:
    """Return a prediction for each row; a `PredictionError` in the place of one that failed."""
    instances = [row.instance for row in rows]
    if len(rows) > 1:
        # Code of the user's may edit what it is given, and these rows may be asked again.
        instances = copy.deepcopy(instances)
    try:
        return ask(model, instances, {})
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

    def fail(self, message: str) -> None:
        """Say why the run ends here, as the last line of the log too."""
        message = " ".join(message.split())
        print(message, file=sys.stderr)
        if self._path is not None:
            process.write_json(self._path, {**self._told, "load_error": message})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
