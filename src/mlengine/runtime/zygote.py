"""An interpreter that has imported what trainers import, and forks supervisors on request.

    engine ──(a descriptor)──▶ zygote ──fork──▶ supervisor ──fork──▶ replica
              the supervisor's own socket: "ready", then what to run, then nothing

One that has imported what models need forks their workers in the same way (`workerstart`).

The zygote runs nothing for anybody and knows nothing of attempts: it forks, and the child talks to
the engine itself. Only when the engine has heard "ready" does it say what to run; so an engine
that lost patience started nothing here, and a zygote that was frozen cannot start it later.

It has one thread. Libraries that start threads when they are imported must stop them before a fork
(OpenBLAS does); a module whose threads survive that is left out, and the zygote begins again
without it. It ends when the engine does, and when nobody has asked for a while. What it forked
goes on.

Standard library only, Python >= 3.7, Linux.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

# All that a supervisor needs is imported before the first fork, and in a replica it is gone.
from mlengine.runtime import failpoints, gang, logfile, replica, sidecar, supervisor
from mlengine.runtime.boot import LOADER
from mlengine.runtime.concealment import conceal
from mlengine.runtime.forkstart import ForkStart, close_descriptors
from mlengine.runtime.interpreter import Interpreter
from mlengine.runtime.procarea import ARGUMENT_ROOM, ROOM_VARIABLE, TAG_ROOM, ProcArea, set_name

__all__ = ["READY", "command", "main", "receive", "spare_environment"]

READY = b"ready"
_MESSAGE_BYTES = 65536
_PRELOADED = (gang, logfile, replica, sidecar, supervisor)

_BOOT = f"""{LOADER}\
from mlengine.runtime.zygote import main
main(sys.argv[2])
"""


def command(python: str, config: dict[str, Any]) -> list[str]:
    """Return the command that starts a zygote.

    Args:
        config: `channel`: the engine's socket; `drain`: read end of the pipe that is its standard
            output, see `_take_log`; `log`: path for what imports print; `modules`; `idle_s`.
    """
    package = str(Path(__file__).resolve().parents[1])
    return [python, "-c", _BOOT, package, json.dumps(config), ARGUMENT_ROOM]


def spare_environment() -> dict[str, str]:
    """Return the variables that a zygote needs besides those of its replicas."""
    return {ROOM_VARIABLE: TAG_ROOM, **failpoints.environment()}


def main(text: str) -> NoReturn:
    """Import, say so, and serve until there is no need."""
    config = json.loads(text)
    given = _initial_environment()
    area = ProcArea()
    # Whoever could look into this process could look into every supervisor that it becomes.
    conceal()
    set_name("mlengine-warm")
    _take_log(config)
    own = _open_descriptors()
    loaded = _import_all(config, given)
    interpreter = Interpreter(given)
    kept = _open_descriptors() - own
    gc.collect()
    gc.freeze()  # a collection in a child would touch, thus copy, every object
    channel = socket.socket(fileno=int(config["channel"]))
    channel.send(json.dumps({"modules": loaded, "left_out": config.get("left_out", [])}).encode())
    # Children that nobody waits for: the kernel forgets them by itself.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _serve(channel, float(config["idle_s"]), interpreter, area, kept)


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one message and the descriptors that came with it, closed on exec."""
    descriptors = array.array("i")
    room = socket.CMSG_LEN(8 * descriptors.itemsize)
    data, ancillary, _flags, _address = connection.recvmsg(
        _MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, raw in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(raw[: len(raw) - len(raw) % descriptors.itemsize])
    return data, list(descriptors)


def _serve(
    channel: socket.socket, idle_s: float, interpreter: Interpreter, area: ProcArea, kept: set[int]
) -> NoReturn:
    while True:
        ready, _, _ = select.select([channel], [], [], idle_s)
        data, descriptors = receive(channel) if ready else (b"", [])
        if not data:
            os._exit(0)  # the engine ended, or has not asked for long
        if _threads() == 1 and os.fork() == 0:
            channel.close()
            _be_child(socket.socket(fileno=descriptors[0]), interpreter, area, kept)
        for descriptor in descriptors:
            os.close(descriptor)  # nobody else has it: the engine sees its end


def _be_child(
    claim: socket.socket, interpreter: Interpreter, area: ProcArea, kept: set[int]
) -> NoReturn:
    """Run what the order says: an attempt's supervisor, or a version's worker."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        claim.send(READY)
        data, descriptors = receive(claim)
        if not data:
            os._exit(0)  # not wanted any more
        order = json.loads(data.decode("ascii"))
        if "worker_dir" in order:
            from mlengine.runtime import workerstart

            status = workerstart.run_worker(order, descriptors, claim, area, kept)
        else:
            claim.close()
            status = _supervise(order, descriptors, interpreter, area, kept)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)  # what libraries do at exit is for those who use them


def _supervise(
    order: dict[str, str], descriptors: list[int],
    interpreter: Interpreter, area: ProcArea, kept: set[int],
) -> int:  # fmt: skip
    lock, errors, *keys = descriptors
    _take_supervisor_stdio(errors)
    close_descriptors({lock, *keys, *kept})
    area.show_command([sys.executable, supervisor.__file__, order["attempt_dir"]])
    set_name("supervisor")
    fork = ForkStart(interpreter, area, kept=kept, layer=order["layer"], marker=order["marker"])
    return supervisor.main([order["attempt_dir"], *map(str, (lock, *keys))], fork)


def _take_supervisor_stdio(errors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (null, 1), (errors, 2)):
        os.dup2(source, target)


def _import_all(config: dict[str, Any], given: dict[str, str]) -> list[str]:
    """Import the modules that can be; begin again without one that leaves threads behind."""
    loaded = []
    for name in config["modules"]:
        try:
            _import(name)
        except BaseException as error:
            sys.stderr.write(f"{name} is not imported ahead: {type(error).__name__}: {error}\n")
            continue
        if _threads() > 1:
            _fork_for_nothing()
        if _threads() > 1:
            _begin_again(config, name, given)
        loaded.append(name)
    return loaded


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        # An attribute that is loaded when it is first looked into, such as tensorflow.keras.
        package, _dot, attribute = name.rpartition(".")
        if not package:
            raise
        dir(getattr(importlib.import_module(package), attribute))


def _fork_for_nothing() -> None:
    """Let libraries stop their threads, as they do before every fork."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _begin_again(config: dict[str, Any], without: str, given: dict[str, str]) -> NoReturn:
    names = sorted({thread.name for thread in threading.enumerate()} - {"MainThread"})
    sys.stderr.write(f"{without} is not imported ahead: its threads stay: {names or 'native'}\n")
    config["modules"] = [m for m in config["modules"] if m != without]
    config["left_out"] = [*config.get("left_out", []), without]
    config["drain"], output = os.pipe()
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in (int(config["channel"]), config["drain"]):
        os.set_inheritable(descriptor, True)
    again = {**given, **spare_environment()}
    os.execve(sys.executable, command(sys.executable, config), again)
    raise AssertionError("execve returned")


def _initial_environment() -> dict[str, str]:
    entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    pairs = (entry.partition(b"=") for entry in entries if entry)
    return {os.fsdecode(n): os.fsdecode(v) for n, _, v in pairs if n != ROOM_VARIABLE.encode()}


def _take_log(config: dict[str, Any]) -> None:
    """Print to a file from now on.

    The interpreter was started with a pipe as its output, because Python's stream objects depend on
    the kind of file that they are made for, and a replica's are pipes.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(config["log"], flags, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(int(config["drain"]))
    os.set_inheritable(int(config["channel"]), False)


def _open_descriptors() -> set[int]:
    listed = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
    return {d for d in listed if _is_open(d)}


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False  # the one that listed the folder
    return True


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208
