"""`Tidying`: makes up for jobs that were over when nobody was left to tidy after them.

A job is tidied as soon as it is over (`reconciler`), but beside the tick: an engine that ends at
that moment leaves it undone, and nobody looks at a job that is over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlengine.core.states import STARTED_JOB_STATES, TERMINAL_JOB_STATES
from mlengine.store import JobRecord, Store
from mlengine.training.jobs import folder_of
from mlengine.training.newfolders import NewFolders

__all__ = ["Tidying"]


class Tidying:
    """What is left of jobs that are over.

    Args:
        store: Where the records are.
        new_folders: Has a note of each job that was begun and not tidied.
        root: The ``jobs`` folder of the engine's home.
        tidy: Removes what is left of one, given the folder of its attempts; its note too.
    """

    def __init__(
        self,
        store: Store,
        new_folders: NewFolders,
        root: Path,
        tidy: Callable[[JobRecord, Path], None],
    ) -> None:
        self._store = store
        self._new_folders = new_folders
        self._root = root
        self._tidy = tidy
        self._unknown: set[str] = set()

    def tick(self) -> None:
        """Tidy after each such job; the engine that leads calls this now and then.

        Those that no record names are left alone: a backup's records may be in use.
        """
        # Before the records: what is not among the unfinished jobs then has ended.
        left = self._new_folders.jobs() - self._unknown
        left -= {record.uid for record in self._store.jobs_in(STARTED_JOB_STATES)}
        if not left:
            return  # as ever: all jobs that are over may be thousands
        for record in self._store.jobs_in(TERMINAL_JOB_STATES):
            if record.uid in left:
                self._tidy(record, folder_of(self._root, record))
                left.discard(record.uid)
        self._unknown |= left
