from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from mlengine.core.resources import Job
from mlengine.core.states import TrialState
from mlengine.core.studies import Study, Trial
from mlengine.store import migrations, open_store, postgres, tables
from tests.live.postgres import PostgresServer
from tests.unit.store.records import everything, fill, fill_studies

FOLDER = Path(migrations.__file__).parent


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes the URL of a database that has no tables."""
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: f"sqlite:///{tmp_path}/engine{next(numbers)}.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    names: list[str] = []

    def new() -> str:
        names.append(server.new_database() if names else server.empty_database())
        return server.url(names[-1])

    return new


@contextlib.contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        # The driver would commit in the middle of a migration.
        sa.event.listen(engine, "connect", lambda c, _r: setattr(c, "isolation_level", None))
        sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def walk(connection: sa.Connection, go: Callable[[Config, str], None], to: str) -> None:
    """Bring a database to a revision with one of Alembic's commands."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    go(config, to)


@pytest.fixture
def migrated(new_url: Callable[[], str]) -> Iterator[sa.Connection]:
    with connected(new_url()) as connection:
        migrations.upgrade(connection)
        yield connection


def test_the_known_revisions_are_those_in_the_folder() -> None:
    scripts = ScriptDirectory(str(FOLDER))
    found = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(found)) == migrations.KNOWN


def test_the_migrations_lead_to_the_tables_that_the_code_uses(migrated: sa.Connection) -> None:
    with warnings.catch_warnings():
        # Nobody can reflect an index on an expression; the next test looks at those.
        warnings.filterwarnings("ignore", "Skipped unsupported reflection")
        warnings.filterwarnings("ignore", "autogenerate skipping")
        context = MigrationContext.configure(migrated, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
    "AND tablename <> 'alembic_version'",
}


def test_the_migrations_make_the_very_indexes_that_the_code_names(
    migrated: sa.Connection, new_url: Callable[[], str]
) -> None:
    query = INDEXES[migrated.dialect.name]
    with connected(new_url()) as direct:
        assert postgres.open_database  # what PostgreSQL alone is told of the tables is in there
        tables.metadata.create_all(direct)
        wanted = {tuple(row) for row in direct.exec_driver_sql(query)}
    assert {tuple(row) for row in migrated.exec_driver_sql(query)} == wanted


def test_every_migration_can_be_taken_back(migrated: sa.Connection) -> None:
    walk(migrated, command.downgrade, "base")
    assert sa.inspect(migrated).get_table_names() == ["alembic_version"]


# --- rows that are older, or newer, than the schema ---------------------------------------------


@pytest.mark.parametrize("revision", migrations.KNOWN)
def test_rows_outlive_the_way_to_an_older_release_and_back(
    new_url: Callable[[], str], revision: str
) -> None:
    """A fact is all that an older schema has no place for; engines say theirs again."""
    url = new_url()
    store = open_store(url)
    fill(store)
    before = everything(store)
    store.close()
    with connected(url) as connection:
        walk(connection, command.downgrade, revision)
        assert not compare_rows(connection, revision)
    store = open_store(url)
    assert everything(store) == before
    store.add_job("p", Job(job_id="new"), uid="u3")
    assert store.fact("folder", "a") == "a"
    store.close()
    with connected(url) as connection, pytest.raises(sa.exc.DBAPIError, match="unlawful"):
        connection.exec_driver_sql("UPDATE jobs SET state = 'QUEUED'")


def test_a_release_without_studies_loses_those_alone_and_children_find_back(
    new_url: Callable[[], str],
) -> None:
    url = new_url()
    store = open_store(url)
    fill(store)
    before = everything(store)
    fill_studies(store)
    census = store.job("p", "census")
    children = store.children(census)
    assert [record.job_id for record in children] == ["census/2"]
    store.close()
    with connected(url) as connection:
        walk(connection, command.downgrade, "0003")
    store = open_store(url)
    assert store.studies("p", "local") == []
    assert store.children(census) == children
    assert store.jobs("p") == before[1]
    study = store.add_study("p", "local", Study(name="s"), uid="s1")
    assert store.add_trial(study, Trial(), TrialState.REQUESTED).number == 1
    store.close()


def compare_rows(connection: sa.Connection, revision: str) -> list[str]:
    """Return what is not as that release left it: its version, its tables, its number of rows."""
    counts = {"jobs": 2, "models": 1, "versions": 2, "operations": 1, "buckets": 1, "events": 14}
    if revision >= "0003":
        counts["facts"] = 0
    if revision >= "0004":
        counts |= {"studies": 0, "trials": 0, "measurements": 0}
    if revision >= "0005":
        counts |= {"traffic": 0, "arms": 0, "outcomes": 0}
    if revision >= "0006":
        counts |= {"keys": 0, "policies": 0}
    found = {
        name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
        for name in sa.inspect(connection).get_table_names()
        if name != "alembic_version"
    }
    query = sa.select(tables.alembic_version.c.version_num)
    at = connection.execute(query).scalar_one()
    return [] if (at, found) == (revision, counts) else [f"{at}: {found}"]


def test_an_upgrade_that_fails_leaves_the_old_schema_whole(
    new_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_url()
    store = open_store(url)
    fill(store)
    before = everything(store)
    store.close()
    with connected(url) as connection:
        walk(connection, command.downgrade, "0001")

    def break_off(connection: sa.Connection) -> None:
        walk(connection, command.upgrade, "0002")
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "upgrade", break_off)
        with pytest.raises(ZeroDivisionError):
            open_store(url)
    with connected(url) as connection:
        query = sa.select(tables.alembic_version.c.version_num)
        assert connection.execute(query).scalar_one() == "0001"
    store = open_store(url)
    assert everything(store) == before
    store.close()


def test_a_store_that_is_up_to_date_opens_without_importing_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/engine.db"
    open_store(url).close()
    program = (
        "import sys\n"
        "from mlengine.store import open_store\n"
        f"open_store({url!r}).close()\n"
        "print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "False"
