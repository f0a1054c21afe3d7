from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from mlengine.core.errors import FailedPrecondition, Unavailable
from mlengine.core.resources import Job, TrainingInput
from mlengine.core.states import JobState
from mlengine.store import sqlite
from mlengine.store.sql import SqlStore

PATIENCE_S = 0.1


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def reopen(path: Path) -> SqlStore:
    return SqlStore.open(url(path), patience_s=PATIENCE_S)


def fill(store: SqlStore, count: int, prefix: str = "job") -> None:
    for number in range(count):
        job = Job(job_id=f"{prefix}{number}", training_input=TrainingInput(args=["x" * 400]))
        store.add_job("p", job, uid=f"{prefix}{number}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    opened = reopen(path)
    fill(opened, 3)
    yield opened
    opened.close()


# --- the journal --------------------------------------------------------------------------------


def test_damage_that_the_journal_finds_is_told_with_the_way_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reopen(path).close()

    def damaged(_statement: str) -> None:
        error = sqlite3.DatabaseError("file is not a database")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error

    cursor = SimpleNamespace(execute=damaged)
    connection = SimpleNamespace(cursor=lambda: cursor, close=lambda: None)
    engine: Any = SimpleNamespace(raw_connection=lambda: connection)
    use_wal = sqlite._use_wal
    monkeypatch.setattr(sqlite, "_use_wal", lambda _engine, path: use_wal(engine, path))
    with pytest.raises(FailedPrecondition, match=r"engine\.db-wal"):
        reopen(path)


def journal_of(path: Path) -> str:
    connection = sqlite3.connect(path)
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    return str(mode)


def test_what_protects_a_commit_can_be_read(store: SqlStore, path: Path) -> None:
    assert "journal_mode=WAL, synchronous=FULL" in store.describe()
    assert str(path) in store.describe()
    assert journal_of(path) == "wal"


def test_a_file_of_a_release_without_a_log_gets_one(store: SqlStore, path: Path) -> None:
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=TRUNCATE").fetchone()
    connection.close()
    assert journal_of(path) != "wal"
    again = reopen(path)
    fill(again, 1, prefix="later")
    again.close()
    assert journal_of(path) == "wal"


def test_a_file_system_that_cannot_hold_a_log_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_WAL", "PRAGMA journal_mode=MEMORY")
    with pytest.raises(FailedPrecondition, match="journal_mode stays memory"):
        reopen(path)


# --- the file -----------------------------------------------------------------------------------


def test_only_the_owner_may_read_the_file_also_after_it_was_opened_up(
    store: SqlStore, path: Path
) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()
    path.chmod(0o644)
    reopen(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_first_start_leaves_no_file_of_its_making(tmp_path: Path) -> None:
    folder = tmp_path / "new folder % #"
    reopen(folder / "engine.db").close()
    names = {name.name for name in folder.iterdir()}
    assert names == {"engine.db"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_start_that_was_killed_is_not_in_the_way(path: Path) -> None:
    path.with_name(".engine.db.new").write_bytes(b"half")
    path.with_name(".engine.db.new-journal").write_bytes(b"half")
    reopen(path).close()
    assert not path.with_name(".engine.db.new").exists()


def test_a_first_start_that_fails_leaves_no_database(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.store.migrations.upgrade", lambda connection: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        reopen(path)
    assert list(path.parent.iterdir()) == []


def test_engines_that_start_at_once_make_one_database(path: Path) -> None:
    barrier = threading.Barrier(4)
    opened: list[SqlStore] = []

    def start(number: int) -> None:
        barrier.wait(60)
        mine = SqlStore.open(url(path))
        fill(mine, 1, prefix=f"from{number}_")
        opened.append(mine)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(mine.jobs("p")) for mine in opened] == [4] * 4
    for mine in opened:
        mine.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="No such file or directory"):
        reopen(tmp_path / "a" / "b" / "engine.db")


# --- refusing to start --------------------------------------------------------------------------


def refused(path: Path) -> str:
    """Return why it was refused, having seen that nothing was touched."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(FailedPrecondition) as refusal:
        reopen(path)
    assert (path.read_bytes() if path.exists() else None) == before
    return str(refusal.value)


def test_a_damaged_first_page_is_refused_with_the_way_back(store: SqlStore, path: Path) -> None:
    store.close()
    whole = path.read_bytes()
    path.write_bytes(b"\xa5" * 4096 + whole[4096:])
    message = refused(path)
    assert "is damaged" in message
    assert "backup" in message
    path.write_bytes(whole)
    assert len(reopen(path).jobs("p")) == 3


def test_a_damaged_later_page_is_refused(store: SqlStore, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'jobs'"
        (page,) = connection.execute(query).fetchone()
    connection.close()
    whole = bytearray(path.read_bytes())
    whole[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    path.write_bytes(whole)
    assert "is damaged" in refused(path)


@pytest.mark.parametrize("size_bytes", [0, 1, 100, 5000])
def test_a_file_that_was_cut_is_refused_and_not_begun_anew(
    store: SqlStore, path: Path, size_bytes: int
) -> None:
    store.close()
    os.truncate(path, size_bytes)
    assert "is damaged" in refused(path)


def test_a_database_that_vanished_under_its_journal_is_refused(path: Path) -> None:
    path.with_name("engine.db-journal").write_bytes(b"pages of the file that is gone")
    assert "it is gone, but engine.db-journal is there" in refused(path)


def test_a_newer_database_is_refused(store: SqlStore, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "newer mlengine (revision 9999" in refused(path)


@pytest.mark.parametrize("statement", ["CREATE TABLE songs (title)", "PRAGMA user_version = 7"])
def test_somebody_elses_database_is_refused(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    path.chmod(0o600)
    assert "not one of mlengine" in refused(path)


def test_a_large_file_is_not_walked_at_every_start(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    monkeypatch.setattr("mlengine.store.sqlite_files._QUICK_CHECK_MAX_BYTES", 1)
    assert len(reopen(path).jobs("p")) == 3


def test_triggers_of_an_older_release_are_replaced(store: SqlStore, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER jobs_moves")
        connection.execute("DROP TRIGGER jobs_stay")
        connection.execute(
            "CREATE TRIGGER jobs_stay BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'old'); END"
        )
    connection.close()
    reopen(path).close()
    with sqlite3.connect(path) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="kept for ever"):
            connection.execute("DELETE FROM jobs")
        with pytest.raises(sqlite3.IntegrityError, match="unlawful job move"):
            connection.execute("UPDATE jobs SET state = 'SUCCEEDED'")
    connection.close()


# --- faults while it runs -----------------------------------------------------------------------


def test_a_locked_database_refuses_writes_until_it_is_let_go(store: SqlStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable, match="locked by another process"):
        fill(store, 1, "new")
    assert len(store.jobs("p")) == 3
    other.execute("ROLLBACK")
    other.close()
    fill(store, 1, "new")
    assert len(store.jobs("p")) == 4


def test_a_reader_elsewhere_does_not_stop_a_commit(store: SqlStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    before = other.execute("SELECT count(*) FROM jobs").fetchone()
    fill(store, 1, "new")
    assert other.execute("SELECT count(*) FROM jobs").fetchone() == before
    other.execute("COMMIT")
    other.close()
    assert len(store.jobs("p")) == 4


def test_threads_behind_a_lock_do_not_add_up_their_waiting(store: SqlStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    refusals: list[Unavailable] = []

    def write(number: int) -> None:
        try:
            fill(store, 1, f"new{number}_")
        except Unavailable as error:
            refusals.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(40)]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.execute("ROLLBACK")
    other.close()
    assert len(refusals) == 40
    assert time.monotonic() - began_s < 20 * PATIENCE_S


@pytest.fixture
def every_connection() -> Iterator[list[str]]:
    """Statements that each new connection runs, whoever opens it."""
    statements: list[str] = []

    def run(connection: Any, _record: Any) -> None:
        for statement in statements:
            connection.execute(statement)

    sa.event.listen(sa.pool.Pool, "connect", run)
    yield statements
    sa.event.remove(sa.pool.Pool, "connect", run)


def test_a_file_that_may_not_grow_refuses_writes_and_still_reads(
    store: SqlStore, path: Path, every_connection: list[str]
) -> None:
    store.close()
    every_connection.append(f"PRAGMA max_page_count = {path.stat().st_size // 4096 + 2}")
    tight = reopen(path)
    with pytest.raises(Unavailable, match=r"disk is full\. Free some space"):
        fill(tight, 100, "new")
    written = len(tight.jobs("p"))
    assert 3 <= written < 103
    record = tight.job("p", "job0")
    assert len(tight.events(limit=1000)) == written
    tight.close()
    every_connection.clear()
    again = reopen(path)
    fill(again, 100, "more")
    assert again.move_job(record, JobState.PREPARING)
    again.close()


def test_a_full_disk_refuses_writes_and_recovers_when_freed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here; max_page_count stands in for it above")
    store = reopen(disk / "engine.db")
    try:
        fill(store, 3)
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        with pytest.raises(Unavailable, match="disk is full"):
            fill(store, 100, "new")
        written = len(store.jobs("p"))
        assert 3 <= written < 103
        ballast.unlink()
        fill(store, 5, "more")
        assert len(store.jobs("p")) == written + 5
        reopen(disk / "engine.db").close()
    finally:
        store.close()
        subprocess.run(["umount", str(disk)], check=True)


def test_a_first_start_on_a_full_disk_leaves_nothing_behind(
    path: Path, every_connection: list[str]
) -> None:
    every_connection.append("PRAGMA max_page_count = 5")
    with pytest.raises(Unavailable, match="disk is full"):
        reopen(path)
    assert list(path.parent.iterdir()) == []


def test_a_read_only_database_is_unavailable_for_writes(
    store: SqlStore, path: Path, every_connection: list[str]
) -> None:
    store.close()
    every_connection.append("PRAGMA query_only = ON")
    frozen = reopen(path)
    with pytest.raises(Unavailable, match="read-only"):
        fill(frozen, 1, "new")
    assert len(frozen.jobs("p")) == 3
    frozen.close()


def test_damage_found_while_it_runs_is_unavailable(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'jobs'"
        (page,) = connection.execute(query).fetchone()
    connection.close()
    whole = bytearray(path.read_bytes())
    whole[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    path.write_bytes(whole)
    monkeypatch.setattr("mlengine.store.sqlite_files._QUICK_CHECK_MAX_BYTES", 1)
    again = reopen(path)
    with pytest.raises(Unavailable, match=r"is damaged\. Stop the engine.*with -wal"):
        again.jobs("p")
    again.close()


def test_a_pool_that_gives_nothing_is_unavailable(path: Path) -> None:
    assert isinstance(sqlite.explain(sa.exc.TimeoutError("QueuePool"), path), Unavailable)


def test_a_defect_of_ours_is_not_dressed_up_as_weather(store: SqlStore, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE buckets")
    connection.close()
    with pytest.raises(sa.exc.OperationalError, match="no such table"):
        store.buckets()


# --- size ---------------------------------------------------------------------------------------


def test_a_hundred_thousand_jobs_do_not_slow_a_page_or_an_insert(
    store: SqlStore, path: Path
) -> None:
    with sqlite3.connect(path) as connection:
        columns = "project, job_id, uid, state, attempt, priority, revision, body"
        (body,) = connection.execute("SELECT body FROM jobs LIMIT 1").fetchone()
        rows = (
            ("p", f"old{n}", f"old{n}", "QUEUED" if n % 1000 == 0 else "SUCCEEDED", 1, n % 3, 1)
            for n in range(100_000)
        )
        values = "?, ?, ?, ?, ?, ?, ?, ?"
        connection.executemany(
            f"INSERT INTO jobs ({columns}) VALUES ({values})", ((*row, body) for row in rows)
        )
    connection.close()
    fresh = iter(range(100))
    for call in (
        lambda: store.jobs("p", before_seq=50_000, limit=100),
        lambda: store.jobs_in({JobState.QUEUED}, limit=100),
        lambda: store.count_jobs({JobState.QUEUED}),
        lambda: fill(store, 1, f"new{next(fresh)}_"),
    ):
        # One look at every job is more than 100,000 steps.
        assert thousands_of_steps(store, call) < 50


def thousands_of_steps(store: SqlStore, call: Callable[[], object]) -> int:
    """Return how many thousand instructions SQLite's machine ran for a call."""
    ticks = []
    engine = store._database._engine

    def count(connection: Any, *_: object) -> None:
        connection.set_progress_handler(lambda: ticks.append(1), 1000)

    sa.event.listen(engine, "checkout", count)
    try:
        call()
    finally:
        sa.event.remove(engine, "checkout", count)
    return len(ticks)
