"""Launcher for a Ray cluster: the same supervisor and folder; the replicas run on the nodes.

The supervisor of an attempt is a process of this machine as ever (`process`), so what an attempt is
and how it ended is told by its folder and by the lock, not by the cluster. What differs is where
its replicas are: it speaks to the agent (`rayagent`), which holds the one connection to Ray and
which this launcher starts whenever it is not there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mlengine.core.errors import FailedPrecondition, InvalidArgument, Unavailable
from mlengine.runtime import failpoints, farlink, processes
from mlengine.runtime.frames import FrameReader, pack
from mlengine.training.launchers import AttemptSpec, Handle, Launcher, Phase
from mlengine.training.launchers.process import ProcessLauncher, identity_of
from mlengine.training.launchers.rayplaces import ClusterView

__all__ = ["RayLauncher", "check_address"]

_FIRST_WORD_S = 10.0
_ASK_S = 2.0
_PAUSE_S = 2.0
_PASSED = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ")


class RayLauncher(ProcessLauncher):
    """Starts attempts whose replicas run on a Ray cluster.

    Args:
        address: ``ray://HOST:PORT``, or ``ray`` for the cluster that this machine is a node of.
        folder: Of this user alone, with a short path: the agent's socket lies there.
        environ: The engine's environment; the agent gets Ray's own variables from it.
        python: Interpreter of supervisors and agent; default: this one.

    Raises:
        InvalidArgument: The address is none.
        FailedPrecondition: Ray is not installed.
    """

    def __init__(
        self, address: str, folder: Path, *, environ: Mapping[str, str], python: str = ""
    ) -> None:
        super().__init__(python=python)
        check_address(address)
        if importlib.util.find_spec("ray") is None:
            raise FailedPrecondition(
                f"The backend {address} needs Ray, which is not installed.",
                "pip install 'mlengine[ray]'",
                field="backend",
            )
        self.address = address
        name = f"ray-{hashlib.sha256(address.encode()).hexdigest()[:8]}"
        self._socket, self._view = folder / f"{name}.sock", folder / f"{name}.json"
        self._errors = folder / f"{name}.err"
        self._environ = _agent_environment(environ)
        self._agent: subprocess.Popen[bytes] | None = None
        self._agent_guard = threading.Lock()
        self._spawned_s = float("-inf")
        self._line: socket.socket | None = None
        self._doubts: dict[Path, float] = {}

    def open(self, *, wait_s: float = _FIRST_WORD_S) -> None:
        """Start the agent ahead of the first attempt, and keep it as long as this launcher lives.

        Args:
            wait_s: How long to wait for a first look at the cluster; it may come later.

        Raises:
            FailedPrecondition: The cluster is of another version; what may pass is waited out.
        """
        self._ensure()
        until_s = time.monotonic() + wait_s
        while time.monotonic() < until_s:
            view = self.view()
            if view.final:
                raise FailedPrecondition(
                    view.problem, "Install the same versions of Ray and Python on both sides.",
                    field="backend",
                )  # fmt: skip
            if view.nodes or not self.agent_lives():
                break
            select.select([], [], [], 0.05)
            self._ensure(patient=True)  # until the agent has heard that it is wanted

    def close(self) -> None:
        """Let the agent go; it stays as long as attempts need it."""
        with self._agent_guard:
            if self._line is not None:
                self._line.close()
            self._line = None

    def view(self) -> ClusterView:
        """Return the cluster as the agent last saw it."""
        if self.agent_lives():
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                return msgspec.json.decode(self._view.read_bytes(), type=ClusterView)
            return ClusterView(problem="not connected yet")
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            last = msgspec.json.decode(self._view.read_bytes(), type=ClusterView)
            if last.problem:
                return last
        return ClusterView(problem="the agent has ended")

    def tend(self) -> ClusterView:
        """Have an agent, started anew if need be; return the cluster as it was last seen."""
        self._ensure(patient=True)
        return self.view()

    def start(self, attempt_dir: Path, spec: AttemptSpec) -> Handle:
        """Start the attempt, unless its folder says that it was started before.

        Raises:
            Unavailable: This machine cannot start a process, or its disk is full, right now.
        """
        try:
            self._ensure()
        except OSError as error:
            raise Unavailable(
                f"The agent for {self.address} could not be started: {error}.",
                "Free disk space, memory or processes; the engine tries again.",
            ) from error
        return super().start(
            attempt_dir, msgspec.structs.replace(spec, agent=str(self._socket), warm=None)
        )

    def sweep(self, attempt_dir: Path) -> int:
        """Kill what a LOST attempt left here; make sure that nothing is left on the cluster.

        Raises:
            Internal: A process survived SIGKILL for ten seconds.
            Unavailable: It is not certain yet that all replicas are dead; it will be soon.
        """
        killed = super().sweep(attempt_dir)
        identity = identity_of(attempt_dir)
        if identity is None or self.poll(attempt_dir).phase is not Phase.LOST:
            return killed
        since_s = self._doubts.setdefault(attempt_dir, time.monotonic())
        certain = identity["boot_id"] != processes.boot_id() and not _just_booted()
        certain = certain or self._is_gone(str(identity["tag"]))
        if not certain and time.monotonic() - since_s < farlink.CERTAIN_S:
            raise Unavailable(
                f"Replicas of {attempt_dir.name} may be alive on the cluster for some seconds.",
                "Nothing is to be done: without their supervisor they end by themselves.",
            )
        self._doubts.pop(attempt_dir, None)
        return killed

    def _is_gone(self, tag: str) -> bool:
        """Ask the agent whether it has cleared the attempt away."""
        try:
            with self._dial() as line:
                line.settimeout(_ASK_S)
                line.sendall(pack(0, farlink.ASK, tag.encode()))
                reader, asked = FrameReader(max_payload_bytes=64), time.monotonic()
                while time.monotonic() - asked < _ASK_S:
                    data = line.recv(4096)
                    kinds = [frame.kind for frame in reader.feed(data)]
                    if farlink.GONE in kinds:
                        return True
                    if not data:
                        return False
        except OSError:
            pass
        return False

    # --- the agent ---

    def _ensure(self, *, patient: bool = False) -> None:
        """Have an agent; `patient` starts none right after one that ended."""
        with self._agent_guard:
            if self._line is not None and not _is_closed(self._line):
                return
            if self._line is not None:
                self._line.close()
                self._line = None
            with contextlib.suppress(OSError):
                self._line = self._dial()
                return
            if self._agent is not None and self._agent.poll() is None:
                return  # it is on its way
            if patient and time.monotonic() - self._spawned_s < _PAUSE_S:
                return
            self._spawned_s = time.monotonic()
            self._agent = self._spawn_agent()

    def _dial(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.connect(str(self._socket))
        except OSError:
            line.close()
            raise
        return line

    def _spawn_agent(self) -> subprocess.Popen[bytes]:
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        errors = os.open(self._errors, flags, 0o600)
        try:
            return subprocess.Popen(
                [self._python, "-P", "-m", "mlengine.training.launchers.rayagent", self.address,
                 str(self._socket), str(self._view)],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=self._environ,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(errors)

    def agent_lives(self) -> bool:
        """Tell whether somebody holds the agent's lock, or is about to."""
        with self._agent_guard:
            if self._agent is not None and self._agent.poll() is None:
                return True
        try:
            lock = os.open(f"{self._socket}.lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False


_: type[Launcher] = RayLauncher


def check_address(address: str) -> None:
    """Refuse what is no address of a Ray cluster.

    Raises:
        InvalidArgument: It is neither ``ray`` nor ``ray://HOST:PORT``.
    """
    if address == "ray":
        return
    place = urlsplit(address)
    with contextlib.suppress(ValueError):
        if place.scheme == "ray" and place.hostname and place.port and not place.path:
            return
    raise InvalidArgument(
        f"{address!r} is not a backend.",
        "Use 'process', 'ray://HOST:PORT' (Ray Client, port 10001 unless changed), or 'ray' for "
        "the cluster that this machine is a node of.",
        field="backend",
    )


def _agent_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the agent needs: a place to import from, and how Ray is to be spoken to."""
    kept = {n: v for n, v in environ.items() if n in _PASSED or n.startswith("RAY_")}
    kept.pop("RAY_ADDRESS", None)  # the setting says where
    return {**kept, **failpoints.environment()}


def _is_closed(line: socket.socket) -> bool:
    """Tell whether the agent hung up; what it said meanwhile is of no interest."""
    with contextlib.suppress(BlockingIOError):
        while True:
            try:
                if not line.recv(65536, socket.MSG_DONTWAIT):
                    return True
            except ConnectionError:
                return True
    return False


def _just_booted() -> bool:
    with open("/proc/uptime") as file:
        return float(file.read().split()[0]) < farlink.CERTAIN_S
