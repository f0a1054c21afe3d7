"""A small mixed load on a real engine, and a hand that kills.

`Load` calls the engine from a few threads and writes down every answer (the history). `Killer`
ends processes of the engine with SIGKILL. `invariants.check` judges what came of it.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import pickle
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mlengine.core.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    Unavailable,
)
from mlengine.core.resources import Job, JobOptions, TrainingInput, Version
from mlengine.runtime.processes import Process, look, send, snapshot
from tests.live.engines import BUCKET, LiveEngine, P
from tests.waiting import wait_until

__all__ = ["KILLS", "LINES", "ROUTINE", "SLOWEST_S", "TERMINAL", "UNFINISHED", "Answer", "Killer",
           "Load", "Predicting", "ask", "counting_trainer", "multiplier", "predict",
           "replicas_of"]  # fmt: skip

KILLS = int(os.environ.get("MLENGINE_KILLS", "300"))
"""How many processes are killed; `make chaos` sets more."""

LINES = 12
"""How many numbered lines the trainer of the load prints."""

UNFINISHED = 14
"""How many jobs the load keeps going at one time."""

SLOWEST_S = 65.0
"""A prediction may wait for a version that wakes, up to the setting predict_timeout_s (60 s); on
a machine where sixty processes are killed a minute some do. One that never comes is a defect."""

TERMINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}


def counting_trainer(lines: int, pause_s: float) -> str:
    """Return a trainer that prints numbered lines, each after a pause."""
    return (
        f"import threading\n"
        f"for number in range({lines}):\n"
        f"    print('line', number, flush=True)\n"
        f"    threading.Event().wait({pause_s})\n"
    )


def multiplier(factor: int) -> bytes:
    """Return a scikit-learn model that multiplies by `factor`: every answer can be checked."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    model = LinearRegression()
    model.coef_, model.intercept_, model.n_features_in_ = np.array([float(factor)]), 0.0, 1
    return pickle.dumps(model)


ROUTINE = """
    import pathlib

    class Multiplier:
        def __init__(self, factor):
            self.factor = factor

        @classmethod
        def from_path(cls, model_dir):
            return cls(int((pathlib.Path(model_dir) / "factor").read_text()))

        def predict(self, instances, **kwargs):
            return [number * self.factor for (number,) in instances]
"""
"""A multiplier without a framework: what starts with it anew in a moment can be killed often."""


class Answer(NamedTuple):
    """One answer of the gateway; status 0 means that nobody listened or the line broke."""

    status: int
    seconds: float
    answer: Any


def ask(engine: LiveEngine, method: str, path: str, body: bytes | None = None) -> Answer:
    """Make one call, with nothing of ours in between that would try again."""
    url = urlsplit(engine.url)
    begun_s = time.monotonic()
    line = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    try:
        headers = {"Authorization": f"Bearer {engine.token}", "Content-Type": "application/json"}
        line.request(method, path, body, headers)
        reply = line.getresponse()
        status, answer = reply.status, json.loads(reply.read())
    except (OSError, http.client.HTTPException) as error:
        status, answer = 0, repr(error)
    finally:
        line.close()
    return Answer(status, time.monotonic() - begun_s, answer)


def predict(engine: LiveEngine, number: int, *, version: str = "", model: str = "m") -> Answer:
    """Ask for one prediction with nothing of ours in between."""
    path = f"/v1/projects/{P}/models/{model}" + (f"/versions/{version}" if version else "")
    body = json.dumps({"instances": [[number]]}).encode()
    return ask(engine, "POST", path + ":predict", body)


def replicas_of(engine: LiveEngine) -> list[tuple[Process, str]]:
    """Return the live processes that work in a job's folder, each with the job's uid."""
    root = str(engine.home / "jobs") + "/"
    found = []
    for pid, row in snapshot().items():
        with contextlib.suppress(OSError):
            folder = str(Path(f"/proc/{pid}/cwd").readlink())
            if row.alive and folder.startswith(root):
                found.append((row, folder.removeprefix(root).split("/")[0]))
    return found


