"""The models that an attempt left in its job directory, and what is wrong with them.

Found by name, judged in two steps. `damage` looks at the bytes, here and at once: an empty or
half-written file is told by its format's own frame. `unloadable` then loads the newest of the
rest as `mlengine.runtime.loadcheck` does, in the job's interpreter: whether a model loads only its
framework can say, and the engine never imports one.
"""

from __future__ import annotations

import json
import lzma
import os
import signal
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlengine.runtime
from mlengine.runtime.attemptfiles import signal_name

__all__ = ["Export", "Problem", "damage", "find_exports", "unloadable"]

MAX_ENTRIES = 50_000
MAX_LOADED = 4
LOAD_TIMEOUT_S = 180.0

# What else `zipfile` raises of damaged bytes: a place before the begin, a name that is no UTF-8, a
# field cut short, a flag for a password, a method that they are not packed with.
_ZIP_DAMAGE = (
    zlib.error, lzma.LZMAError, EOFError, OSError, struct.error, ValueError, RuntimeError
)  # fmt: skip
_WHOLE_SECONDS_S = 1.0
_KERNEL_TICK_S = 0.02  # what stamps files is a clock that Linux moves every 1 to 10 ms

_SCRIPT = Path(mlengine.runtime.__file__).with_name("loadcheck.py")
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
_KINDS = {
    ".keras": "keras", ".h5": "hdf5", ".hdf5": "hdf5", ".joblib": "pickle", ".pkl": "pickle",
    ".pickle": "pickle", ".bst": "booster", ".ubj": "booster", ".onnx": "onnx", ".pt": "torch",
    ".pth": "torch", ".tflite": "tflite",
}  # fmt: skip
_LOADABLE = frozenset({"saved_model", "keras", "hdf5", "pickle", "booster", "onnx"})
_MAGIC = {"keras": b"PK\x03\x04", "hdf5": b"\x89HDF\r\n\x1a\n"}


class Export(NamedTuple):
    """A file, or the folder of a SavedModel, that looks like a model."""

    path: Path
    kind: str
    modified_s: float
    size_bytes: int


class Problem(NamedTuple):
    """Why an export is no good; not `sure` when its author may know better."""

    export: Export
    text: str
    sure: bool = True


def find_exports(folder: Path, *, since_s: float) -> list[Export]:
    """Return what was exported below a folder since a moment, newest first.

    Args:
        folder: The job directory; it need not exist. Links in it are not followed.
        since_s: When the attempt began, in seconds since the epoch. What a job before it wrote half
            a second earlier does not count, unless the file system tells times to the second.
    """
    found = [e for e in _walk(folder) if e.modified_s >= since_s - _coarseness_s(e.modified_s)]
    return sorted(found, key=lambda e: (-e.modified_s, str(e.path)))


def damage(export: Export) -> str:
    """Say what the bytes of an export tell: empty, cut off, or nothing bad (the empty text)."""
    try:
        if export.kind == "saved_model":
            return _saved_model_damage(export.path)
        if export.size_bytes == 0:
            return "it is empty"
        with export.path.open("rb") as file:
            head = file.read(16)
        magic = _MAGIC.get(export.kind)
        if magic and not head.startswith(magic):
            return f"it is no {export.kind} file: it begins with {head[:8]!r}"
        if export.kind in ("keras", "torch") and head.startswith(b"PK"):
            return _zip_damage(export.path)
        if export.kind == "torch" and head[:1] != b"\x80":
            return f"it is neither a zip file nor a pickle: it begins with {head[:8]!r}"
        if export.kind == "tflite" and head[4:8] != b"TFL3":
            return "it is no TensorFlow Lite file"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return ""


def unloadable(
    exports: Sequence[Export],
    python: str,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    timeout_s: float = LOAD_TIMEOUT_S,
) -> list[Problem]:
    """Load the newest exports in the job's environment; return those that do not load.

    Args:
        exports: Newest first; undamaged.
        python: The job's interpreter.
        environ: The complete environment of the process that loads them.
        cwd: Its working directory.
        timeout_s: For all of them together.
    """
    chosen = [e for e in exports if e.kind in _LOADABLE][:MAX_LOADED]
    room_bytes = _free_memory_bytes() // 2
    problems = [
        Problem(e, "it was not loaded, because it would take most of the memory", sure=False)
        for e in chosen
        if e.size_bytes > room_bytes
    ]
    chosen = [e for e in chosen if e.size_bytes <= room_bytes]
    if not chosen:
        return problems
    status, rows = _run(chosen, python, environ, cwd, timeout_s)
    return problems + _read_answers(chosen, rows, status)


# --- finding ------------------------------------------------------------------------------------


