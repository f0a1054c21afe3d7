"""Every named failpoint is walked: a process of the engine dies there, and nothing comes of it.

`MLENGINE_KILLS` above 1000 (`make chaos`) also walks the second time that a process comes by.

One home lives through all of it. Each round arms a failpoint, starts the engine, does what leads
there, and kills what is left; so each round's start recovers what the round before it broke. In the
end one engine with nothing armed settles the rest, and the invariants of jobs, models, processes
and the store are checked over everything that was ever asked for.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import mlengine
from mlengine.core.errors import AlreadyExists, EngineError
from mlengine.core.resources import Job, JobOptions, Model, TrainingInput, Version
from mlengine.runtime import failpoints
from mlengine.runtime.processes import send, snapshot
from tests.faults import invariants
from tests.faults.chaos import KILLS, TERMINAL, multiplier, predict, replicas_of
from tests.live.engines import BUCKET, LiveEngine, P
from tests.waiting import wait_until

pytest.importorskip("sklearn")

# It holds a lock while it runs, so that a twin shows itself, and writes down every attempt.
TRAINER = """
import fcntl, os, signal, sys, threading
home = sys.argv[sys.argv.index("--job-dir") + 1]
lock = os.open(os.path.join(home, "lock"), os.O_RDWR | os.O_CREAT)
attempt = os.environ["MLENGINE_ATTEMPT"]
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    open(os.path.join(home, "twin"), "w").close()
with open(os.path.join(home, "attempts"), "a") as attempts:
    attempts.write(attempt + "\\n")
if sys.argv[1] == "crashes" and attempt == "1":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "clings":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("trains", flush=True)
threading.Event().wait(6 if sys.argv[1] == "clings" else 0.05)
print("done", flush=True)
"""


class World:
    """A home, whatever engine runs on it, and everything that was asked of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.hits = home.parent / "hits"
        self.hits.touch()
        self.engine = LiveEngine(home)
        self.numbers = itertools.count()
        self.asked: dict[str, str] = {}
        self.acknowledged: set[str] = set()
        self.cancelled: set[str] = set()
        self.versions: set[str] = set()
        self.package = ""

    def start(self, armed: str = "") -> bool:
        """Start an engine; return False if it died of its failpoint before it was ready."""
        self.kill()
        engine = self.engine = LiveEngine(
            self.home, grace_s="0.3", max_running_jobs="8", retry_backoff_s="0.1",
            failpoint=armed, failpoint_hits=str(self.hits) if armed else "",
        )  # fmt: skip
        try:
            engine.start()
        except AssertionError:
            assert armed, "an engine with nothing armed did not start"
            engine.kill()
            return False
        return True

    def kill(self) -> None:
        if self.engine.running:
            self.engine.kill()

    def was_hit(self, name: str) -> bool:
        return name in self.hits.read_text().split()

    # --- what leads to failpoints; a dead engine ends it ---

    def submit(self, how: str, *, package: str = "") -> str:
        job_id = f"{how}_{next(self.numbers)}"
        self.asked[job_id] = how
        with self.died():
            self.send(job_id, package)
            self.acknowledged.add(job_id)
        return job_id

    def send(self, job_id: str, package: str = "") -> None:
        how = self.asked[job_id]
        spec = TrainingInput(
            python_module="trainer.task",
            package_uris=[package or self.package],
            region="local",
            args=[how],
            job_dir=f"gs://{BUCKET}/out/{job_id}",
        )
        options = JobOptions(max_retries=2) if how == "crashes" else None
        self.engine.client.create_job(P, Job(job_id=job_id, training_input=spec, options=options))

    def cancel(self, job_id: str) -> None:
        with self.died():
            self.engine.client.cancel_job(P, job_id)
            self.cancelled.add(job_id)

    def ended(self, job_id: str) -> bool:
        with self.died():
            return self.engine.job(job_id).state in TERMINAL
        return True

    @contextlib.contextmanager
    def died(self) -> Iterator[None]:
        """Take every answer of an engine that is dying, or that has no room."""
        with contextlib.suppress(EngineError, OSError):
            yield


def _jobs(world: World, over: Callable[[], bool], count: int = 1) -> None:
    ids = [world.submit("trains") for _ in range(count)]
    wait_until(lambda: over() or all(map(world.ended, ids)), 30)


def _crashes(world: World, over: Callable[[], bool], count: int = 1) -> None:
    ids = [world.submit("crashes") for _ in range(count)]
    wait_until(lambda: over() or all(map(world.ended, ids)), 30)


def _cancels(world: World, over: Callable[[], bool], count: int = 1) -> None:
    ids = [world.submit("clings") for _ in range(count)]
    marks = [world.home / "buckets" / BUCKET / "out" / job_id / "attempts" for job_id in ids]
    wait_until(lambda: over() or all(mark.exists() for mark in marks), 30)
    for job_id in ids:
        world.cancel(job_id)
    wait_until(lambda: over() or all(map(world.ended, ids)), 30)


