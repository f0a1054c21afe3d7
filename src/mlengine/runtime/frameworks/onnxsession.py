"""Sessions of onnxruntime: how many cores and rows a call has.

A call on several cores waits for its slowest thread after each operation. Threads that sleep there
have to be woken some hundred times a call, which takes a small network longer than what they have
to compute; threads that spin are ready at once, but keep the core from everybody else, and where
others want it, stand in the way of the very thread that they wait for. A call on one core waits for
nobody. Whether several cores are faster depends on what else the machine does, so both are kept and
tried, again and again (`Choice`). No thread spins between two calls.

What a network has computed of two rows fits in a processor's caches, and of thirty-two it may not;
and cores that compute different rows need not wait for each other. So many rows may be faster two
by two, a core each (`InPieces`), which is tried likewise.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlengine.runtime.frameworks import library
from mlengine.runtime.prediction_error import load_error

__all__ = ["LARGEST_TWICE", "Choice", "InPieces", "Mapped", "cores", "open_once", "open_session"]

Mapped = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""`map`, or what calls a function several times at once."""

LARGEST_TWICE = 64 << 20
"""Bytes of a file that is opened more than once."""

_TRIAL_CALLS = 8
_TRIAL_S, _FEWEST_CALLS = 0.3, 3  # of long calls, fewer tell enough
_KEEP_CALLS, _MOST_KEEP_CALLS = 32, 2048  # of what was faster; more each time that it is again
_WORTH = 0.9  # of the time of the first way
_MANY_ROWS, _PIECE_ROWS = 8, 2
_LONG_S = 0.005  # of a call that is worth cutting: others are faster whole


def open_session(path: Path, *, threads: int = 0, narrow: Any = None) -> Any:
    """Open an ONNX file on the CPU.

    Args:
        path: The file.
        threads: How many cores a call may use; 0: `cores`.
        narrow: A session of this file with a core a call, if there is one already.

    Returns:
        What answers `run`, `get_inputs` and `get_outputs` as a session of onnxruntime does.

    Raises:
        PredictionError: Class 0: no onnxruntime, or unreadable.
    """
    threads = threads or cores()
    if threads == 1 or path.stat().st_size > LARGEST_TWICE:
        return open_once(path, threads, spin=False)
    return _Either(
        narrow or open_once(path, 1, spin=False), open_once(path, threads, spin=True)
    )  # fmt: skip


def cores() -> int:
    """Return how many cores a call of this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(int(given), 1) if given.isdecimal() else 1


def open_once(path: Path, threads: int, *, spin: bool) -> Any:
    """Open an ONNX file for calls of so many threads, which spin or sleep; see `open_session`."""
    with library("onnx"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    # Threads that spin for the next request take the time of those who would send it.
    options.add_session_config_entry("session.force_spinning_stop", str(int(spin)))
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except BaseException as error:
        raise load_error(f"{path.name} cannot be read as an ONNX model: {error}") from error


class Choice:
    """Tells by trying which of two ways of a call is faster. Pure.

        8 calls of each, by turns ──▶ whichever was faster, 32 to 2,048 calls ──▶ 8 of each …

    Example:
        >>> choice = Choice()
        >>> for _ in range(16):
        ...     choice.took(choice.is_second, 0.001 if choice.is_second else 0.002)
        >>> choice.is_second
        True
    """

    def __init__(self) -> None:
        self.is_second = False
        """Whether the next call is to take the second way."""
        self._begin()
        self._keep = _KEEP_CALLS
        self._left = 0  # calls before the next trial
        self._was_second = False

    def _begin(self) -> None:
        self._calls, self._took_s, self._rows = [0, 0], [0.0, 0.0], [0, 0]

    def took(self, was_second: bool, seconds: float, rows: int = 1) -> None:
        """Note how long a call took.

        Args:
            was_second: The way that it went: `is_second` when it began.
            seconds: How long it took.
            rows: How many it had.
        """
        if self._left:
            self._left -= 1
            self.is_second = self.is_second and self._left > 0
            return
        way = int(was_second)
        self._calls[way] += 1
        self._took_s[way] += seconds
        self._rows[way] += rows
        enough = [
            calls >= _TRIAL_CALLS or (took_s >= _TRIAL_S and calls >= _FEWEST_CALLS)
            for calls, took_s in zip(self._calls, self._took_s, strict=True)
        ]
        if not all(enough):  # by turns: what else the machine does is the same for both
            self.is_second = not enough[1] and (way == 0 or enough[0])
            return
        # Means, not medians: it is a few calls that wait for a core, and long.
        first, second = (t / n for t, n in zip(self._took_s, self._rows, strict=True))
        self.is_second = second < _WORTH * first
        is_same = self.is_second == self._was_second
        self._keep = min(2 * self._keep, _MOST_KEEP_CALLS) if is_same else _KEEP_CALLS
        self._was_second, self._left = self.is_second, self._keep
        self._begin()


class _Either:
    """Two sessions of one file; each call goes to the one that is faster at the moment."""

    def __init__(self, narrow: Any, wide: Any) -> None:
        self._sessions = narrow, wide
        self._choice = Choice()
        self.get_inputs, self.get_outputs = narrow.get_inputs, narrow.get_outputs

    def run(self, wanted: Sequence[str], fed: Mapping[str, Any]) -> Any:
        is_second, begun_s = self._choice.is_second, time.perf_counter()
        found = self._sessions[is_second].run(wanted, fed)
        took_s = time.perf_counter() - begun_s
        self._choice.took(is_second, took_s, max(_rows_of(fed.values()), 1))
        return found


class InPieces:
    """A session whose calls of many rows are made two rows at a time where that is faster.

    Args:
        session: Of a network whose rows do not see each other.
        beside: What computes the pieces; default: the session. Another one has a core a call.
        mapped: Has several of these made at a time, as `map` one after the other.
    """

    def __init__(self, session: Any, beside: Any = None, mapped: Mapped = map) -> None:
        self._session, self._beside, self._mapped = session, beside or session, mapped
        self._choice = Choice()
        self._lock = threading.Lock()
        self._is_possible = True
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, wanted: Sequence[str], fed: Mapping[str, Any]) -> Any:
        """Return the outputs, as a session of onnxruntime does."""
        rows = _rows_of(fed.values())
        if rows < _MANY_ROWS or not self._is_possible:
            return self._session.run(wanted, fed)
        is_second, begun_s = self._choice.is_second, time.perf_counter()
        found = self._in_pieces(wanted, fed, rows) if is_second else None
        if found is None:
            found = self._session.run(wanted, fed)
        took_s = time.perf_counter() - begun_s
        if took_s >= _LONG_S:
            with self._lock:  # several threads may call
                self._choice.took(is_second, took_s, rows)
        return found

    def _in_pieces(self, wanted: Sequence[str], fed: Mapping[str, Any], rows: int) -> Any:
        def piece(at: int) -> Any:
            few = {name: column[at : at + _PIECE_ROWS] for name, column in fed.items()}
            return self._beside.run(wanted, few)

        begins, pieces = range(0, rows, _PIECE_ROWS), []
        for at, found in zip(begins, self._mapped(piece, begins), strict=True):
            if _rows_of(found) != min(_PIECE_ROWS, rows - at):
                self._is_possible = False  # an output that is not of rows
                return None
            pieces.append(found)
        return [np.concatenate(each) for each in zip(*pieces, strict=True)]


def _rows_of(columns: Iterable[Any]) -> int:
    """Return how many rows all columns have; 0 if they have not as many."""
    found = {column.shape[:1] for column in columns}
    return found.pop()[0] if len(found) == 1 and () not in found else 0
