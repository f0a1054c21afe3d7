"""A compiled model: it takes and gives what the original does, and says so of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlengine.runtime.compiled import ABOUT_FILE
from mlengine.runtime.compiled.networks import NumberSession, read_network
from mlengine.runtime.compiled.pictures import Decoding, Graph, PictureReader, later
from mlengine.runtime.frameworks import Beside, Description, Model
from mlengine.runtime.frameworks.onnx import texts
from mlengine.runtime.frameworks.onnxsession import (
    LARGEST_TWICE,
    InPieces,
    Mapped,
    cores,
    open_session,
)
from mlengine.runtime.frameworks.signatures import Signature, TensorModel, signature_of
from mlengine.runtime.frameworks.tensors import TensorSpec, in_batches
from mlengine.runtime.prediction_error import input_error, load_error, run_error

__all__ = [
    "About", "CompiledModel", "Part", "Table", "load_compiled", "read_about", "write_about",
]  # fmt: skip

Columns = Mapping[str, Any]

_NUMBERS = ".npz"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One signature, compiled.

    Attributes:
        signature: Its name, what it takes and what it gives.
        onnx: File of the arithmetic: in ONNX, or, where it is called so, in numbers (`networks`).
        feeds: Each input of that file, and the column that it is.
        fetches: Each output of the signature, and the output of the file that it is.
        graph: File of a TensorFlow graph that goes first, if any: it makes columns of columns.
        takes: Each tensor that the graph is fed, and the column that it is.
        gives: Tensors of the graph that are columns of the arithmetic, by these names.
        decoding: How pictures become the one column that the graph gives, without it.
    """

    signature: Signature
    onnx: str
    feeds: dict[str, str]
    fetches: dict[str, str]
    graph: str = ""
    takes: dict[str, str] = {}
    gives: list[TensorSpec] = []
    decoding: Decoding | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A model of rows of numbers; its arithmetic lies in a file of its own.

    Attributes:
        signature: What the model takes and gives.
    """

    signature: Signature


class About(msgspec.Struct, frozen=True, kw_only=True):
    """``compiled.json``. With a `problem` there is nothing to answer from, and this is why."""

    problem: str = ""
    description: Description | None = None
    default: str = ""
    parts: list[Part] = []
    table: Table | None = None
    way: str = ""
    rowwise: bool = False  # of a network: a row's answer is the same, but for rounding, in company


def read_about(directory: Path) -> About:
    """Read what the compiler says of a folder that it has written.

    Raises:
        PredictionError: Class 0: it cannot be read, or holds only a problem.
    """
    try:
        about = msgspec.json.decode((directory / ABOUT_FILE).read_bytes(), type=About)
    except (OSError, msgspec.MsgspecError) as error:
        raise load_error(f"the compiled model cannot be read: {error}") from error
    if about.problem or about.description is None:
        raise load_error(about.problem or "the compiled model says nothing of itself")
    return about


def load_compiled(directory: Path, *, signature_name: str = "") -> CompiledModel:
    """Open a network in a folder that the compiler has written.

    Args:
        directory: The folder.
        signature_name: Signature when a request names none; default: the original's.

    Raises:
        PredictionError: Class 0: as `read_about`; a library is missing; there is no such signature.
    """
    about = read_about(directory)
    known = [part.signature.name for part in about.parts]
    if signature_name and known != [""]:
        if signature_name not in known:
            raise load_error(f"the signature {signature_name!r} is not compiled")
        about = msgspec.structs.replace(about, default=signature_name)
    files = {part.onnx: directory / part.onnx for part in about.parts}
    graphs = {part.signature.name: _graph(directory, part) for part in about.parts if part.graph}
    calls = cores()
    if calls == 1 or not _may_be_opened_again(files.values()):
        sessions = {name: _session(file) for name, file in files.items()}
        return _opened(directory, about, graphs, sessions)
    narrow = {name: _session(file, threads=1) for name, file in files.items()}
    wide = {name: _session(file, narrow=narrow[name]) for name, file in files.items()}
    beside = Beside(_opened(directory, about, graphs, narrow), calls)
    pool = ThreadPoolExecutor(calls, thread_name_prefix="rows")
    return _opened(directory, about, graphs, wide, beside, narrow, pool.map)


def _may_be_opened_again(files: Iterable[Path]) -> bool:
    """Return whether calls gain by a core each: no network is large, and not all are numbers."""
    sizes = [file.stat().st_size for file in files if file.suffix != _NUMBERS]
    return bool(sizes) and max(sizes) <= LARGEST_TWICE


def _opened(
    directory: Path, about: About, graphs: Mapping[str, Graph], sessions: Mapping[str, Any],
    beside: Beside | None = None, narrow: Mapping[str, Any] | None = None, mapped: Mapped = map,
) -> CompiledModel:  # fmt: skip
    """Make a model of sessions.

    Args:
        directory: The folder.
        about: What it says.
        graphs: By the signature that they go before.
        sessions: By the files of the arithmetic.
        beside: Where the model may be asked by several threads.
        narrow: Those that have a core a call; default: `sessions`.
        mapped: Calls a function for several rows at a time.
    """
    runs, of_rows = {}, {}
    for part in about.parts:
        name, session = part.signature.name, sessions[part.onnx]
        prepare = graphs.get(name)
        if prepare is not None and part.decoding is not None:
            prepare = PictureReader(directory, part.decoding, part.gives[0], prepare, mapped)
        if isinstance(session, NumberSession):
            of_rows[name] = _row_runner(part, session)
        elif about.rowwise:
            session = InPieces(session, (narrow or sessions)[part.onnx], mapped)
        runs[name] = _runner(part, session, prepare)
    return CompiledModel(about, runs, of_rows, beside)


def write_about(directory: Path, about: About) -> None:
    """Write ``compiled.json``, the last file of such a folder."""
    staged = directory / f".{ABOUT_FILE}"
    staged.write_bytes(msgspec.json.encode(about))
    staged.replace(directory / ABOUT_FILE)


class CompiledModel:
    """A model of named tensors; names, types, order and refusals are the original's."""

    def __init__(
        self, about: About, runs: Mapping[str, Callable[[Columns], dict[str, Any]]],
        of_rows: Mapping[str, Callable[[np.ndarray], dict[str, Any]]],
        beside: Beside | None = None,
    ) -> None:  # fmt: skip
        assert about.description is not None
        self.about = about
        self._description = about.description
        self._signatures = {part.signature.name: part.signature for part in about.parts}
        self._runs = dict(runs)
        self.of_rows = of_rows
        """Of signatures in plain numbers: from rows of doubles, all inputs side by side."""
        self.beside = beside

    def predict(
        self, instances: list[Any], /, *, signature_name: Any = None, **kwargs: Any
    ) -> list[Any]:
        if kwargs:
            raise input_error(f"The request has the unknown key {sorted(kwargs)[0]!r}.")
        asked = "" if "" in self._signatures else signature_name or self.about.default
        if not isinstance(asked, str):
            raise input_error(f"The signature name {asked!r} is no string.")
        signature = signature_of(self, asked)
        return in_batches(instances, signature.inputs, self._runs[signature.name])

    def describe(self) -> Description:
        return self._description

    def signatures(self) -> dict[str, Signature]:
        return self._signatures

    def default_signature(self) -> str:
        return self.about.default

    def run(self, columns: dict[str, Any], *, signature_name: str = "") -> dict[str, Any]:
        return self._runs[signature_name or self.about.default](columns)


