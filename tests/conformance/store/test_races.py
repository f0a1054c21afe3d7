from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from mlengine.core.errors import AlreadyExists, FailedPrecondition
from mlengine.core.resources import Job, Model, Version
from mlengine.core.states import JobState, VersionState
from mlengine.store import JobRecord, Store, open_store

T = TypeVar("T")
THREADS = 50


def at_once(calls: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Run every call in a thread of its own, all let go at the same moment."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait(60)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_of_fifty_creates_of_one_id_one_wins(store: Store) -> None:
    def create(number: int) -> Callable[[], JobRecord]:
        return lambda: store.add_job("p", Job(job_id="census"), uid=f"u{number}")

    results = at_once([create(number) for number in range(THREADS)])
    winners = [result for result in results if isinstance(result, JobRecord)]
    assert winners == [store.job("p", "census")]
    assert sum(isinstance(result, AlreadyExists) for result in results) == THREADS - 1
    assert len(store.jobs("p")) == len(store.events()) == 1


def test_of_many_moves_of_one_record_exactly_one_wins(store: Store) -> None:
    moves = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLING]
    for round_ in range(10):
        record = store.add_job("p", Job(job_id=f"job{round_}"), uid=f"u{round_}")
        for to in (JobState.PREPARING, JobState.RUNNING):
            moved = store.move_job(record, to)
            assert moved is not None
            record = moved

        def move(to: JobState, record: JobRecord = record) -> Callable[[], JobRecord | None]:
            return lambda: store.move_job(record, to)

        results = at_once([move(moves[number % 3]) for number in range(9)])
        winners = [result for result in results if result is not None]
        assert winners == [store.job("p", f"job{round_}")]


def test_concurrent_edits_all_count(store: Store) -> None:
    store.add_job("p", Job(job_id="census"), uid="u")

    def edit(number: int) -> Callable[[], JobRecord]:
        def change(job: Job) -> Job:
            return msgspec.structs.replace(job, labels={**job.labels, f"k{number}": "v"})

        return lambda: store.edit_job("p", "census", change)

    at_once([edit(number) for number in range(20)])
    assert len(store.job("p", "census").job.labels) == 20


def test_the_default_survives_moves_and_removals_at_once(store: Store) -> None:
    store.add_model("p", Model(name="census"))
    for version_id in ("v0", "v1"):
        record = store.add_version("p", "census", Version(name=version_id), uid=version_id)
        assert store.move_version(record, VersionState.READY)

    for round_ in range(10):
        other = "v1" if store.model("p", "census").default_version_id == "v0" else "v0"
        record = store.version("p", "census", other)

        def make_default(other: str = other) -> object:
            return store.set_default("p", "census", other)

        def delete(record: Any = record) -> object:
            return store.move_version(record, VersionState.DELETING)

        made, deleted = at_once([make_default, delete])
        assert isinstance(made, FailedPrecondition) != isinstance(deleted, FailedPrecondition)
        model = store.model("p", "census")
        default = store.version("p", "census", model.default_version_id)
        assert default.state is VersionState.READY, round_
        if not isinstance(deleted, FailedPrecondition):
            assert store.remove_version(store.version("p", "census", other))
            again = store.add_version("p", "census", Version(name=other), uid=f"{other}-{round_}")
            assert store.move_version(again, VersionState.READY)


def test_readers_meanwhile_never_see_half_a_write(store: Store) -> None:
    store.add_model("p", Model(name="census"))
    for version_id in ("v0", "v1"):
        record = store.add_version("p", "census", Version(name=version_id), uid=version_id)
        store.move_version(record, VersionState.READY)
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            versions = store.versions("p", "census")
            seen.append(sum(record.version.is_default for record in versions))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(40):
        store.set_default("p", "census", f"v{number % 2}")
    stop.set()
    for reader in readers:
        reader.join(60)
    assert set(seen) == {1}


def test_of_two_stores_on_one_database_the_second_edit_waits_for_the_first(
    store: Store, url: str
) -> None:
    store.add_job("p", Job(job_id="census"), uid="u")
    other, second_read = open_store(url), threading.Event()

    def second(job: Job) -> Job:
        second_read.set()
        return msgspec.structs.replace(job, labels={**job.labels, "second": "v"})

    with ThreadPoolExecutor(1) as pool:

        def first(job: Job) -> Job:
            later.append(pool.submit(other.edit_job, "p", "census", second))
            assert not second_read.wait(0.3), "it read a value that is about to change"
            return msgspec.structs.replace(job, labels={**job.labels, "first": "v"})

        later: list[Future[JobRecord]] = []
        store.edit_job("p", "census", first)
        assert later[0].result(30).job.labels == {"first": "v", "second": "v"}
    other.close()
