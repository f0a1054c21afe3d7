"""Finished folders, found by what they contain: built once, never seen half-built.

    ROOT/<digest>             a link: the folder is complete
    ROOT/.builds/<name>/      where folders are built, and stay; `environment.json` describes one
    ROOT/.locks/<digest>      held by who builds or evicts it; shared by those who build on it
    ROOT/.used/<digest>       its time is when the folder was last asked for
    ROOT/.logs/<digest>.log   what the last build of it had to say, also one that failed

A folder is built in the place where it stays, because installers write absolute paths into it (the
first line of every console script). What commits it is one rename, of the link. A builder that
dies leaves a folder that no link names; the next builder takes a fresh one, so an orphaned
installer that is still writing can harm nobody. `sweep` removes such folders, and such installers.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from mlengine.core.errors import Cancelled, EngineError, from_status
from mlengine.environments.locks import held, try_held
from mlengine.environments.venv import python_of
from mlengine.runtime import failpoints
from mlengine.runtime.processes import freeze_and_kill, note, noted, snapshot

__all__ = ["NAME_DIGITS", "Entry", "Fill", "Shelf", "note_installer"]

NAME_DIGITS = 32
"""How much of a digest names a folder; keeps first lines of scripts below the kernel's limit."""

_INSTALLER = "installer.json"  # the process group that is writing into a build
_FACTS = "environment.json"
_OTHERS_WRITE = 0o022  # archives and installers set this whatever the umask says

Log = Callable[[str], None]
Fill = Callable[[Path, Log], dict[str, Any]]
"""Fills a folder, telling a log what it does, and returns facts to keep about it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished folder.

    Attributes:
        name: The first digits of its digest.
        used_s: When it was last asked for, in seconds since the epoch.
        facts: What its builder noted.
    """

    name: str
    path: Path
    used_s: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """What its files hold together."""
        return int(self.facts.get("size_bytes", 0))