def _runner(part: Part, session: Any, prepare: Graph | None) -> Callable[[Columns], dict[str, Any]]:
    # The order of a request's keys is people's; that of the outputs is the original's.
    feeds = list(part.feeds.items())
    names, wanted = list(part.fetches), list(part.fetches.values())

    def run(columns: Columns) -> dict[str, Any]:
        if prepare is not None:
            columns = {**columns, **prepare(columns)}
        fed = {theirs: texts(ours, columns[ours]) for theirs, ours in feeds}
        try:
            found = session.run(wanted, fed)
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime has a class for each status, none public
            raise run_error(f"Exception during ONNX prediction: {error}") from error
        return dict(zip(names, found, strict=True))

    return run


def _row_runner(part: Part, session: NumberSession) -> Callable[[np.ndarray], dict[str, Any]]:
    names, wanted = list(part.fetches), list(part.fetches.values())
    ends: dict[str, tuple[int, int]] = {}
    end = 0
    for spec in part.signature.inputs:
        begin, end = end, end + ((spec.shape or ())[1] or 0)
        ends[spec.name] = begin, end
    # The network may take them in another order, and not all of them.
    taken = [column for theirs in session.inputs for column in range(*ends[part.feeds[theirs]])]
    all_of_them = taken == list(range(end))

    def run(table: np.ndarray) -> dict[str, Any]:
        found = session.of_rows(wanted, table if all_of_them else table[:, taken])
        return dict(zip(names, found, strict=True))

    return run


def _session(file: Path, *, threads: int = 0, narrow: Any = None) -> Any:
    if file.suffix != _NUMBERS:
        return open_session(file, threads=threads, narrow=narrow)
    try:
        return narrow or NumberSession(read_network(file))
    except (OSError, ValueError) as error:
        raise load_error(f"{file.name} cannot be read: {error}") from error


def _graph(directory: Path, part: Part) -> Graph:
    """Open a graph; one that few requests need is opened by the first of them."""

    def opened() -> Graph:
        from mlengine.runtime.compiled.tensorflow import open_graph

        return open_graph(directory / part.graph, part.takes, part.gives)

    return opened() if part.decoding is None else later(opened)


_: type[Model] = CompiledModel
_tensors: type[TensorModel] = CompiledModel
