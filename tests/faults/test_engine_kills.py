"""What a user keeps when a process of the engine is killed: everything.

`MLENGINE_KILLS=1000 pytest tests/faults/test_engine_kills.py` kills more; `MLENGINE_SEED` repeats a
run. Zero failures in n kills show a rate below 3/n, not zero.
"""

from __future__ import annotations

import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import Unavailable
from mlengine.core.resources import Model, Version
from tests.faults.chaos import (
    KILLS,
    LINES,
    ROUTINE,
    SLOWEST_S,
    Killer,
    Load,
    counting_trainer,
    multiplier,
    predict,
    replicas_of,
)
from tests.faults.invariants import check
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.waiting import wait_until

pytest.importorskip("sklearn")

SEED = int(os.environ.get("MLENGINE_SEED", "0")) or time.time_ns() % 10**6
ROUND = 500
"""Kills after which everything is looked at, and a new engine takes the next."""

SMALL, LARGE = (1, 1, 2, 3), (6, 12, 1000)
WAVES = (SMALL, LARGE)
"""How many processes are killed at one moment: some wherever they are, or many when all is busy."""

PREY = 12
"""How many replicas run before a large wave, unless that takes long."""

QUIET_S = 300.0
"""When all must have ended that was under way: a job of eight seconds may start three times."""


# Ends once the file exists that its argument names.
WAITING_TRAINER = """
import pathlib, sys, threading
print("line 0", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    threading.Event().wait(0.05)
print("line 1", flush=True)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LiveEngine]:
    with live_engine(tmp_path / "home", max_running_jobs="4", retry_backoff_s="0.1") as engine:
        engine.make_bucket()
        for factor in (1, 2):
            uri = engine.upload_model(f"models/{factor}", model__pkl=multiplier(factor))
        assert engine.deploy(f"gs://{BUCKET}/models/1", model_id="m").error is None, uri
        yield engine


def test_a_killed_daemon_costs_neither_job_nor_log_nor_prediction(engine: LiveEngine) -> None:
    engine.submit("long", engine.upload_package(counting_trainer(40, 0.1)))
    engine.lines("long", until="line 3")
    stop = threading.Event()
    answers = []

    def ask() -> None:
        while not stop.is_set():
            number = len(answers)
            answers.append((number, predict(engine, number)))

    asker = threading.Thread(target=ask)
    asker.start()
    engine.kill()
    seen = len(answers)
    wait_until(lambda: len(answers) > seen + 20)  # without an engine
    engine.start()
    job = engine.ended("long")
    stop.set()
    asker.join()

    assert job.state == "SUCCEEDED", job.error_message
    lines = [line for line in engine.lines("long") if line.startswith("line ")]
    assert lines == [f"line {n}" for n in range(40)]
    for number, found in answers:
        assert found.seconds < SLOWEST_S, found
        assert found.status in (200, 503), found
        assert found.status == 503 or found.answer == {"predictions": [number]}
    good = sum(found.status == 200 for _number, found in answers)
    print(f"{good} of {len(answers)} predictions were answered")
    assert good == len(answers)  # its worker and the gateway never went away


def test_a_job_goes_on_when_its_engine_is_stopped_and_is_taken_up_again(
    engine: LiveEngine, tmp_path: Path
) -> None:
    # It ends when it is told to, however long engines take to stop and start.
    told = tmp_path / "told"
    engine.submit("stays", engine.upload_package(WAITING_TRAINER), str(told))
    engine.lines("stays", until="line 0")
    followers = ThreadPoolExecutor(1)
    followed = followers.submit(_follow, engine, "stays")
    assert engine.stop() == 0
    left = engine.processes()
    assert any("runtime/supervisor.py" in words for words in left)
    assert not any("worker" in words or "gateway" in words for words in left)
    engine.start()
    assert engine.job("stays").state == "RUNNING"
    told.touch()
    assert engine.ended("stays").state == "SUCCEEDED"
    lines = engine.lines("stays")
    assert [line for line in lines if line.startswith("line ")] == ["line 0", "line 1"]
    assert followed.result(60) == lines
    followers.shutdown()
    assert "Traceback" not in (engine.home / "daemon.log").read_text()
    wait_until(lambda: predict(engine, 7).answer == {"predictions": [7]}, 60)


def _follow(engine: LiveEngine, job_id: str) -> list[str]:
    """Return a job's log lines up to its end, as the command line does: engines come and go."""
    lines: list[str] = []
    cursor, finished = "", False
    while not finished:
        try:
            page = engine.client.read_logs(P, job_id, cursor=cursor, wait_s=30)
        except Unavailable:
            continue  # the client has paused already
        lines += [entry.message for entry in page.entries]
        cursor, finished = page.cursor, page.finished
    return lines


def test_a_job_that_ends_while_no_engine_runs_is_found_ended(engine: LiveEngine) -> None:
    engine.submit("alone", engine.upload_package(counting_trainer(5, 0.1)))
    engine.lines("alone", until="line 1")
    engine.kill()
    wait_until(lambda: not any("supervisor.py" in words for words in engine.processes()))
    engine.start()
    assert engine.ended("alone").state == "SUCCEEDED"
    assert "line 4" in engine.lines("alone")


def test_who_could_read_that_a_version_is_ready_is_served_whatever_dies_then(
    tmp_path: Path,
) -> None:
    # The engine dies with READY on record, before it can do anything about it.
    with live_engine(tmp_path / "home", failpoint="version.after-ready:kill") as engine:
        engine.make_bucket()
        uri = engine.upload_model("models/2", model__pkl=multiplier(2))
        engine.client.create_model(P, Model(name="m"))
        engine.client.create_version(P, "m", Version(name="v1", deployment_uri=uri))
        wait_until(lambda: not engine.running, 60)
        assert predict(engine, 7, version="v1").answer == {"predictions": [14]}
        assert predict(engine, 7).answer == {"predictions": [14]}


