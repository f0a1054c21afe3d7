"""`NewFolders`: folders that were made in buckets because an argument names a place in them.

A bucket has no folders, so one that is still empty when all jobs that were given it are over goes
again: Google's clients would list it as an object. Notes remember them, for a job may outlive its
engine:

    newfolders/<uid>.json    the new folders that a job was given; from its beginning, with none,
                             until it is over and tidied
"""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path

from mlengine.runtime.wholefile import write_whole

__all__ = ["NewFolders"]


class NewFolders:
    """The new folders, each with the jobs that may still write to it. Thread-safe.

    Args:
        notes: The folder of the notes; engines that take turns have one.
    """

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._lock = threading.Lock()

    def begin(self, uid: str) -> None:
        """Take note of a job that will have to be tidied, whether it is given a folder or not."""
        with self._lock:
            if not self._file(uid).exists():
                self._write(uid, set())

    def jobs(self) -> set[str]:
        """Return the uids of the jobs that were begun, or given a folder, and not released."""
        return {file.stem for file in self._notes.glob("*.json")}

    def give(self, path: Path, made: list[Path], uid: str) -> None:
        """Keep for a job the folders that were made for `path`, or for another job above it."""
        with self._lock:
            notes = self._read()
            new = notes.get(uid, set()).union(made)
            new |= set().union(*notes.values()) & {path, *path.parents}
            if new != notes.get(uid, set()):
                self._write(uid, new)

    def release(self, uid: str) -> None:
        """Remove what a job that is over left empty, and nobody else was given."""
        with self._lock:
            notes = self._read()
            given = notes.pop(uid, set())
            given -= set().union(*notes.values())
            for folder in sorted(given, key=lambda one: len(one.parts), reverse=True):
                with contextlib.suppress(OSError):  # something is in it
                    folder.rmdir()
            with contextlib.suppress(OSError):  # it had none
                self._file(uid).unlink()

    def _read(self) -> dict[str, set[Path]]:
        found: dict[str, set[Path]] = {}
        for file in self._notes.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, TypeError):  # cut short by a power cut
                found[file.stem] = {Path(text) for text in json.loads(file.read_text())}
        return found

    def _write(self, uid: str, folders: set[Path]) -> None:
        text = json.dumps(sorted(map(str, folders)))
        with contextlib.suppress(OSError):  # a folder that stays costs a line in a listing
            self._notes.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._file(uid), text.encode())

    def _file(self, uid: str) -> Path:
        return self._notes / f"{uid}.json"
