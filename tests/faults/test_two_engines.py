"""Two engines on one PostgreSQL database: whatever they are asked at once, whichever of them dies.

Every trainer here writes down its starts in a file, so that a job that was started twice is seen.
"""

from __future__ import annotations

import collections
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from mlengine.client.http import HttpEngine
from mlengine.core.errors import AlreadyExists, EngineError
from mlengine.core.resources import Job, TrainingInput
from tests.faults.chaos import multiplier, predict
from tests.live.engines import BUCKET, LiveEngine, P
from tests.live.pairs import Pair, engine_pair, starts_trainer
from tests.live.postgres import PostgresServer, postgres  # noqa: F401
from tests.waiting import wait_until

pytest.importorskip("sklearn")

_CALLERS = 50
_TAKEOVER_S = 30.0


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,  # noqa: F811
) -> Iterator[Pair]:
    with engine_pair(tmp_path_factory.mktemp("two"), postgres) as found:
        found.a.make_bucket()
        yield found


@pytest.fixture(scope="module")
def short(pair: Pair) -> str:
    """A package whose trainer ends after a third of a second."""
    return pair.a.upload_package(starts_trainer(3, 0.1))


@pytest.fixture(scope="module")
def long(pair: Pair) -> str:
    """A package whose trainer takes two and a half seconds."""
    return pair.a.upload_package(starts_trainer(25, 0.1))


def test_one_of_two_engines_leads_and_both_take_the_same_token(pair: Pair) -> None:
    assert pair.a.token == pair.b.token
    leader = pair.leader()
    assert not pair.other(leader).client.status().leading
    assert {bucket.name for bucket in pair.b.client.list_buckets()} == {BUCKET}


def test_of_fifty_creates_with_one_id_over_both_one_wins(pair: Pair, short: str) -> None:
    start = threading.Barrier(_CALLERS)

    def create(caller: int) -> int:
        engine = pair.both[caller % 2]
        spec = TrainingInput(
            python_module="trainer.task", package_uris=[short], region="local",
            args=[str(pair.starts / "same")],
        )  # fmt: skip
        with HttpEngine(engine.url, engine.token) as client:
            labels = {"caller": str(caller)}
            start.wait()
            try:
                client.create_job(P, Job(job_id="same", training_input=spec, labels=labels))
            except EngineError as error:
                assert isinstance(error, AlreadyExists), error
                return error.http_status
            return 200

    with ThreadPoolExecutor(_CALLERS) as callers:
        answers = collections.Counter(callers.map(create, range(_CALLERS)))
    assert answers == {200: 1, 409: _CALLERS - 1}
    assert pair.ended("same").state == "SUCCEEDED"
    assert pair.started("same") == 1


def test_a_page_of_one_engine_goes_on_at_the_other(pair: Pair, short: str) -> None:
    for number in range(3):
        pair.submit(pair.both[number % 2], f"paged_{number}", short)
    seen: list[str] = []
    token, turn = "", 0
    while token or not turn:
        page = pair.both[turn % 2].client.list_jobs(P, page_size=1, page_token=token)
        seen += [job.job_id for job in page.items]
        token, turn = page.next_page_token, turn + 1
    assert [name for name in seen if name.startswith("paged_")] == ["paged_2", "paged_1", "paged_0"]
    for number in range(3):
        assert pair.ended(f"paged_{number}").state == "SUCCEEDED"
        # What the leader's replicas printed is read through the other.
        follower = pair.other(pair.leader())
        assert "line 2" in follower.lines(f"paged_{number}")


