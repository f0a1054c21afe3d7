from __future__ import annotations

import contextlib
import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.databaseurl import sqlite_url
from mlengine.core.errors import FailedPrecondition
from mlengine.core.resources import Model
from mlengine.engine.home import Home, read_token
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.store import Store, open_store
from mlengine.store.copy import copy

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


def test_a_home_that_begins_to_share_is_told_how_to_move(tmp_path: Path) -> None:
    home, shared = tmp_path / "my home", tmp_path / "all; of us"
    store = open_store(f"sqlite:///{tmp_path}/in-the-place-of-postgres.db")
    folder = SharedFolder(Settings(home=home, database=PG))
    folder.claim(store)
    token = folder.token()
    (home / "buckets" / "one").mkdir()
    (home / "mirrors").mkdir()
    with pytest.raises(FailedPrecondition, match="in use with another folder") as told:
        SharedFolder(settings(home, shared)).claim(store)
    assert f"They are in {home}." in told.value.remedy
    command = told.value.remedy.partition("move them: '")[2].removesuffix("'.")
    subprocess.run(["sh", "-ec", command], check=True)
    moved = SharedFolder(settings(home, shared))
    moved.claim(store)
    store.close()
    assert moved.token() == token
    assert (shared / "buckets" / "one").is_dir()
    assert (shared / "mirrors").is_dir()


@pytest.mark.parametrize("kind", ["jobs", "models"])
def test_an_empty_database_is_not_begun_beside_what_another_one_records(
    tmp_path: Path, kind: str
) -> None:
    home = tmp_path / "a"
    alone = Settings(home=home)
    before = open_store(alone.database_url)
    SharedFolder(alone).claim(before)
    before.close()
    kept = home / kind / "uid"
    kept.mkdir()
    moved = Settings(home=home, database=f"sqlite:///{tmp_path}/typo.db")
    store = open_store(moved.database_url)
    with pytest.raises(FailedPrecondition, match=r"typo\.db is empty, but .*a holds") as told:
        SharedFolder(moved).claim(store)
    store.close()
    assert f"holds {kind} that" in told.value.problem
    assert f"copy {alone.database_url} {moved.database_url}'" in told.value.remedy
    # Nothing was written to it: each way out that was named is one.
    copy(alone.database_url, moved.database_url)
    store = open_store(moved.database_url)
    SharedFolder(moved).claim(store)
    store.close()
    before = open_store(alone.database_url)
    SharedFolder(alone).claim(before)
    before.close()


def test_whoever_removed_the_database_begins_anew_without_what_it_recorded(tmp_path: Path) -> None:
    home = tmp_path / "a"
    alone = Settings(home=home)
    folder = SharedFolder(alone)
    (home / "models" / "uid").mkdir()
    store = open_store(alone.database_url)
    with pytest.raises(FailedPrecondition, match=r"engine\.db is empty") as told:
        folder.claim(store)
    assert f"move models out of {home}, and run/records" in told.value.remedy
    assert "copy URL_OF_THE_OLD_ONE sqlite" in told.value.remedy
    (home / "models" / "uid").rename(tmp_path / "uid")
    folder.claim(store)
    store.close()


ODD_NAMES = {"%XX of a slash": "app%2Flogin", "%XX of a letter": "p%41c", "?": "q?x",
             "an option": "exp?lr=1", "a space": "my home; #"}  # fmt: skip
"""What a URL takes for something else, or a shell."""


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES.keys())
def test_a_home_of_any_name_holds_its_records(tmp_path: Path, name: str) -> None:
    alone = Settings(home=tmp_path / name)
    with running(alone) as store:
        store.add_model("p", Model(name="m"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    home = alone.home.rename(tmp_path / "plain")
    with running(Settings(home=home)) as store:
        assert [m.model_id for m in store.models("p")] == ["m"]


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES.keys())
def test_the_command_that_copies_records_is_one_for_a_shell(tmp_path: Path, name: str) -> None:
    alone = Settings(home=tmp_path / name)
    with running(alone):
        (alone.home / "models" / "uid").mkdir()
    moved = Settings(home=alone.home, database=sqlite_url(tmp_path / "it's empty.db"))
    with pytest.raises(FailedPrecondition, match="is empty, but") as told, running(moved):
        pass
    command = told.value.remedy.partition("Copy the records first: '")[2]
    assert shlex.split(command.partition("'; or")[0])[-2:] == [
        alone.database_url, moved.database_url,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "earlier"), [("p%41c", "pAc/engine.db"), ("a%2Fb", "a/b/engine.db"), ("q?x", "q")]
)
def test_records_that_an_earlier_mlengine_put_outside_their_home_are_found(
    tmp_path: Path, name: str, earlier: str
) -> None:
    alone, outside = Settings(home=tmp_path / name), tmp_path / earlier
    outside.parent.mkdir(parents=True, exist_ok=True)
    with running(Settings(home=alone.home, database=sqlite_url(outside))) as store:
        store.add_model("p", Model(name="m"))
    (alone.home / "run" / "records").unlink()  # an earlier one still left no note
    with pytest.raises(FailedPrecondition, match=r"records of .* are not in it") as told, \
            running(alone):  # fmt: skip
        pass
    assert f"in {outside}." in told.value.problem
    assert not (alone.home / "engine.db").exists()
    command = shlex.split(told.value.remedy.partition("'")[2].removesuffix("'."))
    copy(*command[-2:])
    with running(alone) as store:
        assert [m.model_id for m in store.models("p")] == ["m"]


