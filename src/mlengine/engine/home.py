"""The home folder of an engine: who owns it, and how commands find it and its token."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mlengine.core.errors import FailedPrecondition
from mlengine.core.system import require_linux
from mlengine.runtime.processes import Process, note, noted
from mlengine.runtime.wholefile import write_whole

__all__ = [
    "LOG_NAME",
    "Home",
    "alone",
    "is_owned",
    "make_private",
    "open_private",
    "read_engine_file",
    "read_token",
    "run_folder",
    "stranded_engine",
]

LOG_NAME = "engine.log"
"""Of the engine's own log, in the folder ``logs``."""

_OWN_TRIES, _OWN_PAUSE_S = 10, 0.02
_FOLDERS = ("environments", "logs", "run", "run/workers")


class Home:
    """A home folder, owned by this process while it is open.

    Raises:
        FailedPrecondition: Another engine owns it, or did where it was moved from, or this system
            can have none.
    """

    def __init__(self, path: Path) -> None:
        require_linux("The engine")
        self.path = path
        open_private(path)
        for name in _FOLDERS:
            make_private(path / name)
        self._refuse_stranded()
        self._lock = self._own()

    def _own(self) -> IO[str]:
        lock = (self.path / "run" / "lock").open("a+")
        pause = threading.Event()
        for _try in range(_OWN_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                # Perhaps it is only a command that looks whether an engine is there (`is_owned`).
                pause.wait(_OWN_PAUSE_S)
        lock.close()
        running = read_engine_file(self.path) or {}
        where = f" at {running['url']}" if running.get("url") else ""
        raise FailedPrecondition(
            f"An engine{where} already runs on {self.path}.",
            "Use it, stop it with 'mlengine down', or choose another --home.",
        )

    def _refuse_stranded(self) -> None:
        if (process := stranded_engine(self.path)) is not None:
            raise FailedPrecondition(
                f"{self.path} was moved here while its engine ran: process {process.pid}, which "
                "is still there.",
                "Stop it with 'mlengine down'.",
            )

    def keep_token(self, token: str) -> None:
        """Let commands find the token here; it may have been made for several engines."""
        path = self.path / "run" / "token"
        if not path.exists() or path.read_text().strip() != token:
            write_whole(path, f"{token}\n".encode(), durable=True)
        path.chmod(0o600)

    def publish(self, facts: dict[str, Any]) -> None:
        """Tell commands where the running engine is."""
        run = self.path / "run"
        published = {**facts, "process": note(int(facts["pid"]), run)}
        write_whole(run / "engine.json", json.dumps(published).encode(), durable=True)

    def close(self) -> None:
        """Give the folder back; commands no longer find an engine."""
        (self.path / "run" / "engine.json").unlink(missing_ok=True)
        self._lock.close()


def open_private(path: Path) -> None:
    """Make a folder, or close one of ours; one that others write to and that is not is refused.

    Raises:
        FailedPrecondition: It holds other things than ours, and others may write there.
    """
    is_ours = not path.exists() or (path / "run" / "token").exists() or not any(path.iterdir())
    if is_ours:
        make_private(path)
    elif path.stat().st_mode & 0o022:
        # Closing it could shut others out of, say, /tmp; leaving it would let them swap our files.
        raise FailedPrecondition(
            f"Others may write in {path}, which holds more than an engine's home.",
            "Choose a new folder in it, or close it with 'chmod go-w'.",
        )


def make_private(folder: Path) -> None:
    """Make a folder, or close one that was there before, to everybody but its owner.

    Raises:
        FailedPrecondition: It is open to others, and somebody else's.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        try:
            folder.chmod(0o700)
        except PermissionError:
            raise FailedPrecondition(
                f"The folder {folder} is open to others and belongs to another user.",
                "Choose a --home of your own: it holds the access token and everybody's data.",
            ) from None


def run_folder(home: Path) -> Path:
    """Return the folder of a home's locks; make it, and the home, where no engine was yet.

    Raises:
        FailedPrecondition: They cannot be made.
    """
    run = home / "run"
    try:
        for folder in (home, run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise FailedPrecondition(
            f"{home} cannot be made a home: {error.strerror}.",
            "Choose another home with MLENGINE_HOME or --home.",
        ) from None
    return run


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Do something while nobody else does who names the same lock file; wait for who does."""
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_engine_file(home: Path) -> dict[str, Any] | None:
    """Return what the engine of a home said of itself, or None.

    It may have died since, or be that of the home that this is a copy of.
    """
    try:
        facts: dict[str, Any] = json.loads((home / "run" / "engine.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return facts


def stranded_engine(home: Path) -> Process | None:
    """Return the engine that was left alive when this home was moved to another disk, or None.

    It has the lock of a file that is gone, and may have the port.
    """
    run = home / "run"
    facts = (read_engine_file(home) or {}).get("process") or {}
    process = noted(facts, run)
    if process is None:
        return None
    at = run.stat()
    return process if (facts["device"], facts["inode"]) != (at.st_dev, at.st_ino) else None


def is_owned(home: Path) -> bool:
    """Return whether an engine runs on this home folder right now."""
    try:
        with (home / "run" / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def read_token(home: Path) -> str:
    """Return the access token of the engine of a home.

    Raises:
        FailedPrecondition: No engine was ever started there, or the file cannot be read.
    """
    path = home / "run" / "token"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise FailedPrecondition(
            f"There is no token at {path}: no engine was started there.",
            "Start one with 'mlengine up', or set MLENGINE_TOKEN.",
        ) from None
    except PermissionError:
        raise FailedPrecondition(
            f"{path} belongs to somebody else.", "Set MLENGINE_TOKEN, or use your own --home."
        ) from None
