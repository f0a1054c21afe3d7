"""What is PostgreSQL's own; faults while it runs are in `test_postgres_faults.py`."""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import urllib.parse
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.resources import Job
from mlengine.store import StoreAway
from mlengine.store.database import Transaction
from mlengine.store.sql import SqlStore
from tests.live.postgres import PASSWORD, PostgresServer

_roles = itertools.count()


@pytest.fixture
def name(postgres: PostgresServer) -> str:
    """An empty database: no store was ever there."""
    return postgres.empty_database()


@pytest.fixture
def store(postgres: PostgresServer, name: str) -> Iterator[SqlStore]:
    opened = SqlStore.open(postgres.url(name))
    yield opened
    opened.close()


def new_role(server: PostgresServer, more: str = "") -> str:
    role = f"role_{next(_roles)}"
    server.sql(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' {more}")
    return role


# --- how it is opened ---------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_both_spellings_of_a_url_and_a_socket_are_understood(
    postgres: PostgresServer, name: str, scheme: str
) -> None:
    over_tcp = postgres.url(name).replace("postgresql+psycopg", scheme)
    by_socket = f"{scheme}://postgres@/{name}?host={postgres.socket_folder}&port={postgres.port}"
    for url in (over_tcp, by_socket):
        store = SqlStore.open(url)
        store.fact("a", "b")
        store.close()


def test_the_description_says_where_and_how_safe(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    text = store.describe()
    assert f"database '{name}' at 127.0.0.1:{postgres.port}" in text
    assert "synchronous_commit=on: what is acknowledged is on the server's disk" in text


@pytest.mark.parametrize(("found", "used"), [("off", "on"), ("local", "on"), ("on", "on")])
def test_a_commit_is_on_disk_whatever_the_server_is_set_to(
    postgres: PostgresServer, name: str, found: str, used: str
) -> None:
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = {found}")
    store = SqlStore.open(postgres.url(name))
    assert f"synchronous_commit={used}:" in store.describe()
    store.close()


def test_a_stronger_commit_than_ours_is_kept(postgres: PostgresServer, name: str) -> None:
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
    store = SqlStore.open(postgres.url(name))
    assert "synchronous_commit=remote_apply:" in store.describe()
    store.close()


def test_engines_that_start_at_once_migrate_once(postgres: PostgresServer, name: str) -> None:
    barrier = threading.Barrier(4)
    opened: list[SqlStore] = []

    def start(number: int) -> None:
        barrier.wait(60)
        mine = SqlStore.open(postgres.url(name))
        mine.add_job("p", Job(job_id=f"j{number}"), uid=f"u{number}")
        opened.append(mine)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(mine.jobs("p")) for mine in opened] == [4] * 4
    for mine in opened:
        mine.close()


def test_two_schemas_of_one_database_are_two_stores(postgres: PostgresServer, name: str) -> None:
    stores = []
    for schema in ("one", "two"):
        postgres.sql(f"CREATE SCHEMA {schema}", database=name)
        url = f"{postgres.url(name)}?options=-csearch_path%3D{schema}"
        stores.append(SqlStore.open(url))
    stores[0].add_job("p", Job(job_id="a"), uid="u")
    assert [len(store.jobs("p")) for store in stores] == [1, 0]
    assert [store.lead() for store in stores] == [True, True]
    for store in stores:
        store.close()


def test_nothing_is_left_open(postgres: PostgresServer, name: str) -> None:
    store = SqlStore.open(postgres.url(name))
    store.lead()
    store.fact("a", "b")
    assert len(postgres.sessions(name)) >= 2
    store.close()
    assert not store.lead()
    postgres.sql(f"DROP DATABASE {name}")  # which waits 5 s for sessions to end, not for ever


# --- refusing to start --------------------------------------------------------------------------


def refused(url: str, kind: type[EngineError] = FailedPrecondition) -> str:
    with pytest.raises(kind) as refusal:
        SqlStore.open(url)
    assert type(refusal.value) is kind
    return str(refusal.value)


