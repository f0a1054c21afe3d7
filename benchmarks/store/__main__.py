"""Operations per second of the store on SQLite and on PostgreSQL, each beside its bare driver.

Runs ``python -m benchmarks.store``, about 40 s. PostgreSQL is a server of its own on loopback, from
the machine's package; both databases are on the same disk, and both wait for it at each commit.
Each operation runs for a second with one thread, then with eight. "bare insert" and "bare read" are
the floor: one durable row of a job's bytes, and one row by its key, by the driver alone.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from mlengine.core.resources import Job, TrainingInput
from mlengine.core.states import JobState
from mlengine.store import JobRecord, Store, open_store
from tests.live.postgres import PostgresServer, missing, postgres_server

THREADS = (1, 8)
TABLE = "CREATE TABLE bare (id TEXT PRIMARY KEY, body TEXT NOT NULL)"
BODY = json.dumps({"trainingInput": {"args": ["x" * 400]}})

Call = Callable[[], object]


def main() -> int:
    """Measure and print; there is no target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each operation")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="mlengine-bench-"))
    figures: dict[str, float] = {}
    try:
        with postgres_server() as server, contextlib.ExitStack() as sessions:
            places = {
                "sqlite": (
                    f"sqlite:///{folder}/engine.db",
                    bare_sqlite(folder / "bare.db", sessions),
                ),
                "postgresql": (server.url(server.new_database()), bare_postgres(server, sessions)),
            }
            for threads in THREADS:
                for name, (url, bare) in places.items():
                    found = measure(url, bare, threads, options.seconds)
                    figures |= {f"{what} {name} {threads}": n for what, n in found.items()}
    finally:
        shutil.rmtree(folder)
    print(json.dumps(figures) if options.json else table(figures))
    return 0


def measure(
    url: str, bare: Callable[[], tuple[Call, Call]], threads: int, seconds: float
) -> dict[str, float]:
    """Return operations per second by name."""
    store = open_store(url)
    numbers = itertools.count()
    prefix = f"t{threads}_"
    records: list[JobRecord] = []

    def create() -> None:
        job_id = f"{prefix}{next(numbers)}"
        job = Job(job_id=job_id, training_input=TrainingInput(args=["x" * 400]))
        records.append(store.add_job("p", job, uid=job_id))

    found = {"create job": per_second(lambda: create, threads, seconds)}
    rest = iter(list(records))
    lock = threading.Lock()

    def move() -> Call:
        return _moves(store, rest, lock)

    found["move job"] = per_second(move, threads, seconds)
    turns = itertools.count()

    def edit() -> None:
        turn = next(turns)
        record = records[turn % len(records)]
        labels = {"turn": str(turn)}
        store.edit_job("p", record.job_id, lambda job: msgspec.structs.replace(job, labels=labels))

    def read() -> object:
        return store.job("p", records[next(turns) % len(records)].job_id)

    found["edit job"] = per_second(lambda: edit, threads, seconds)
    found["read job"] = per_second(lambda: read, threads, seconds)
    found["list 100 jobs"] = per_second(lambda: lambda: store.jobs("p"), threads, seconds)
    store.close()
    found["bare insert"] = per_second(lambda: bare()[0], threads, seconds)
    found["bare read"] = per_second(lambda: bare()[1], threads, seconds)
    return found


def _moves(store: Store, records: Iterator[JobRecord], lock: threading.Lock) -> Call:
    """Return what moves the next job, or the same one a second time."""
    mine: list[JobRecord] = []

    def move() -> None:
        if mine:
            assert store.move_job(mine.pop(), JobState.RUNNING)
            return
        with lock:
            record = next(records)
        moved = store.move_job(record, JobState.PREPARING, attempt=1)
        assert moved is not None
        mine.append(moved)

    return move


def per_second(new_call: Callable[[], Call], threads: int, seconds: float) -> float:
    """Return how often so many threads made a call in about so many seconds, per second."""
    barrier = threading.Barrier(threads + 1)
    counts: list[int] = []
    errors: list[BaseException] = []

    def run() -> None:
        call, count = new_call(), 0
        barrier.wait()
        until_s = time.perf_counter() + seconds
        try:
            while time.perf_counter() < until_s:
                call()
                count += 1
        except StopIteration:
            pass  # every job has been moved
        except BaseException as error:
            errors.append(error)
        counts.append(count)

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    barrier.wait()
    began_s = time.perf_counter()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.perf_counter() - began_s)


# --- the floor ----------------------------------------------------------------------------------


def bare_sqlite(path: Path, sessions: contextlib.ExitStack) -> Callable[[], tuple[Call, Call]]:
    """Return what makes a thread's (insert, read) on a file of its own kind of journal."""
    numbers = itertools.count()
    with sqlite3.connect(path) as first:
        first.execute(TABLE)
        first.execute("INSERT INTO bare VALUES ('known', ?)", [BODY])
    first.close()

    def new() -> tuple[Call, Call]:
        session = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        sessions.callback(session.close)
        session.execute("PRAGMA journal_mode=TRUNCATE")
        session.execute("PRAGMA synchronous=FULL")
        return _pair(session, numbers, "?")

    return new


def bare_postgres(
    server: PostgresServer, sessions: contextlib.ExitStack
) -> Callable[[], tuple[Call, Call]]:
    """Return what makes a thread's (insert, read) on a connection of its own."""
    numbers = itertools.count()
    name = server.new_database()
    server.sql(TABLE, database=name)
    server.sql("INSERT INTO bare VALUES ('known', %s)", BODY, database=name)
    url = server.url(name).replace("+psycopg", "")

    def new() -> tuple[Call, Call]:
        session = psycopg.connect(url, autocommit=True)
        sessions.callback(session.close)
        return _pair(session, numbers, "%s")

    return new


def _pair(session: Any, numbers: Iterator[int], mark: str) -> tuple[Call, Call]:
    insert, read = (
        f"INSERT INTO bare VALUES ({mark}, {mark})",
        f"SELECT * FROM bare WHERE id={mark}",
    )
    return (
        lambda: session.execute(insert, [str(next(numbers)), BODY]),
        lambda: session.execute(read, ["known"]).fetchone(),
    )


def table(figures: dict[str, float]) -> str:
    """Lay the figures out: a row for each operation."""
    names = ("sqlite", "postgresql")
    head = "".join(f"{f'{name}, {n} threads':>24}" for name in names for n in THREADS)
    rows = [f"{'operations per second':24}{head}".replace("1 threads", " 1 thread")]
    for what in dict.fromkeys(key.rsplit(" ", 2)[0] for key in figures):
        cells = [figures[f"{what} {name} {n}"] for name in names for n in THREADS]
        rows.append(f"{what:24}" + "".join(f"{cell:24,.0f}" for cell in cells))
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