def _builds(world: World, over: Callable[[], bool], count: int = 1) -> None:
    with world.died():
        package = world.engine.upload_package(TRAINER + f"# {next(world.numbers)}\n")
        job_id = world.submit("trains", package=package)
        wait_until(lambda: over() or world.ended(job_id), 60)


def _uploads(world: World, over: Callable[[], bool], count: int = 1) -> None:
    for _ in range(count):
        with world.died():
            world.engine.client.write_object(BUCKET, f"objects/{next(world.numbers)}", [b"x" * 99])


def _deploys(world: World, over: Callable[[], bool], count: int = 1) -> None:
    name = f"v{next(world.numbers)}"
    world.versions.add(name)
    with world.died():
        uri = f"gs://{BUCKET}/model"
        world.engine.client.create_version(P, "m", Version(name=name, deployment_uri=uri))

    def ready() -> bool:
        with world.died():
            return world.engine.client.get_version(P, "m", name).state in ("READY", "FAILED")
        return True

    wait_until(lambda: over() or ready(), 60)


_RETRIED = {n: _crashes for n in failpoints.NAMES if n.startswith("job.retry.")}
_CANCELLED = {
    name: _cancels
    for name in failpoints.NAMES
    if name.startswith(("job.cancel", "launch.cancel", "gang.before-kill"))
}
_MODELS = {n: _deploys for n in failpoints.NAMES if n.startswith(("artifact", "version", "rout"))}
_OTHERS = {"environment": _builds, "object": _uploads}
# These come by once in the life of a process, so there is no second time to die at.
_ONCE = ("supervisor.", "gang.", "replica.", "environment.", "artifact.", "version.", "routing.",
         "job.cancelled.", "launch.cancel")  # fmt: skip


class Round(NamedTuple):
    name: str
    nth: int

    def scenario(self) -> Callable[[World, Callable[[], bool], int], None]:
        chosen = {**_RETRIED, **_CANCELLED, **_MODELS}.get(self.name)
        return chosen or _OTHERS.get(self.name.partition(".")[0], _jobs)

    def run(self, world: World) -> str:
        """Die once; return what is wrong."""
        world.hits.write_text("")
        if world.start(f"{self.name}:kill:{self.nth}"):
            self.scenario()(world, lambda: world.was_hit(self.name), self.nth)
            world.kill()
        return "" if world.was_hit(self.name) else f"{self.name} was not hit {self.nth} times"


