"""PostgreSQL is hurt while a store works: nothing acknowledged is lost, and it heals by itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import msgspec
import pytest

from mlengine.core.resources import Job
from mlengine.core.states import JobState
from mlengine.store import StoreAway
from mlengine.store.database import Transaction
from mlengine.store.sql import SqlStore
from tests.live.postgres import PostgresServer
from tests.waiting import wait_until

PATIENCE_S = 0.2


@pytest.fixture
def name(postgres: PostgresServer) -> str:
    return postgres.empty_database()


@pytest.fixture
def store(postgres: PostgresServer, name: str) -> Iterator[SqlStore]:
    opened = SqlStore.open(postgres.url(name), patience_s=PATIENCE_S)
    add(opened, "census")
    yield opened
    opened.close()


def add(store: SqlStore, job_id: str) -> None:
    store.add_job("p", Job(job_id=job_id), uid=job_id)


def label(job: Job) -> Job:
    return msgspec.structs.replace(job, labels={"a": "b"})


# --- sessions that end --------------------------------------------------------------------------


def test_a_session_that_ends_between_calls_is_not_noticed(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    for number in range(3):
        assert postgres.kill_sessions(name) >= 1
        add(store, f"job{number}")
        postgres.kill_sessions(name)
        assert len(store.jobs("p")) == 2 + number


def test_a_write_whose_session_is_killed_did_not_happen_and_says_so(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    def change(job: Job) -> Job:
        postgres.kill_sessions(name)
        return label(job)

    with pytest.raises(StoreAway, match=r"broke off.*Look, then try again"):
        store.edit_job("p", "census", change)
    assert store.job("p", "census").job.labels == {}
    assert len(store.events()) == 1
    assert store.edit_job("p", "census", label).job.labels == {"a": "b"}


def test_a_read_whose_session_is_killed_is_read_again(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    tries = []

    def work(tx: Transaction) -> int:
        tries.append(tx)
        if len(tries) == 1:
            postgres.kill_sessions(name)
        return len(store.jobs("p")) + tx.connection.exec_driver_sql("SELECT 1").scalar_one()

    assert store._database.read(work) == 2
    assert len(tries) == 2


# --- a server that crashes ----------------------------------------------------------------------


class Writer(threading.Thread):
    """Adds and moves jobs without pause; keeps what was acknowledged, and how often it was not."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__()
        self.store, self.stop = store, threading.Event()
        self.acknowledged: dict[str, JobState] = {}
        self.refusals = 0

    def run(self) -> None:
        for number in itertools.count():
            if self.stop.is_set():
                return
            job_id = f"job{number}"
            try:
                record = self.store.add_job("p", Job(job_id=job_id), uid=job_id)
                self.acknowledged[job_id] = record.state
                if moved := self.store.move_job(record, JobState.PREPARING, attempt=1):
                    self.acknowledged[job_id] = moved.state
            except StoreAway:
                self.refusals += 1
                self.stop.wait(0.01)

    def wait_for_more(self) -> None:
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) >= before + 5, timeout_s=60)


@pytest.mark.parametrize("how", ["a backend is killed", "the server is stopped at once"])
def test_no_crash_loses_what_was_acknowledged(
    postgres: PostgresServer, name: str, store: SqlStore, how: str
) -> None:
    writer = Writer(store)
    writer.start()
    try:
        for _ in range(3):
            writer.wait_for_more()
            if how == "a backend is killed":
                postgres.crash_a_session(name)
            else:
                postgres.stop("immediate")
                postgres.start()
        writer.wait_for_more()
    finally:
        writer.stop.set()
        writer.join(60)
    assert writer.refusals
    found = {record.job_id: record.state for record in store.jobs("p", limit=100_000)}
    assert writer.acknowledged.keys() <= found.keys()
    for job_id, state in writer.acknowledged.items():
        # A move may have been committed though the answer did not arrive.
        assert found[job_id] in {state, JobState.PREPARING}
    assert len(found) - 1 - len(writer.acknowledged) <= writer.refusals
    again = SqlStore.open(postgres.url(name))
    moves = sum(state is JobState.PREPARING for state in found.values())
    assert len(again.events(limit=100_000)) == len(found) + moves
    again.close()


