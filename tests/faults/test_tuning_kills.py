"""A tuning job whose processes are killed at random: its books balance all the same.

`MLENGINE_TUNING_KILLS=200 pytest tests/faults/test_tuning_kills.py` kills more; `MLENGINE_SEED`
repeats a run. Every third process of a trial is killed or so, and the engine besides. With
`MLENGINE_TUNING_TRIALS` there may be more trials than kills; kills come when so many trials have
begun, so they are spread over all of them.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.resources import Job, JobOptions, TrainingInput
from mlengine.core.states import TrialState
from mlengine.runtime import failpoints
from mlengine.store import Store, open_store
from tests.faults.chaos import Killer
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.waiting import wait_until

SEED = int(os.environ.get("MLENGINE_SEED", "0")) or time.time_ns() % 10**6
KILLS = int(os.environ.get("MLENGINE_TUNING_KILLS", "8"))
TRIALS = int(os.environ.get("MLENGINE_TUNING_TRIALS", "0")) or max(6, KILLS)
PARALLEL = 3

TRAINER = """
    import argparse, os, threading
    from mlengine.runtime import report
    parser = argparse.ArgumentParser()
    parser.add_argument("--x", type=float)
    args = parser.parse_args()
    for step in range(1, 6):
        report("score", args.x + step, step)
        threading.Event().wait(0.1)
"""


class _Some(Killer):
    """Kills what runs trials, and the engine; what serves predictions is others' to kill."""

    KINDS = ("daemon", "supervisor", "replica")
    _WEIGHTS = (2, 3, 5)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LiveEngine]:
    with live_engine(tmp_path / "home", max_running_jobs="3", retry_backoff_s="0.1") as engine:
        engine.make_bucket()
        yield engine


def submit(engine: LiveEngine, job_id: str, package: str, trials: int, **asked: object) -> None:
    spec = TrainingInput(
        python_module="trainer.task", package_uris=[package], region="local",
        hyperparameters={
            "hyperparameterMetricTag": "score", "algorithm": "RANDOM_SEARCH", "maxTrials": trials,
            "maxParallelTrials": PARALLEL, "maxFailedTrials": trials + 1,
            "params": [{"parameterName": "x", "type": "DOUBLE", "minValue": 0, "maxValue": 1}],
            **asked,
        },
    )  # fmt: skip
    options = JobOptions(max_retries=1)
    engine.client.create_job(P, Job(job_id=job_id, training_input=spec, options=options))


@pytest.mark.timeout(280 + 4 * KILLS + 16 * TRIALS)
def test_the_books_balance_whatever_is_killed_whenever(engine: LiveEngine) -> None:
    print(f"seed {SEED} (MLENGINE_SEED), {KILLS} kills (MLENGINE_TUNING_KILLS), {TRIALS} trials")
    chance, killer = random.Random(SEED), _Some(engine, random.Random(SEED))
    submit(engine, "books", engine.upload_package(TRAINER), TRIALS)
    wait_until(lambda: _begun(engine), 120)
    pause = threading.Event()
    while (done := sum(killer.kills.values())) < KILLS and not engine.job("books").end_time:
        pause.wait(chance.uniform(0.0, 0.4))
        if _begun(engine) * KILLS < done * (TRIALS - PARALLEL):
            continue
        if "daemon" in killer.strike():
            engine.start()
    job = engine.ended("books", timeout_s=240 + 12 * TRIALS)
    print(f"kills {killer.kills}")
    assert job.state == "SUCCEEDED", job.error_message
    assert engine.stop() == 0
    wrong = _books(engine, TRIALS)
    assert not wrong, f"seed {SEED}:\n" + "\n".join(wrong)
    output = job.training_output
    assert output is not None
    states = collections.Counter(trial["state"] for trial in output.trials)
    assert states["SUCCEEDED"] + states["FAILED"] == len(output.trials) == TRIALS, states
    assert output.completed_trial_count == states["SUCCEEDED"]
    for trial in output.trials:
        if trial["state"] == "SUCCEEDED":
            x = float(trial["hyperparameters"]["x"])
            assert trial["finalMetric"] == {"trainingStep": "5", "objectiveValue": x + 5}


