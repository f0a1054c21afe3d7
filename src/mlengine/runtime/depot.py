"""What a node keeps of an engine whose folders it does not see; used by its post (`raynode`).

    ROOT/folders/<key>    an environment, a base below one, a checkout: whole, never written again
    ROOT/folders/<key>.lock   flock: exclusive while it is filled or evicted, shared while in use
    ROOT/jobs/<name>/     what one replica reads and writes: the engine's paths beneath it; it goes
    ROOT/jobs/<name>.lock     with the replica, or, if its post died, with the next one here

A folder has the digest of its content for a name, so many jobs, of many engines, share it, and one
of them fills it. It is committed by a rename. What was used longest ago goes when it is too much.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime.freight import (
    Part,
    Writer,
    facts,
    files_of,
    fingerprint,
    parts_of,
    relocate_text,
    stamp,
)

__all__ = ["Depot", "machine_kind", "node_root"]

KEEP_BYTES = 20 << 30
KEEP_S = 30 * 86_400.0

_ASK_LIMIT_S = 30.0
_SIZE = ".mlengine-size"
_TEXT_BYTES = 1 << 20
_KEY = re.compile(r"[0-9a-f]{16,64}")
_ASK_PYTHON = """
import json, os, platform, sys
version = "%d.%d" % sys.version_info[:2]
real = getattr(sys, "_base_executable", "") or ""
if not real or sys.prefix != sys.base_prefix:
    real = os.path.join(sys.base_prefix, "bin", "python" + version)
print(json.dumps([version, platform.python_implementation(), real]))
"""


def node_root() -> Path:
    """Return this user's folder on this machine, made if need be; for this user alone.

    Raises:
        PermissionError: It is, or may be, somebody else's.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    for root in (Path(base) / "mlengine" / "node",
                 Path(tempfile.gettempdir()) / f"mlengine-node-{os.getuid()}"):  # fmt: skip
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        found = root.lstat()
        if root.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{root} is not a folder of this user alone: remove it")
        return root
    raise PermissionError(f"neither {base} nor {tempfile.gettempdir()} can be written to")


def machine_kind() -> list[str]:
    """Return what compiled libraries are built for."""
    return [sysconfig.get_platform(), platform.libc_ver()[0] or "musl"]


