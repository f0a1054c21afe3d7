"""Which warm interpreters there are: started in the background, asked, replaced, ended.

A zygote (`mlengine.runtime.zygote`) serves attempts that would start the same interpreter, with the
same modules, under the same values of the variables that matter while those are imported. The first
attempt of a kind is started cold and makes a zygote; later ones find it ready. Whatever is wrong
with a zygote (dead, frozen, busy, refusing), the attempt is started cold, and nothing else happens.

A zygote is told of nobody: the engine holds the other end of its only socket, so it ends with the
engine, and no other process can reach it.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlengine.runtime.zygote import READY, command, spare_environment
from mlengine.training.launchers import AttemptSpec, WarmStart

__all__ = ["Claim", "Kind", "WarmInterpreters", "kind_of"]

_ANSWER_S = 1.0
_POLL_S = 0.02
_PAUSE_AFTER_FAILURE_S = 60.0
_LONGEST_IMPORT_S = 300.0
_REMEMBERED_S = 30 * 86400.0

_MATTERS_AT_IMPORT = (
    "BLIS_", "CUBLAS_", "CUDA_", "GLIBC_", "GOMP_", "GOTO_", "JOBLIB_", "KERAS_", "KMP_", "LC_",
    "LD_", "MALLOC_", "MKL_", "NCCL_", "NPY_", "NUMEXPR_", "NUMPY_", "NVIDIA_", "OMP_", "OPENBLAS_",
    "PANDAS_", "PYTHON", "SCIPY_", "SKLEARN_", "TF_", "TORCH_", "XDG_", "XLA_",
)  # fmt: skip
_MATTER_AT_IMPORT_TOO = frozenset({"HOME", "LANG", "LANGUAGE", "USER"})
_METADATA = (".dist-info", ".egg-info", ".egg-link", ".pth")
_READ_LATER = frozenset({"CUDA_VISIBLE_DEVICES", "TF_CONFIG"})
_PYTHON_SETTINGS = frozenset({
    "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHASHSEED", "PYTHONIOENCODING",
    "PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONWARNINGS",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claim:
    """A forked supervisor that waits to be told what to run; it ends if it is told nothing.

    Attributes:
        layer: Site-packages of the attempt.
        marker: File to make if the layer does not survive a fork.
    """

    connection: socket.socket
    layer: str
    marker: Path

    def order(self, attempt_dir: Path, lock: int, errors: int, keys: int = -1) -> bool:
        """Let it run the attempt; return False when it is gone.

        Args:
            lock: The attempt's locked lock file.
            errors: Where the supervisor complains.
            keys: The envelope with keys, if the attempt has any.
        """
        order = {
            "attempt_dir": str(attempt_dir), "layer": self.layer, "marker": str(self.marker)
        }  # fmt: skip
        descriptors = [lock, errors] + ([keys] if keys >= 0 else [])
        return _send(self.connection, json.dumps(order).encode("ascii"), descriptors)


@dataclass(eq=False, slots=True)
class _Zygote:
    process: subprocess.Popen[bytes]
    channel: socket.socket
    began_s: float
    used_s: float
    ready: bool = False

    def look(self) -> bool:
        """Return whether it has imported everything; notice if it has."""
        if not self.ready and select.select([self.channel], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                self.ready = bool(self.channel.recv(65536))
        return self.ready

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self, *, kill: bool = False) -> None:
        """Let it go, which it notices; or kill it. What it forked goes on."""
        self.channel.close()
        if kill:
            self.process.kill()


@dataclass(frozen=True, slots=True)
class Kind:
    """What those that one zygote forks have in common: `kind_of` makes one.

    Attributes:
        key: Names it.
        warm: The interpreter, and what it imports.
        env: The variables that it is started with.
    """

    key: str
    warm: WarmStart
    env: Mapping[str, str]


class WarmInterpreters:
    """The zygotes of one engine.

    Args:
        folder: For their logs, and for what is remembered about layers that must start cold.
        limit: Most zygotes at one time; 0 starts everything cold.
        idle_s: After so long without use a zygote ends by itself.
    """

    def __init__(self, folder: Path, *, limit: int = 2, idle_s: float = 900.0) -> None:
        self._folder = folder
        self._limit = limit
        self._idle_s = idle_s
        self._zygotes: dict[str, _Zygote] = {}
        self._failed_s: dict[str, float] = {}
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._guard = threading.Lock()

    def claim(self, spec: AttemptSpec) -> Claim | None:
        """Return a supervisor for the attempt; None if it must be started cold.

        It takes some milliseconds; a second if the zygote hangs, which is then killed.
        """
        kind = _kind(spec) if self._limit > 0 else None
        if kind is None:
            return None
        marker = self._folder / f"{_digest([kind.key, kind.warm.site_packages])}.cold"
        with contextlib.suppress(OSError):
            os.utime(marker)
            return None
        connection = self.fork(kind)
        if connection is None:
            return None
        return Claim(connection, kind.warm.site_packages, marker)

    def fork(self, kind: Kind) -> socket.socket | None:
        """Return the socket of a new fork that waits for its order; None if there is no zygote yet.

        One is begun then, for those who come later.
        """
        with self._guard:
            zygote = self._ready(kind)
        return self._ask(kind.key, zygote) if zygote is not None else None

    def begin(self, kind: Kind) -> None:
        """Begin a zygote unless there is one; somebody will want it soon."""
        with self._guard:
            if self._limit > 0:
                self._ready(kind)

    def wait(self, kind: Kind, timeout_s: float) -> bool:
        """Begin a zygote unless there is one; return whether it is ready within a time."""
        deadline_s = time.monotonic() + timeout_s
        pause = threading.Event()
        while self._limit > 0 and time.monotonic() < deadline_s:
            with self._guard:
                if self._ready(kind) is not None:
                    return True
                if kind.key not in self._zygotes:
                    return False  # it could not import, or somebody else's took its place
            pause.wait(_POLL_S)
        return False

    def ready(self, spec: AttemptSpec) -> bool:
        """Whether an attempt like this one would find a zygote that has imported everything."""
        kind = _kind(spec)
        with self._guard:
            zygote = self._zygotes.get(kind.key) if kind is not None else None
            return zygote is not None and zygote.alive and zygote.look()

    def pids(self) -> list[int]:
        """Return the process ids of all zygotes."""
        with self._guard:
            return [z.process.pid for z in self._zygotes.values() if z.alive]

    def reap(self) -> bool:
        """Collect zygotes that have ended; return whether none that was let go is left."""
        with self._guard:
            self._reap()
            return not self._leaving

    def close(self, *, kill: bool = False) -> None:
        """End all zygotes, and have no more: who waits for one waits no longer.

        Args:
            kill: At once, also one that is importing; what it forked goes on all the same.
        """
        with self._guard:
            self._limit = 0
            for key in list(self._zygotes):
                self._let_go(key, kill=kill)

    def _ready(self, kind: Kind) -> _Zygote | None:
        self._reap()
        now_s = time.monotonic()
        zygote = self._zygotes.get(kind.key)
        if zygote is None:
            if now_s - self._failed_s.get(kind.key, float("-inf")) > _PAUSE_AFTER_FAILURE_S:
                self._begin(kind)
            return None
        zygote.used_s = now_s
        if zygote.look():
            return zygote
        if now_s - zygote.began_s > _LONGEST_IMPORT_S:
            self._failed_s[kind.key] = now_s
            self._let_go(kind.key, kill=True)
        return None

    def _begin(self, kind: Kind) -> None:
        while len(self._zygotes) >= self._limit:
            self._let_go(min(self._zygotes, key=lambda key: self._zygotes[key].used_s))
        try:
            self._zygotes[kind.key] = _start(kind, self._folder, self._idle_s)
        except OSError:
            self._failed_s[kind.key] = time.monotonic()

    def _ask(self, key: str, zygote: _Zygote) -> socket.socket | None:
        """Return the socket of a new supervisor that has said it is there."""
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        answer = b""
        hangs = False
        with its:
            asked = _send(zygote.channel, b"fork", [its.fileno()])
        mine.settimeout(_ANSWER_S)
        try:
            answer = mine.recv(64) if asked else b""
        except TimeoutError:
            hangs = True
        except OSError:
            pass
        if answer == READY:
            return mine
        mine.close()
        if hangs:
            with self._guard:
                if self._zygotes.get(key) is zygote:
                    self._let_go(key, kill=True)
        return None

    def _let_go(self, key: str, *, kill: bool = False) -> None:
        zygote = self._zygotes.pop(key)
        zygote.end(kill=kill)
        self._leaving.append(zygote.process)

    def _reap(self) -> None:
        self._leaving = [process for process in self._leaving if process.poll() is None]
        for key, zygote in list(self._zygotes.items()):
            if not zygote.alive:
                if not zygote.look():  # it could not even import: not again at once
                    self._failed_s[key] = time.monotonic()
                self._let_go(key)


def _kind(spec: AttemptSpec) -> Kind | None:
    """Return what zygote fits the attempt; None when it must be started cold."""
    warm = spec.warm
    if warm is None or not spec.replicas:
        return None
    environments = [_settled(replica.env) for replica in spec.replicas]
    forkable = all(r.argv[:2] == [warm.python, "-m"] and r.argv[2:] for r in spec.replicas)
    alike = all(env == environments[0] for env in environments)
    unknown = {n for n in environments[0] if n.startswith("PYTHON")} - _PYTHON_SETTINGS
    if not forkable or not alike or unknown:
        return None
    return kind_of(warm, environments[0])


def kind_of(warm: WarmStart, env: Mapping[str, str]) -> Kind:
    """Return what a zygote of this interpreter, these modules and these variables is called."""
    facts = [_identity(Path(warm.base_python)), warm.modules, sorted(env.items())]
    return Kind(_digest(facts), warm, env)


def _settled(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that cannot be set any more once modules are imported.

    Example:
        >>> _settled({"TF_CONFIG": "{}", "OMP_NUM_THREADS": "1", "CLOUD_ML_JOB_ID": "j"})
        {'OMP_NUM_THREADS': '1'}
    """
    return {
        name: value
        for name, value in sorted(env.items())
        if name not in _READ_LATER
        and (name.startswith(_MATTERS_AT_IMPORT) or name in _MATTER_AT_IMPORT_TOO)
    }


