"""The history of a study as a search sees it, without reading again what cannot change.

A trial that is COMPLETED never changes, so it is read once; what was not over when it was read, and
what is new, is read each time. When the numbers do not add up, trials were deleted, and everything
is read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from mlengine.store import Store, StudyRecord
from mlengine.tuning.problem import Problem, Tried
from mlengine.tuning.reports import tried

__all__ = ["Books"]

_STUDIES = 32  # whose trials are kept in memory


class Books:
    """Reads histories from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: OrderedDict[str, dict[int, Tried]] = OrderedDict()
        self._lock = threading.Lock()

    def history(self, study: StudyRecord, problem: Problem) -> list[Tried]:
        """Return every trial of a study by number; a REQUESTED one counts as pending."""
        with self._lock:
            known = self._read.get(study.uid, {})
        found = self._newest(study, problem, known)
        if len(found) != self._store.count_trials(study):
            found = self._newest(study, problem, {})
        with self._lock:
            self._read[study.uid] = found
            self._read.move_to_end(study.uid)
            while len(self._read) > _STUDIES:
                self._read.popitem(last=False)
        return [found[number] for number in sorted(found)]

    def _newest(
        self, study: StudyRecord, problem: Problem, known: dict[int, Tried]
    ) -> dict[int, Tried]:
        pending = [number for number, trial in known.items() if trial.pending]
        records = self._store.trials(study, after=max(known, default=0), numbers=pending)
        return known | {record.number: tried(problem, record) for record in records}
