from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.engine.home import Home, read_token
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.store import open_store

PG = "postgresql://me:secret@db.example/ml"


def settings(home: Path, shared: Path | None = None) -> Settings:
    database = PG if shared else ""
    return Settings(home=home, shared=str(shared or ""), database=database)


def test_the_token_is_made_once_for_all_engines_and_is_its_owners_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    token = SharedFolder(settings(tmp_path / "a", shared)).token()
    assert len(token) >= 43
    assert SharedFolder(settings(tmp_path / "b", shared)).token() == token
    assert stat.S_IMODE((shared / "run" / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((shared / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700


def test_an_engine_alone_shares_its_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    token = SharedFolder(settings(tmp_path / "h")).token()
    home.keep_token(token)
    assert token == read_token(tmp_path / "h")
    folders = {path.name for path in (tmp_path / "h").iterdir()}
    assert folders == {"buckets", "environments", "jobs", "logs", "models", "run", "tables"}
    home.close()


def test_records_belong_to_one_folder(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    first = Settings(home=tmp_path / "a", database=url)
    other = Settings(home=tmp_path / "b", database=url)
    store = open_store(url)
    SharedFolder(first).claim(store)
    SharedFolder(first).claim(store)
    with pytest.raises(FailedPrecondition, match=r"one\.db is in use with another folder") as told:
        SharedFolder(other).claim(store)
    assert "unset 'database'" in told.value.remedy
    # Whoever copied the folder without what lies in `run` is told the way out.
    known = (tmp_path / "a" / "run" / "folder").read_text().strip()
    assert known in told.value.remedy
    (tmp_path / "b" / "run" / "folder").write_text(known)
    SharedFolder(other).claim(store)
    store.close()


def test_a_file_is_no_database_for_several(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="need a PostgreSQL database"):
        SharedFolder(Settings(home=tmp_path / "a", shared=str(tmp_path / "shared")))
    assert not (tmp_path / "shared").exists()


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "theirs").write_text("")
    shared.chmod(0o1777)
    with pytest.raises(FailedPrecondition, match="Others may write"):
        SharedFolder(settings(tmp_path / "a", shared))
