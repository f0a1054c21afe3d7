"""The races of `test_races` between processes, as engines of one database have them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import msgspec
import pytest

from mlengine.core.errors import AlreadyExists, FailedPrecondition
from mlengine.core.resources import Job, Model, Version
from mlengine.core.states import JobState, VersionState
from mlengine.store import JobRecord, Store, VersionRecord, open_store
from tests.conformance.store.rivals import Rivals, rivals
from tests.conformance.store.technologies import Technology
from tests.waiting import wait_until

ROUNDS = 15
CREATES = 4


@pytest.fixture
def three(store: Store, url: str) -> Iterator[Rivals]:
    """Processes beside the test's own store."""
    with rivals(url, 3) as running:
        yield running


def create(store: Store, job_id: str, uid: str) -> list[object]:
    """Create the job in several threads at once."""
    barrier, results = threading.Barrier(CREATES), list[object]()

    def run(number: int) -> None:
        barrier.wait(60)
        try:
            results.append(store.add_job("p", Job(job_id=job_id), uid=f"{uid}-{number}"))
        except AlreadyExists as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CREATES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_of_creates_of_one_id_one_wins(store: Store, three: Rivals) -> None:
    for number in range(ROUNDS):
        job_id = f"job{number}"
        found = three.at_once(*[(create, (job_id, f"{job_id}-{n}")) for n in range(3)])
        results = [result for of_one in found for result in of_one]
        winners = [result for result in results if isinstance(result, JobRecord)]
        assert winners == [store.job("p", job_id)]
        assert sum(isinstance(r, AlreadyExists) for r in results) == 3 * CREATES - 1
    assert len(store.jobs("p")) == len(store.events()) == ROUNDS


def move(store: Store, record: JobRecord, to: JobState) -> JobRecord | None:
    return store.move_job(record, to)


def test_a_cancel_and_an_ending_never_both_win(store: Store, three: Rivals) -> None:
    ends = (JobState.CANCELLING, JobState.SUCCEEDED, JobState.FAILED)
    for number in range(ROUNDS):
        record = store.add_job("p", Job(job_id=f"job{number}"), uid=f"u{number}")
        for to in (JobState.PREPARING, JobState.RUNNING):
            moved = store.move_job(record, to)
            assert moved is not None
            record = moved
        results = three.at_once(*[(move, (record, to)) for to in ends])
        winners = [result for result in results if result is not None]
        assert winners == [store.job("p", f"job{number}")]


def edit(store: Store, label: str) -> None:
    for number in range(5):
        store.edit_job("p", "census", partial(labelled, f"{label}{number}"))


def labelled(label: str, job: Job) -> Job:
    return msgspec.structs.replace(job, labels={**job.labels, label: "v"})


def test_edits_all_count(store: Store, three: Rivals) -> None:
    store.add_job("p", Job(job_id="census"), uid="u")
    assert three.at_once(*[(edit, (letter,)) for letter in "abc"]) == [None] * 3
    assert len(store.job("p", "census").job.labels) == 15


def make_default(store: Store, version_id: str) -> VersionRecord:
    return store.set_default("p", "census", version_id)


def leave(store: Store, record: VersionRecord) -> VersionRecord | None:
    return store.move_version(record, VersionState.DELETING)


def come(store: Store, version_id: str, uid: str) -> VersionRecord | None:
    record = store.add_version("p", "census", Version(name=version_id), uid=uid)
    return store.move_version(record, VersionState.READY)


def test_there_is_one_default_and_it_serves_whoever_changes_what(
    store: Store, three: Rivals
) -> None:
    store.add_model("p", Model(name="census"))
    for version_id in ("v0", "v1"):
        come(store, version_id, version_id)
    for number in range(ROUNDS):
        default = store.model("p", "census").default_version_id
        other = "v1" if default == "v0" else "v0"
        record = store.version("p", "census", other)
        made, left, came = three.at_once(
            (make_default, (other,)), (leave, (record,)), (come, (f"w{number}", f"w{number}"))
        )
        assert isinstance(made, FailedPrecondition) != isinstance(left, FailedPrecondition)
        assert isinstance(came, VersionRecord)
        versions = store.versions("p", "census")
        (marked,) = [version for version in versions if version.version.is_default]
        assert marked.state is VersionState.READY
        assert marked.version_id == store.model("p", "census").default_version_id
        if isinstance(left, VersionRecord):
            assert store.remove_version(left)
            come(store, other, f"{other}-{number}")


def remove_model(store: Store) -> None:
    store.remove_model("p", "gone")


def add_to_it(store: Store, uid: str) -> VersionRecord:
    return store.add_version("p", "gone", Version(name="v1"), uid=uid)


def make_again(store: Store) -> None:
    store.add_model("p", Model(name="gone"))


def test_no_version_is_left_without_its_model(store: Store, three: Rivals) -> None:
    for number in range(ROUNDS):
        store.add_model("p", Model(name="gone"))
        results = three.at_once((remove_model, ()), (add_to_it, (f"u{number}",)), (make_again, ()))
        added = isinstance(results[1], VersionRecord)
        again = results[2] is None
        there = [model.model_id for model in store.models("p")] == ["gone"]
        assert there == (added or again)
        if added:
            (version,) = store.versions("p", "gone")
            assert store.model("p", "gone").default_version_id == "v1"
            leaving = store.move_version(version, VersionState.FAILED)
            assert leaving is not None
            leaving = store.move_version(leaving, VersionState.DELETING)
            assert leaving is not None
            assert store.remove_version(leaving)
        if there:
            store.remove_model("p", "gone")


def write_much(store: Store, who: str) -> None:
    def write(number: int) -> None:
        for turn in range(10):
            store.add_operation("p", f"{who}-{number}-{turn}", {})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_who_follows_the_events_misses_none(
    store: Store, three: Rivals, url: str, technology: Technology
) -> None:
    """Where a file has one engine, that one writes and follows."""
    several = technology.engines > 1
    follower, seen, stop = open_store(url) if several else store, list[int](), threading.Event()

    def follow() -> None:
        while not stop.is_set() or follower.events(after_seq=seen[-1]):
            seen.extend(e.seq for e in follower.events(after_seq=seen[-1] if seen else 0, limit=7))

    thread = threading.Thread(target=follow)
    thread.start()
    if several:
        three.at_once(*[(write_much, (who,)) for who in "abc"])
    else:
        write_much(store, "a")
    wait_until(lambda: seen)
    stop.set()
    thread.join(60)
    if several:
        follower.close()
    assert seen == [event.seq for event in store.events(limit=1000)]
    assert len(seen) == (90 if several else 30)