def test_who_is_not_let_in_is_told_why_and_no_password_is_told(
    postgres: PostgresServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "other/secret@"
    messages = [
        refused(postgres.url(name, password=secret)),
        refused(postgres.url("nowhere")),
        refused(postgres.url(name, user="nobody_here", password=secret)),
        refused(postgres.url(name).replace(str(postgres.port), "1"), StoreAway),
        refused(postgres.url(name) + "?sslmode=require", StoreAway),
        refused(postgres.url(name) + "?passwort=" + secret, InvalidArgument),
    ]
    for message, why in zip(
        messages,
        [
            'password authentication failed for user "postgres"',
            'database "nowhere" does not exist Check user and password',
            'password authentication failed for user "nobody_here"',
            "Connection refused",
            "server does not support SSL",
            "an option 'passwort', which libpq has not",
        ],
        strict=True,
    ):
        assert why in message
    quoted = urllib.parse.quote(PASSWORD, safe="")
    place = f"postgresql://postgres@127.0.0.1:{postgres.port}/{name}"
    store = SqlStore.open(f"{place}?password={quoted}")
    store.lead()
    seen = [*messages, caplog.text, store.describe(), repr(vars(store._database))]
    for word in (PASSWORD, secret, quoted):
        assert not [text for text in seen if word in text]
    store.close()


def test_too_many_engines_are_told_to_wait(postgres: PostgresServer, name: str) -> None:
    role = new_role(postgres, "CONNECTION LIMIT 0")
    assert "too many connections" in refused(postgres.url(name, user=role), StoreAway)


def test_a_user_who_may_not_make_tables_is_told_what_to_grant(
    postgres: PostgresServer, name: str
) -> None:
    role = new_role(postgres)
    url = postgres.url(name, user=role)
    assert "GRANT CREATE, USAGE ON SCHEMA public" in refused(url)
    postgres.sql(f"GRANT CREATE, USAGE ON SCHEMA public TO {role}", database=name)
    store = SqlStore.open(url)
    store.fact("a", "b")
    assert store.lead()
    store.close()


def test_a_database_that_takes_no_writes_is_refused(postgres: PostgresServer, name: str) -> None:
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    told = refused(postgres.url(name))
    assert "is read-only. Check whether it is a standby" in told and "password" not in told


def test_a_database_that_takes_no_writes_any_more_says_so(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    with pytest.raises(StoreAway, match=rf"'{name}' is read-only\. Check whether it is a standby"):
        store.default_versions()


def test_another_encoding_is_refused(postgres: PostgresServer) -> None:
    postgres.sql("CREATE DATABASE ascii ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    assert "--encoding=UTF8" in refused(postgres.url("ascii"))


def test_a_schema_that_is_not_there_is_named(postgres: PostgresServer, name: str) -> None:
    assert "names no schema" in refused(f"{postgres.url(name)}?options=-csearch_path%3Dgone")


@pytest.mark.parametrize("table", ["songs", "alembic_version"])
def test_somebody_elses_database_is_refused(
    postgres: PostgresServer, name: str, table: str
) -> None:
    postgres.sql(f"CREATE TABLE {table} (version_num text)", database=name)
    assert "not those of mlengine" in refused(postgres.url(name))


def test_a_newer_database_is_refused(postgres: PostgresServer, name: str, store: SqlStore) -> None:
    postgres.sql("UPDATE alembic_version SET version_num = '9999'", database=name)
    assert "newer mlengine (revision 9999" in refused(postgres.url(name))


def test_an_old_server_is_refused(
    postgres: PostgresServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.store.postgres._OLDEST", 990000)
    assert "Use 99 or newer" in refused(postgres.url(name))


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install 'mlengine[postgres]'" in refused("postgresql://me:secret@localhost/e")


# --- the rules of the tables --------------------------------------------------------------------


def test_triggers_of_an_older_release_are_replaced(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    store.add_job("p", Job(job_id="a"), uid="u")
    kept = "CREATE OR REPLACE FUNCTION jobs_stay() RETURNS trigger LANGUAGE plpgsql"
    for statement in (
        "DROP TRIGGER jobs_moves ON jobs",
        "ALTER TABLE jobs DISABLE TRIGGER jobs_fence",
        f"{kept} AS 'BEGIN RETURN OLD; END'",
    ):
        postgres.sql(statement, database=name)
    SqlStore.open(postgres.url(name)).close()
    for statement, why in {
        "UPDATE jobs SET state = 'SUCCEEDED'": "unlawful job move",
        "UPDATE jobs SET attempt = -1": "an attempt goes back",
        "DELETE FROM jobs": "kept for ever",
        "TRUNCATE jobs": "kept for ever",
    }.items():
        with pytest.raises(Exception, match=why):
            postgres.sql(statement, database=name)


def test_a_trigger_of_the_users_own_is_left_alone(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    for statement in (
        "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER mine AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION mine()",
    ):
        postgres.sql(statement, database=name)
    before = postgres.sql("SELECT oid FROM pg_trigger ORDER BY oid", database=name)
    SqlStore.open(postgres.url(name)).close()
    assert postgres.sql("SELECT oid FROM pg_trigger ORDER BY oid", database=name) == before


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "why"),
    {
        "25006": "is read-only",
        "53100": "disk is full",
        "53300": "no more connections",
        "53200": "short of memory",
        "55P03": "locked by another process",
        "57014": "was told to stop",
        "57P03": "is stopping or starting",
        "58030": "cannot be read or written",
        "XX001": "is damaged",
        "40001": "too busy",
    }.items(),
)
def test_what_the_server_cannot_help_is_unavailable(store: SqlStore, code: str, why: str) -> None:
    def fail(tx: Transaction) -> None:
        tx.one(sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'Übel' USING ERRCODE = '{code}'; END $$"))

    with pytest.raises(StoreAway, match=why):
        store._database.write(fail)


def test_a_defect_of_ours_is_not_dressed_up_as_weather(
    postgres: PostgresServer, name: str, store: SqlStore
) -> None:
    postgres.sql("DROP TABLE buckets", database=name)
    with pytest.raises(sa.exc.ProgrammingError, match="does not exist"):
        store.buckets()


def test_a_name_that_no_text_can_have_is_the_callers_mistake(store: SqlStore) -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        store.job("p", "a\0b")
    with pytest.raises(NotFound):
        store.job("p", "a\\0b")


def test_a_conflict_is_tried_again_and_leaves_one_event(store: SqlStore) -> None:
    tries = []

    def add(tx: Transaction) -> None:
        tries.append(tx)
        tx.event("p", "it", "it.happened")
        if len(tries) < 3:
            tx.one(sa.text("DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '40P01'; END $$"))

    store._database.write(add)
    assert len(tries) == 3
    assert len(store.events()) == 1