def test_while_there_is_no_server_every_call_says_so(
    postgres: PostgresServer, store: SqlStore
) -> None:
    assert store.lead()
    postgres.stop("immediate")
    try:
        for call in (store.buckets, lambda: add(store, "new")):
            with pytest.raises(StoreAway, match=r"broke off|cannot be reached"):
                call()
        assert not store.lead()
        assert not store.lead()
    finally:
        postgres.start()
    store.fact("a", "b")
    assert store.lead()


# --- others in the way --------------------------------------------------------------------------


def test_a_locked_record_is_unavailable_and_all_others_are_not(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    add(store, "other")
    with postgres.connect(name) as session, session.transaction():
        session.execute("SELECT FROM jobs WHERE job_id = 'census' FOR UPDATE")
        with pytest.raises(StoreAway, match="locked by another process"):
            store.edit_job("p", "census", label)
        assert store.job("p", "census").job.labels == {}
        assert store.edit_job("p", "other", label).job.labels == {"a": "b"}
    assert store.edit_job("p", "census", label).job.labels == {"a": "b"}


def test_readers_wait_for_no_writer(store: SqlStore) -> None:
    def change(job: Job) -> Job:
        assert store.job("p", "census").job.labels == {}
        assert len(store.jobs("p")) == 1
        add(store, "beside")  # nor do writers of other records
        return label(job)

    assert store.edit_job("p", "census", change).job.labels == {"a": "b"}
    assert len(store.jobs("p")) == 2


def test_a_writer_that_stalls_is_thrown_out_by_the_server(
    postgres: PostgresServer, name: str, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlengine.store import postgres_address

    monkeypatch.setitem(postgres_address._THEIRS, "idle_in_transaction_session_timeout", "50")
    stalled = SqlStore.open(postgres.url(name))

    def change(job: Job) -> Job:
        wait_until(lambda: store.edit_job("p", "census", label), timeout_s=60)
        return msgspec.structs.replace(job, labels={"late": "v"})

    with pytest.raises(StoreAway):
        stalled.edit_job("p", "census", change)
    assert store.job("p", "census").job.labels == {"a": "b"}
    stalled.fact("a", "b")
    stalled.close()


def test_two_who_wait_for_each_other_are_both_served_in_the_end(
    postgres: PostgresServer, name: str
) -> None:
    patient = SqlStore.open(postgres.url(name), patience_s=30)
    for job_id in ("one", "two"):
        add(patient, job_id)
    barrier = threading.Barrier(2)
    tries: list[str] = []

    def both(tx: Transaction, first: str, second: str) -> None:
        tries.append(first)
        tx.connection.exec_driver_sql(f"UPDATE jobs SET revision = 2 WHERE job_id = '{first}'")
        if tries.count(first) == 1:
            barrier.wait(60)
        tx.connection.exec_driver_sql(f"UPDATE jobs SET revision = 2 WHERE job_id = '{second}'")

    args = [("one", "two"), ("two", "one")]
    threads = [threading.Thread(target=patient._database.write, args=(both, *a)) for a in args]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # Who gives way may be back before the other one woke up, and give way once more.
    assert len(tries) >= 3
    assert postgres.sql("SELECT revision FROM jobs", database=name) == [(2,), (2,)]
    patient.close()


# --- the lead -----------------------------------------------------------------------------------


def test_a_leader_whose_session_is_gone_says_no_before_it_says_yes_again(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    assert store.lead()
    postgres.kill_sessions(name)
    assert not store.lead()
    assert store.lead()


def test_the_next_in_line_leads_when_the_leaders_session_is_gone(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    other = SqlStore.open(postgres.url(name))
    assert store.lead()
    assert not other.lead()
    postgres.kill_sessions(name)
    wait_until(other.lead)
    assert not store.lead()
    assert not store.lead()
    other.close()
    wait_until(store.lead)