def _begun(engine: LiveEngine) -> int:
    """Return how many trials have begun to run."""
    output = engine.job("books").training_output
    trials = output.trials if output is not None else []
    return sum(trial["state"] != "QUEUED" for trial in trials)


def _books(engine: LiveEngine, trials: int) -> list[str]:
    """Return what is wrong in the records of an engine that has stopped."""
    store = open_store(f"sqlite:///{engine.home / 'engine.db'}")
    try:
        return _wrong(store, trials)
    finally:
        store.close()


def _wrong(store: Store, trials: int) -> list[str]:
    """Return what does not add up in the records of the job `books`."""
    record = store.job(P, "books")
    study, children = store.study_of(record.uid), store.children(record)
    if study is None:
        return ["there is no study"]
    wrong, seen = [], store.trials(study)
    if [t.number for t in seen] != list(range(1, trials + 1)):
        wrong.append(f"trials {[t.number for t in seen]}")
    if sorted(c.job_id for c in children) != sorted(f"books/{t.number}" for t in seen):
        wrong.append(f"children {[c.job_id for c in children]}")
    by_number = {int(c.job_id.rpartition("/")[2]): c for c in children}
    for trial in seen:
        child = by_number.get(trial.number)
        if trial.state is not TrialState.COMPLETED:
            wrong.append(f"trial {trial.number} is {trial.state}")
        if child is None or trial.trial.trial_infeasible != (child.state == "FAILED"):
            wrong.append(f"trial {trial.number}: {trial.trial.infeasible_reason!r}, {child}")
    for number, measured in store.measurements(study).items():
        steps = [m.step_count for m in measured]
        if steps != sorted(set(steps)):
            wrong.append(f"trial {number} measured {steps}")
    return [*wrong, *_too_many(store, record.project)]


def _too_many(store: Store, project: str) -> list[str]:
    """Follow the events: never more trials alive at one time than may be."""
    alive: set[str] = set()
    after, wrong = 0, []
    while events := store.events(after_seq=after, limit=1000):
        for event in events:
            after = event.seq
            if not event.resource.startswith(f"projects/{project}/jobs/books/"):
                continue
            if event.kind == "job.created":
                alive.add(event.resource)
            elif event.detail.get("to") in ("SUCCEEDED", "FAILED", "CANCELLED"):
                alive.discard(event.resource)
            if len(alive) > PARALLEL:
                wrong.append(f"event {event.seq}: {len(alive)} trials alive")
    return wrong


def test_an_engine_that_dies_at_any_step_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    home, package = tmp_path / "home", ""
    for point in [name for name in failpoints.NAMES if name.startswith("tuning.")]:
        engine = LiveEngine(home, failpoint=f"{point}:kill", max_running_jobs="3")
        with contextlib.suppress(AssertionError):  # it may die before it says that it is ready
            engine.start()
        if not package:
            engine.make_bucket()
            package = engine.upload_package(TRAINER)
            submit(engine, "books", package, 4)
        wait_until(lambda dying=engine: not dying.running, 120, point)
        engine.kill()
    with live_engine(home, max_running_jobs="3") as engine:
        job = engine.ended("books", timeout_s=120)
        assert job.state == "SUCCEEDED", job.error_message
        assert engine.stop() == 0
        assert _books(engine, 4) == []


def test_a_job_of_a_package_that_is_gone_does_not_go_on_for_ever(engine: LiveEngine) -> None:
    package = engine.upload_package(TRAINER)
    submit(engine, "books", package, 9, maxFailedTrials=0)
    engine.client.delete_object(BUCKET, package.removeprefix(f"gs://{BUCKET}/"))
    job = engine.ended("books", timeout_s=120)
    if job.state == "FAILED":  # unless the first trials had fetched it already
        assert job.error_message.startswith("All of the first 3 trials failed.")
