"""One replica as its supervisor sees it: a process, a pipe, a log, and how it ended.

Standard output and standard error share the pipe: between two there would be no order, and whether
a replica's last words are a traceback is judged by the order of its lines.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlengine.runtime import failpoints, processes
from mlengine.runtime.concealment import reveal
from mlengine.runtime.limits import Limits
from mlengine.runtime.logfile import LogFile
from mlengine.runtime.logline import Line, Stream

if TYPE_CHECKING:
    from mlengine.runtime.forkstart import ForkStart

__all__ = ["Replica"]

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 256 * 1024
_OOM_SCORE = b"500"
_EXIT_OF_KILLED_CHILD = 128 + signal.SIGKILL
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
_FORK_TRIAL_S = 60.0  # what does not survive a fork shows soon; later, a crash is the trainer's own

_libc = ctypes.CDLL(None, use_errno=True)


class Replica:
    """A row of the specification, and what became of it.

    Args:
        spec: The replica's entry in ``spec.json``.
        log: Where its lines go.
        fork: Forks it from an interpreter that has imported already; None executes it.
    """

    def __init__(
        self, spec: Mapping[str, Any], log: LogFile, *, fork: ForkStart | None = None
    ) -> None:
        self.task = str(spec["task"])
        self.role, self.index = str(spec["role"]), int(spec["index"])
        self.pid = 0
        self.started = 0
        self.ended = False
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.oom = False
        self.spawn_error = ""
        self.lost = ""
        self.stopped_by_us = False
        self.log = log
        self.streams: dict[int, Stream] = {}
        self._spec = spec
        self._fork = fork
        self._limits = Limits(
            float(spec.get("cpus", 0)),
            int(spec.get("memory_bytes", 0)),
            int(spec.get("processes", 0)),
        )
        self._tag = ""
        self._spawned_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._heard: list[Stream] = []

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return bool(self.pid) and not self.ended

    @property
    def failed(self) -> bool:
        """Whether it ended, or never began, in any way but exit 0."""
        return bool(self.spawn_error) or (self.ended and self.exit_code != 0)

    def spawn(self, tag: str) -> None:
        """Start it in a session of its own; it dies with the supervisor.

        A replica that cannot be started has `spawn_error` and counts as ended.
        """
        argv, cwd = [str(a) for a in self._spec["argv"]], str(self._spec["cwd"])
        self._tag, self._spawned_s = tag, time.monotonic()
        self.say("INFO", "Running command: " + " ".join(map(shlex.quote, argv)))
        unlimited = self._limits.make(tag, self.task)
        if unlimited:
            self.say("WARNING", f"The replica runs without its limits: {unlimited}.")
        try:
            failpoints.hit("replica.before-spawn")
            pipe = self._start(argv, {**self._spec["env"], processes.TAG_VARIABLE: tag}, cwd)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.ended, self.spawn_error = True, f"{type(error).__name__}: {error}"
            self.say("ERROR", f"The replica could not be started: {self.spawn_error}")
            return
        failpoints.hit("replica.after-spawn")
        row = processes.look(self.pid)
        self.started = row.started if row is not None else 0
        os.set_blocking(pipe, False)
        self.streams[pipe] = Stream(cwd)
        self._heard.append(self.streams[pipe])

    def respawn(self, status: int) -> bool:
        """Start it once more, anew, if it crashed because it was forked; return whether it was."""
        crashed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in _CRASHES
        early = time.monotonic() - self._spawned_s < _FORK_TRIAL_S
        if self._fork is None or not crashed or not early or self.stopped_by_us:
            return False
        for row in processes.snapshot().values():  # what it left would be in the way
            if row.session == self.pid:
                processes.send(row, signal.SIGKILL)
        self._fork.remember_crash()
        self._fork = None
        name = signal.Signals(os.WTERMSIG(status)).name
        self.say("WARNING", f"It died of {name} after a warm start: it is started again, cold.")
        self.spawn(self._tag)
        return True

    def _start(self, argv: list[str], env: dict[str, str], cwd: str) -> int:
        """Start the process; return our end of its output."""
        supervisor = os.getpid()

        def prepare() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:  # it died before the line above
                os._exit(1)
            reveal()  # its supervisor may be closed to others of the user
            _offer_to_oom_killer()
            self._limits.enter()

        if self._fork is not None:
            forked = self._fork.start(argv, env=env, cwd=cwd, prepare=prepare)
            self.pid = forked.pid
            return forked.output
        ours, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                argv, cwd=cwd, env=env,
                stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                close_fds=True, start_new_session=True,
                preexec_fn=prepare,  # safe: the supervisor has one thread
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self.pid = self._process.pid
        return ours

    def read(self, descriptor: int) -> bool:
        """Move what a pipe holds to the log; return False at its end."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return True
        stream = self.streams[descriptor]
        if data:
            self.log.take(stream, data)
            return True
        self.close_pipe(descriptor)
        return False

    def close_pipe(self, descriptor: int) -> None:
        """Take a pipe's unfinished last line and close it."""
        self.log.settle()  # what the stream told before comes first
        self.log.write(self.streams.pop(descriptor).finish())
        os.close(descriptor)

    def note_exit(self, status: int, *, oom_suspected: bool) -> None:
        """Keep how it ended, from the status that ``waitpid`` gave."""
        self.ended = True
        if os.WIFSIGNALED(status):
            self.signal = os.WTERMSIG(status)
        else:
            self.exit_code = os.WEXITSTATUS(status)
        killed = self.signal == signal.SIGKILL or self.exit_code == _EXIT_OF_KILLED_CHILD
        out_of_limit = self.exit_code != 0 and self._limits.oom_killed()
        self.oom = (out_of_limit or (killed and oom_suspected)) and not self.stopped_by_us
        if self._process is not None:  # reaped elsewhere: Popen must not wait for a recycled pid
            self._process.returncode = -self.signal if self.signal else self.exit_code

    def terminate(self) -> None:
        """Ask its whole process group to end; also one that was stopped (SIGSTOP)."""
        if self.ended:
            return  # the leader is reaped: its group's number may be somebody else's by now
        self.stopped_by_us = True
        for signum in (signal.SIGTERM, signal.SIGCONT):
            try:
                os.killpg(self.pid, signum)
            except OSError:
                pass

    def finish(self) -> None:
        """Close what is open; the log is durable afterwards."""
        for descriptor in list(self.streams):
            self.close_pipe(descriptor)
        if self.ended and self.exit_code == 0 and not self.stopped_by_us:
            self.say("INFO", "Module completed; cleaning up.")
            self.say("INFO", "Task completed successfully.")
        if self._limits.processes_refused():
            most = self._limits.processes
            self.say("WARNING", f"It was refused more than {most} processes and threads at a time.")
        self._limits.close()
        self.log.close()

    def place(self) -> dict[str, Any]:
        """Return its entry of ``started.json``: by what it is found if the supervisor dies."""
        return {"task": self.task, "pid": self.pid, "started": self.started}

    def record(self) -> dict[str, Any]:
        """Return its entry of ``exit.json``."""
        return {
            "task": self.task, "role": self.role, "index": self.index,
            "exit_code": self.exit_code, "signal": self.signal, "oom": self.oom,
            "stopped": self.stopped_by_us, "memory_limit_bytes": self._limits.memory_bytes,
            "last_error": self._last_error() if self.failed else "",
            "spawn_error": self.spawn_error, "lost": self.lost,
        }  # fmt: skip

    def last_line(self) -> str:
        """Return the last line it printed that shows something."""
        return next((s.last_line for s in reversed(self._heard) if s.last_line), "")

    def _last_error(self) -> str:
        return next((s.last_exception for s in reversed(self._heard) if s.last_exception), "")

    def say(self, severity: str, text: str) -> None:
        """Add a line of our own to its log."""
        self.log.write([Line(severity, text)])


def _offer_to_oom_killer() -> None:
    """When memory runs out the kernel should take a replica, not the engine."""
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, _OOM_SCORE)
        os.close(descriptor)
    except OSError:
        pass
