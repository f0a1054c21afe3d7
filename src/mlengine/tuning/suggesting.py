"""Gives clients trials: those that they have, those that were asked for, and new ones.

Nothing is locked while a search thinks. It is asked with the history as it was read, and what it
finds is written only if the study has had no other trial since; or else it is asked again, with
that one. So two clients never get one point, whichever engines they talk to. In one engine the
searches of a study wait for each other, which costs nothing, for each must know what the one
before it found.

A quick search answers in the call, and is asked about what this engine remembers of the study, so
that nothing is read before its point is written. Of a model the operation is recorded first and
done in the background, so that an engine which takes over finds it and does it.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import (
    Aborted,
    Cancelled,
    EngineError,
    Internal,
    NotFound,
    Unavailable,
)
from mlengine.core.names import parse_study
from mlengine.core.resources import Operation
from mlengine.core.states import StudyState
from mlengine.core.studies import Measurement, StudyConfig, SuggestTrialsResponse, Trial
from mlengine.store import EndedOperation, Store, StudyRecord, TrialRecord
from mlengine.tuning.advisor import Advisor, is_quick
from mlengine.tuning.books import Book, Books, Problems
from mlengine.tuning.configs import algorithm_of
from mlengine.tuning.priors import learnt
from mlengine.tuning.problem import Tried
from mlengine.tuning.reports import suggested
from mlengine.tuning.views import SUGGEST, suggest_metadata, tagged, trial_view

__all__ = ["Suggesting"]

_log = logging.getLogger(__name__)
_TRIES = 1000  # in each of them somebody else got a trial
_WAIT_S = 1.0  # for a model, before the caller is told to come again
_THREADS = 4


class Suggesting:
    """Answers `suggest`.

    Args:
        store: Where the books are.
        advisor: Who is asked for points.
        problems: What studies are to solve.
        clock: For the times of operations.
    """

    def __init__(self, store: Store, advisor: Advisor, problems: Problems, clock: Clock) -> None:
        self._store, self._advisor, self._clock = store, advisor, clock
        self._books = Books(store, problems)
        self._turns: dict[str, threading.Lock] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="suggest")
        self._at_work: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._closing = False

    def remembered(self, project: str, location: str, study_id: str) -> StudyRecord | None:
        """Return a study as it was when it was last read for a quick search, if it was."""
        book = self._books.remembered(project, location, study_id)
        return book.study if book is not None and is_quick(_search(book.study)) else None

    def forget(self, study: StudyRecord) -> None:
        """Remember nothing of a study: it was deleted."""
        self._books.forget(study)
        with self._lock:
            self._turns.pop(study.uid, None)

    def suggest(self, study: StudyRecord, client_id: str, count: int) -> Operation:
        """Give a client trials; the operation that is returned may still be under way."""
        operation_id = f"suggest_{study.study_id}-{uuid.uuid4().hex}"
        now = rfc3339(self._clock.now())
        metadata = suggest_metadata(study.name, client_id, count, now=now)
        if is_quick(_search(study)) or study.state is not StudyState.ACTIVE:
            return _done(self._choose(study, operation_id, metadata))
        ending = _Ending(operation_id, metadata, self._clock)
        if self._store.hand_out(study, client_id, count, ending=ending) is not None:
            return _done(ending.ended)
        self._store.add_operation(study.project, operation_id, metadata, subject=study.name)
        wait([self._begin(study.project, operation_id)], timeout=_WAIT_S)
        return self._store.operation(study.project, operation_id).operation

    def resume(self) -> None:
        """Take up the operations that nobody works on, such as those of an engine that died."""
        for operation in self._store.open_operations():
            if operation.operation.metadata.get("@type") == SUGGEST:
                self._begin(operation.project, operation.operation_id)

    def close(self) -> None:
        """Start nothing more and wait for what is under way; the advisor is closed before."""
        with self._lock:
            self._closing = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, project: str, operation_id: str) -> Future[None]:
        with self._lock:
            under_way = self._at_work.get(operation_id)
            if under_way is not None or self._closing:
                return under_way or Future()
            future = self._pool.submit(self._guarded, project, operation_id)
            self._at_work[operation_id] = future
        future.add_done_callback(lambda _future: self._forget(operation_id))
        return future

    def _forget(self, operation_id: str) -> None:
        with self._lock:
            self._at_work.pop(operation_id, None)

    def _guarded(self, project: str, operation_id: str) -> None:
        try:
            self._work(project, operation_id)
        except Unavailable as error:
            _log.warning("the operation %s is left for later: %s", operation_id, error)
        except Exception as error:
            self._fail(project, operation_id, error)

    def _work(self, project: str, operation_id: str) -> None:
        """Do what an operation asks for, which ends it."""
        operation = self._store.operation(project, operation_id)
        metadata = operation.operation.metadata
        if operation.operation.done:
            return
        if metadata.get("isCancellationRequested"):
            raise Cancelled("The operation was cancelled.", "Ask again.")
        study = self._store.study(*parse_study(operation.subject, field="name"))
        self._choose(study, operation_id, metadata)

    def _fail(self, project: str, operation_id: str, error: Exception) -> None:
        """End an operation that cannot be done; one that somebody else has done stays so."""
        if not isinstance(error, EngineError):
            _log.error("the operation %s", operation_id, exc_info=error)
            error = Internal("The suggestion failed.", "See the engine's log; please report it.")
        failure = {"code": error.rpc_code, "message": str(error)}
        try:
            self._store.finish_operation(project, operation_id, error=failure)
        except EngineError as problem:
            _log.warning("the operation %s is left for later: %s", operation_id, problem)

    def _choose(
        self, study: StudyRecord, operation_id: str, metadata: dict[str, Any]
    ) -> EndedOperation:
        """Add trials to those that there are until the client has enough, or none are left."""
        client_id, count = metadata["clientId"], metadata["suggestionCount"]
        with self._turn(study.uid):
            for tries in range(_TRIES):
                book = self._book(study, from_memory=not tries)
                study, fresh = book.study, self._fresh(book, count)
                ending = _Ending(operation_id, metadata, self._clock)
                given = self._store.hand_out(
                    study, client_id, count, fresh=fresh, fewer=len(fresh) < count, ending=ending
                )
                if given is not None:
                    self._books.add(book, given)
                    self._tell(study, given)
                    if len(given) < count and study.state is StudyState.ACTIVE:
                        self._store.move_study(study, StudyState.COMPLETED)
                    return ending.ended
        raise Aborted(
            f"The study '{study.study_id}' changed {_TRIES} times meanwhile.", "Ask again."
        )

    def _book(self, study: StudyRecord, *, from_memory: bool) -> Book:
        if not is_quick(_search(study)):
            return self._books.now(study, with_results=True)
        known = self._books.remembered(study.project, study.location, study.study_id)
        if from_memory and known is not None and known.study.uid == study.uid:
            return known
        return self._books.now(study, with_results=False)

    def _fresh(self, book: Book, count: int) -> list[Trial]:
        study, problem, trials = book
        if study.state is not StudyState.ACTIVE:
            return []
        history = [*self._learnt(book), *trials.values()]
        found = self._advisor.suggest(_search(study), problem, history, count)
        return [suggested(one, seen=study.last_trial) for one in found]

    def _learnt(self, book: Book) -> list[Tried]:
        """Return what the studies say that this one begins with."""
        study, priors = book.study, []
        for prior_id in (study.study.study_config or StudyConfig()).prior_studies:
            try:
                prior = self._store.study(study.project, study.location, prior_id)
                priors.append(self._books.now(prior, with_results=True))
            except NotFound:
                continue
        return learnt(book, priors) if priors else []

    def _tell(self, study: StudyRecord, given: Sequence[TrialRecord]) -> None:
        for record in given:
            told = record.trial.details
            if told is None or record.number <= study.last_trial:
                continue
            expected = (
                f", expects {told.mean:g} ± {told.spread or 0:g}" if told.mean is not None else ""
            )
            why = f" ({told.why})" if told.why else ""
            _log.info("%s: %s%s%s", record.name, told.origin, expected, why)

    def _turn(self, uid: str) -> threading.Lock:
        with self._lock:
            return self._turns.setdefault(uid, threading.Lock())


class _Ending:
    """Makes the operation's end of the trials that are handed out, and keeps it."""

    ended: EndedOperation

    def __init__(self, operation_id: str, metadata: dict[str, Any], clock: Clock) -> None:
        self._operation_id, self._metadata, self._clock = operation_id, metadata, clock

    def __call__(
        self,
        study: StudyRecord,
        given: Sequence[TrialRecord],
        measured: Mapping[int, Sequence[Measurement]],
    ) -> EndedOperation:
        state = study.state
        is_over = len(given) < self._metadata["suggestionCount"] and state is StudyState.ACTIVE
        response = SuggestTrialsResponse(
            trials=[trial_view(one, measured.get(one.number, ())) for one in given],
            study_state=StudyState.COMPLETED if is_over else state,
            start_time=self._metadata["createTime"],
            end_time=rfc3339(self._clock.now()),
        )
        self.ended = EndedOperation(
            operation_id=self._operation_id,
            metadata=self._metadata,
            response=tagged(response),
            subject=self._metadata["study"],
        )
        return self.ended


def _search(study: StudyRecord) -> str:
    return algorithm_of(study.study.study_config or StudyConfig())


def _done(ended: EndedOperation) -> Operation:
    return Operation(
        name=ended.operation_id, metadata=ended.metadata, done=True, response=ended.response
    )
