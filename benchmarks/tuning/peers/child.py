"""The benchmark's end of the line to one searcher's process."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.tuning.peers import Peer

__all__ = ["Line", "PeerError"]

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
) | {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}


class PeerError(Exception):
    """A searcher raised, died or did not answer in time; the message is for the report."""


class Line:
    """A searcher in a process of its own, with one thread, that is asked one thing after another.

    The process stays for many searches, so that what its libraries cost to load and compile is
    not counted again and again; after an error the next search gets a new one.
    """

    def __init__(self, peer: Peer, python: str, log: Path, patience_s: float = 900.0) -> None:
        script = Path(__file__).with_name(f"run_{peer.script}.py")
        self._command, self._log, self._patience_s = [python, str(script)], log, patience_s
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def begin(self, setup: dict[str, Any]) -> None:
        """Start a search of its own; what was before is forgotten."""
        self._call({"begin": setup})

    def ask(self, count: int) -> tuple[list[dict[str, Any]], float]:
        """Return points to try, and the seconds of CPU that they took."""
        answer = self._call({"ask": count})
        return answer["points"], answer["cpu_s"]

    def tell(
        self, points: list[dict[str, Any]], values: Sequence[float | Sequence[float]]
    ) -> float:
        """Say what points gave; return the seconds of CPU that the peer took over it."""
        return float(self._call({"tell": {"points": points, "values": values}})["cpu_s"])

    def _call(self, message: dict[str, Any]) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            try:
                process.stdin.write(json.dumps(message).encode() + b"\n")
                process.stdin.flush()
            except OSError:
                raise PeerError("its process died") from None
            answer: dict[str, Any] = json.loads(self._line(process.stdout.fileno()))
            if "error" in answer:
                raise PeerError(answer["error"])
        except PeerError:
            self._end()
            raise
        return answer

    def _line(self, descriptor: int) -> bytes:
        until_s = time.monotonic() + self._patience_s
        while b"\n" not in self._rest:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
                raise PeerError(f"no answer in {self._patience_s:g} s")
            if not (more := os.read(descriptor, 1 << 16)):
                raise PeerError("its process died")
            self._rest += more
        line, _newline, self._rest = self._rest.partition(b"\n")
        return line

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, **_ONE_THREAD},
            )  # fmt: skip
        return self._process

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process, self._rest = None, b""
