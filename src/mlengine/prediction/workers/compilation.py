"""Has a version's model compiled, in a process that is confined as its workers are.

The compiler writes to a folder of its own; what it wrote is moved into the version's copy of its
model whole, and not looked into: only workers of the same version read it, confined themselves.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlengine.core.errors import Cancelled
from mlengine.prediction.sockets import socket_dir
from mlengine.prediction.workers.confinement import plan_of
from mlengine.prediction.workers.launch import launch, worker_environment
from mlengine.prediction.workers.record import Worker, WorkerSpec, why_it_ended
from mlengine.prediction.workers.workerfolder import remove
from mlengine.runtime.boot import boot_command
from mlengine.runtime.compiled import ABOUT_FILE, FOLDER
from mlengine.runtime.wholefile import write_whole

__all__ = ["compile_artifact"]

_POLL_S = 0.02
_OUTPUT = "output"


def compile_artifact(
    home: Path, artifact: Path, *, uid: str, framework: str, python: str = sys.executable,
    memory_bytes: int, timeout_s: float, cancelled: Callable[[], bool],
) -> None:  # fmt: skip
    """Put the compiled form of a model, or why there is none, beside it; again is harmless.

    Args:
        home: The engine's.
        artifact: The version's own copy of its model directory.
        uid: The version's.
        framework: What the version says it is; may be empty.
        python: Interpreter of the version's workers.
        memory_bytes: Most that the process may hold; 0 is no limit.
        timeout_s: Longest that it may take.
        cancelled: Asked all the time; once it is true, nothing is wanted any more.

    Raises:
        Cancelled: It was cancelled.
        OSError: The process cannot be started, or the disk is full.
    """
    if (artifact / FOLDER).exists():
        return
    folder = home / "run" / "compilations" / uid
    remove(folder)
    folder.mkdir(parents=True, mode=0o700)
    socket = str(socket_dir(home / "run") / f"c-{uid[:40]}.sock")
    log = home / "logs" / f"compiler-{uid}.log"
    spec = WorkerSpec(
        artifact=str(artifact), framework=framework, socket=socket, version_name=uid,
        max_body_bytes=0, python=python, uid=uid, memory_bytes=memory_bytes,
    )  # fmt: skip
    worker = Worker(spec, folder, log)
    worker.make_groups()
    try:
        _run(worker, home)
        problem = _wait(worker, timeout_s, cancelled)
        _move(worker.own / _OUTPUT, artifact / FOLDER, problem)
    finally:
        worker.close()
        remove(folder)
        with contextlib.suppress(OSError):
            Path(socket).unlink()


def _run(worker: Worker, home: Path) -> None:
    spec = worker.spec
    asked = {
        "artifact": spec.artifact,
        "framework": spec.framework,
        "output": str(worker.own / _OUTPUT),
    }
    write_whole(worker.folder / "spec.json", json.dumps(asked).encode())
    plan = plan_of(
        artifact=spec.artifact, python=spec.python, own=worker.own, home=home,
        limits=worker.limits, network=False,
    )  # fmt: skip
    argv = boot_command(
        spec.python, "mlengine.runtime.compiled.compiler", str(worker.own / "spec.json")
    )
    worker.process, worker.child = launch(
        argv, worker.folder, log=worker.log, env=worker_environment(python=spec.python),
        listener=spec.socket, plan=plan,
    )  # fmt: skip


def _wait(worker: Worker, timeout_s: float, cancelled: Callable[[], bool]) -> str:
    """Wait for the compiler's end; return what went wrong, if anything."""
    until_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while worker.is_alive():
        if cancelled():
            raise Cancelled(
                "The operation was cancelled.", "Delete the version, or create another."
            )
        if time.monotonic() >= until_s:
            return f"it was not compiled within {timeout_s:g} s"
        pause.wait(_POLL_S)
    if worker.child is not None and worker.child.wait() != 0:
        return f"the compiler failed: {why_it_ended(worker)}"
    return ""


def _move(made: Path, target: Path, problem: str) -> None:
    if not problem and not made.is_symlink() and (made / ABOUT_FILE).is_file():
        made.rename(target)
        return
    staged = made.with_name("problem")
    staged.mkdir(mode=0o700)
    said = {"problem": problem or "the compiler wrote nothing"}
    write_whole(staged / ABOUT_FILE, msgspec.json.encode(said))
    staged.rename(target)
