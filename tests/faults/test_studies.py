"""The books of a study while its engine is killed, and while many write into them at once.

`MLENGINE_REPORTS=10000 pytest tests/faults/test_studies.py` reports as much as a large study does,
`MLENGINE_KILLS=100` kills more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from mlengine.client.http import HttpEngine
from mlengine.core.errors import EngineError, FailedPrecondition, Unavailable
from mlengine.core.resources import Operation
from mlengine.core.studies import (
    CompleteTrialRequest,
    Measurement,
    MetricValue,
    Study,
    SuggestTrialsRequest,
    Trial,
)
from mlengine.core.wire import decode
from tests.live.engines import LiveEngine, P, live_engine
from tests.waiting import wait_until

REPORTS = int(os.environ.get("MLENGINE_REPORTS", "256"))
KILLS = int(os.environ.get("MLENGINE_KILLS", "2"))
REPORTERS, CLIENTS, TRIALS_A_KILL = 64, 6, 10
AT = (P, "local", "killed")
MANY = (P, "local", "many")

T = TypeVar("T")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    with live_engine(tmp_path_factory.mktemp("studies") / "home") as engine:
        yield engine


def make(engine: LiveEngine, at: tuple[str, str, str], *, algorithm: str, points: int) -> None:
    values = {"minValue": "1", "maxValue": str(points)}
    config = {
        "metrics": [{"metric": "loss", "goal": "MINIMIZE"}],
        "parameters": [{"parameter": "n", "type": "INTEGER", "integerValueSpec": values}],
        "algorithm": algorithm,
    }
    engine.client.create_study(*at, decode(Study, {"studyConfig": config}, at="study"))


def measurement(value: float, step: int = 0) -> Measurement:
    return Measurement(step_count=step, metrics=[MetricValue(metric="loss", value=value)])


class Client:
    """Tries whatever it is given until there is nothing left, whoever kills the engine.

    Attributes:
        completed: Trial → the value that was acknowledged.
        reported: Trial → steps that were acknowledged.
        doubtful: Trial → steps of which nobody knows: the answer never came.
    """

    def __init__(self, engine: LiveEngine, name: str, on_ack: Callable[[], None]) -> None:
        self._name, self._on_ack = name, on_ack
        self._http = HttpEngine(engine.url, engine.token)
        self.completed: dict[str, float] = {}
        self.reported: dict[str, set[int]] = {}
        self.doubtful: dict[str, set[int]] = {}

    def run(self) -> None:
        with self._http:
            while trials := self._suggest():
                self._try(trials[0])

    def _suggest(self) -> list[Trial]:
        request = SuggestTrialsRequest(client_id=self._name, suggestion_count=1)
        operation = again(lambda: self._http.suggest_trials(*AT, request))
        found = self._done(operation).response or {}
        return [decode(Trial, trial, at="trial") for trial in found.get("trials", ())]

    def _done(self, operation: Operation) -> Operation:
        found = [operation]

        def done() -> bool:
            found[0] = again(lambda: self._http.get_operation(P, operation.name.rpartition("/")[2]))
            return found[0].done

        if not operation.done:
            wait_until(done, message=operation.name)
        assert found[0].error is None
        return found[0]

    def _try(self, trial: Trial) -> None:
        number = trial.name.rpartition("/")[2]
        reported = self.reported.setdefault(number, set())
        for step in (1, 2):
            try:
                self._http.add_trial_measurement(*AT, number, measurement(float(step), step))
                reported.add(step)
            except Unavailable:
                self.doubtful.setdefault(number, set()).add(step)
        value = float(trial.parameters[0].int_value or 0)
        request = CompleteTrialRequest(final_measurement=measurement(value))
        try:
            again(lambda: self._http.complete_trial(*AT, number, request))
        except FailedPrecondition as error:  # a try before this one, whose answer never came
            assert "is COMPLETED" in str(error)
        self.completed[number] = value
        self._on_ack()


def again(call: Callable[[], T]) -> T:
    """Call until the engine is there."""
    found: list[T] = []

    def answered() -> bool:
        try:
            found.append(call())
        except Unavailable:
            return False
        return True

    wait_until(answered, message="the engine answers")
    return found[0]


def test_a_killed_engine_loses_no_trial_and_gives_none_twice(engine: LiveEngine) -> None:
    points = (KILLS + 2) * TRIALS_A_KILL
    make(engine, AT, algorithm="GRID_SEARCH", points=points)
    acks = threading.Semaphore(0)
    clients = [Client(engine, f"c{n}", acks.release) for n in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(client.run) for client in clients]
        for _kill in range(KILLS):
            for _trial in range(TRIALS_A_KILL):
                assert acks.acquire(timeout=300)
            engine.kill()
            engine.start()
        for future in running:
            future.result(300)
    trials = {t.name.rpartition("/")[2]: t for t in engine.client.list_trials(*AT)}
    assert list(trials) == [str(n) for n in range(1, points + 1)], "ids without a gap"
    tried = sorted(t.parameters[0].int_value or 0 for t in trials.values())
    assert tried == list(range(1, points + 1)), "every point of the grid, once"
    assert engine.client.get_study(*AT).state == "COMPLETED"
    for client in clients:
        for number, value in client.completed.items():
            final = trials[number].final_measurement
            assert final is not None
            assert final.metrics[0].value == value
        for number, steps in client.reported.items():
            found = [point.step_count for point in trials[number].measurements]
            doubtful = client.doubtful.get(number, set())
            assert len(found) == len(set(found))
            assert steps <= set(found) <= steps | doubtful
    assert sum(len(client.completed) for client in clients) == points


@pytest.mark.timeout(280 + REPORTS // 8)
def test_many_reporters_at_once_are_all_in_the_books(engine: LiveEngine) -> None:
    make(engine, MANY, algorithm="RANDOM_SEARCH", points=100_000)
    each = max(REPORTS // REPORTERS, 1)
    refused: list[EngineError] = []

    def report(number: int) -> None:
        with HttpEngine(engine.url, engine.token) as http:
            request = SuggestTrialsRequest(client_id=f"c{number}", suggestion_count=1)
            operation: Any = http.suggest_trials(*MANY, request).response
            trial = operation["trials"][0]["name"].rpartition("/")[2]
            for step in range(each):
                try:
                    http.add_trial_measurement(*MANY, trial, measurement(1.0, step))
                except EngineError as error:
                    refused.append(error)
            http.complete_trial(*MANY, trial, CompleteTrialRequest())

    with ThreadPoolExecutor(REPORTERS) as pool:
        list(pool.map(report, range(REPORTERS)))
    assert refused == []
    trials = engine.client.list_trials(*MANY)
    assert [len(trial.measurements) for trial in trials] == [each] * REPORTERS
    assert {trial.state for trial in trials} == {"COMPLETED"}
    steps = [trial.final_measurement.step_count for trial in trials if trial.final_measurement]
    assert steps == [each - 1] * REPORTERS
