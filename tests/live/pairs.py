"""Two real engines on one PostgreSQL database and one shared folder, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from mlengine.core.errors import EngineError
from mlengine.core.resources import Job
from tests.faults.chaos import TERMINAL
from tests.faults.invariants import history
from tests.live.engines import LiveEngine
from tests.live.postgres import PostgresServer
from tests.waiting import wait_until

__all__ = ["Pair", "engine_pair", "starts_trainer"]


def starts_trainer(lines: int, pause_s: float) -> str:
    """Return a trainer that writes down each of its starts, then prints numbered lines.

    Its first argument is the file for the starts.
    """
    return (
        "import os, sys, threading\n"
        "with open(sys.argv[1], 'a') as starts:\n"
        "    starts.write('start\\n')\n"
        f"for number in range({lines}):\n"
        "    print('line', number, flush=True)\n"
        f"    threading.Event().wait({pause_s})\n"
    )


class Pair:
    """Engines `a` and `b`, and what they have in common."""

    def __init__(self, root: Path, server: PostgresServer, **settings: str) -> None:
        self.root, self.server = root, server
        self.database = server.new_database()
        self.shared = root / "shared"
        self.starts = root / "starts"
        self.starts.mkdir()
        self._settings = settings
        self.a, self.b = self.engine("a"), self.engine("b")

    @property
    def both(self) -> tuple[LiveEngine, LiveEngine]:
        return self.a, self.b

    def engine(self, name: str) -> LiveEngine:
        """Return an engine that is not started, with a home of its own."""
        url, shared = self.server.url(self.database), str(self.shared)
        return LiveEngine(self.root / name, database=url, shared=shared, **self._settings)

    def leaders(self) -> list[LiveEngine]:
        """Return which engines say that they lead."""
        found = []
        for engine in self.both:
            with contextlib.suppress(EngineError):
                if engine.running and engine.client.status().leading:
                    found.append(engine)
        return found

    def leader(self, timeout_s: float = 30.0) -> LiveEngine:
        """Return the engine that leads, once there is one."""
        wait_until(lambda: len(self.leaders()) == 1, timeout_s, "one engine leads")
        return self.leaders()[0]

    def other(self, engine: LiveEngine) -> LiveEngine:
        return self.b if engine is self.a else self.a

    def submit(self, engine: LiveEngine, job_id: str, package: str) -> Job:
        return engine.submit(job_id, package, str(self.starts / job_id))

    def started(self, job_id: str) -> int:
        """Return how often a job's trainer was started."""
        path = self.starts / job_id
        return len(path.read_text().splitlines()) if path.exists() else 0

    def ended(self, job_id: str, timeout_s: float = 60.0) -> Job:
        """Wait for a job's end as either engine tells it; engines may come and go meanwhile."""
        found: list[Job] = []

        def look() -> bool:
            for engine in self.both:
                if engine.running:
                    with contextlib.suppress(EngineError):
                        found.append(engine.job(job_id))
                        return bool(found[-1].end_time)
            return False

        wait_until(look, timeout_s, f"{job_id} ends; last seen {found[-1:]}")
        return found[-1]

    def replicas(self) -> list[int]:
        """Return the processes that work in a job's folder."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str((entry / "cwd").readlink()).startswith(
                    str(self.shared / "jobs")
                ):
                    found.append(int(entry.name))
        return found

    def wrong(self) -> list[str]:
        """Return what does not hold once all is quiet: of records, history, folders, processes."""
        wrong = []
        with self.server.connect(self.database) as connection:
            rows = connection.execute("SELECT job_id, uid, state FROM jobs").fetchall()
            wrong += history(connection)
            for (model,) in connection.execute("SELECT seq FROM models").fetchall():
                query = "SELECT count(*) FROM versions WHERE is_default AND model_seq = %s"
                defaults = connection.execute(query, [model]).fetchall()
                wrong += [] if defaults == [(1,)] else [f"model {model} has {defaults} defaults"]
        wrong += [
            f"{job} is stuck in {state}" for job, _uid, state in rows if state not in TERMINAL
        ]
        folders = {path.name for path in (self.shared / "jobs").iterdir()}
        wrong += [f"the folder {f} is of no job" for f in folders - {uid for _j, uid, _s in rows}]
        wrong += [f"{uid} has no folder" for _j, uid, _s in rows if uid not in folders]
        for job, _uid, state in rows:
            if self.started(job) > 1 or (state == "SUCCEEDED" and not self.started(job)):
                wrong.append(f"{job} ({state}) was started {self.started(job)} times")
        wrong += [f"process {pid} was left" for pid in self.replicas()]
        return wrong

    def processes(self) -> list[str]:
        """Return the command lines of all processes of these engines."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if any(str(self.root) in word for word in words):
                        found.append(" ".join(words))
        return found


@contextlib.contextmanager
def engine_pair(root: Path, server: PostgresServer, **settings: str) -> Iterator[Pair]:
    """Run two engines; afterwards nothing of them may be left running."""
    settings = {"max_running_jobs": "4", "retry_backoff_s": "0.1", **settings}
    pair = Pair(root, server, **settings)
    for engine in pair.both:
        engine.start()
    try:
        yield pair
    finally:
        for engine in pair.both:
            if not engine.running:  # what it left is the next one's to stop
                engine.start()
            os.kill(engine.pid, signal.SIGCONT)
        for engine in pair.both:
            assert engine.stop() == 0
        wait_until(lambda: not pair.processes(), 20, str(pair.processes()))
