"""What every build has: a folder, a scratch folder, a deadline, a log, and commands to run.

The commands are an installer's; here they get their allow-listed variables, their time limit, and
an error that a user can act on.
"""

from __future__ import annotations

import errno
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlengine.core.errors import Cancelled, EngineError, FailedPrecondition, Unavailable
from mlengine.environments.installers import Command
from mlengine.environments.process import (
    Outcome,
    network_variables,
    plain_variables,
    run_command,
)
from mlengine.environments.shelf import note_installer
from mlengine.environments.venv import python_of

__all__ = ["Workshop", "disk_full", "is_disk_full", "opened_workshop", "says_disk_full"]

_SHOWN_LINES = 8
_SHOWN_LETTERS = 300
_BYTE_COMPILER = Path(__file__).with_name("bytecompile.py")
_DISK_FULL = ("No space left on device", "Disk quota exceeded", "os error 28")


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where one environment is built.

    Attributes:
        path: The environment's folder, in the place where it stays.
        scratch: HOME, TMPDIR and working directory of the installer.
        deadline_s: On the monotonic clock.
        cancelled: Polled; once true the installer is killed.
        network: Variables for the commands that may ask an index.
        read_log: The command that shows what `log` was told; empty where there is none.
    """

    path: Path
    scratch: Path
    deadline_s: float
    log: Callable[[str], None]
    cancelled: Callable[[], bool]
    network: Mapping[str, str]
    read_log: str = ""

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return python_of(self.path)

    def run(self, command: Command, *, subject: str, remedy: str = "") -> None:
        """Run a command that must succeed.

        Raises:
            FailedPrecondition: It failed; the message opens with `subject`.
            Unavailable: The disk is full.
            Cancelled: `cancelled` said so.
        """
        self.check(self.attempt(command), subject=subject, remedy=remedy)

    def attempt(self, command: Command, *, shown: bool = True) -> Outcome:
        """Run a command and say how it ended."""
        if shown:
            words = (Path(command.argv[0]).name, *command.argv[1:])
            self.log(f"Running command: {shlex.join(words)}")
        network = self.network if command.network else {}
        return run_command(
            command.argv,
            env={**plain_variables(self.scratch), **network, **command.variables},
            cwd=self.scratch,
            timeout_s=max(0.0, self.deadline_s - time.monotonic()),
            log=self.log,
            cancelled=self.cancelled,
            started=lambda pid: note_installer(self.path, pid),
        )

    def check(self, outcome: Outcome, *, subject: str, remedy: str = "") -> None:
        """Raise what went wrong, if anything did; see `run`."""
        if not outcome.ok:
            raise _failure(outcome, subject, remedy, self.read_log)

    def compile(self, folder: Path) -> None:
        """Byte-compile in a process of its own, which says how far it is."""
        command = Command((str(self.python), "-I", "-S", str(_BYTE_COMPILER), str(folder)))
        outcome = self.attempt(command, shown=False)
        if outcome.cancelled or says_disk_full(outcome):
            self.check(outcome, subject="Byte-compiling failed")


@contextmanager
def opened_workshop(
    path: Path,
    *,
    timeout_s: float,
    log: Callable[[str], None],
    cancelled: Callable[[], bool],
    read_log: str = "",
) -> Iterator[Workshop]:
    """Give a workshop for a folder; its scratch folder goes with it."""
    scratch = path / "scratch"
    scratch.mkdir(mode=0o700)
    try:
        deadline_s = time.monotonic() + timeout_s
        network = network_variables(warn=log)  # here, so that it warns once
        yield Workshop(path, scratch, deadline_s, log, cancelled, network, read_log)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _failure(outcome: Outcome, subject: str, remedy: str, read_log: str) -> EngineError:
    if outcome.cancelled:
        return Cancelled("The installation was cancelled.", "Submit it again.")
    if says_disk_full(outcome):
        return disk_full()
    tail = "\n".join(line[:_SHOWN_LETTERS] for line in outcome.tail[-_SHOWN_LINES:])
    rest = f" All that it said: {read_log}" if read_log else ""
    if outcome.timed_out:
        return FailedPrecondition(
            f"{subject}: install timed out. Its last lines were:\n{tail}\n",
            f"Look for a setup.py that waits, or for an index that does not answer.{rest}",
        )
    remedy = (
        remedy
        or "Mend the package, try it with 'pip install' on your own machine, and submit again."
    )
    return FailedPrecondition(
        f"{subject}: the installer ended with status {outcome.status}:\n{tail}\n",
        f"{remedy}{rest}",
    )


def is_disk_full(error: OSError) -> bool:
    """Whether the cause is a full disk or an exhausted quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def says_disk_full(outcome: Outcome) -> bool:
    """Whether a command's last words blame a full disk or an exhausted quota."""
    return any(text in line for line in outcome.tail for text in _DISK_FULL)


def disk_full() -> Unavailable:
    """Return the error that says what to do about a full disk."""
    return Unavailable(
        "No space is left on the disk that holds the environments.",
        "Free some, for example with 'mlengine runtimes gc' or by removing what jobs that have "
        "ended left in their scratch folders ('jobs/*/*/work' in the engine's home), and submit "
        "again.",
    )
