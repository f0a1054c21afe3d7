"""`NewFolders`: folders that were made in buckets because an argument names a place in them.

A bucket has no folders, so one that is still empty when all jobs that were given it have ended goes
again: Google's clients would list it as an object. This is remembered in this process alone; a job
that was cancelled, or outlived its engine, leaves such a folder, which costs a line in a listing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path

__all__ = ["NewFolders"]


class NewFolders:
    """The new folders, each with the jobs that may still write to it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[Path, set[str]] = {}

    def add(self, made: Iterable[Path], uid: str) -> None:
        """Note folders that were made for a job."""
        with self._lock:
            for folder in made:
                self._users.setdefault(folder, set()).add(uid)

    def use(self, path: Path, uid: str) -> None:
        """Keep the new folders at and above `path` for another job too."""
        with self._lock:
            for folder in (path, *path.parents):
                if folder in self._users:
                    self._users[folder].add(uid)

    def release(self, uid: str) -> None:
        """Remove what a job that has ended left empty, and nobody else was given."""
        with self._lock:
            left = [folder for folder, users in self._users.items() if uid in users]
            for folder in sorted(left, key=lambda one: len(one.parts), reverse=True):
                self._users[folder].discard(uid)
                if not self._users[folder]:
                    del self._users[folder]
                    with contextlib.suppress(OSError):  # something is in it
                        folder.rmdir()
