"""Helper processes of an attempt, each started by the first connection to its port.

    LISTENING ──first connection──▶ RUNNING ──it died──▶ LISTENING     (bounded)
        └──────────the attempt ends──────┴──▶ closed, killed

The supervisor holds the listening socket, so the port is known before any replica starts, a job
that never connects costs one socket, and a helper that dies loses no connection that it had not
accepted. A helper is no replica: it outlives their grace period, because they may save through
it, its death fails nothing, and the attempt never waits for it.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime import envelope, processes
from mlengine.runtime.concealment import conceal

__all__ = ["Sidecars", "with_keys"]

_PR_SET_PDEATHSIG = 1
_BACKLOG = 128
_MAX_EARLY_DEATHS = 5
_EARLY_S = 10.0
_TAIL_BYTES = 2000

_libc = ctypes.CDLL(None, use_errno=True)


class Sidecars:
    """All helpers of one attempt.

    Args:
        specs: The ``sidecars`` of ``spec.json``, maybe with keys (see `with_keys`); may be empty.
        folder: The attempt's folder; what helpers print goes to ``sidecar-N.err`` in it.
        keys: The envelope with keys for those that take any, if they are not with the specs.
    """

    def __init__(
        self, specs: Sequence[Mapping[str, Any]], folder: Path, keys: socket.socket | None = None
    ) -> None:
        self._all = [
            _Sidecar(spec, folder / f"sidecar-{n}.err", _envelope(spec) or keys)
            for n, spec in enumerate(specs)
        ]
        self._selector: selectors.BaseSelector | None = None
        self._say: Callable[[str], None] = lambda _text: None

    @property
    def variables(self) -> dict[str, str]:
        """What every replica's environment gets."""
        return {name: value for one in self._all for name, value in one.variables.items()}

    @property
    def ports(self) -> list[int]:
        """The loopback port of each, in the order of the specification."""
        return [int(one.socket.getsockname()[1]) for one in self._all]

    @property
    def pids(self) -> list[int]:
        """The helpers that run now."""
        return [one.pid for one in self._all if one.pid]

    def attach(
        self, selector: selectors.BaseSelector, tag: str, say: Callable[[str], None]
    ) -> None:
        """Watch for connections from now on.

        Args:
            selector: Where to wait for them. The data it answers has ``read(descriptor)``, which
                starts the helper and returns False: watch this descriptor no more.
            tag: Of the attempt, so that helpers too are found when the supervisor dies.
            say: Gets a sentence when a helper is given up.
        """
        self._selector, self._say = selector, say
        for one in self._all:
            one.tag = tag
            selector.register(one.socket, selectors.EVENT_READ, one)

    def note_exit(self, pid: int) -> None:
        """Take it that a child was reaped; if it was a helper, its port is watched again."""
        for one in self._all:
            if one.pid == pid:
                one.ended()
        self.tend()

    def tend(self) -> None:
        """Watch again where a helper ended or did not start; give up who never gets far."""
        for one in self._all:
            if not one.due or self._selector is None:
                continue
            one.due = False
            if one.early_deaths < _MAX_EARLY_DEATHS:
                self._selector.register(one.socket, selectors.EVENT_READ, one)
            else:
                one.socket.close()
                self._say(f"A helper of the job was given up: it keeps ending. {one.last_line()}")

    def end(self) -> bool:
        """Close the ports and kill what runs; return whether nothing is left to reap."""
        for one in self._all:
            if self._selector is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(one.socket)
            one.socket.close()
            if one.keys is not None:
                one.keys.close()
            one.kill()
        self._selector = None
        return not self.pids


class _Sidecar:
    """One helper: its port, and the process behind it if there is one."""

    def __init__(self, spec: Mapping[str, Any], errors: Path, keys: socket.socket | None) -> None:
        self.tag = ""
        self.pid = 0
        self.due = False
        self.early_deaths = 0
        self._spec, self._errors, self.keys = spec, errors, keys
        self._started_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(_BACKLOG)
        port = str(self.socket.getsockname()[1])
        self.variables = {
            str(name): str(value).replace("{port}", port)
            for name, value in spec["variables"].items()
        }

    def read(self, descriptor: int) -> bool:
        """Start the helper: somebody connects. It accepts, so this end stops watching."""
        supervisor = os.getpid()

        def prepare() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:  # it died before the line above
                os._exit(1)

        given = {"{fd}": descriptor}
        if self.keys is not None and "{keys}" in self._spec["argv"]:
            given["{keys}"] = self.keys.fileno()
        argv = [str(given.get(word, word)) for word in self._spec["argv"]]
        self._started_s = time.monotonic()
        try:
            with open(str(self._errors), "ab", opener=_private) as errors:
                self._process = subprocess.Popen(
                    argv, cwd=str(self._errors.parent),
                    env={**self._spec["env"], processes.TAG_VARIABLE: self.tag},
                    stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                    close_fds=True, pass_fds=list(given.values()), start_new_session=True,
                    preexec_fn=prepare,  # safe: the supervisor has one thread
                )  # fmt: skip
            self.pid = self._process.pid
        except (OSError, subprocess.SubprocessError) as error:
            with contextlib.suppress(OSError), open(str(self._errors), "a") as said:
                said.write(f"{type(error).__name__}: {error}\n")
            self.early_deaths += 1
            self.due = True
        return False

    def ended(self) -> None:
        """Forget the process; whoever connects next starts another."""
        lived_s = time.monotonic() - self._started_s
        self.early_deaths = self.early_deaths + 1 if lived_s < _EARLY_S else 0
        self.pid = 0
        self.due = True
        if self._process is not None:  # reaped elsewhere: Popen must not wait for a recycled pid
            self._process.returncode = 0

    def kill(self) -> None:
        """Kill it; it has nothing of its own to save."""
        if self.pid:  # not reaped yet, so the number is still its own
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    def last_line(self) -> str:
        """Return the last thing it said."""
        with contextlib.suppress(OSError):
            lines = self._errors.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").splitlines()
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


def with_keys(
    specs: Sequence[Mapping[str, Any]], keys: socket.socket | None
) -> list[dict[str, Any]]:
    """Return specifications that bring their keys, for helpers that are started elsewhere."""
    told = envelope.look(keys.fileno()).decode("ascii") if keys is not None else ""
    return [{**spec, "keys": told} if "{keys}" in spec["argv"] else dict(spec) for spec in specs]


def _envelope(spec: Mapping[str, Any]) -> socket.socket | None:
    """Put keys that came with a specification into an envelope of this process."""
    if not spec.get("keys"):
        return None
    conceal()  # they are in its memory
    return envelope.seal(str(spec["keys"]).encode("ascii"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