def test_a_cancel_by_either_engine_that_races_the_end_never_lies(pair: Pair, short: str) -> None:
    chance = random.Random(22)

    def race(number: int, delay_s: float) -> tuple[str, str]:
        job_id = f"race_{number}"
        pair.submit(pair.both[number % 2], job_id, short)
        pair.a.lines(job_id, until="line 0")
        until_s = time.monotonic() + delay_s
        wait_until(lambda: time.monotonic() > until_s)
        asked = pair.both[(number // 2) % 2]
        asked.client.cancel_job(P, job_id)
        return job_id, asked.job(job_id).state

    delays = [(number, chance.uniform(0.0, 0.6)) for number in range(16)]
    with ThreadPoolExecutor(4) as callers:
        asked = dict(callers.map(lambda job: race(*job), delays))
    for job_id, before in asked.items():
        after = pair.ended(job_id).state
        lawful = {before} if before in ("SUCCEEDED", "FAILED") else {"CANCELLED"}
        assert after in lawful, f"{job_id} was {before} when its cancel was answered, then {after}"
        assert pair.started(job_id) == 1


def test_what_one_engine_deploys_both_answer_and_defaults_stay_exact(pair: Pair) -> None:
    for factor in (1, 2):
        uri = pair.a.upload_model(f"models/{factor}", model__pkl=multiplier(factor))
        follower = pair.other(pair.leader())
        assert follower.deploy(uri, f"v{factor}", model_id="m").error is None
    for engine in pair.both:
        for factor in (1, 2):
            version = f"v{factor}"
            wait_until(lambda e=engine, v=version: predict(e, 5, version=v).status == 200, 60)
            assert predict(engine, 5, version=version).answer == {"predictions": [5 * factor]}

    def choose(turn: int) -> None:
        pair.both[turn % 2].client.set_default_version(P, "m", f"v{turn // 2 % 2 + 1}")

    for _round in range(2):
        with ThreadPoolExecutor(8) as callers:
            list(callers.map(choose, range(24)))
        told = {engine.client.get_model(P, "m").default_version.name for engine in pair.both}  # type: ignore[union-attr]
        assert len(told) == 1
        factor = int(told.pop()[-1])
        for engine in pair.both:
            wait_until(
                lambda e=engine, f=factor: predict(e, 7).answer == {"predictions": [7 * f]}, 5
            )
    assert pair.wrong() == []


def _workers(engine: LiveEngine) -> int:
    return sum("runtime.worker" in words for words in engine.processes())


def test_a_version_deleted_through_one_engine_is_gone_from_both(pair: Pair) -> None:
    for engine in pair.both:
        engine.client.set_default_version(P, "m", "v1")
    follower = pair.other(pair.leader())
    assert follower.done(follower.client.delete_version(P, "m", "v2")).error is None
    for engine in pair.both:
        wait_until(lambda e=engine: predict(e, 5, version="v2").status == 404, 60)
        wait_until(lambda e=engine: _workers(e) == 1, 60)
        assert predict(engine, 5).answer == {"predictions": [5]}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_leader_that_is_gone_is_followed_and_no_job_is_lost_or_doubled(
    pair: Pair, long: str, short: str, how: signal.Signals
) -> None:
    leader = pair.leader()
    follower = pair.other(leader)
    names = [f"{how.name.lower()}_{number}" for number in range(8)]
    for name in names[:6]:  # four run, two wait
        pair.submit(follower, name, long)
    for name in names[:4]:
        follower.lines(name, until="line 2")
    begun_s = time.monotonic()
    if how is signal.SIGKILL:
        leader.kill()
    else:
        os.kill(leader.pid, how)
    for name in names[6:]:  # nobody leads yet; the follower takes them all the same
        pair.submit(follower, name, short)
    wait_until(lambda: follower.client.status().leading, _TAKEOVER_S, "the other takes over")
    print(f"{how.name}: led again after {time.monotonic() - begun_s:.1f} s")
    for name in names:
        wait_until(lambda n=name: follower.job(n).end_time, 60, name)
        assert follower.job(name).state == "SUCCEEDED", follower.job(name).error_message
        assert pair.started(name) == 1
    if how is signal.SIGKILL:
        leader.start()
    else:
        os.kill(leader.pid, signal.SIGCONT)
    assert predict(leader, 3).status in (200, 503)
    wait_until(lambda: pair.leaders() == [follower], 10, "the deposed one follows")
    # It takes its part again: what it is asked is done, by the other.
    pair.submit(leader, f"after_{how.name.lower()}", short)
    assert pair.ended(f"after_{how.name.lower()}").state == "SUCCEEDED"
    wait_until(lambda: not pair.replicas(), 60)
    assert pair.wrong() == []


def _ask(engine: LiveEngine, path: str) -> tuple[int, str | None]:
    """Make one call; return its status and when to come back."""
    url = urlsplit(engine.url)
    line = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        line.request("GET", path, headers={"Authorization": f"Bearer {engine.token}"})
        reply = line.getresponse()
        reply.read()
        return reply.status, reply.headers["Retry-After"]
    finally:
        line.close()


def test_a_database_that_goes_and_comes_back_costs_no_job(pair: Pair, long: str) -> None:
    names = [f"database_{number}" for number in range(6)]
    for number, name in enumerate(names):
        pair.submit(pair.both[number % 2], name, long)
    for name in names[:4]:
        pair.a.lines(name, until="line 0")
    assert pair.server.kill_sessions(pair.database)
    pair.leader()
    pair.server.stop("immediate")
    for engine in pair.both:
        assert _ask(engine, f"/v1/projects/{P}/jobs") == (503, "1")
        assert not engine.running or predict(engine, 4).answer == {"predictions": [4]}
    pair.server.start()
    for engine in pair.both:
        wait_until(lambda e=engine: _ask(e, f"/v1/projects/{P}/jobs")[0] == 200, 60)
    for name in names:
        job = pair.ended(name)
        assert job.state == "SUCCEEDED", job.error_message
        assert pair.started(name) == 1
    wait_until(lambda: not pair.replicas(), 60)
    assert pair.wrong() == []


def test_an_engine_alone_does_not_join_by_chance(pair: Pair) -> None:
    """The setting 'shared' was forgotten: its home is not the folder of the others."""
    done = subprocess.run(
        [sys.executable, "-m", "mlengine.daemon", "--home", str(pair.root / "d"), "--port", "0"],
        env={**os.environ, "MLENGINE_DATABASE": pair.server.url(pair.database)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is in use with another folder than" in done.stderr
    assert "Set 'shared' to the folder of the other engines." in done.stderr
    assert not (pair.root / "d" / "run" / "gateway.json").exists()
    assert "w@rd" not in done.stderr and "w%40rd" not in done.stderr
