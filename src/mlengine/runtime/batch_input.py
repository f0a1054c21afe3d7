"""The rows of a batch prediction's input files, one at a time and in order."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mlengine.runtime.records import RecordError, read_records
from mlengine.runtime.strictjson import StrictJsonError, loads

__all__ = ["InputFileError", "Row", "read_rows", "reading"]

MAX_LINE_BYTES = 64 << 20


class InputFileError(Exception):
    """An input file is not there any more, or may not be read; says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One input row: an instance, or the `error` that kept it from being one.

    `index` counts the rows of all files from 0; `line` counts the lines (or records) of `file`
    from 1, blank lines included.
    """

    index: int
    file: str
    line: int
    instance: Any
    error: str | None = None


def read_rows(
    paths: Sequence[Path], *, names: Sequence[str], data_format: str, raw_text: bool
) -> Iterator[Row]:
    """Yield the rows of all files.

    Args:
        paths: Files on this machine; a text file whose name ends with ``.gz`` is decompressed.
        names: What error rows call each file, in the same order.
        data_format: ``JSON``, ``TEXT``, ``TF_RECORD`` or ``TF_RECORD_GZIP``.
        raw_text: The line or record itself is the instance (a model with one string input);
            otherwise it is JSON.

    A file that breaks off in the middle gives one error row in place of what cannot be read.

    Raises:
        InputFileError: While iterating: a file cannot be read at all. Its rows would be missing
            from what a user takes for a whole answer.
    """
    index = 0
    for path, name in zip(paths, names, strict=True):
        line = 0
        try:
            with reading(name):
                for line, data in _pieces(path, data_format):
                    is_text = "RECORD" not in data_format
                    yield _row(index, name, line, data, raw_text, is_text=is_text)
                    index += 1
        except (RecordError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            text = f"the rest of the file was not read: {error}"
            yield Row(index, name, line + 1, None, text)
            index += 1


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Say of an input file that cannot be opened or read which it is, by the user's name for it.

    Raises:
        InputFileError: In place of an `OSError`; of damaged content the error is left as it is.
    """
    try:
        yield
    except gzip.BadGzipFile:  # an OSError, and no trouble of the file system's
        raise
    except OSError as error:
        # Not the error's own text: it holds a path of the engine's.
        raise InputFileError(
            f"The input file {name} cannot be read ({error.strerror or type(error).__name__}): "
            "it was replaced or removed while the job ran, or the engine may not read it. "
            "Submit the job again, and leave its input files as they are until it has ended."
        ) from error


def _pieces(path: Path, data_format: str) -> Iterator[tuple[int, bytes | None]]:
    if data_format in ("TF_RECORD", "TF_RECORD_GZIP"):
        records = read_records(path, compressed=data_format == "TF_RECORD_GZIP")
        yield from enumerate(records, 1)
        return
    with path.open("rb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=file) as text:
                yield from _lines(text)
        else:
            yield from _lines(file)


def _lines(file: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[int, bytes | None]]:
    """Number and strip the lines that are not blank; None stands for one that is too long."""
    number = 0
    while data := file.readline(MAX_LINE_BYTES):
        number += 1
        too_long = False
        while len(data) == MAX_LINE_BYTES and not data.endswith(b"\n"):
            too_long = True
            if not (data := file.readline(MAX_LINE_BYTES)):
                break
        if number == 1:
            data = data.removeprefix(codecs.BOM_UTF8)
        if too_long:
            yield number, None
        elif data.strip():
            yield number, data.rstrip(b"\r\n")


def _row(
    index: int, name: str, line: int, data: bytes | None, raw_text: bool, *, is_text: bool
) -> Row:
    if data is None:
        return Row(index, name, line, None, f"the line is longer than {MAX_LINE_BYTES} bytes")
    if raw_text:
        return Row(index, name, line, _text(data) if is_text else data)
    try:
        return Row(index, name, line, loads(data))
    except StrictJsonError as error:
        return Row(index, name, line, None, f"not valid JSON: {error}")


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
