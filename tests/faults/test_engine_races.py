"""Callers that race each other, and a trainer's end that races its cancel."""

from __future__ import annotations

import collections
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlengine.client.http import HttpEngine
from mlengine.core.errors import Aborted, AlreadyExists, EngineError, FailedPrecondition, NotFound
from mlengine.core.resources import Job, TrainingInput
from mlengine.core.states import JobState
from tests.faults.chaos import replicas_of
from tests.faults.test_engine_failpoints import World
from tests.live.engines import LiveEngine, P, live_engine
from tests.waiting import wait_until

_ROUNDS = 5
_CALLERS = 50
_CANCELS = 200


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    with live_engine(tmp_path_factory.mktemp("races") / "home", max_running_jobs="4") as engine:
        engine.make_bucket()
        yield engine


def test_of_fifty_creates_with_one_id_one_wins(engine: LiveEngine) -> None:
    package = engine.upload_package("print('hello')")
    spec = TrainingInput(python_module="trainer.task", package_uris=[package], region="local")
    for number in range(_ROUNDS):
        job_id = f"same_{number}"
        start = threading.Barrier(_CALLERS)

        def create(caller: int, job_id: str = job_id, start: threading.Barrier = start) -> int:
            # A client for each: its own connection, and a body that differs from the others', for
            # a client takes a repeated create of the very same job for its own.
            labels = {"caller": str(caller)}
            with HttpEngine(engine.url, engine.token) as client:
                start.wait()
                try:
                    client.create_job(P, Job(job_id=job_id, training_input=spec, labels=labels))
                except EngineError as error:
                    assert isinstance(error, AlreadyExists), error
                    return error.http_status
                return 200

        with ThreadPoolExecutor(_CALLERS) as callers:
            answers = collections.Counter(callers.map(create, range(_CALLERS)))
        assert answers == {200: 1, 409: _CALLERS - 1}
        folders = list((engine.home / "jobs").glob(f"{job_id}-*"))
        assert len(folders) == 1
    for number in range(_ROUNDS):
        assert engine.ended(f"same_{number}").state == JobState.SUCCEEDED


@pytest.mark.timeout(900)  # two hundred jobs; on a machine that is busy they take minutes
def test_a_cancel_that_races_the_end_never_lies(engine: LiveEngine) -> None:
    """Trainers end by themselves at about the moment of their cancel, 200 times."""
    package = engine.upload_package(
        "import threading\nprint('go', flush=True)\nthreading.Event().wait(0.1)\n"
    )
    engine.submit("warm_up", package)
    engine.ended("warm_up")
    chance = random.Random(22)
    delays = [(number, chance.uniform(0.0, 0.35)) for number in range(_CANCELS)]

    with ThreadPoolExecutor(8) as callers:
        asked = dict(callers.map(lambda job: _race(engine, package, *job), delays))
    found: collections.Counter[tuple[str, str]] = collections.Counter()

    def judge(job_id: str, before: str) -> None:
        wait_until(lambda: engine.job(job_id).end_time, 60, job_id)
        after = engine.job(job_id).state
        found[before, after] += 1
        lawful = {before} if before in ("SUCCEEDED", "FAILED") else {"CANCELLED"}
        assert after in lawful, f"{job_id} was {before} when its cancel was answered, then {after}"

    for job_id, before in asked.items():
        judge(job_id, before)
    # Where the machine is so busy that every cancel came before the end, some more come later.
    for number, late_s in enumerate((0.5, 1.0, 2.0, 4.0, 8.0, 16.0), start=_CANCELS):
        if not any(end == "SUCCEEDED" for _before, end in found):
            judge(*_race(engine, package, number, late_s))
    print(f"state when cancel was answered, and at the end: {dict(found)}")
    assert len({end for _before, end in found}) == 2, "the race was no race"
    wait_until(lambda: not replicas_of(engine), 60)
    wait_until(lambda: not any("supervisor.py" in words for words in engine.processes()), 60)


def _race(engine: LiveEngine, package: str, number: int, delay_s: float) -> tuple[str, str]:
    """Submit, wait until it runs, cancel a little later; return the state right after the answer.

    What the engine says after it answered a cancel is CANCELLING, CANCELLED or an end that had
    come before; each is final but for the way from the first to the second.
    """
    job_id = f"race_{number}"
    job = engine.submit(job_id, package)
    engine.lines(job_id, until="go")
    until_s = time.monotonic() + delay_s
    wait_until(lambda: time.monotonic() > until_s)
    engine.client.cancel_job(P, job.job_id)
    return job_id, engine.job(job_id).state


def test_a_model_has_one_default_however_its_versions_race(tmp_path: Path) -> None:
    """Creates, deletes and set-defaults from four threads; 400 rounds."""
    world = World(tmp_path)
    world.prepare()
    chance = random.Random(23)
    names = [f"v{n}" for n in range(1, 5)]
    verbs: list[Callable[[str], object]] = [
        world.create,
        lambda name: world.models.delete_version(P, "m", name),
        lambda name: world.models.set_default(P, "m", name),
    ]
    plans = [[(chance.choice(verbs), chance.choice(names)) for _ in range(100)] for _ in range(4)]
    answers: collections.Counter[str] = collections.Counter()
    watching = threading.Event()
    wrong: list[str] = []

    def play(plan: list[tuple[Callable[[str], object], str]]) -> None:
        for verb, name in plan:
            try:
                verb(name)
                answers["done"] += 1
            except (AlreadyExists, FailedPrecondition, NotFound, Aborted) as error:
                answers[type(error).__name__] += 1

    def watch() -> None:
        while not watching.is_set():
            world.deployment.resume()
            versions = world.store.versions(P, "m")  # one read: one moment
            defaults = [v.version_id for v in versions if v.version.is_default]
            if len(defaults) != bool(versions):
                wrong.append(f"{[(v.version_id, v.state) for v in versions]}: {defaults}")

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(4) as callers:
        for done in callers.map(play, plans):
            assert done is None
    world.settle()
    watching.set()
    watcher.join()
    versions = world.store.versions(P, "m")
    serving = {v.uid for v in versions if v.state == "READY"}
    model = world.models.model(P, "m")
    world.close()
    assert not wrong, wrong[:3]
    assert world.loader.serving == serving
    if versions:
        assert model.default_version is not None
        if serving:
            assert model.default_version.state == "READY"
    assert not [o for o in answers if o == "Internal"]
    print(dict(answers))


def test_a_version_may_be_created_again_at_once_after_its_delete(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.prepare()
    for _round in range(20):
        world.models.delete_version(P, "m", "v2")
        world.settle()
        world.create("v2")
        world.settle()
    assert world.models.version(P, "m", "v2").state == "READY"
    world.close()
