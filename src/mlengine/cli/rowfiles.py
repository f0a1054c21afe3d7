"""Rows of a request log → one file for whoever learns from it: JSON lines, or Parquet.

Rows are written as lines first, beside the file that they are for; DuckDB, which the extra
``parquet`` brings, makes Parquet of them. So neither a long log nor a long row has to fit into
memory, and a file that is there is replaced by a whole one or not at all. Rows hold what callers
sent: the file is for its owner alone.
"""

from __future__ import annotations

import glob
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from mlengine.cli.errors import CommandError
from mlengine.core.predictions import LoggedPrediction

__all__ = ["ENDINGS", "check_ending", "exported"]

ENDINGS = (".parquet", ".jsonl")
COLUMNS = LoggedPrediction.__struct_fields__
_GROUP_BYTES, _GROUP_ROWS = 64 << 20, 122_880  # of a row group, which DuckDB keeps in memory
_LEAST_GROUP_ROWS = 2048  # DuckDB's own
_LEAST_LINE_BYTES = 1 << 20


class _Written(NamedTuple):
    """How many lines there are, and how long they and the longest of them are."""

    rows: int
    size: int
    longest: int


def check_ending(name: str) -> None:
    """Refuse a file that cannot be written here, before any row is asked for.

    Raises:
        CommandError: Its ending says no known form, or the library for it is missing.
    """
    ending = _ending(name)
    if not ending:
        raise CommandError(
            f"--out is [{name}], whose ending says no form: use one of {', '.join(ENDINGS)}."
        )
    if ending == ".parquet" and find_spec("duckdb") is None:
        raise CommandError(
            "Parquet needs DuckDB, which is not installed. Run: pip install 'mlengine[parquet]', "
            "or export to a file that ends in .jsonl."
        )


@contextmanager
def exported(
    rows: Iterable[LoggedPrediction], name: str, beside: Path
) -> Iterator[tuple[Path, int]]:
    """Write rows into a file that lives as long as the context, unless it is moved away.

    Args:
        rows: In the order of the file.
        name: Of the file; its ending says the form.
        beside: The folder in which there is room for it.

    Yields:
        The file, and how many rows it has.

    Raises:
        CommandError: The folder is none, or the disk refuses.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".mlengine-export-", dir=beside) as folder:
            lines = Path(folder) / "rows.jsonl"
            written = _write_lines(rows, lines)
            made = lines
            if _ending(name) == ".parquet":
                made = Path(folder) / "rows.parquet"
                _write_parquet(lines, made, written)
                made.chmod(0o600)
            yield made, written.rows
    except OSError as error:
        raise CommandError(f"Cannot write [{name}]: {error.strerror or error}.") from None


def _ending(name: str) -> str:
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def _write_lines(rows: Iterable[LoggedPrediction], path: Path) -> _Written:
    """Write rows under the names that the columns of a table have."""
    count = size = longest = 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        for row in rows:
            line = json.dumps({column: getattr(row, column) for column in COLUMNS}).encode()
            out.write(line + b"\n")
            count, size, longest = count + 1, size + len(line), max(longest, len(line))
    return _Written(count, size, longest)


def _write_parquet(lines: Path, path: Path, written: _Written) -> None:
    import duckdb

    types = dict.fromkeys(COLUMNS, "VARCHAR") | {"time": "TIMESTAMPTZ"}
    group = written.rows * _GROUP_BYTES // max(written.size, 1)
    settings: dict[str, Any] = {"threads": "1", "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false"}  # fmt: skip
    try:
        with duckdb.connect(config=settings) as connection:
            connection.read_json(
                glob.escape(str(lines)), columns=types, format="newline_delimited",
                maximum_object_size=max(2 * written.longest, _LEAST_LINE_BYTES),
                hive_partitioning=False,  # or a folder called model=x would fill that column
            ).write_parquet(
                str(path), compression="zstd",
                row_group_size=min(max(group, _LEAST_GROUP_ROWS), _GROUP_ROWS),
            )  # fmt: skip
    except duckdb.Error as error:
        raise CommandError(f"Parquet could not be written: {error}") from None
