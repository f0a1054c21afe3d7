"""Environments on disk: found by what they contain, built once, never seen half-built.

    ROOT/<digest>             a link: the environment is complete
    ROOT/.builds/<name>/      where environments are built, and stay
    ROOT/.locks/<digest>      held by the one who builds it

An environment is built in the place where it stays, because installers write absolute paths into
it (the first line of every console script). What commits it is one rename, of the link. A builder
that dies leaves a folder that no link names; the next builder takes a fresh one, so an orphaned
installer that is still writing can harm nobody. `sweep` removes such folders, and such installers.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlengine.core.errors import Cancelled, EngineError, from_status
from mlengine.environments.archives import Archive, read_archive
from mlengine.environments.base import Base, describe_base
from mlengine.environments.build import Builder, disk_full, is_disk_full
from mlengine.environments.installers import find_installer
from mlengine.environments.locks import held, try_held
from mlengine.environments.venv import python_of

__all__ = ["Environment", "Environments"]

_FORMAT = "1"  # part of every digest: raise it when environments are built differently
_NAME_DIGITS = 32  # of the digest; keeps first lines of scripts below the kernel's limit
_CHUNK_BYTES = 1 << 20
_INSTALLER = "installer.json"  # the process group that is writing into a build
_OTHERS_WRITE = 0o022  # archives and installers set this whatever the umask says


def _never() -> bool:
    return False


def _silent(line: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Environment:
    """A runtime plus a job's packages, ready to run.

    Attributes:
        python: The interpreter to start replicas with.
        path: The environment's folder; without packages, the prefix of the engine's interpreter.
        digest: Of all that went into it, 64 hexadecimal digits.
        hit: It was there already, or somebody else was building it.
        seconds: What preparing it took.
    """

    python: Path
    path: Path
    digest: str
    hit: bool
    seconds: float

    def variables(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return `inherited` with what makes console scripts and subprocesses find it.

        A trainer that starts ``python`` or a script of its own package gets this environment's,
        and the engine's own scripts (``tensorboard``) behind them.
        """
        binaries = (str(self.python.parent), str(Path(sys.executable).parent))
        search = [*dict.fromkeys(binaries), inherited.get("PATH", os.defpath)]
        return {**inherited, "PATH": os.pathsep.join(search), "VIRTUAL_ENV": str(self.path)}