ROUNDS = [
    Round(name, nth)
    for name in failpoints.NAMES
    for nth in ((1, 2) if KILLS > 1000 else (1,))
    if (nth == 1 or not name.startswith(_ONCE))
    and not name.startswith("tuning.")  # `test_tuning_kills` walks those
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One home for every test: what one of them broke, the next one finds mended."""
    world = World(tmp_path_factory.mktemp("world") / "home")
    world.start()
    world.engine.make_bucket()
    world.package = world.engine.upload_package(TRAINER)
    world.engine.upload_model("model", model__pkl=multiplier(3))
    world.engine.client.create_model(P, Model(name="m"))
    _jobs(world, lambda: False)
    _deploys(world, lambda: False)
    world.kill()
    yield world
    world.kill()
    for process, _uid in replicas_of(world.engine):
        send(process, signal.SIGKILL)  # only a test that failed leaves any
    LiveEngine(world.home).start().stop()
    wait_until(lambda: not world.engine.processes(), 20)


@pytest.mark.timeout(900)
def test_a_death_at_any_failpoint_costs_nothing(world: World) -> None:
    canary = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        wrong = [text for turn in ROUNDS if (text := turn.run(world))]
        wrong += _settle_and_check(world)
        assert canary.poll() is None, "a stranger was killed"
    finally:
        canary.kill()
        canary.wait()
    assert not wrong, "\n".join(wrong)
    print(f"{len(ROUNDS)} deaths at {len(failpoints.NAMES)} failpoints; {len(world.asked)} jobs")


ERRORS = [
    "file.written:enospc", "file.written:eio:2", "job.claim.before-write:emfile",
    "launch.spec-written:enospc", "launch.spawned:emfile", "object.before-commit:enospc",
    "object.before-commit:eio", "environment.before-commit:enospc", "artifact.copied:enospc",
    "replica.before-spawn:emfile", "job.retry.before-note:enospc", "job.create.before-insert:eio",
    "launch.cancel-written:eio",
]  # fmt: skip


def test_an_error_of_the_machine_at_a_failpoint_is_told_and_lived_through(world: World) -> None:
    wrong = []
    for armed in ERRORS:
        name = armed.partition(":")[0]
        world.hits.write_text("")
        assert world.start(armed), armed
        Round(name, 1).scenario()(world, lambda: False, 2)
        wrong += [] if world.was_hit(name) else [f"{name} was not hit"]
        assert world.engine.running, armed
        world.kill()
    wrong += _settle_and_check(world)
    assert not wrong, "\n".join(wrong)


STOPS = ["job.preparing.after-move", "job.end.before-move", "launch.spawned",
         "supervisor.after-identity", "supervisor.before-exit", "gang.before-stop"]  # fmt: skip


@pytest.mark.timeout(900)
def test_a_process_that_is_stopped_at_a_failpoint_goes_on_later(world: World) -> None:
    """SIGSTOP of the engine or a supervisor; SIGCONT when everything else has come to rest."""
    for name in STOPS:
        world.hits.write_text("")
        assert world.start(f"{name}:stop"), name
        thread = threading.Thread(target=_jobs, args=(world, lambda: False))
        thread.start()
        wait_until(lambda n=name: world.was_hit(n) and _stopped(world), 60, name)
        for pid in _stopped(world):
            os.kill(pid, signal.SIGCONT)
        thread.join()
        world.kill()
    wrong = _settle_and_check(world)
    assert not wrong, "\n".join(wrong)


def _stopped(world: World) -> list[int]:
    rows = [row for row in snapshot().values() if row.state == "T"]
    home = os.fsencode(world.home)
    found = []
    for row in rows:
        with contextlib.suppress(OSError):
            if home in Path(f"/proc/{row.pid}/cmdline").read_bytes():
                found.append(row.pid)
    return found


def test_every_failpoint_stands_somewhere_and_has_a_name() -> None:
    found: list[str] = []
    for path in Path(mlengine.__file__).parent.rglob("*.py"):
        found += re.findall(r'failpoints\.hit\("([^"]+)"\)', path.read_text())
    assert sorted(found) == sorted(failpoints.NAMES)


# --- afterwards ---


def _settle_and_check(world: World) -> list[str]:
    world.start()
    for job_id in sorted(set(world.asked) - world.acknowledged):
        with contextlib.suppress(AlreadyExists):  # its answer was lost: it is there once, or never
            world.send(job_id)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: all(map(world.ended, world.asked)), 60)
    wrong = [text for job_id in world.asked for text in _job(world, job_id)]
    wrong += _store(world)
    wrong += _models(world)
    folders = {path.name for path in (world.home / "jobs").iterdir()}
    wrong += [f"the folder {name} is of no job" for name in folders - _uids(world)]
    wait_until(lambda: not replicas_of(world.engine), 5, "processes were left")
    return wrong


def _job(world: World, job_id: str) -> list[str]:
    job, how = world.engine.job(job_id), world.asked[job_id]
    folder = world.home / "buckets" / BUCKET / "out" / job_id
    wrong = []
    if job.state not in TERMINAL:
        return [f"{job_id} is stuck in {job.state}"]
    attempts = folder / "attempts"
    ran = attempts.read_text().split() if attempts.exists() else []
    if sorted(set(ran), key=int) != ran:
        wrong.append(f"{job_id} ran the attempts {ran}")
    if (folder / "twin").exists():
        wrong.append(f"{job_id} ran twice at one time")
    if job.state == "SUCCEEDED" and job_id in world.cancelled:
        wrong.append(f"{job_id} SUCCEEDED")
    if job.state == "SUCCEEDED" and "done" not in world.engine.lines(job_id):
        wrong.append(f"{job_id} SUCCEEDED, but its last line is lost")
    if job.state == "CANCELLED" and how != "clings":
        wrong.append(f"{job_id} is CANCELLED, but nobody asked")
    return wrong


def _store(world: World) -> list[str]:
    with contextlib.closing(sqlite3.connect(world.home / "engine.db")) as database:
        (sound,) = database.execute("PRAGMA integrity_check").fetchone()
        wrong = [] if sound == "ok" else [f"integrity_check: {sound}"]
        wrong += [f"foreign key: {row}" for row in database.execute("PRAGMA foreign_key_check")]
        ids = [job_id for (job_id,) in database.execute("SELECT job_id FROM jobs")]
        wrong += [f"{j} was acknowledged and is lost" for j in world.acknowledged - set(ids)]
        wrong += [f"{j} was never asked for" for j in set(ids) - set(world.asked)]
        return wrong + invariants.history(database)


def _uids(world: World) -> set[str]:
    with contextlib.closing(sqlite3.connect(world.home / "engine.db")) as database:
        return {uid for (uid,) in database.execute("SELECT uid FROM jobs")}


def _models(world: World) -> list[str]:
    client = world.engine.client

    def settled() -> bool:
        versions = client.list_versions(P, "m", page_size=100).items
        operations = client.list_operations(P, page_size=100).items
        return all(v.state in ("READY", "FAILED") for v in versions) and all(
            o.done for o in operations
        )

    wait_until(settled, 60)
    versions = client.list_versions(P, "m", page_size=100).items
    wrong = []
    if [v.state for v in versions if v.is_default] != ["READY"]:
        wrong.append(f"defaults: {[(v.name, v.state, v.is_default) for v in versions]}")
    failed = {v.name: v.error_message for v in versions if v.state == "FAILED"}
    wrong += [f"{n} failed: {why}" for n, why in failed.items() if "failpoint" not in why]
    wait_until(lambda: predict(world.engine, 4).answer == {"predictions": [12]}, 30)
    return wrong
