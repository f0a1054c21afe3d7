"""The history of a study as a search sees it, without reading again what cannot change.

A trial that is COMPLETED never changes, so it is read once; what was not over when it was read, and
what is new, is read each time. When the numbers do not add up, trials were deleted, and everything
is read again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence

from mlengine.core.studies import StudyConfig
from mlengine.store import Store, StudyRecord, TrialRecord
from mlengine.tuning.configs import problem_of
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

    def history(
        self, study: StudyRecord, *, with_results: bool
    ) -> tuple[StudyRecord, Problem, list[Tried]]:
        """Return a study as it is now, what is to be solved, and every trial by number.

        A REQUESTED trial counts as pending. Without results a trial may seem to be pending that
        is over: enough for a search that looks at points alone.
        """
        with self._lock:
            known = self._read.get(study.uid, {})
        last = next(reversed(known), 0)
        pending = [n for n, trial in known.items() if trial.pending] if with_results else []
        now, records, count = self._since(study, after=last, numbers=pending)
        if now.uid != study.uid or len(known) + sum(r.number > last for r in records) != count:
            known = {}
            now, records, _count = self._since(study)
        problem = problem_of(now.study.study_config or StudyConfig(), uid=now.uid)
        # In the order of numbers: what is known keeps its place, and what is new comes behind.
        found = known | {record.number: tried(problem, record) for record in records}
        with self._lock:
            self._read[now.uid] = found
            self._read.move_to_end(now.uid)
            while len(self._read) > _STUDIES:
                self._read.popitem(last=False)
        return now, problem, list(found.values())

    def _since(
        self, study: StudyRecord, *, after: int = 0, numbers: Collection[int] = ()
    ) -> tuple[StudyRecord, Sequence[TrialRecord], int]:
        return self._store.study_since(
            study.project, study.location, study.study_id, after=after, numbers=numbers
        )