class Environments:
    """The environments of one engine; threads and processes may share a root.

    Args:
        root: Their folder; made, with mode 0700, when it does not exist.
        python: The interpreter they are built over.
        installer: ``uv``, ``pip``, or ``auto`` for uv where there is one.
        timeout_s: Longest time to build one, in seconds.
        on_log: Told what a `prepare` without a `log` of its own has to say.

    Example:
        >>> environments = Environments(home / "environments")  # doctest: +SKIP
        >>> environments.prepare([Path("trainer-0.0.0.tar.gz")]).python  # doctest: +SKIP
        PosixPath('.../environments/.builds/3f…/bin/python')
    """

    def __init__(
        self,
        root: Path,
        *,
        python: str = sys.executable,
        installer: str = "auto",
        timeout_s: float = 600.0,
        on_log: Callable[[str], None] = _silent,
    ) -> None:
        self._root = root.absolute()
        self._python = python
        self._prefer = installer
        self._timeout_s = timeout_s
        self._on_log = on_log

    def prepare(
        self,
        packages: Sequence[Path],
        *,
        runtime_version: str = "",
        log: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = _never,
    ) -> Environment:
        """Return the environment that holds exactly these packages, building it if need be.

        Args:
            packages: Archives, in the order in which they are installed.
            runtime_version: What the job asked for. It is noted beside what is built; every
                runtime is the engine's own for now, which `runtime_warning` words for the user.
            log: Receives a line for each step, and what the installer prints; may be called
                from another thread.
            cancelled: Polled; once true, the installer is killed.

        Raises:
            InvalidArgument: A package has a name that no installer understands.
            FailedPrecondition: A package cannot be installed; with the installer's last lines.
            Unavailable: The disk is full. Nothing half-built is left to be used.
            Cancelled: `cancelled` said so.
        """
        started_s = time.monotonic()
        tell = log or self._on_log
        base = describe_base(self._python)
        if not packages:
            seconds = time.monotonic() - started_s
            prefix = Path(base.prefix)
            return Environment(base.python, prefix, base.fingerprint(), hit=True, seconds=seconds)
        archives = [read_archive(path) for path in packages]
        digest = self._digest(base, packages)
        try:
            path, hit = self._complete(digest), True
            if path is None:
                path, hit = self._build(
                    base, archives, digest, runtime=runtime_version, log=tell, cancelled=cancelled
                )
        except OSError as error:
            if is_disk_full(error):
                raise disk_full() from error
            raise
        seconds = time.monotonic() - started_s
        return Environment(python_of(path), path, digest, hit=hit, seconds=seconds)

    def sweep(self) -> int:
        """Remove what dead builders left behind; safe while others build. Returns how many."""
        removed = 0
        if not self._builds.is_dir():
            return 0
        linked = {link.readlink().name for link in self._root.iterdir() if link.is_symlink()}
        for folder in list(self._builds.iterdir()):
            if folder.name in linked:
                continue
            digest = folder.name.split("-", 1)[0]
            with try_held(self._locks / digest) as ours:
                # Asked again under the lock: its builder may have committed it just now.
                link = self._root / digest
                committed = link.is_symlink() and link.readlink().name == folder.name
                if ours and not committed:
                    _kill_orphan(folder)
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
        return removed

    @property
    def _builds(self) -> Path:
        return self._root / ".builds"

    @property
    def _locks(self) -> Path:
        return self._root / ".locks"

    def _digest(self, base: Base, packages: Sequence[Path]) -> str:
        # The root is part of it: a home that was copied elsewhere holds scripts whose first
        # line names the old place.
        total = hashlib.sha256(f"{_FORMAT}\n{self._root}\n{base.fingerprint()}\n".encode())
        for path in packages:
            total.update(f"{path.name}\n{_file_digest(path)}\n".encode())
        return total.hexdigest()

    def _complete(self, digest: str) -> Path | None:
        """Return the finished environment, if there is one whose interpreter still exists."""
        link = self._root / digest[:_NAME_DIGITS]
        try:
            path = self._builds / link.readlink().name
        except OSError:
            return None
        return path if python_of(path).exists() else None

    def _build(
        self,
        base: Base,
        archives: Sequence[Archive],
        digest: str,
        *,
        runtime: str,
        log: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> tuple[Path, bool]:
        """Build it under its lock; also says whether somebody else did so while we waited."""
        name = digest[:_NAME_DIGITS]
        for folder in (self._root, self._builds, self._locks):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._locks / name
        failure = _Failure(self._locks / f"{name}.failed")
        before = failure.read()
        with held(
            lock,
            timeout_s=self._timeout_s + 30.0,
            cancelled=cancelled,
            waiting=lambda: log("Waiting: the same environment is being built already."),
        ):
            path = self._complete(digest)
            if path is not None:
                return path, True
            after = failure.read()
            if after != before and after is not None:
                # It failed while we waited for it; trying again would only fail again.
                raise after.error
            path = self._builds / f"{name}-{secrets.token_hex(4)}"
            try:
                self._fill(path, base, archives, runtime=runtime, log=log, cancelled=cancelled)
                _commit(path, self._root / name)
            except BaseException as error:
                shutil.rmtree(path, ignore_errors=True)
                if isinstance(error, EngineError) and not isinstance(error, Cancelled):
                    failure.write(error)
                raise
            return path, False

    def _fill(
        self,
        path: Path,
        base: Base,
        archives: Sequence[Archive],
        *,
        runtime: str,
        log: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> None:
        path.mkdir(mode=0o700)
        scratch = path / "scratch"
        scratch.mkdir(mode=0o700)
        Builder(
            path=path,
            base=base,
            installer=find_installer(self._prefer, base),
            scratch=scratch,
            deadline_s=time.monotonic() + self._timeout_s,
            log=log,
            cancelled=cancelled,
            started=lambda pid: _note_installer(path, pid),
        ).build(archives)
        shutil.rmtree(scratch, ignore_errors=True)
        for droppings in (_INSTALLER, ".lock"):  # the second is uv's
            (path / droppings).unlink(missing_ok=True)
        facts = {
            "packages": [item.name for item in archives],
            "python": base.version,
            "runtime_version": runtime,
        }
        (path / "environment.json").write_text(json.dumps(facts, indent=2) + "\n")


def _file_digest(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()


def _commit(path: Path, link: Path) -> None:
    """Name the environment, once all of it would survive a power cut."""
    for folder, _folders, names in os.walk(path):
        _flush(Path(folder))
        for name in names:
            _flush(Path(folder, name))
    fresh = link.with_name(f".{path.name}.link")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path(path.parent.name, path.name))
    fresh.replace(link)
    _flush(link.parent)


def _flush(path: Path) -> None:
    """Write one file or folder through to the disk, and keep others from writing into it."""
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & _OTHERS_WRITE:
            os.fchmod(descriptor, mode & ~_OTHERS_WRITE)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Failure:
    """How the last build of an environment failed, for those who waited for it."""

    @dataclass(frozen=True, slots=True)
    class Record:
        token: str
        status: str
        problem: str
        remedy: str

        @property
        def error(self) -> EngineError:
            error = from_status(self.status, self.problem)
            return type(error)(self.problem, self.remedy)

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Record | None:
        try:
            return self.Record(**json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, error: EngineError) -> None:
        facts = {
            "token": secrets.token_hex(8),
            "status": error.status,
            "problem": error.problem,
            "remedy": error.remedy,
        }
        try:
            self._path.write_text(json.dumps(facts))
        except OSError:
            pass  # those who wait then find out for themselves


def _note_installer(folder: Path, pid: int) -> None:
    facts = {"pid": pid, "started": _start_ticks(pid)}
    (folder / _INSTALLER).write_text(json.dumps(facts))


def _kill_orphan(folder: Path) -> None:
    """Kill the installer of a builder that died, unless its number is somebody else's by now."""
    try:
        facts = json.loads((folder / _INSTALLER).read_text())
        pid, started = int(facts["pid"]), str(facts["started"])
        if started and _start_ticks(pid) == started:
            os.killpg(pid, signal.SIGKILL)
    except (OSError, ValueError, KeyError, TypeError):
        pass


def _start_ticks(pid: int) -> str:
    """Return when a process started, in kernel ticks since boot; empty where that is unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
