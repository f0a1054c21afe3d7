"""Makes a fork of a zygote a worker: what starting ``python -m mlengine.runtime.worker`` would do.

The zygote has imported the framework of the version, so what is left is to load the model. It was
started with the very environment that workers get, but for their home folder.

Standard library only until the worker itself is imported; Linux.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlengine.runtime.concealment import reveal
from mlengine.runtime.confine import confine
from mlengine.runtime.forkstart import close_descriptors
from mlengine.runtime.procarea import ProcArea, set_name

__all__ = ["run_worker"]


def run_worker(
    order: Mapping[str, Any], descriptors: Sequence[int], claim: socket.socket, area: ProcArea,
    kept: set[int],
) -> int:  # fmt: skip
    """Serve the version of a worker's folder; return the exit status.

    Args:
        order: `worker_dir`, `variables` to set, and the `confinement` to enter before anything of
            the version's is touched.
        descriptors: Open file for all that the worker prints; the socket that it is to listen on.
        claim: Who ordered it; told the process id.
        area: Where this process shows its command.
        kept: Descriptors that imported libraries opened for themselves.
    """
    reveal()  # a worker has no keys
    _take_stdio(*descriptors)
    claim.send(str(os.getpid()).encode("ascii"))
    claim.close()
    close_descriptors(kept)
    os.umask(0o077)
    os.environ.update(order["variables"])
    os.chdir(os.environ["HOME"])
    folder = str(order["worker_dir"])
    with contextlib.suppress(OSError):  # a path may be longer than the room for a replica's tag
        area.show_variable("HOME", os.environ["HOME"])
    area.show_command([sys.executable, "-m", "mlengine.runtime.worker", folder])
    set_name("mlengine-worker")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _draw_new_seeds()
    if "tempfile" in sys.modules:
        vars(sys.modules["tempfile"])["tempdir"] = None  # it is in its own home now
    for gap in confine(order["confinement"]):
        print(f"WARNING: not confined in full: {gap}", file=sys.stderr)
    # By name: what engines import to speak to a zygote must not lead to models and frameworks.
    return int(importlib.import_module("mlengine.runtime.worker").main([folder]))


def _take_stdio(log: int, listener: int) -> None:
    for source, target in ((listener, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


def _draw_new_seeds() -> None:
    """`random` does so by itself after a fork, NumPy does not."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