class _LoadsForTenMinutes:
    def __reduce__(self) -> tuple[object, ...]:
        return signal.sigtimedwait, ([signal.SIGUSR1], 600)


def test_an_engine_stops_at_once_while_a_model_is_loading(engine: LiveEngine) -> None:
    uri = engine.upload_model("slow", model__pkl=pickle.dumps(_LoadsForTenMinutes()))
    engine.client.create_version(P, "m", Version(name="slow", deployment_uri=uri))
    wait_until(lambda: sum("runtime.worker" in words for words in engine.processes()) == 2)
    assert engine.stop() == 0  # it is given a minute
    assert not engine.processes()
    engine.start()
    assert engine.client.get_version(P, "m", "slow").state == "CREATING"  # it is taken up again
    wait_until(lambda: predict(engine, 7).answer == {"predictions": [7]}, 60)


@pytest.mark.timeout(300 + 3 * ROUND)
@pytest.mark.parametrize("before", range(0, KILLS, ROUND))
def test_nothing_is_lost_whatever_is_killed_whenever(tmp_path: Path, before: int) -> None:
    kills, seed = min(ROUND, KILLS - before), SEED + before
    print(f"seed {seed} (MLENGINE_SEED), {kills} kills (MLENGINE_KILLS), {before} before them")
    chance = random.Random(seed)
    with live_engine(tmp_path / "home", max_running_jobs="12", retry_backoff_s="0.1") as engine:
        load = _load(engine, chance)
        killer = Killer(engine, chance)
        load.start()
        _kill(engine, killer, kills, chance)
        load.stop()
        _wait_for_quiet(engine)
        wrong = check(engine, load, killer.hit_jobs)
        print(
            f"kills {killer.kills}, {killer.stops} stops; "
            f"{len(load.created)} jobs, {len(load.cancelled)} cancels; "
            f"predictions {load.predictions}, slowest {load.slowest_s:.2f} s"
        )
        assert not wrong, f"seed {seed}:\n" + "\n".join(wrong)
        assert load.predictions.get(200, 0) > 10 * load.predictions.get(500, 0)
        _ask_every_version(engine)


def _load(engine: LiveEngine, chance: random.Random) -> Load:
    """Make what the load needs, before anything is killed."""
    engine.make_bucket()
    model: dict[str, Any] = {}
    if chance.random() < 0.75:
        model["package_uris"] = [engine.upload_package(ROUTINE, name="multiplying")]
        model["prediction_class"] = "multiplying.task.Multiplier"
    for factor in (1, 2):
        named = {"factor": b"%d" % factor} if model else {"model__pkl": multiplier(factor)}
        engine.upload_model(f"models/{factor}", **named)
    engine.client.create_model(P, Model(name="m"))
    first = Version(name="v1", deployment_uri=f"gs://{BUCKET}/models/1", **model)
    assert engine.done(engine.client.create_version(P, "m", first)).error is None
    package = engine.upload_package(counting_trainer(LINES, 0.7))
    engine.submit("job_0", package)  # its environment is built
    assert engine.ended("job_0").state == "SUCCEEDED"
    load = Load(engine, package, random.Random(chance.random()), **model)
    load.created.append("job_0")
    return load


def _kill(engine: LiveEngine, killer: Killer, kills: int, chance: random.Random) -> None:
    """Kill so many processes: one, some, or, as a machine that fails does, all at one moment."""
    pause = threading.Event()
    while (left := kills - sum(killer.kills.values())) > 0:
        pause.wait(chance.uniform(0, 0.4))
        waves = chance.choice(WAVES)
        if waves is LARGE:  # there is to be something to kill
            for _turn in range(100):
                if len(replicas_of(engine)) >= PREY:
                    break
                pause.wait(0.1)
        if chance.random() < 0.2:
            killer.stop_something()
        killer.strike(min(left, chance.choice(waves)))
        while not engine.running:
            engine.launch()
            if left > 1 and chance.random() < 0.3:
                pause.wait(chance.uniform(0, 1.5))
                if "daemon" in killer.strike():
                    continue  # it was still starting
            engine.wait_ready()
    engine.kill()
    engine.start()


def _ask_every_version(engine: LiveEngine) -> None:
    for version in engine.client.list_versions(P, "m", page_size=100).items:
        if version.state == "READY":
            name = version.name.rpartition("/")[2]
            factor = 1 if name == "v1" else int(name[1:]) % 2 + 1
            wait_until(lambda n=name: predict(engine, 5, version=n).status == 200, 120)
            assert predict(engine, 5, version=name).answer == {"predictions": [5 * factor]}


def _wait_for_quiet(engine: LiveEngine) -> None:
    """Wait until nothing is under way any more; what stays is found stuck by `check`."""

    def quiet() -> bool:
        jobs = engine.client.list_jobs(P, page_size=100).items
        versions = engine.client.list_versions(P, "m", page_size=100).items
        operations = engine.client.list_operations(P, page_size=100).items
        return (
            all(job.end_time for job in jobs)
            and all(v.state in ("READY", "FAILED") for v in versions)
            and all(o.done for o in operations)
        )

    try:
        wait_until(quiet, QUIET_S)
    except AssertionError:
        print(f"not quiet after {QUIET_S:g} s")
