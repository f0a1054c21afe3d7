"""The files that a batch prediction leaves, which appear whole or not at all.

    prediction.results-00000-of-00001        one prediction a line, in the order of the input
    prediction.results_header.csv, ….csv     the same for CSV
    prediction.errors-00000-of-00001         one JSON object for each row that failed, if any did
    prediction.errors_stats-00000-of-00001   ('message', count) a line; empty without errors

The last of them appears last: where it is, the output is complete.

Until then the rows lie in shards, each of some thousand rows in the order of the input:

    plan           what the shards are of; shards of anything else are thrown away
    00007.json     the shard is whole: how many rows, predictions and errors it has
    00007.results  its lines, and 00007.errors

A run that was killed finds the shards that were whole and goes on behind them.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mlengine.runtime import process
from mlengine.runtime.batch_input import Row
from mlengine.runtime.strictjson import StrictJsonError, dumps

__all__ = ["COMPLETE", "NAMES", "RESULTS", "SHARD_ROWS", "BatchOutput"]

RESULTS = "prediction.results-00000-of-00001"
_ERRORS = "prediction.errors-00000-of-00001"
_HEADER = "prediction.results_header.csv"
COMPLETE = "prediction.errors_stats-00000-of-00001"
NAMES = (RESULTS, f"{RESULTS}.csv", _HEADER, _ERRORS, COMPLETE)
_MAX_DISTINCT_ERRORS = 1000
_BARE_COLUMN = "prediction"  # header of predictions that are not objects
SHARD_ROWS = 8192


class BatchOutput:
    """Collects predictions and errors in shards; publishes them at a clean exit.

    Args:
        directory: Where the output appears.
        as_csv: Write CSV instead of JSON lines.
        shards: Folder that keeps whole shards when a run breaks off; None: nothing is kept.
        plan: What this run computes, and of what; other shards are of no use to it.
        shard_rows: Rows of a shard, at least.
    """

    def __init__(
        self, directory: Path, *, as_csv: bool, shards: Path | None = None, plan: str = "",
        shard_rows: int = SHARD_ROWS,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._staging = directory / ".staging"
        self._keeps = shards is not None
        self._shards = shards or self._staging / "shards"
        self._plan = plan
        self._shard_rows = shard_rows
        self._as_csv = as_csv
        self._columns: list[str] | None = None
        self._error_counts: Counter[str] = Counter()
        self._shard = 0
        self._rows = 0
        self._told = (0, 0)
        self.prediction_count = 0
        self.error_count = 0
        self.finished_rows = 0
        """Rows of the input that whole shards of an earlier run hold."""

    def __enter__(self) -> Self:
        shutil.rmtree(self._staging, ignore_errors=True)  # of an attempt that was killed
        self._staging.mkdir(parents=True)
        plan = self._shards / "plan"
        if not plan.exists() or plan.read_text(encoding="utf-8") != self._plan:
            shutil.rmtree(self._shards, ignore_errors=True)
            self._shards.mkdir(parents=True)
            plan.write_text(self._plan, encoding="utf-8")
        while (whole := self._file("json")).exists():
            self._take_up(json.loads(whole.read_text(encoding="utf-8")))
            self._shard += 1
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._end_shard()
        self._results.close()
        self._errors.close()
        if kind is None:
            self._publish()
        if kind is None or not self._keeps:
            shutil.rmtree(self._shards, ignore_errors=True)
        shutil.rmtree(self._staging, ignore_errors=True)

    def add(self, row: Row, prediction: Any) -> None:
        """Write one prediction; one that cannot be written becomes an error row."""
        try:
            line = self._csv_line(prediction) if self._as_csv else dumps(prediction) + b"\n"
        except StrictJsonError as error:
            self.add_error(row, str(error))
            return
        self._results.write(line)
        self.prediction_count += 1

    def add_error(self, row: Row, message: str) -> None:
        """Write one error row."""
        message = message.split("\n\nCaused by op")[0].encode("utf-8", "replace").decode()
        self._errors.write(
            dumps({"index": row.index, "file": row.file, "line": row.line, "error": message})
            + b"\n"
        )
        self.error_count += 1
        if message not in self._error_counts and len(self._error_counts) >= _MAX_DISTINCT_ERRORS:
            message = "(other errors)"
        self._error_counts[message] += 1

    def end_batch(self, rows: int) -> None:
        """Say that so many further rows of the input are written; a shard may end here."""
        self._rows += rows
        if self._rows >= self._shard_rows:
            self._end_shard()

    # --- shards ---

    def _file(self, suffix: str) -> Path:
        return self._shards / f"{self._shard:05d}.{suffix}"

    def _open(self) -> None:
        self._results: IO[bytes] = self._file("results").open("wb")
        self._errors: IO[bytes] = self._file("errors").open("wb")

    def _end_shard(self) -> None:
        self._results.close()
        self._errors.close()
        predictions, errors = self._told
        process.write_json(self._file("json"), {
            "rows": self._rows, "predictions": self.prediction_count - predictions,
            "errors": self.error_count - errors, "columns": self._columns,
            "error_counts": self._error_counts,
        })  # fmt: skip
        self._told = (self.prediction_count, self.error_count)
        self._rows = 0
        self._shard += 1
        self._open()

    def _take_up(self, shard: dict[str, Any]) -> None:
        self.finished_rows += shard["rows"]
        self.prediction_count += shard["predictions"]
        self.error_count += shard["errors"]
        self._told = (self.prediction_count, self.error_count)
        self._columns = shard["columns"]
        self._error_counts = Counter(shard["error_counts"])  # of all shards up to this one

    # --- output ---

    def _csv_line(self, prediction: Any) -> bytes:
        named = prediction if isinstance(prediction, dict) else {_BARE_COLUMN: prediction}
        if self._columns is None:
            self._columns = list(named)
        if set(named) != set(self._columns):
            raise StrictJsonError(
                f"the prediction has the columns {list(named)}, the first had {self._columns}"
            )
        return _csv([_cell(named[column]) for column in self._columns])

    def _publish(self) -> None:
        results = f"{RESULTS}.csv" if self._as_csv else RESULTS
        names = [results]
        self._join("results", self._staging / results)
        if self._as_csv:
            (self._staging / _HEADER).write_bytes(_csv(self._columns or []))
            names.append(_HEADER)
        if self.error_count:
            self._join("errors", self._staging / _ERRORS)
            names.append(_ERRORS)
        else:
            (self._directory / _ERRORS).unlink(missing_ok=True)
        stats = "".join(f"{pair!r}\n" for pair in self._error_counts.items())
        (self._staging / COMPLETE).write_text(stats, encoding="utf-8")
        for name in (*names, COMPLETE):
            (self._staging / name).replace(self._directory / name)

    def _join(self, suffix: str, target: Path) -> None:
        with target.open("wb") as whole:
            for shard in range(self._shard):
                with (self._shards / f"{shard:05d}.{suffix}").open("rb") as part:
                    shutil.copyfileobj(part, whole, 1 << 20)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return dumps(value).decode()


def _csv(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
