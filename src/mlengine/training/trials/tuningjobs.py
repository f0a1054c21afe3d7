"""Performs what `lifecycle` decides: keeps a study, and a child for each of its trials.

Nothing is remembered: every turn reads the study, the children and what they measured, and does
what is missing. A trial is on record before its child, a decision before what follows from it, so
an engine that was killed anywhere is followed by one that does the rest, and nothing twice. Points
are suggested beside the tick, on a thread; all else costs a few reads.

Long because a turn is one thing: what it reads, what follows from that, and each step that it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import AlreadyExists, EngineError, InvalidArgument, Unavailable
from mlengine.core.resources import Job, JobDetails, TrainingInput
from mlengine.core.states import JobState, TrialState
from mlengine.runtime import attemptfiles, failpoints
from mlengine.store import JobRecord, Store, StudyRecord, TrialRecord
from mlengine.training.ages import Ages
from mlengine.training.background import Background
from mlengine.training.checks import running_limit_s, wait_limit_s
from mlengine.training.jobs import folder_of
from mlengine.training.logs import ServiceLog
from mlengine.training.trials.books import TuningBooks, measurement, question
from mlengine.training.trials.children import child_job, child_uid, measured, state_of
from mlengine.training.trials.hyperparameters import (
    HyperparameterSpec,
    hyperparameters_of,
    stopping_rule,
    texts,
)
from mlengine.training.trials.lifecycle import STOPPED_EARLY, Act, Books, Step, TrialFacts, decide
from mlengine.training.trials.output import rest_of, training_output
from mlengine.training.trials.words import (
    cut_line,
    origin_text,
    outcome_line,
    rest_line,
    silent_line,
    why_infeasible,
)
from mlengine.tuning.problem import Goal, Problem, Tried
from mlengine.tuning.reports import elapsed, point_of
from mlengine.tuning.search import Suggestion
from mlengine.tuning.stopping import Curve, Policy, Reading, open_policy

__all__ = ["Advise", "TuningJobs"]

_log = logging.getLogger(__name__)

_Point = tuple[int, float]

_WITHOUT_RESULT = (JobState.FAILED, JobState.CANCELLED)


class Advise(Protocol):
    """Suggests points by a search's name; slow, and run beside everything else."""

    def __call__(
        self, search: str, problem: Problem, history: Sequence[Tried], count: int
    ) -> list[Suggestion]: ...


class _Study(msgspec.Struct, frozen=True, kw_only=True):
    """All that one turn has read of a tuning job."""

    record: JobRecord
    asked: HyperparameterSpec
    study: StudyRecord
    trials: dict[int, TrialRecord]
    children: dict[int, JobRecord]
    asking: bool

    @property
    def alive(self) -> int:
        return sum(t.state is not TrialState.COMPLETED for t in self.trials.values())


