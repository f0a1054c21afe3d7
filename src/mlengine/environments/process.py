"""Runs one installer command: bounded in time and output, and gone with all its children.

A source distribution runs its author's code while it is installed. So the command gets a process
group of its own, an allow-listed environment (no token, no cloud key), no terminal, no open file of
ours, and a umask under which it cannot leave anything that another user may write.
"""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mlengine.environments.homefolder import configuration_files

__all__ = ["Outcome", "network_variables", "plain_variables", "run_command"]

_LINE_LIMIT = 2_000  # characters kept of one line
_TAIL_LINES = 200
_LOGGED_LINES = 400  # more than that is noise, or an attack on the log's disk
_POLL_S = 0.1
_DRAIN_S = 1.0

_ALWAYS = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_COMPILERS = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CUDA_HOME")
_NETWORK = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "PIP_CERT", "PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS",
    "PIP_INDEX_URL", "PIP_NO_INDEX", "UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_FIND_LINKS",
    "UV_HTTP_TIMEOUT", "UV_INDEX", "UV_INDEX_URL", "UV_NO_INDEX", "UV_OFFLINE", "UV_SYSTEM_CERTS",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        status: Its exit status; negative is the signal that ended it.
        tail: Its last lines, standard output and error together.
        timed_out: It was killed because its time was up.
        cancelled: It was killed because nobody wants its result any more.
    """

    status: int
    tail: tuple[str, ...]
    timed_out: bool = False
    cancelled: bool = False

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked to."""
        return self.status == 0 and not (self.timed_out or self.cancelled)


def plain_variables(scratch: Path) -> dict[str, str]:
    """Return the environment of a command that needs no network. Nothing else is passed on.

    HOME and TMPDIR are the command's own scratch folder: what a build leaves there goes with it.
    """
    kept = {name: os.environ[name] for name in (*_ALWAYS, *_COMPILERS) if name in os.environ}
    return {
        **kept,
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUTF8": "1",
    }


def network_variables(warn: Callable[[str], None]) -> dict[str, str]:
    """Return the variables that say which index to ask, and how to reach it.

    One index only: those that *add* indexes (PIP_EXTRA_INDEX_URL, UV_INDEX) are left out, because
    a public index must not answer for a private name. A configuration file of the operator's is
    passed by path, since HOME is not.

    Args:
        warn: Told of a configuration file that cannot be looked at.
    """
    found = {name: os.environ[name] for name in _NETWORK if name in os.environ}
    return found | configuration_files(warn)


def run_command(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout_s: float,
    log: Callable[[str], None],
    cancelled: Callable[[], bool],
    started: Callable[[int], None] = lambda pid: None,
) -> Outcome:
    """Run a command to its end, its time limit or its cancellation, and leave no child behind.

    Args:
        argv: Command and arguments; never passed through a shell.
        env: Its whole environment.
        timeout_s: Seconds until its process group is killed.
        log: Receives its output line by line, while it runs, from another thread.
        cancelled: Polled ten times a second.
        started: Told the process id, which is also the id of its process group.

    Raises:
        OSError: It cannot be started at all.
    """
    process = subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,
    )
    output = _Output(process, log=log)
    try:
        started(process.pid)
        ending = _watch(process, output, deadline_s=time.monotonic() + timeout_s, until=cancelled)
    finally:
        _kill_group(process.pid)  # also whatever a finished setup.py left running
        status = process.wait()
        output.close()
    return Outcome(
        status,
        tuple(output.tail),
        timed_out=ending == "timed out",
        cancelled=ending == "cancelled",
    )


def _watch(
    process: subprocess.Popen[bytes],
    output: _Output,
    *,
    deadline_s: float,
    until: Callable[[], bool],
) -> str:
    """Wait until the process ends, or until there is a reason to end it; say which."""
    while process.poll() is None:
        if until():
            return "cancelled"
        if time.monotonic() >= deadline_s:
            return "timed out"
        # The end of its output wakes us at once; without that, look ten times a second.
        if output.ended.wait(_POLL_S):
            try:
                process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                pass
    return "ended"


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left


class _Output:
    """Reads a process's output on a thread, so that a full pipe never stops it."""

    def __init__(self, process: subprocess.Popen[bytes], *, log: Callable[[str], None]) -> None:
        self.tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self.ended = threading.Event()
        self._log = log
        self._lines = 0
        assert process.stdout is not None
        self._pipe: IO[bytes] = process.stdout
        self._thread = threading.Thread(target=self._read, name="installer-output", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the last lines, but not for a stranger who kept the pipe open."""
        self._thread.join(_DRAIN_S)
        if not self._thread.is_alive():
            self._pipe.close()

    def _read(self) -> None:
        try:
            # A line without an end arrives in pieces instead of growing in memory.
            for line in iter(lambda: self._pipe.readline(_LINE_LIMIT), b""):
                self._keep(line.decode(errors="replace").rstrip())
        finally:
            self.ended.set()

    def _keep(self, line: str) -> None:
        if not line:
            return
        self.tail.append(line)
        self._lines += 1
        if self._lines > _LOGGED_LINES + 1:
            return
        cut = self._lines > _LOGGED_LINES
        try:
            self._log(f"(output cut: more than {_LOGGED_LINES} lines)" if cut else line)
        except Exception:
            # A log that cannot be written must not stop the reading: the installer would hang.
            self._lines = _LOGGED_LINES + 1
