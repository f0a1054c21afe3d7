"""Starts a replica by forking this process, which has imported what the replica will import.

The fork is the supervisor's own child, like one that was executed: it leads a session, dies with
the supervisor, has its three descriptors and no others. Whatever goes wrong before the replica's
own code runs is told through a pipe and raised here, as `subprocess.Popen` does it.

Standard library only, Python >= 3.7, Linux.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from mlengine.runtime.interpreter import Interpreter, run_module
from mlengine.runtime.procarea import ProcArea, set_name
from mlengine.runtime.processes import TAG_VARIABLE

__all__ = ["ForkStart", "Forked", "close_descriptors"]

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)


class Forked(NamedTuple):
    """A replica that runs, and our end of its output."""

    pid: int
    output: int


class ForkStart:
    """Forks the replicas of one attempt.

    Args:
        interpreter: This process, once all is imported.
        area: Where this process shows its command and tag.
        kept: Descriptors that imported libraries opened for themselves.
        layer: Site-packages of the attempt; may be empty.
        marker: File that says, once it exists, that this layer does not survive a fork.
    """

    def __init__(
        self, interpreter: Interpreter, area: ProcArea, *,
        kept: Iterable[int], layer: str, marker: str,
    ) -> None:  # fmt: skip
        self._interpreter = interpreter
        self._area = area
        self._kept = set(kept)
        self._layer = layer
        self._marker = marker

    def refusal(self) -> str:
        """Say why the attempt's replicas cannot be forked from here; empty when they can."""
        shadowed = self._interpreter.shadowed(self._layer)
        return f"the package brings its own {shadowed}" if shadowed else ""

    def remember_crash(self) -> None:
        """Let later attempts of this layer start anew; best effort."""
        with contextlib.suppress(OSError):
            os.close(os.open(self._marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def start(
        self, argv: Sequence[str], *,
        env: Mapping[str, str], cwd: str, prepare: Callable[[], None],
    ) -> Forked:  # fmt: skip
        """Fork one replica, ``PYTHON -m MODULE ARGS``.

        Args:
            prepare: Runs in the replica, in its own session, before anything of the user's.

        Raises:
            OSError: No process, or no descriptor, is left; or the replica could not be set up.
        """
        pipes: list[int] = []
        try:
            for _pipe in ("output", "errors"):
                pipes += os.pipe()
            pid = self._fork(pipes, argv, env, cwd, prepare)
        except BaseException:
            for descriptor in pipes:
                os.close(descriptor)
            raise
        output, output_end, errors, errors_end = pipes
        for descriptor in (output_end, errors_end):
            os.close(descriptor)
        with os.fdopen(errors, "rb") as file:
            said = file.read().decode("ascii")
        if not said:
            return Forked(pid, output)
        os.waitpid(pid, 0)
        os.close(output)
        raise OSError(*json.loads(said))

    def _fork(
        self, pipes: Sequence[int], argv: Sequence[str], env: Mapping[str, str], cwd: str,
        prepare: Callable[[], None],
    ) -> int:  # fmt: skip
        # A signal that came before the supervisor's handlers are gone would be lost on them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_replica(pipes, argv, env, cwd, prepare)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def _be_replica(
        self, pipes: Sequence[int], argv: Sequence[str], env: Mapping[str, str], cwd: str,
        prepare: Callable[[], None],
    ) -> NoReturn:  # fmt: skip
        _output, output_end, _errors, errors_end = pipes
        try:
            os.chdir(cwd)
            os.stat(argv[0])  # noqa: PTH116
            os.setsid()
            prepare()
            self._area.show_variable(TAG_VARIABLE, env[TAG_VARIABLE])
            self._area.show_command(list(argv))
            set_name(os.path.basename(argv[0]))  # noqa: PTH119
            _take_stdio(output_end)
            close_descriptors({errors_end, *self._kept})
            _reset_signals()
            os.close(errors_end)
        except BaseException as error:
            _tell(errors_end, error)
        try:
            self._interpreter.become(argv, env, self._layer)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        run_module(argv[2])


def close_descriptors(kept: set[int]) -> None:
    """Close everything but the standard three and those that are named."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the one that listed the folder
                os.close(int(name))


def _take_stdio(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def _reset_signals() -> None:
    """Undo what supervisor and zygote set, then let through what came meanwhile."""
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _tell(descriptor: int, error: BaseException) -> NoReturn:
    if isinstance(error, OSError) and error.errno:
        told = [error.errno, error.strerror, *filter(None, [error.filename])]
    else:
        told = [f"{type(error).__name__}: {error}"]
    with contextlib.suppress(OSError):
        os.write(descriptor, json.dumps(told).encode("ascii"))
    os._exit(1)