class TuningJobs:
    """Runs tuning jobs, each of whose trials is a job that others run.

    Args:
        store: Where the records are.
        root: The ``jobs`` folder of the engine's home.
        clock: For times that people read, and for time limits.
        advise: Suggests what to try.
        stop_advice: Lets whoever waits for a suggestion go.
        leading: Asked before anything is decided: engines of one database take turns.
    """

    def __init__(
        self,
        store: Store,
        root: Path,
        *,
        clock: Clock,
        advise: Advise,
        stop_advice: Callable[[], None] = lambda: None,
        leading: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._root = root
        self._clock = clock
        self._advise = advise
        self._stop_advice = stop_advice
        self._leading = leading
        self._books = TuningBooks(store)
        self._background = Background()
        self._waited = Ages(clock)
        self._ran = Ages(clock, of=lambda job: job.start_time)
        self._exhausted: set[str] = set()
        self._measured: dict[str, tuple[_Point, _Point]] = {}  # the first and the last, as written
        self._judged: dict[str, tuple[int, int]] = {}
        self._unmeasured: set[str] = set()  # children of which it was logged

    def step(self, record: JobRecord, wake: Callable[[], None]) -> None:
        """Bring one tuning job further; it is wholly this that runs it."""
        try:
            if record.state is JobState.QUEUED:
                if self._store.move_job(record, JobState.PREPARING):
                    wake()
                return
            if self._expire(record):
                wake()
                return
            seen = self._read(record)
            self._follow(seen, wake)
            for step in decide(self._facts(seen)):
                self._perform(step, seen, wake)
        except (EngineError, OSError) as error:
            _log.warning("tuning job %s waits: %s", record.uid, error)
        except Exception:
            _log.exception("tuning job %s", record.uid)

    def close(self) -> None:
        """Give up the suggestion at hand, and ask for no other."""
        self._background.closing = True
        self._stop_advice()
        self._background.close()

    # --- looking ---

    def _read(self, record: JobRecord) -> _Study:
        # Asked first: what a suggestion that was not under way any more has added is seen then.
        asking = self._background.working(record.uid)
        study = self._books.study(record)
        trials = {t.number: t for t in self._books.trials(study, record)}
        children = {_number(child): child for child in self._store.children(record)}
        asked = hyperparameters_of(record.job.training_input or TrainingInput())
        return _Study(
            record=record,
            asked=asked,
            study=study,
            trials=trials,
            children=children,
            asking=asking,
        )

    def _facts(self, seen: _Study) -> Books:
        return Books(
            max_trials=seen.asked.trials,
            max_parallel=seen.asked.parallel,
            max_failed=seen.asked.max_failed_trials,
            trials=[_fact(t, seen.children.get(n)) for n, t in seen.trials.items()],
            exhausted=seen.record.uid in self._exhausted,
            asking=seen.asking,
            cancelling=seen.record.state is JobState.CANCELLING,
            given_up=seen.record.job.error_message,
        )

    def _expire(self, record: JobRecord) -> bool:
        """Cancel a job that waited, or ran, longer than it may."""
        spec = record.job.training_input or TrainingInput()
        wait_s, run_s = wait_limit_s(spec), running_limit_s(spec)
        message = ""
        if record.state is JobState.PREPARING and wait_s is not None:
            if self._waited.of(record) > wait_s:
                message = f"The job waited longer than its maxWaitTime of {wait_s:g} s."
        elif record.state is JobState.RUNNING and self._ran.of(record) > run_s:
            message = f"The job ran longer than its maxRunningTime of {run_s:g} s."
        if not message:
            return False
        return bool(self._store.move_job(record, JobState.CANCELLING, error_message=message))

    def _follow(self, seen: _Study, wake: Callable[[], None]) -> None:
        """Take over what the children have come to: that they run, and what they measured."""
        begun = any(c.job.start_time for c in seen.children.values())
        if seen.record.state is JobState.PREPARING and begun:
            start_time = rfc3339(self._clock.now())
            if self._store.move_job(seen.record, JobState.RUNNING, start_time=start_time):
                wake()
        for number, trial in seen.trials.items():
            child = seen.children.get(number)
            if child is not None and trial.state is not TrialState.COMPLETED:
                self._measure_alone(trial, child, seen.asked.tag)
        if rule := stopping_rule(seen.record.job):
            self._stop_hopeless(seen, open_policy(rule))

    def _measure_alone(self, trial: TrialRecord, child: JobRecord, tag: str) -> None:
        """Measure, or tell why not: no trial may keep its job from being ended or cancelled."""
        try:
            self._measure(trial, child, tag)
        except (Unavailable, OSError):  # the next turn measures what this one could not
            raise
        except Exception:
            if child.uid not in self._unmeasured:  # or else about once a second while it runs
                self._unmeasured.add(child.uid)
                _log.exception("tuning job %s: measuring trial %d", child.parent, trial.number)

    def _measure(self, trial: TrialRecord, child: JobRecord, tag: str) -> None:
        """Write into the study what a child has measured since."""
        points = measured(child)
        if not points or self._measured.get(child.uid) == (points[0], points[-1]):
            return
        self._books.measure(trial, points, tag=tag, elapsed=elapsed(trial, self._clock.now()))
        self._measured[child.uid] = points[0], points[-1]

    def _stop_hopeless(self, seen: _Study, policy: Policy) -> None:
        """Have the policy of early stopping judge the trials of which there is news."""
        goal = Goal.MAXIMIZE if seen.asked.maximize else Goal.MINIMIZE
        usable = {n: c for n, c in seen.children.items() if state_of(c) not in _WITHOUT_RESULT}
        ended = sum(child.state.terminal for child in usable.values())
        due = {}
        for number, child in usable.items():
            trial, points = seen.trials.get(number), measured(child)
            if trial is None or trial.state is not TrialState.ACTIVE or not points:
                continue
            at = (points[-1][0], ended)
            if child.state is not JobState.RUNNING or self._judged.get(child.uid) == at:
                continue
            if not self._is_over(child):
                due[number] = at
        # All jobs share this thread, and to judge one trial may take a tenth of a second.
        curves = {n: _curve(n, child) for n, child in usable.items()} if due else {}
        for number, at in due.items():
            others = [curve for n, curve in curves.items() if n != number]
            verdict = policy.judge(goal, curves[number], others)
            if not verdict.stop:
                self._judged[usable[number].uid] = at
            elif self._books.stop(seen.trials[number]):
                self._stop_early(seen, number, verdict.why)

    def _stop_early(self, seen: _Study, number: int, why: str) -> bool:
        """Ask a trial's child to stop, and say so, unless it ended by itself meanwhile."""
        child = seen.children[number]
        message = f"{STOPPED_EARLY}{why}"
        if self._is_over(child):
            return False
        if not self._store.move_job(child, JobState.CANCELLING, error_message=message):
            return False
        self._say(seen.record, f"Trial {number} is asked to stop early: {why}")
        return True

    def _is_over(self, child: JobRecord) -> bool:
        """Tell whether a child's attempt has ended: its record says so only later."""
        attempt_dir = folder_of(self._root, child) / str(child.attempt)
        return (attempt_dir / attemptfiles.EXIT).exists()

    # --- performing ---

    def _perform(self, step: Step, seen: _Study, wake: Callable[[], None]) -> None:
        if not self._leading():
            return
        match step.act:
            case Act.ASK:
                ask = partial(self._ask, seen, step.count)
                self._background.run(seen.record.uid, ask, then=wake)
            case Act.BEGIN:
                self._begin(seen, step.trial)
                wake()
            case Act.CALL_OFF:
                if self._call_off(seen, step.trial):
                    wake()
            case Act.CLOSE:
                self._close(seen, step.trial)
                wake()
            case Act.GIVE_UP:
                self._give_up(seen.record, step.message)
                wake()
            case Act.END:
                if step.state is not None:
                    self._end(seen, step.state, step.message)

    def _ask(self, seen: _Study, count: int) -> None:
        """Have points suggested and recorded; on a thread, so it deals with its own errors."""
        record = seen.record
        try:
            study = self._books.open(seen.study)
            search, problem = question(seen.asked, study)
            past = self._books.history(study, record, problem)
            found = self._advise(search, problem, past, count)
            if self._background.closing:
                return  # whatever it is: it was called off, and what follows us asks again
            if not found:
                self._exhausted.add(record.uid)
                self._say_once(record, "There is no further point to try.")
                return
            if self._leading():
                self._books.add(study, record, found, alive=seen.alive)
            failpoints.hit("tuning.recorded")
        except InvalidArgument as error:  # to ask again would say the same
            if self._leading():
                self._give_up(record, str(error))
        except EngineError as error:
            _log.warning("tuning job %s has no suggestion yet: %s", record.uid, error)
        except Exception:
            _log.exception("tuning job %s: suggesting", record.uid)

    def _begin(self, seen: _Study, number: int) -> None:
        record, trial = seen.record, seen.trials[number].trial
        point = point_of(trial)
        now = rfc3339(self._clock.now())
        child = child_job(record, number, point, seen.asked, create_time=now)
        given = " ".join(f"{k}={v}" for k, v in texts(seen.asked, point).items())
        self._say_once(record, f"Trial {number} tries {given} ({origin_text(trial.details)}).")
        spec = record.job.training_input
        priority = spec.scheduling.priority if spec and spec.scheduling else 0
        try:
            self._store.add_job(
                record.project, child, uid=child_uid(record.uid, number),
                priority=priority, parent=record.uid,
            )  # fmt: skip
        except AlreadyExists:
            pass
        failpoints.hit("tuning.child-added")

    def _call_off(self, seen: _Study, number: int) -> bool:
        stopping = seen.trials[number].state is TrialState.STOPPING
        if stopping and seen.record.state is not JobState.CANCELLING:
            return self._stop_early(seen, number, "it would hardly become the best.")
        child, reason = seen.children[number], "The tuning job is over."
        return bool(self._store.move_job(child, JobState.CANCELLING, error_message=reason))

    def _close(self, seen: _Study, number: int) -> None:
        """Write a trial's result into the books, once and for all."""
        trial, child = seen.trials[number], seen.children.get(number)
        points = measured(child) if child else []
        reason = why_infeasible(child, bool(points), ending=_is_ending(seen.record))
        final = None
        if points and not reason:
            took = elapsed(trial, self._clock.now())
            final = measurement(*points[-1], seen.asked.tag, elapsed=took)
        if child is not None:
            self._say_once(seen.record, *outcome_line(number, child, seen.asked.tag))
        failpoints.hit("tuning.before-close")
        closed = self._store.move_trial(
            trial,
            TrialState.COMPLETED,
            end_time=rfc3339(self._clock.now()),
            final_measurement=final,
            trial_infeasible=bool(reason),
            infeasible_reason=reason,
        )
        if child is not None:
            self._measured.pop(child.uid, None)
            self._judged.pop(child.uid, None)
            self._unmeasured.discard(child.uid)
        if closed and sum(t.state is TrialState.COMPLETED for t in seen.trials.values()) == 0:
            self._say_rest(seen)

    def _say_rest(self, seen: _Study) -> None:
        """Tell, once there is something to go by, how long the rest takes and what it costs."""
        spec = seen.record.job.training_input or TrainingInput()
        room = self._books.room(seen.record)
        rest = rest_of(seen.asked, spec, list(seen.children.values()), room=room)
        if rest is not None:
            self._say_once(seen.record, rest_line(rest, seen.asked.parallel))

    def _give_up(self, record: JobRecord, message: str) -> None:
        def change(job: Job) -> Job:
            return msgspec.structs.replace(job, error_message=message)

        self._say_once(record, f"The job fails; what runs is stopped. {message}", "ERROR")
        self._store.edit_job(record.project, record.job_id, change)

    def _end(self, seen: _Study, state: JobState, message: str) -> None:
        record, asked = seen.record, seen.asked
        children = list(self._store.children(record))
        output = training_output(asked, children, finished=True)
        changes: dict[str, Any] = {
            "training_output": output,
            "end_time": rfc3339(self._clock.now()),
        }
        details = record.job.details or JobDetails()
        warnings = [] if state is not JobState.SUCCEEDED or not message else [message]
        told = (silent_line(children, asked.tag), cut_line(children, asked.tag))
        warnings += filter(None, told)
        for warning in warnings:
            self._say_once(record, warning, "WARNING")
        if warnings:
            warnings = [*details.warnings, *warnings]
            changes["details"] = msgspec.structs.replace(details, warnings=warnings)
        lines = {
            JobState.SUCCEEDED: ("Job completed successfully.", "INFO"),
            JobState.FAILED: (message, "ERROR"),
            JobState.CANCELLED: ("Job was cancelled.", "WARNING"),
        }
        if state is not JobState.SUCCEEDED:
            changes["error_message"] = message
        self._books.rest(seen.study)
        # The log line goes first: who sees the end of a job may rely on its log being whole.
        self._say_once(record, *lines[state])
        failpoints.hit("tuning.before-end")
        self._store.move_job(record, state, **changes)
        self._exhausted.discard(record.uid)
        self._waited.forget(record)
        self._ran.forget(record)

    def _say(self, record: JobRecord, message: str, severity: str = "INFO") -> None:
        ServiceLog(folder_of(self._root, record)).write(message, severity)

    def _say_once(self, record: JobRecord, message: str, severity: str = "INFO") -> None:
        """Write a line unless an engine that was killed before the next step wrote it already."""
        log = ServiceLog(folder_of(self._root, record))
        if not log.has(message):
            log.write(message, severity)


def _number(child: JobRecord) -> int:
    return int(child.job_id.rpartition("/")[2])


def _fact(trial: TrialRecord, child: JobRecord | None) -> TrialFacts:
    return TrialFacts(
        number=trial.number,
        closed=trial.state is TrialState.COMPLETED,
        stopping=trial.state is TrialState.STOPPING,
        child=state_of(child) if child else None,
        failure=child.job.error_message if child else "",
    )


def _curve(number: int, child: JobRecord) -> Curve:
    readings = tuple(Reading(step=step, value=value) for step, value in measured(child))
    return Curve(number=number, readings=readings, ended=child.state.terminal)


def _is_ending(record: JobRecord) -> bool:
    return record.state is JobState.CANCELLING or bool(record.job.error_message)
