"""Sessions of onnxruntime: how many threads a call has, and what these do while they wait.

A call on several cores waits for its slowest thread after each operation. Threads that sleep there
have to be woken some hundred times a call, which takes a small network longer than what they have
to compute; threads that spin are ready at once, but keep the core from everybody else, and where
others want it, stand in the way of the very thread that they wait for. Which is faster depends on
what else the machine does, so both are kept and tried, again and again (`Choice`). No thread spins
between two calls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime.frameworks import library
from mlengine.runtime.prediction_error import load_error

__all__ = ["Choice", "open_session"]

_TRIAL_CALLS = 16
_KEEP_CALLS, _MOST_KEEP_CALLS = (
    64,
    1024,
)  # what was faster; twice as many each time that it is again
_WORTH = 0.9  # of the time of the first way
_LARGEST_TWICE = 64 << 20  # bytes of a file that is opened twice


def open_session(path: Path, *, threads: int = 0) -> Any:
    """Open an ONNX file on the CPU.

    Args:
        path: The file.
        threads: How many cores a call may use; 0: as this process, `OMP_NUM_THREADS`, or one.

    Returns:
        What answers `run`, `get_inputs` and `get_outputs` as a session of onnxruntime does.

    Raises:
        PredictionError: Class 0: no onnxruntime, or unreadable.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = threads or (int(given) if given.isdecimal() else 1)
    sleeping = _open(path, threads, spin=False)
    if threads == 1 or path.stat().st_size > _LARGEST_TWICE:
        return sleeping
    return _Either(sleeping, _open(path, threads, spin=True))


def _open(path: Path, threads: int, *, spin: bool) -> Any:
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

        16 calls of each ──▶ whichever was faster, 128 to 2,048 calls ──▶ 16 calls of each …

    Example:
        >>> choice = Choice()
        >>> for _ in range(32):
        ...     choice.took(0.001 if choice.is_second else 0.002)
        >>> choice.is_second
        True
    """

    def __init__(self) -> None:
        self.is_second = False
        """Whether the next call is to take the second way."""
        self._took_s: tuple[list[float], list[float]] = [], []
        self._keep = _KEEP_CALLS
        self._left = 0  # calls before the next trial
        self._was_second = False

    def took(self, seconds: float) -> None:
        """Note how long a call took that went the way it was to take.

        Args:
            seconds: For each row.
        """
        if self._left:
            self._left -= 1
            self.is_second = self.is_second and self._left > 0
            return
        self._took_s[self.is_second].append(seconds)
        if len(self._took_s[self.is_second]) < _TRIAL_CALLS:
            return
        if not self.is_second:
            self.is_second = True
            return
        # All of it, not the median: it is a few calls that wait for a core, and long.
        first, second = map(sum, self._took_s)
        self.is_second = second < _WORTH * first
        is_same = self.is_second == self._was_second
        self._keep = min(2 * self._keep, _MOST_KEEP_CALLS) if is_same else _KEEP_CALLS
        self._was_second, self._left = self.is_second, self._keep
        self._took_s = [], []


class _Either:
    """Two sessions of one file; each call goes to the one that is faster at the moment."""

    def __init__(self, sleeping: Any, spinning: Any) -> None:
        self._sessions = sleeping, spinning
        self._choice = Choice()
        self.get_inputs, self.get_outputs = sleeping.get_inputs, sleeping.get_outputs

    def run(self, wanted: Sequence[str], fed: Mapping[str, Any]) -> Any:
        session = self._sessions[self._choice.is_second]
        begun_s = time.perf_counter()
        found = session.run(wanted, fed)
        took_s = time.perf_counter() - begun_s
        rows = max((len(column) for column in fed.values() if column.ndim), default=1)
        self._choice.took(took_s / max(rows, 1))
        return found