def _walk(folder: Path) -> Iterator[Export]:
    left = MAX_ENTRIES
    waiting = [folder]
    while waiting and left > 0:
        here = waiting.pop()
        try:
            with os.scandir(here) as inside:
                entries = list(inside)
        except OSError:  # not there, or removed a moment ago
            continue
        left -= len(entries)
        folders = [e for e in entries if e.is_dir(follow_symlinks=False)]
        files = [e for e in entries if e.is_file(follow_symlinks=False)]
        names = {e.name for e in files}
        if names & set(_SAVED_MODEL) or _is_headless(folders):
            yield _saved_model(here)
            continue
        waiting += [Path(e.path) for e in folders]
        yield from (found for e in files if (found := _file(e)))


def _file(entry: os.DirEntry[str]) -> Export | None:
    kind = _KINDS.get(os.path.splitext(entry.name)[1])  # noqa: PTH122 - for each of many files
    if kind is None:
        return None
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    if status.st_nlink > 1:  # a second name of somebody else's file is nothing that it exported
        return None
    return Export(Path(entry.path), kind, _written_s(status), status.st_size)


def _written_s(status: os.stat_result) -> float:
    """Return when a file came to be as it is; a copy that keeps its old time came just now."""
    return max(status.st_mtime, status.st_ctime)


def _coarseness_s(modified_s: float) -> float:
    """Return by how much the clock of a file system may be behind ours."""
    return _WHOLE_SECONDS_S if modified_s.is_integer() else _KERNEL_TICK_S


def _is_headless(folders: Sequence[os.DirEntry[str]]) -> bool:
    """Tell a SavedModel whose graph is missing: TensorFlow writes it last."""
    return any(e.name == "variables" and Path(e.path, "variables.index").is_file() for e in folders)


def _saved_model(path: Path) -> Export:
    status = [p.stat() for p in [*path.glob("*"), *path.glob("variables/*")] if p.is_file()]
    return Export(
        path,
        "saved_model",
        max((_written_s(s) for s in status), default=0.0),
        sum(s.st_size for s in status),
    )


# --- bytes --------------------------------------------------------------------------------------


def _saved_model_damage(path: Path) -> str:
    graphs = [path / name for name in _SAVED_MODEL if (path / name).is_file()]
    if not graphs:
        return "it has variables but no saved_model.pb: the export was not finished"
    if not any(graph.stat().st_size for graph in graphs):
        return f"its {graphs[0].name} is empty"
    index = path / "variables" / "variables.index"
    data = list(path.glob("variables/variables.data-*"))
    if index.is_file() and not index.stat().st_size:
        return "its variables/variables.index is empty"
    if index.is_file() and not data:
        return "its variables/variables.data-* files are missing"
    if data and not index.is_file():
        return "its variables/variables.index is missing"
    return ""


def _zip_damage(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile as error:
        return f"it was not written to its end: {error}"
    except _ZIP_DAMAGE as error:
        return f"it cannot be unpacked: {error}"
    return f"its part {broken!r} is damaged" if broken else ""


# --- loading ------------------------------------------------------------------------------------


def _run(
    exports: Sequence[Export],
    python: str,
    environ: Mapping[str, str],
    cwd: Path,
    timeout_s: float,
) -> tuple[int | None, list[dict[str, Any]]]:
    """Run the script; return its exit status, None for a time-out, and what it said."""
    question = json.dumps([[e.kind, str(e.path)] for e in exports]).encode()
    process = subprocess.Popen(
        [python, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env=dict(environ), cwd=cwd, start_new_session=True,
    )  # fmt: skip
    status: int | None = None
    try:
        said, _errors = process.communicate(question, timeout=timeout_s)
        status = process.returncode
    except subprocess.TimeoutExpired:
        _kill(process)
        said, _errors = process.communicate()
    rows = []
    for line in said.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return status, rows


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # not reaped yet: the number is still its own
    except ProcessLookupError:
        pass


def _read_answers(
    exports: Sequence[Export], rows: Sequence[Mapping[str, Any]], status: int | None
) -> list[Problem]:
    ended = {int(row["end"]): row for row in rows if "end" in row}
    begun = {int(row["begin"]) for row in rows if "begin" in row}
    problems = []
    for number, export in enumerate(exports):
        row = ended.get(number)
        if row is not None:
            if row["problem"]:
                problems.append(Problem(export, str(row["problem"]), bool(row["sure"])))
        elif number in begun:
            problems.append(_unfinished(export, status))
        else:
            problems.append(Problem(export, "it was not loaded to check it", sure=False))
    return problems


def _unfinished(export: Export, status: int | None) -> Problem:
    if status is None or status == -signal.SIGALRM:
        return Problem(export, "it took too long to load to be checked", sure=False)
    if status == -signal.SIGKILL:
        return Problem(export, "loading it was killed, most likely for lack of memory", sure=False)
    if status < 0:
        return Problem(export, f"loading it crashed the interpreter ({signal_name(-status)})")
    return Problem(export, f"loading it ended the interpreter (exit {status})", sure=False)


def _free_memory_bytes() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 1 << 62