class Depot:
    """What one replica uses of it.

    Args:
        name: Of the replica, unlike that of any other.
        root: Default: `node_root`.
        keep_bytes: Most that all folders together may hold, but for those in use.
    """

    def __init__(self, name: str, root: str = "", keep_bytes: int = KEEP_BYTES) -> None:
        self._root = Path(root) if root else node_root()
        self._keep_bytes = keep_bytes
        self._folders, jobs = self._root / "folders", self._root / "jobs"
        for folder in (self._folders, jobs):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._held: dict[str, int] = {}
        self._writers: dict[str, Writer] = {}
        self._known: dict[str, list[int]] = {}
        self.scratch = str(jobs / name)
        with _alone(self._root / "jobs.lock"):
            self._sweep(jobs)
            self._job_lock = _lock(f"{self.scratch}.lock", fcntl.LOCK_EX)
            Path(self.scratch).mkdir(mode=0o700, exist_ok=True)
        self._files = Writer(self.scratch)

    def where(self) -> list[str]:
        """Return where the replica's files lie, and where folders do."""
        return [self.scratch, str(self._folders)]

    # --- what is here already ---

    def seen(self, folders: Mapping[str, str], places: Mapping[str, Any]) -> list[str]:
        """Return which of the engine's paths are the very same here.

        Args:
            folders: Folder of modules → its fingerprint there.
            places: Path → its facts there.
        """
        same = [path for path, told in folders.items() if told and fingerprint(path) == told]
        return same + [path for path, told in places.items() if told and facts(path) == list(told)]

    def lacks(self, paths: Sequence[str]) -> list[str]:
        """Return which paths are not there at all."""
        return [path for path in paths if not Path(path).exists()]

    def python(self, version: str, implementation: str, hint: str) -> str:
        """Return an interpreter of this version, such as ``3.11``; empty if there is none.

        It lies below any virtual environment.
        """
        for candidate in (hint, *_candidates(version)):
            if Path(candidate).is_file():
                told = _ask_python(candidate)
                if told[:2] == [version, implementation] and Path(told[2]).is_file():
                    return told[2]
        return ""

    # --- folders ---

    def claim(self, key: str) -> str:
        """Say whether a folder is "there", is to be filled by the caller ("yours"), or "busy"."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no digest")
        folder = self._folders / key
        self._let_go(key)
        if not folder.is_dir():
            lock = _lock(f"{folder}.lock", fcntl.LOCK_EX)
            if lock < 0:
                return "busy"
            if not folder.is_dir():
                self._held[key] = lock
                aside = f"{folder}.part"
                shutil.rmtree(aside, ignore_errors=True)
                Path(aside).mkdir(mode=0o700)
                self._writers[key] = Writer(aside)
                return "yours"
            os.close(lock)
        lock = _lock(f"{folder}.lock", fcntl.LOCK_SH)
        if lock < 0:
            return "busy"
        if not folder.is_dir():  # evicted just now
            os.close(lock)
            return "busy"
        self._held[key] = lock
        os.utime(f"{folder}.lock")
        return "there"

    def take(self, key: str, parts: Sequence[Part]) -> None:
        """Write parts of a folder that is the caller's to fill.

        Raises:
            OSError: The disk is full.
        """
        self._writers[key].write(parts)

    def commit(self, key: str, moves: Mapping[str, str], python: str) -> None:
        """Have a folder that is whole be where everybody finds it.

        Args:
            moves: Where what its files name lies here.
            python: The interpreter that its own links lead to.
        """
        self._writers.pop(key).close()
        aside, folder = Path(f"{self._folders / key}.part"), self._folders / key
        _settle(aside, moves, python)
        (aside / _SIZE).write_text(str(sum(stamp(path)[0] for path in files_of([str(aside)]))))
        aside.rename(folder)
        os.utime(f"{folder}.lock")
        fcntl.flock(self._held[key], fcntl.LOCK_SH)
        self._evict()

    def _let_go(self, key: str) -> None:
        if key in self._held:
            os.close(self._held.pop(key))

    def _evict(self) -> None:
        """Remove what nobody uses and is old, or too much."""
        rows = []
        for gone in self._folders.glob("*.gone"):  # its remover died
            shutil.rmtree(gone, ignore_errors=True)
        for folder in self._folders.iterdir():
            if _KEY.fullmatch(folder.name) and folder.is_dir():
                with contextlib.suppress(OSError, ValueError):
                    size = int((folder / _SIZE).read_text())
                    rows.append((Path(f"{folder}.lock").stat().st_mtime, size, folder))
        excess = sum(size for _used, size, _folder in rows) - self._keep_bytes
        for used_s, size, folder in sorted(rows):
            if excess <= 0 and used_s > time.time() - KEEP_S:
                continue
            lock = _lock(f"{folder}.lock", fcntl.LOCK_EX)
            if lock >= 0:
                gone = folder.with_name(f"{folder.name}.gone")
                folder.rename(gone)
                os.close(lock)
                shutil.rmtree(gone, ignore_errors=True)
                excess -= size

    # --- a replica's own files ---

    def put(self, parts: Sequence[Part], gone: Sequence[str] = ()) -> None:
        """Write what the engine's machine has, and remove what it has no more."""
        for name in self._files.write(parts):
            self._known[name] = stamp(self._files.path_of(name))
        for name in gone:
            with contextlib.suppress(OSError):
                Path(self._files.path_of(name)).unlink()
            self._known.pop(name, None)

    def changes(self, places: Sequence[str]) -> list[Any]:
        """Return which files the replica wrote, with their stamps, and which it removed."""
        there = {name: stamp(self._files.path_of(name)) for name in files_of(places, self.scratch)}
        news = [[name, told] for name, told in there.items() if told != self._known.get(name)]
        gone = [name for name in self._known if not stamp(self._files.path_of(name))]
        return [news, gone]

    def get(self, name: str, told: Sequence[int], at: int) -> list[Part]:
        """Return a part of a file as it was told of; none when it is another by now.

        Args:
            told: Its stamp; of a file that has grown since, what it was then is returned.
            at: Where the part begins.
        """
        path = self._files.path_of(name)
        with contextlib.suppress(OSError):
            now = stamp(path)
            if now and now[2] == told[2] and now[0] >= told[0]:
                return [next(parts_of(path, name, at=at, size=told[0]))]
        return []

    def settled(self, news: Sequence[Sequence[Any]], gone: Sequence[str]) -> None:
        """Take it that the engine's machine has these changes."""
        for name, told in news:
            self._known[name] = list(told)
        for name in gone:
            self._known.pop(name, None)

    def close(self) -> None:
        """Remove the replica's files; let go of the folders."""
        self._files.close()
        shutil.rmtree(self.scratch, ignore_errors=True)
        for key in list(self._held):
            self._let_go(key)
        with contextlib.suppress(OSError):
            Path(f"{self.scratch}.lock").unlink()
        os.close(self._job_lock)

    def _sweep(self, jobs: Path) -> None:
        """Remove the files of replicas whose posts died."""
        for path in jobs.glob("*.lock"):
            lock = _lock(str(path), fcntl.LOCK_EX)
            if lock >= 0:
                shutil.rmtree(str(path)[: -len(".lock")], ignore_errors=True)
                with contextlib.suppress(OSError):
                    path.unlink()
                os.close(lock)


