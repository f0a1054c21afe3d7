"""Workers that are forked from an interpreter which has imported their framework.

One zygote serves all versions of a framework in one environment. The first of them waits for it,
which takes no longer than importing the framework for itself; it ends when no worker of it was
wanted for long. An engine that starts expects callers of the version that was used last, and begins
the zygote for it at once, see `serving`. A worker that cannot be forked, because the zygote cannot
import, hangs or is gone, is started cold, and nothing else happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlengine.runtime.artifact import Kind as Format
from mlengine.runtime.artifact import detect
from mlengine.runtime.compiled import AT_ONCE, FOLDER, is_numbers
from mlengine.runtime.prediction_error import PredictionError
from mlengine.training.launchers import WarmStart
from mlengine.training.launchers.warm import Kind, WarmInterpreters, kind_of

__all__ = ["WarmWorkers"]

_LONGEST_IMPORT_S = 120.0
_LONGEST_END_S = 10.0
_POLL_S = 0.005
_OWN = ("numpy", "msgspec", "mlengine.runtime.preload")
_MODULES: Mapping[Format, Sequence[str]] = {
    Format.PICKLE: (
        "joblib", "sklearn", "sklearn.pipeline", "sklearn.compose", "sklearn.preprocessing",
        "sklearn.linear_model", "sklearn.ensemble", "sklearn.tree",
        "mlengine.runtime.frameworks.pickles", "mlengine.runtime.frameworks.sklearn",
        "mlengine.runtime.frameworks.warmup",
    ),
    Format.BOOSTER: ("xgboost", "mlengine.runtime.frameworks.xgboost"),
    Format.SAVED_MODEL: ("tensorflow", "mlengine.runtime.frameworks.tensorflow"),
    Format.KERAS: ("tensorflow", "keras", "mlengine.runtime.frameworks.keras"),
    Format.ONNX: ("onnxruntime", "mlengine.runtime.compiled.model"),
}  # fmt: skip
_OF_NUMBERS = ("mlengine.runtime.compiled.rows", "mlengine.runtime.shortcuts.tensors")


class WarmWorkers:
    """The zygotes of an engine's workers; safe to use from any thread.

    Args:
        folder: For their logs.
        limit: Most zygotes at one time; 0 starts every worker cold.
        idle_s: After so long without use a zygote ends.
    """

    def __init__(self, folder: Path, *, limit: int, idle_s: float) -> None:
        self._zygotes = WarmInterpreters(folder, limit=limit, idle_s=idle_s)
        self._kinds: dict[tuple[tuple[str, ...], str, tuple[tuple[str, str], ...]], Kind] = {}

    def claim(
        self, artifact: Path, framework: str, python: str, env: Mapping[str, str]
    ) -> socket.socket | None:
        """Return the socket of a fork that waits for its order; None if there can be none.

        Args:
            artifact: Folder of the model.
            framework: What the version says it is; may be empty.
            python: Interpreter of the worker.
            env: Its environment, but for `HOME`.
        """
        kind = self._kind(artifact, framework, python, env)
        if kind is None or not self._zygotes.wait(kind, _LONGEST_IMPORT_S):
            return None
        return self._zygotes.fork(kind)

    def expect(self, artifact: Path, framework: str, python: str, env: Mapping[str, str]) -> None:
        """Begin to import what such a worker needs, as `claim` would; returns at once."""
        kind = self._kind(artifact, framework, python, env)
        if kind is not None:
            self._zygotes.begin(kind)

    def pids(self) -> list[int]:
        """Return the process ids of all zygotes."""
        return self._zygotes.pids()

    def reap(self) -> None:
        """Collect zygotes that have ended."""
        self._zygotes.reap()

    def close(self) -> None:
        """End all zygotes, and return once they are gone; what they forked goes on."""
        self._zygotes.close(kill=True)
        pause = threading.Event()
        until_s = time.monotonic() + _LONGEST_END_S
        while not self._zygotes.reap() and time.monotonic() < until_s:
            pause.wait(_POLL_S)

    def _kind(
        self, artifact: Path, framework: str, python: str, env: Mapping[str, str]
    ) -> Kind | None:
        modules = _modules_of(artifact, framework)
        if not modules:
            return None
        key = (tuple(modules), python, tuple(sorted(env.items())))
        if key not in self._kinds:
            warm = WarmStart(base_python=python, python=python, modules=[*_OWN, *modules])
            self._kinds[key] = kind_of(warm, env)
        return self._kinds[key]


def _modules_of(artifact: Path, framework: str) -> Sequence[str]:
    with contextlib.suppress(OSError):
        names = os.listdir(artifact / FOLDER)  # noqa: PTH208
        if is_numbers(names):
            return _OF_NUMBERS
        compiled = {Path(name).suffix for name in names}
        if ".onnx" in compiled and AT_ONCE not in compiled:
            return _MODULES[Format.ONNX]
    with contextlib.suppress(PredictionError, OSError):
        found = detect(os.listdir(artifact), framework, where=str(artifact))  # noqa: PTH208
        return _MODULES[found.kind]
    return ()
