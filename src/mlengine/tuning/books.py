"""The history of a study as a search sees it, without reading again what cannot change.

A trial that is COMPLETED never changes, so it is read once; what was not over when it was read, and
what is new, is read each time. When the study has another revision, trials were deleted, and
everything is read again.

Points never change at all. So a search that looks at nothing else may be asked about what is
remembered, and nothing is read before its suggestion is written: the store refuses that if the
study has moved on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from mlengine.core.studies import StudyConfig
from mlengine.store import Store, StudyRecord, TrialRecord
from mlengine.tuning.configs import problem_of
from mlengine.tuning.problem import Problem, Tried
from mlengine.tuning.reports import tried

__all__ = ["Book", "Books", "Problems"]

_STUDIES = 32  # whose trials are kept in memory
_PROBLEMS = 1000  # that are kept

Name = tuple[str, str, str]


class Book(NamedTuple):
    """What is known of a study.

    Attributes:
        study: As it was read.
        problem: What is to be solved.
        trials: Every trial by number, lowest first; one that is REQUESTED counts as pending.
    """

    study: StudyRecord
    problem: Problem
    trials: dict[int, Tried]


class Problems:
    """What studies are to solve: read once, for it never changes."""

    def __init__(self) -> None:
        self._known: dict[str, Problem] = {}

    def of(self, study: StudyRecord) -> Problem:
        """Return what a study is to solve."""
        found = self._known.get(study.uid)
        if found is None:
            found = problem_of(study.study.study_config or StudyConfig(), uid=study.uid)
            if len(self._known) >= _PROBLEMS:
                self._known.clear()
            self._known[study.uid] = found
        return found


class Books:
    """Reads histories from a store."""

    def __init__(self, store: Store, problems: Problems) -> None:
        self._store, self._problems = store, problems
        self._read: OrderedDict[Name, Book] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, project: str, location: str, study_id: str) -> Book | None:
        """Return what is known of a study, which may have moved on or be gone."""
        with self._lock:
            return self._read.get((project, location, study_id))

    def now(self, study: StudyRecord, *, with_results: bool) -> Book:
        """Return a study as it is now.

        Without results a trial may seem to be pending that is over: enough for a search that looks
        at points alone.
        """
        known = self.remembered(*_name(study))
        trials = known.trials if known else {}
        last = next(reversed(trials), 0)
        pending = [n for n, trial in trials.items() if trial.pending] if with_results else []
        now, records = self._since(study, after=last, numbers=pending)
        if known and (now.uid, now.revision) != (known.study.uid, known.study.revision):
            trials = {}
            now, records = self._since(study)
        problem = self._problems.of(now)
        # In the order of numbers: what is known keeps its place, and what is new comes behind.
        found = trials | {record.number: tried(problem, record) for record in records}
        return self._keep(Book(now, problem, found))

    def add(self, book: Book, given: Sequence[TrialRecord]) -> None:
        """Remember the trials that follow on those in a book, up to the first that is missing."""
        last, more = book.study.last_trial, {}
        for record in given:
            if record.number == last + 1:
                last = record.number
                more[last] = tried(book.problem, record)
        if more:
            study = msgspec.structs.replace(book.study, last_trial=last)
            self._keep(Book(study, book.problem, book.trials | more))

    def forget(self, study: StudyRecord) -> None:
        """Remember nothing of a study."""
        with self._lock:
            self._read.pop(_name(study), None)

    def _keep(self, book: Book) -> Book:
        name = _name(book.study)
        with self._lock:
            self._read[name] = book
            self._read.move_to_end(name)
            while len(self._read) > _STUDIES:
                self._read.popitem(last=False)
        return book

    def _since(
        self, study: StudyRecord, *, after: int = 0, numbers: Collection[int] = ()
    ) -> tuple[StudyRecord, Sequence[TrialRecord]]:
        return self._store.study_since(*_name(study), after=after, numbers=numbers)


def _name(study: StudyRecord) -> Name:
    return study.project, study.location, study.study_id