def test_a_new_home_begins_beside_another_one_that_an_escape_would_name(tmp_path: Path) -> None:
    with running(Settings(home=tmp_path / "pAc")) as other:
        other.add_model("p", Model(name="theirs"))
    for _start in range(2):
        with running(Settings(home=tmp_path / "p%41c")) as store:
            assert not store.models("p")


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Settings, Settings]:
    """A home whose records went on in a copy of its first database: settings of both."""
    home = tmp_path / "a"
    first = Settings(home=home)
    second = Settings(home=home, database=f"sqlite:///{tmp_path}/second.db")
    with running(first) as store:
        store.add_model("p", Model(name="before"))
    copy(first.database_url, second.database_url)
    with running(second) as store:
        store.add_model("p", Model(name="after"))
    return first, second


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[Store]:
    """What an engine does with its records, from its start to its end."""
    folder = SharedFolder(settings)
    store = open_store(settings.database_url)
    try:
        folder.claim(store)
        yield store
        folder.note(store)
    finally:
        store.close()


def test_records_that_went_on_in_another_database_are_not_gone_on_with_in_the_old_one(
    moved: tuple[Settings, Settings],
) -> None:
    first, second = moved
    with pytest.raises(FailedPrecondition, match="not have the newest records") as told, \
            running(first):  # fmt: skip
        pass
    assert f"in {second.database_url}, and this one to change 2 of" in told.value.problem
    with running(second):
        pass


def test_whoever_restores_a_backup_takes_one_step(moved: tuple[Settings, Settings]) -> None:
    first, second = moved
    note = first.home / "run" / "records"
    with pytest.raises(FailedPrecondition, match="from a backup perhaps") as told, running(first):
        pass
    assert f"remove {note}: files that no record names stay" in told.value.remedy
    note.unlink()
    with running(first) as store:
        for name in ("other", "another"):
            store.add_model("p", Model(name=name))
    # It has as many changes now as the other one has, and they are others.
    with pytest.raises(FailedPrecondition, match="not have the newest records"), running(second):
        pass


def test_records_come_back_by_a_copy_into_the_name_of_the_first_database(
    moved: tuple[Settings, Settings],
) -> None:
    first, second = moved
    (first.home / "engine.db").rename(first.home / "engine.db.left")
    copy(second.database_url, first.database_url)
    with running(first) as store:
        assert [m.model_id for m in store.models("p")] == ["after", "before"]


@pytest.mark.parametrize("text", ["", "{", '{"seq": 1}'])
def test_a_note_that_was_lost_or_is_behind_refuses_nobody(
    moved: tuple[Settings, Settings], text: str
) -> None:
    _first, second = moved
    note = second.home / "run" / "records"
    before = note.read_bytes()
    with running(second) as store:
        store.add_model("p", Model(name="later"))
    note.write_bytes(before)  # killed before it was noted
    with running(second):
        pass
    note.write_text(text)
    with running(second):
        pass


def test_an_empty_database_is_not_gone_on_with_where_there_were_records(
    moved: tuple[Settings, Settings], tmp_path: Path
) -> None:
    typo = Settings(home=moved[0].home, database=f"sqlite:///{tmp_path}/typo.db")
    with pytest.raises(FailedPrecondition, match="and this one is empty"), running(typo):
        pass
    copy(moved[1].database_url, typo.database_url)  # nothing was written to it
    with running(typo):
        pass


def test_what_is_noted_of_the_records_is_no_secret_and_costs_no_turn(tmp_path: Path) -> None:
    folder = SharedFolder(settings(tmp_path / "a", tmp_path / "shared"))
    note = tmp_path / "shared" / "run" / "records"
    store = open_store(f"sqlite:///{tmp_path}/in-the-place-of-postgres.db")
    folder.note(store)
    assert not note.exists()
    store.add_model("p", Model(name="m"))
    folder.note(store)
    assert "secret" not in note.read_text()
    assert "db.example/ml" in note.read_text()
    note.unlink()
    folder.note(store)  # nothing new: nothing is written
    assert not note.exists()
    store.add_model("p", Model(name="n"))
    note.mkdir()
    folder.note(store)  # what cannot be written is written later
    note.rmdir()
    folder.note(store)
    assert note.is_file()
    store.close()


def test_no_password_is_told(tmp_path: Path) -> None:
    folder = SharedFolder(settings(tmp_path / "a", tmp_path / "shared"))
    (tmp_path / "shared" / "jobs" / "uid").mkdir()
    store = open_store(f"sqlite:///{tmp_path}/empty.db")  # in the place of a PostgreSQL
    with pytest.raises(FailedPrecondition, match=r"db\.example/ml is empty") as told:
        folder.claim(store)
    store.close()
    assert "secret" not in str(told.value)


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
