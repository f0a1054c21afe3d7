"""A compiled form that a gateway may answer from: plain numbers, few of them, and quick.

The gateway is trusted with everybody's tokens and answers for all versions; the folder was written
by a process that had loaded somebody's model. So nothing in it is run, unpacked or believed: files
have a size, arrays a shape, a row a number of steps. What is more than that is for a worker.
"""

from __future__ import annotations

import stat
import time
import zipfile
from pathlib import Path
from typing import Any

from mlengine.runtime.compiled import DESK_BYTES, RECIPE_FILE
from mlengine.runtime.compiled.model import About, load_compiled, read_about
from mlengine.runtime.compiled.rows import kernel_from, repeat
from mlengine.runtime.prediction_error import PredictionError, load_error
from mlengine.runtime.rehearsal import read_rows
from mlengine.runtime.shortcuts import Shortcut
from mlengine.runtime.shortcuts.rows import Rows
from mlengine.runtime.shortcuts.tensors import Tensors
from mlengine.runtime.strictjson import dumps

__all__ = ["LARGEST_BYTES", "open_desk"]

LARGEST_BYTES = 16 << 20
"""Of a folder; the arrays in memory are about as large."""

# Callers of all other versions wait meanwhile, and there may be many such bodies in a turn.
_LONGEST_S, _LONGEST_BODY_S = 100e-6, 1e-3
_TIMED = 5
_AROUND_BYTES = len(b'{"instances":[]}')


def open_desk(folder: Path) -> tuple[Shortcut, int]:
    """Open the arithmetic in a folder for a gateway; return how many bytes it is, too.

    Raises:
        PredictionError: Class 0: it cannot be read, a row comes out otherwise than it did, or it
            is nothing for a gateway.
    """
    try:
        return _open(folder)
    except (PredictionError, MemoryError):
        raise
    except Exception as error:  # of files that lie, anything may be raised
        raise load_error(f"{folder.name} cannot be read: {error!r}") from error


def _open(folder: Path) -> tuple[Shortcut, int]:
    found = [(file.name, file.lstat()) for file in folder.iterdir()]
    # A link, a pipe or a device says nothing of how much there is to read.
    for name, about_file in found:
        if not stat.S_ISREG(about_file.st_mode):
            raise load_error(f"{name} is no plain file")
    held_bytes = sum(about_file.st_size for _name, about_file in found)
    if held_bytes > LARGEST_BYTES:
        raise load_error(f"it has {held_bytes} bytes, more than {LARGEST_BYTES}")
    about = read_about(folder)
    for name in _archives(about):
        _check_archive(folder / name)
    shortcut: Shortcut
    if about.table is None:
        shortcut = Tensors(load_compiled(folder))
    else:
        assert about.description is not None
        shortcut = Rows(kernel_from(folder), about.description["inputs"])
    repeat(shortcut, folder)
    first = read_rows(folder)[0].instance
    for what, rows, most_s in (
        ("a row", [first], _LONGEST_S), ("a long body", _as_many(first), _LONGEST_BODY_S)
    ):  # fmt: skip
        took_s = _time_of(shortcut, rows)
        if took_s > most_s:
            raise load_error(f"{what} takes {took_s * 1e6:.0f} µs, more than {most_s * 1e6:.0f}")
    return shortcut, held_bytes


def _archives(about: About) -> list[str]:
    """Return the files that are about to be opened, none of which may be anything else."""
    if about.table is not None:
        return [RECIPE_FILE]
    if not about.parts:
        raise load_error("it has no arithmetic")
    for part in about.parts:
        is_numbers = part.onnx.endswith(".npz") and Path(part.onnx).name == part.onnx
        if not is_numbers or part.graph or part.decoding is not None:
            raise load_error(f"{part.onnx!r} is not plain numbers alone")
    return [part.onnx for part in about.parts]


def _check_archive(file: Path) -> None:
    """See that an archive unpacks to no more than it is."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise load_error(f"{file.name} cannot be read: {error}") from error
    if any(one.compress_type != zipfile.ZIP_STORED for one in members):
        raise load_error(f"{file.name} is compressed")
    if sum(one.file_size for one in members) > file.stat().st_size:
        raise load_error(f"{file.name} unpacks to more than it is")


def _as_many(instance: Any) -> list[Any]:
    """Return as many rows as fit into a body of the longest: each number is written as a zero."""
    zeros = _zeros(instance)
    return [zeros] * max((DESK_BYTES - _AROUND_BYTES) // (len(dumps(zeros)) + 1), 1)


def _zeros(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _zeros(one) for key, one in value.items()}
    return [_zeros(one) for one in value] if isinstance(value, list) else 0


def _time_of(shortcut: Shortcut, rows: list[Any]) -> float:
    """Return how long a body with these rows takes, in seconds: the least of a few times."""
    asked = shortcut.read(dumps({"instances": rows}))
    if asked is None:
        raise load_error("it holds a row that cannot be answered")
    times = []
    for _ in range(_TIMED):
        begun_s = time.perf_counter()
        shortcut.answer([asked])
        times.append(time.perf_counter() - begun_s)
    return min(times)
