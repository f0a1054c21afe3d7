from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from mlengine.store import migrations, open_store, tables

FOLDER = Path(migrations.__file__).parent


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/engine.db")
    with engine.begin() as connection:
        migrations.upgrade(connection)
        yield connection
    engine.dispose()


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


def test_the_migrations_make_the_very_indexes_that_the_code_names(
    migrated: sa.Connection, tmp_path: Path
) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/direct.db")
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    with engine.begin() as direct:
        tables.metadata.create_all(direct)
        wanted = {tuple(row) for row in direct.exec_driver_sql(query)}
    engine.dispose()
    assert {tuple(row) for row in migrated.exec_driver_sql(query)} == wanted


def test_the_first_migration_can_be_taken_back(migrated: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = migrated
    command.downgrade(config, "base")
    left = sa.inspect(migrated).get_table_names()
    assert left == ["alembic_version"]


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