class Shelf:
    """The folders of one root; threads and processes may share it."""

    def __init__(self, root: Path, *, timeout_s: float) -> None:
        # Resolved: several homes may share a root by a link, and digests have its path in them.
        self.root = root.resolve()
        self._timeout_s = timeout_s

    @property
    def builds(self) -> Path:
        """Where the folders themselves are."""
        return self.root / ".builds"

    @property
    def _locks(self) -> Path:
        return self.root / ".locks"

    def log_of(self, digest: str) -> Path:
        """Return where the log of its last build is, or would be."""
        return self.root / ".logs" / f"{digest[:NAME_DIGITS]}.log"

    def find(self, digest: str) -> Entry | None:
        """Return the finished folder, if there is one whose interpreter still exists.

        Does not count as a use.
        """
        return self._entry(digest[:NAME_DIGITS])

    def entries(self) -> list[Entry]:
        """Return every finished folder."""
        if not self.root.is_dir():
            return []
        names = [link.name for link in self.root.iterdir() if link.is_symlink()]
        return [entry for name in names if (entry := self._entry(name)) is not None]

    def obtain(
        self, digest: str, fill: Fill, *, log: Log, cancelled: Callable[[], bool]
    ) -> tuple[Entry, bool]:
        """Return the folder of that digest, and whether it or its builder was there before.

        Raises:
            Cancelled: `cancelled` said so.
            EngineError: Whatever `fill` raised, in this process or in the one we waited for.
        """
        name = digest[:NAME_DIGITS]
        for folder in (self.root, self.builds, self._locks, self.root / ".used"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Before it is looked for: whoever evicts it looks at this after having hidden it.
        self._touch(name)
        found = self._entry(name)
        if found is not None:
            return found, True
        failure = _Failure(self._locks / f"{name}.failed")
        before = failure.read()
        with held(
            self._locks / name,
            timeout_s=self._timeout_s + 30.0,
            cancelled=cancelled,
            waiting=lambda: log("Waiting: the same environment is being built already."),
        ):
            found = self._entry(name)
            if found is not None:
                return found, True
            after = failure.read()
            if after != before and after is not None:
                # It failed while we waited for it; trying again would only fail again.
                raise after.error
            return self._build(name, fill, log=log, failure=failure), False

    def _build(self, name: str, fill: Fill, *, log: Log, failure: _Failure) -> Entry:
        path = self.builds / f"{name}-{secrets.token_hex(4)}"
        try:
            path.mkdir(mode=0o700)
            with _teed(self.log_of(name), log) as both:
                try:
                    facts = fill(path, both)
                except EngineError as error:
                    both(str(error))
                    raise
            for droppings in (_INSTALLER, ".lock"):  # the second is uv's
                (path / droppings).unlink(missing_ok=True)
            _commit(path, self.root / name, facts)
        except BaseException as error:
            shutil.rmtree(path, ignore_errors=True)
            if isinstance(error, EngineError) and not isinstance(error, Cancelled):
                failure.write(error)
            raise
        self._touch(name)
        entry = self._entry(name)
        assert entry is not None
        return entry

    def _entry(self, name: str) -> Entry | None:
        try:
            path = self.builds / (self.root / name).readlink().name
            facts = json.loads((path / _FACTS).read_text())
        except (OSError, ValueError):
            return None
        if not python_of(path).exists():
            return None
        return Entry(name, path, self._used_s(name), facts)

    def _touch(self, name: str) -> None:
        path = self.root / ".used" / name
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        os.utime(path)

    def _used_s(self, name: str) -> float:
        try:
            return (self.root / ".used" / name).stat().st_mtime
        except OSError:
            return 0.0

    @contextlib.contextmanager
    def kept(self, entry: Entry, *, cancelled: Callable[[], bool]) -> Iterator[bool]:
        """Keep a finished folder while others are built on it; yields whether it is still there.

        Raises:
            Cancelled: `cancelled` said so while it was being evicted.
        """
        with held(
            self._locks / entry.name,
            timeout_s=self._timeout_s + 30.0,
            cancelled=cancelled,
            waiting=lambda: None,
            shared=True,
        ):
            found = self._entry(entry.name)
            yield found is not None and found.path == entry.path

    def is_kept(self, entry: Entry) -> bool:
        """Whether something is being built on a finished folder, or in its place."""
        with try_held(self._locks / entry.name) as ours:
            return not ours

    def evict(self, entry: Entry) -> bool:
        """Remove a finished folder, unless it is asked for or built on; says whether it did.

        Who asks notes the time first and looks second; here it is hidden first, and the time is
        looked at second. So one of the two sees the other.
        """
        link = self.root / entry.name
        with try_held(self._locks / entry.name) as ours:
            if not ours or not link.is_symlink():
                return False
            target = link.readlink()
            link.unlink()
            if self._used_s(entry.name) != entry.used_s:
                link.symlink_to(target)
                return False
            shutil.rmtree(entry.path, ignore_errors=True)
            (self.root / ".used" / entry.name).unlink(missing_ok=True)
            self.log_of(entry.name).unlink(missing_ok=True)
        return True

    def sweep(self) -> int:
        """Remove what dead builders left behind; safe while others build. Returns how many."""
        removed = 0
        if not self.builds.is_dir():
            return 0
        linked = {link.readlink().name for link in self.root.iterdir() if link.is_symlink()}
        for folder in list(self.builds.iterdir()):
            if folder.name in linked:
                continue
            digest = folder.name.split("-", 1)[0]
            with try_held(self._locks / digest) as ours:
                # Asked again under the lock: its builder may have committed it just now.
                link = self.root / digest
                committed = link.is_symlink() and link.readlink().name == folder.name
                if ours and not committed:
                    _kill_orphan(folder)
                    shutil.rmtree(folder, ignore_errors=True)
                    removed += 1
        return removed


@contextlib.contextmanager
def _teed(path: Path, log: Log) -> Iterator[Log]:
    """Yield a log that also writes each line, with its time, into a file."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    lock = threading.Lock()

    def tell(line: str) -> None:
        with lock:
            _write(file, line)
        log(line)

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", errors="replace", buffering=1) as file:
        yield tell


def _write(file: TextIO, line: str) -> None:
    if not file.closed:  # an installer's last words may come after its end
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")


def _commit(path: Path, link: Path, facts: dict[str, Any]) -> None:
    """Name the folder, once all of it would survive a power cut."""
    size_bytes = 0
    for folder, _folders, names in os.walk(path):
        _flush(Path(folder))
        size_bytes += sum(_flush(Path(folder, name)) for name in names)
    described = path / _FACTS
    described.write_text(json.dumps({**facts, "size_bytes": size_bytes}, indent=2) + "\n")
    _flush(described)
    _flush(path)
    fresh = link.with_name(f".{path.name}.link")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path(path.parent.name, path.name))
    failpoints.hit("environment.before-commit")
    fresh.replace(link)
    failpoints.hit("environment.after-commit")
    _flush(link.parent)


def _flush(path: Path) -> int:
    """Write a file or folder through to the disk, keep others from writing; return its size."""
    if path.is_symlink():
        return 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        facts = os.fstat(descriptor)
        mode = stat.S_IMODE(facts.st_mode)
        if mode & _OTHERS_WRITE:
            os.fchmod(descriptor, mode & ~_OTHERS_WRITE)
        os.fsync(descriptor)
        return facts.st_size
    finally:
        os.close(descriptor)


class _Failure:
    """How the last build of a folder failed, for those who waited for it."""

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


def note_installer(folder: Path, pid: int) -> None:
    """Note which process group writes into a build, for who cleans up after its builder."""
    (folder / _INSTALLER).write_text(json.dumps(note(pid, folder)))


def _kill_orphan(folder: Path) -> None:
    """Kill the installer of a builder that died, unless it is of the folder that this is a copy of.

    Nor is anybody killed whose number it was.
    """
    try:
        leader = noted(json.loads((folder / _INSTALLER).read_text()), folder)
    except (OSError, ValueError, KeyError, AttributeError):
        return
    if leader is not None:
        pid = leader.pid
        freeze_and_kill(lambda: [row for row in snapshot().values() if row.group == pid])
