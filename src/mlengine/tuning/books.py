"""The history of a study as a search sees it, without reading again what cannot change.

A trial that is COMPLETED never changes, so it is read once; what else there is, is read each time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from mlengine.core.states import TrialState
from mlengine.store import Store, StudyRecord
from mlengine.tuning.problem import Problem, Tried
from mlengine.tuning.reports import tried

__all__ = ["Books"]

_STUDIES = 32  # whose ended trials are kept in memory


class Books:
    """Reads histories from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended: OrderedDict[str, dict[int, Tried]] = OrderedDict()
        self._lock = threading.Lock()

    def history(self, study: StudyRecord, problem: Problem) -> list[Tried]:
        """Return every trial of a study by number; a REQUESTED one counts as pending."""
        with self._lock:
            known = dict(self._ended.get(study.uid, {}))
        states = self._store.trial_states(study)
        records = self._store.trials(study, numbers=states.keys() - known.keys())
        new = {record.number: tried(problem, record) for record in records}
        found = {number: value for number, value in (known | new).items() if number in states}
        ended = {
            record.number for record in records if record.state is TrialState.COMPLETED
        } | known.keys()
        with self._lock:
            self._ended[study.uid] = {n: value for n, value in found.items() if n in ended}
            self._ended.move_to_end(study.uid)
            while len(self._ended) > _STUDIES:
                self._ended.popitem(last=False)
        return [found[number] for number in sorted(found)]