def _lock(path: str, kind: int) -> int:
    """Return a locked descriptor; -1 while somebody else has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock that nobody holds for long."""
    descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _settle(folder: Path, moves: Mapping[str, str], python: str) -> None:
    """Have an environment's own files name what is here."""
    for path in [folder / "pyvenv.cfg", *_links(folder), *_scripts(folder)]:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if path.is_symlink() or path.stat().st_size > _TEXT_BYTES:
                continue
            found, old = path.stat(), path.read_text("utf-8")
            text = relocate_text(old, moves)
            if path.name == "pyvenv.cfg" and python:
                text = re.sub(r"(?m)^home\s*=.*$", lambda _m: f"home = {Path(python).parent}", text)
                text = re.sub(r"(?m)^executable\s*=.*$", lambda _m: f"executable = {python}", text)
            if text != old:
                path.write_text(text, "utf-8")
                os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))
    for path in (folder / "bin").glob("python*"):
        target = os.readlink(str(path)) if path.is_symlink() else ""  # noqa: PTH115 - Python 3.7
        if python and target.startswith("/"):
            path.unlink()
            path.symlink_to(python)


def _links(folder: Path) -> Iterable[Path]:
    yield from folder.glob("*.pth")
    yield from folder.glob("lib/python*/site-packages/*.pth")


def _scripts(folder: Path) -> Iterator[Path]:
    for path in folder.glob("bin/*"):
        with contextlib.suppress(OSError):
            if path.is_file() and path.open("rb").read(2) == b"#!":
                yield path


def _candidates(version: str) -> Iterator[str]:
    """Yield where an interpreter may lie."""
    yield sys.executable
    yield str(getattr(sys, "_base_executable", sys.executable))
    name = f"python{version}"
    for folder in [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/local/bin"]:
        if folder:
            yield str(Path(folder) / name)
    home = Path(os.environ.get("HOME") or "/")
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local" / "share/uv/python")
    for found in (*pyenv.glob(f"{version}.*"), *uv.glob(f"cpython-{version}.*")):
        yield str(found / "bin" / name)


def _ask_python(path: str) -> list[str]:
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        answer = subprocess.run(
            [path, "-I", "-S", "-c", _ASK_PYTHON], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_ASK_LIMIT_S, check=True,
        )  # fmt: skip
        told: list[str] = json.loads(answer.stdout.decode())
        return told
    return []