class Killer:
    """Kills processes of the engine, or stops one for a while, as a generator says.

    A kind is drawn among those that are alive at the moment, so that no draw is lost on one that
    is not there.
    """

    KINDS = ("daemon", "supervisor", "worker", "gateway", "replica", "zygote")
    _WEIGHTS = (4, 8, 3, 2, 10, 2)
    _STOPPED = ("daemon", "supervisor", "replica")
    _MARKS = {
        "supervisor": "runtime/supervisor.py",
        "zygote": "mlengine.runtime.zygote",
        "worker": "mlengine.runtime.worker",
        "gateway": "mlengine.prediction.gateway.process",
    }

    def __init__(self, engine: LiveEngine, chance: random.Random) -> None:
        self._engine, self._chance = engine, chance
        self.kills = dict.fromkeys(self.KINDS, 0)
        self.stops = 0
        self.hit_jobs: set[str] = set()

    def strike(self, count: int = 1) -> list[str]:
        """Kill so many processes at one moment, or as many as there are; return their kinds."""
        prey = self._prey(self.KINDS)
        struck: list[str] = []
        while prey and len(struck) < count:
            kinds = list(prey)
            weights = [self._WEIGHTS[self.KINDS.index(kind)] for kind in kinds]
            kind = self._chance.choices(kinds, weights)[0]
            process, uid = prey[kind].pop(self._chance.randrange(len(prey[kind])))
            if not prey[kind]:
                del prey[kind]
            # Noted first: the job may have ended before this thread runs again.
            self.hit_jobs.add(uid)
            if kind == "daemon":
                self._engine.kill()
            elif not send(process, signal.SIGKILL):
                continue
            self.kills[kind] += 1
            struck.append(kind)
        return struck

    def stop_something(self) -> None:
        """Stop a process (SIGSTOP) and let it go on after a moment: nobody may notice."""
        kind = self._chance.choice(self._STOPPED)
        pause_s = self._chance.uniform(0.05, 1.0)
        prey = self._prey([kind]).get(kind)
        if prey:
            process, _uid = self._chance.choice(prey)
            if send(process, signal.SIGSTOP):
                self.stops += 1
                threading.Timer(pause_s, send, (process, signal.SIGCONT)).start()

    def _prey(self, kinds: Sequence[str]) -> dict[str, list[tuple[Process, str]]]:
        """Return the live processes of each kind, replicas and supervisors with their job's uid."""
        found: dict[str, list[tuple[Process, str]]] = {}
        for pid, row in sorted(snapshot().items()):
            kind, uid = self._kind_of(pid) if row.alive else ("", "")
            if kind in kinds:
                found.setdefault(kind, []).append((row, uid))
        return found

    def _kind_of(self, pid: int) -> tuple[str, str]:
        home = str(self._engine.home)
        if self._engine.running and pid == self._engine.pid:
            return "daemon", ""
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
            works_in = str(Path(f"/proc/{pid}/cwd").readlink())
            if job := re.match(re.escape(home) + r"/jobs/([^/]+)", works_in):
                return "replica", job[1]
            of_this_home = [word for word in words if home in word]
            for kind, mark in self._MARKS.items():
                if of_this_home and any(mark in word for word in words):
                    job = re.search(r"/jobs/([^/]+)", of_this_home[0])
                    return kind, job[1] if job else ""
        return "", ""


class Predicting:
    """Asks for predictions while its block runs; every one must be right."""

    def __init__(self, engine: LiveEngine, *, factor: int) -> None:
        self._engine, self._factor = engine, factor
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.count = 0
        self.wrong: list[Answer] = []

    def __enter__(self) -> Predicting:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()
        assert not self.wrong, self.wrong[:3]

    def _ask(self) -> None:
        while not self._stop.is_set():
            found = predict(self._engine, self.count)
            if (found.status, found.answer) != (200, {"predictions": [self.count * self._factor]}):
                self.wrong.append(found)
            self.count += 1


