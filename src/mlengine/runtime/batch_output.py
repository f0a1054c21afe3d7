"""The files that a batch prediction leaves, which appear whole or not at all.

    prediction.results-00000-of-00001        one prediction a line, in the order of the input
    prediction.results_header.csv, ….csv     the same for CSV
    prediction.errors-00000-of-00001         one JSON object for each row that failed, if any did
    prediction.errors_stats-00000-of-00001   ('message', count) a line; empty without errors

The last of them appears last: where it is, the output is complete.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mlengine.runtime.batch_input import Row
from mlengine.runtime.strictjson import StrictJsonError, dumps

__all__ = ["RESULTS", "BatchOutput"]

RESULTS = "prediction.results-00000-of-00001"
_ERRORS = "prediction.errors-00000-of-00001"
_HEADER = "prediction.results_header.csv"
_ERROR_STATS = "prediction.errors_stats-00000-of-00001"
_MAX_DISTINCT_ERRORS = 1000
_BARE_COLUMN = "prediction"  # header of predictions that are not objects


class BatchOutput:
    """Collects predictions and errors in a staging folder; publishes them at a clean exit."""

    def __init__(self, directory: Path, *, as_csv: bool) -> None:
        self._directory = directory
        self._staging = directory / ".staging"
        self._as_csv = as_csv
        self._columns: list[str] | None = None
        self._error_counts: Counter[str] = Counter()
        self.prediction_count = 0
        self.error_count = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self._staging, ignore_errors=True)  # of an attempt that was killed
        self._staging.mkdir(parents=True)
        self._results: IO[bytes] = (self._staging / self._results_name).open("wb")
        self._errors: IO[bytes] = (self._staging / _ERRORS).open("wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._results.close()
        self._errors.close()
        if kind is None:
            self._publish()
        shutil.rmtree(self._staging, ignore_errors=True)

    @property
    def _results_name(self) -> str:
        return f"{RESULTS}.csv" if self._as_csv else RESULTS

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
        names = [self._results_name]
        if self._as_csv:
            (self._staging / _HEADER).write_bytes(_csv(self._columns or []))
            names.append(_HEADER)
        if self.error_count:
            names.append(_ERRORS)
        else:
            (self._directory / _ERRORS).unlink(missing_ok=True)
        stats = "".join(f"{pair!r}\n" for pair in self._error_counts.items())
        (self._staging / _ERROR_STATS).write_text(stats, encoding="utf-8")
        for name in (*names, _ERROR_STATS):
            (self._staging / name).replace(self._directory / name)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return dumps(value).decode()


def _csv(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
