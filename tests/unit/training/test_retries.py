from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.resources import Job, PredictionInput
from mlengine.core.states import JobState
from mlengine.runtime import batch
from mlengine.store import JobRecord
from mlengine.training.launchers import AttemptStatus, ExitRecord, Outcome, Phase, ReplicaExit
from mlengine.training.lifecycle import Retry
from mlengine.training.retries import LONGEST_BACKOFF_S, backoff_s, retry_line, retry_reason
from mlengine.training.retrying import Retrying
from tests.fakes.clock import PlayedClock


def ended(role: str = "master", index: int = 0, **how: object) -> ReplicaExit:
    return ReplicaExit(task=f"{role}-replica-{index}", role=role, index=index, **how)  # type: ignore[arg-type]


def record(*replicas: ReplicaExit, outcome: Outcome = Outcome.FAILED) -> ExitRecord:
    return ExitRecord(outcome=outcome, replicas=list(replicas), message="", started=0.0, ended=1.0)


STOPPED = ended(signal=15, stopped=True)
RULES = {
    "an exception": ([ended(exit_code=1)], ""),
    "a usage text": ([ended(exit_code=2)], ""),
    "no such command": ([ended(exit_code=127)], ""),
    "an abort": ([ended(exit_code=134)], "master 0 exited with status 134"),
    "a segmentation fault of a child": ([ended(exit_code=139)], "master 0 exited with status 139"),
    "a TERM from outside": ([ended(exit_code=143)], "master 0 exited with status 143"),
    "an abort by signal": ([ended(signal=6)], "master 0 was killed by SIGABRT"),
    "a segmentation fault": ([ended(signal=11)], "master 0 was killed by SIGSEGV"),
    "a kill": ([STOPPED, ended("worker", 3, signal=9)], "worker 3 was killed by SIGKILL"),
    "an unknown signal": ([ended(signal=64)], "master 0 was killed by SIGRTMAX"),
    "memory ran out": ([ended(signal=9, oom=True)], ""),
    "memory ran out beside a kill": ([ended(signal=9, oom=True), ended(signal=9)], ""),
    "a peer's exception is only an echo of a kill": (
        [ended(exit_code=1), ended("worker", 0, signal=9)],
        "worker 0 was killed by SIGKILL",
    ),
    "an exception whose peers were stopped": ([STOPPED, ended("worker", 0, exit_code=1)], ""),
    "one that was stopped and exited with a code of its own": (
        [ended(exit_code=3, stopped=True), ended("worker", 0, exit_code=1)],
        "",
    ),
    "no processes left": (
        [ended(spawn_error="BlockingIOError: [Errno 11] No more")],
        "master 0 could not be started (BlockingIOError: [Errno 11] No more)",
    ),
    "no such interpreter": ([ended(spawn_error="FileNotFoundError: [Errno 2] No such file")], ""),
    "an error without a number": ([ended(spawn_error="ValueError: embedded null byte")], ""),
    "a supervisor that failed": ([], "its supervisor failed"),
}


@pytest.mark.parametrize(("replicas", "reason"), RULES.values(), ids=RULES.keys())
def test_the_table(replicas: list[ReplicaExit], reason: str) -> None:
    assert retry_reason(record(*replicas)) == reason


def test_a_model_that_does_not_load_is_not_loaded_again() -> None:
    failed = record(ended(exit_code=batch.LOAD_FAILED))
    assert retry_reason(failed, is_batch=True) == ""
    assert retry_reason(failed) == "master 0 exited with status 3"
    killed = record(ended(signal=9))
    assert retry_reason(killed, is_batch=True) == "master 0 was killed by SIGKILL"


@pytest.mark.parametrize(("exit_code", "retry"), [(3, Retry.NO), (42, Retry.UNNOTED)])
def test_a_batch_predictions_own_exit_statuses_decide(
    tmp_path: Path, exit_code: int, retry: Retry
) -> None:
    job = Job(job_id="b", prediction_input=PredictionInput(), state=JobState.RUNNING)
    of = JobRecord(seq=1, project="p", uid="u", job=job, attempt=1)
    status = AttemptStatus(Phase.EXITED, exit=record(ended(exit_code=exit_code)))
    retrying = Retrying(PlayedClock(), max_retries=2, backoff_s=10.0)
    assert retrying.state(of, status, tmp_path) is retry


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.TIMED_OUT])
def test_what_somebody_wanted_is_not_repeated(outcome: Outcome) -> None:
    assert retry_reason(record(ended(signal=9), outcome=outcome)) == ""


@given(st.integers(1, 10_000), st.floats(0.0, 1000.0))
def test_pauses_grow_and_are_capped(attempt: int, base_s: float) -> None:
    pause_s = backoff_s(attempt, base_s=base_s)
    assert 0.0 <= pause_s <= LONGEST_BACKOFF_S
    assert pause_s <= backoff_s(attempt + 1, base_s=base_s)
    assert backoff_s(1, base_s=base_s) == min(base_s, LONGEST_BACKOFF_S)


def test_the_line_counts_from_one() -> None:
    line = retry_line(2, retries=3, why="worker 0 was killed by SIGKILL", pause_s=20.0)
    assert line == "Attempt 2 of 4: worker 0 was killed by SIGKILL; starting again in 20 s."