class Load:
    """Clients that create, cancel, list, predict and deploy until told to stop.

    Args:
        package: Of the jobs' trainer.
        model: What its versions have beside a name and where their multiplier is.

    Attributes:
        created: Job ids whose create was answered 200, or 409 to a repeated create of ours.
        cancelled: Job id → wall-clock second at which its cancel was answered.
        asked: Job ids whose cancel was sent, answered or not.
        broken: What no client should ever see, in words.
        predictions: How many were answered, by status.
    """

    def __init__(
        self, engine: LiveEngine, package: str, chance: random.Random, **model: Any
    ) -> None:
        self._engine, self._package, self._model = engine, package, model
        self._seeds = [chance.random() for _ in range(5)]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.created: list[str] = []
        self.cancelled: dict[str, float] = {}
        self.asked: set[str] = set()
        self.broken: list[str] = []
        self.predictions: dict[int, int] = {}
        self.slowest_s = 0.0
        self._versions: dict[str, int] = {"v1": 1}
        self._seen: dict[str, str] = {}
        self._ended_s: dict[str, float] = {}

    def start(self) -> None:
        """Begin; one thread for each kind of call, predictions from two."""
        calls = (self._create, self._cancel, self._look, self._predict, self._predict)
        for call, seed in zip(calls, self._seeds, strict=True):
            work = self._loop(call, random.Random(seed))
            self._threads.append(threading.Thread(target=work, daemon=True))
        deploys = self._loop(self._deploys(), random.Random(self._seeds[0]))
        self._threads.append(threading.Thread(target=deploys, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"

    def _loop(
        self, call: Callable[[random.Random], float], chance: random.Random
    ) -> Callable[[], None]:
        def run() -> None:
            pause_s = 0.0
            while not self._stop.wait(pause_s):
                try:
                    pause_s = call(chance)
                except (Unavailable, DeadlineExceeded, FileNotFoundError):
                    pause_s = 0.1  # the engine is down: that is what clients are told, no other
                except Exception as error:
                    self.broken.append(f"{call}: {type(error).__name__}: {error}")
                    pause_s = 0.1

        return run

    def _create(self, chance: random.Random) -> float:
        unfinished = [j for j in self.created if self._seen.get(j) not in TERMINAL]
        if len(unfinished) >= UNFINISHED:
            return 0.05
        job_id = f"job_{len(self.created)}"
        spec = TrainingInput(
            python_module="trainer.task", package_uris=[self._package], region="local"
        )
        if chance.random() < 0.4:
            spec.scale_tier, spec.master_type = "CUSTOM", "n1-standard-4"
            spec.worker_type, spec.worker_count = "n1-standard-4", chance.choice((1, 2, 4))
        options = JobOptions(max_retries=2) if chance.random() < 0.4 else None
        try:
            job = Job(job_id=job_id, training_input=spec, options=options)
            self._engine.client.create_job(P, job)
        except AlreadyExists:
            pass  # an earlier try did it, and its answer was lost
        self.created.append(job_id)
        return chance.uniform(0, 0.1)

    def _cancel(self, chance: random.Random) -> float:
        live = [j for j in self.created if self._seen.get(j) not in TERMINAL]
        # Every fourth: however long a round takes, most jobs are left to whoever kills.
        fresh = [j for j in live if j not in self.cancelled and int(j[len("job_") :]) % 4 == 1]
        if fresh and chance.random() < 0.3:
            job_id = chance.choice(fresh)
            self.asked.add(job_id)
            self._engine.client.cancel_job(P, job_id)
            self.cancelled[job_id] = time.time()
        return chance.uniform(0.05, 0.4)

    def _look(self, chance: random.Random) -> float:
        """Watch states from outside; a terminal job has no process a second later."""
        for job in self._engine.client.list_jobs(P, page_size=50).items:
            before, now = self._seen.get(job.job_id, "QUEUED"), str(job.state)
            if before != now and before in TERMINAL:
                self.broken.append(f"{job.job_id} went from {before} to {now}")
            self._seen[job.job_id] = now
            if now in TERMINAL:
                self._ended_s.setdefault(job.job_id, time.monotonic())
        now_s = time.monotonic()
        for process, uid in replicas_of(self._engine):
            job_id = uid.rpartition("-")[0]
            if now_s - self._ended_s.get(job_id, now_s) > 1.0 and look(process.pid) == process:
                self.broken.append(f"{job_id} has ended, but its process {process.pid} runs")
        return 0.2

    def _predict(self, chance: random.Random) -> float:
        version, factor = chance.choice([("", 1), *self._versions.items()])
        number = chance.randrange(10**6)
        found = predict(self._engine, number, version=version)
        self.predictions[found.status] = self.predictions.get(found.status, 0) + 1
        if found.status:
            self.slowest_s = max(self.slowest_s, found.seconds)
        right = found.status == 200 and found.answer == {"predictions": [number * factor]}
        # 404: its version was deleted while this was on its way.
        gone = found.status in (400, 404) and version not in ("", *self._versions)
        if not right and not gone and found.status not in (0, 503):
            self.broken.append(f"{version or 'default'}({number}) = {found}")
        if found.seconds > SLOWEST_S:
            self.broken.append(f"a prediction took {found.seconds:.1f} s: {found}")
        return 0.05 if found.status == 200 else 0.2

    def _deploys(self) -> Callable[[random.Random], float]:
        """Create a version, wait, use it for a while, delete it; then the next one."""
        numbers = itertools.count(2)
        steps: list[tuple[str, int]] = []

        def deploy(chance: random.Random) -> float:
            if not steps:
                number = next(numbers)
                steps.extend([("create", number), ("wait", number), ("delete", number)])
            step, number = steps[0]
            name = f"v{number}"
            with contextlib.suppress(AlreadyExists):
                self._deploy_step(step, name, number)
            steps.pop(0)
            return chance.uniform(0.2, 1.0)

        return deploy

    def _deploy_step(self, step: str, name: str, factor: int) -> None:
        client = self._engine.client
        if step == "create":
            uri = f"gs://{BUCKET}/models/{factor % 2 + 1}"
            client.create_version(P, "m", Version(name=name, deployment_uri=uri, **self._model))
        elif step == "wait":
            with contextlib.suppress(AssertionError):
                wait_until(lambda: self._state(name) in ("READY", "FAILED"), 10)
            if self._state(name) == "READY":
                self._versions[name] = factor % 2 + 1
        else:
            self._versions.pop(name, None)
            with contextlib.suppress(FailedPrecondition, NotFound):  # still CREATING, or gone
                client.delete_version(P, "m", name)

    def _state(self, name: str) -> str:
        try:
            return str(self._engine.client.get_version(P, "m", name).state)
        except Unavailable:
            return ""