def _identity(python: Path) -> list[object]:
    """Tell an interpreter and its libraries from what lies there after an upgrade."""
    folders = sorted(python.parent.parent.glob("lib*/python*/site-packages"))
    libraries = sorted(str(e) for f in folders for e in f.iterdir() if e.suffix in _METADATA)
    try:
        changed = python.stat().st_mtime_ns
    except OSError:
        changed = 0
    return [str(python), changed, libraries]


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode("ascii")).hexdigest()[:24]


def _start(kind: Kind, folder: Path, idle_s: float) -> _Zygote:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _forget(folder, unused_since_s=time.time() - _REMEMBERED_S)
    log = folder / f"{kind.key}.log"
    log.unlink(missing_ok=True)
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    drain, output = os.pipe()
    try:
        config = {
            "channel": its.fileno(), "drain": drain, "log": str(log),
            "modules": kind.warm.modules, "idle_s": idle_s,
        }  # fmt: skip
        process = subprocess.Popen(
            command(kind.warm.base_python, config),
            env={**kind.env, **spare_environment()}, cwd="/",
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, pass_fds=(its.fileno(), drain),
        )  # fmt: skip
    except BaseException:
        mine.close()
        raise
    finally:
        its.close()
        os.close(drain)
        os.close(output)
    now_s = time.monotonic()
    return _Zygote(process, mine, began_s=now_s, used_s=now_s)


def _forget(folder: Path, *, unused_since_s: float) -> None:
    """Remove what is remembered about layers, and the logs of zygotes, that nobody needs now."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # several engines may share a folder
            if path.suffix in (".cold", ".log") and path.stat().st_mtime < unused_since_s:
                path.unlink()


def _send(connection: socket.socket, data: bytes, descriptors: list[int]) -> bool:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    try:
        connection.sendmsg([data], [rights], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False  # nobody is there, or it is so busy that its queue is full
    return True
