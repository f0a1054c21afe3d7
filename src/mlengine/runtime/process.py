"""What a process does to itself before it runs code that it does not trust."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from mlengine.runtime.wholefile import write_whole

__all__ = [
    "QUIET", "THREADS", "give_thread_pools_locks", "scrub_environment", "send_prints_to_stderr",
    "write_json",
]  # fmt: skip

_KEPT = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP",
    "TEMP", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "create_version_request",
})  # fmt: skip
_KEPT_PREFIXES = (
    "LC_", "PYTHON", "TF_", "KERAS_", "CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_", "XLA_",
    "NUMEXPR_", "COVERAGE_", "AIP_",
)  # fmt: skip

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many cores a library may use for one call."""

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "1", "ORT_DISABLE_TELEMETRY": "1"}
"""Variables for processes that run models: without them TensorFlow greets with the processor's
features, and onnxruntime from 1.31 on reports to its makers, by a thread that begins with its
import and keeps a process from being forked."""


def scrub_environment() -> None:
    """Drop every variable that a model has no business with, credentials first of all.

    The kernel still shows the environment that the process was started with to the process
    itself, so whoever starts a worker should pass a clean one; this is the second lock.
    """
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(_KEPT_PREFIXES):
            del os.environ[name]
    for name in THREADS:
        # Several workers share the cores, and requests are small: threads would only spin.
        os.environ.setdefault(name, "1")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def send_prints_to_stderr() -> TextIO:
    """Point stdout at stderr, for Python and for C; return the old stdout."""
    sys.stdout.flush()
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return kept


def give_thread_pools_locks() -> None:
    """Have `multiprocessing.pool.ThreadPool` lock as threads do, from now on.

    From Python 3.8 on each pool asks for a semaphore that processes could share, which it has no
    use for, and which a confined process is not given. Keras' graph mode predicts by such a pool.
    """
    # Late: whoever answers from compiled arrays has no use for pools.
    from multiprocessing import context, pool

    class Threads(context.BaseContext):
        def Lock(self) -> Any:
            return threading.Lock()

    def init(
        self: pool.ThreadPool, processes: Any = None, initializer: Any = None, initargs: Any = ()
    ) -> None:
        pool.Pool.__init__(self, processes, initializer, initargs, context=Threads())

    pool.ThreadPool.__init__ = init  # type: ignore[method-assign]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a file that readers see whole or not at all."""
    write_whole(path, json.dumps(value).encode())
