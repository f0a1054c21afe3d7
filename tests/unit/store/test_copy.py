from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlengine.core import databaseurl
from mlengine.core.errors import FailedPrecondition
from mlengine.core.resources import Bucket, Model
from mlengine.engine.home import Home
from mlengine.store import open_store
from mlengine.store.copy import copy, main
from tests.live.postgres import PASSWORD, PostgresServer
from tests.unit.store.records import (
    access_of,
    everything,
    fill,
    fill_access,
    fill_studies,
    fill_traffic,
    traffic_of,
)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/engine.db"


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    return postgres.url(postgres.empty_database())


@pytest.fixture(params=["there", "back"])
def way(request: pytest.FixtureRequest, sqlite_url: str, postgres_url: str) -> tuple[str, str]:
    """Source and target."""
    there = (sqlite_url, postgres_url)
    return there if request.param == "there" else (there[1], there[0])


def test_everything_arrives_and_the_target_goes_on_where_the_source_stood(
    way: tuple[str, str],
) -> None:
    source = open_store(way[0])
    fill(source)
    fill_studies(source)
    traffic, access = fill_traffic(source), fill_access(source)
    source.fact("folder", "a")
    source.add_model("p", Model(name="gone"))
    source.remove_model("p", "gone")  # its number is used up, though no row has it any more
    used_up = source.model("p", "census").seq + 1
    before = everything(source)
    source_events = source.events(limit=1000)
    source.close()
    counts = copy(*way)
    assert counts["versions"] == 2
    assert counts["events"] == len(source_events)
    assert counts["trials"] == 4
    assert (counts["arms"], counts["outcomes"]) == (2, 1)
    target = open_store(way[1])
    assert everything(target) == before
    assert (traffic_of(target), access_of(target)) == (traffic, access)
    assert target.fact("folder", "b") == "a"
    assert target.add_model("p", Model(name="new")).seq > used_up
    newest = target.events(limit=1000)[-1].seq
    target.add_bucket(Bucket(name="b-2"))
    assert target.events(limit=1000)[-1].seq == newest + 1
    target.close()
    source = open_store(way[0])
    assert everything(source) == before
    source.close()


def test_an_empty_database_is_copied_too(way: tuple[str, str]) -> None:
    open_store(way[0]).close()
    assert set(copy(*way).values()) == {0}
    target = open_store(way[1])
    assert target.add_model("p", Model(name="new")).seq == 1
    target.close()


def test_more_rows_than_a_page_are_copied(
    sqlite_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.store.copy._PAGE", 3)
    source = open_store(sqlite_url)
    fill(source)
    before = everything(source)
    source.close()
    copy(sqlite_url, postgres_url)
    target = open_store(postgres_url)
    assert everything(target) == before
    target.close()


def test_a_target_with_rows_is_refused_and_stays_as_it_is(way: tuple[str, str]) -> None:
    for url in way:
        store = open_store(url)
        store.add_bucket(Bucket(name="b-1"))
        store.close()
    with pytest.raises(FailedPrecondition, match="has buckets already"):
        copy(*way)
    target = open_store(way[1])
    assert len(target.events()) == 1
    target.close()


def test_a_source_that_is_not_there_is_not_made(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="There is no database"):
        copy(sqlite_url, f"sqlite:///{tmp_path}/other.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at_work", ["source", "target"])
def test_an_engine_at_work_is_noticed(
    postgres_url: str, postgres: PostgresServer, at_work: str
) -> None:
    other_url = postgres.url(postgres.new_database())
    engine = open_store(postgres_url)
    assert engine.lead()
    way = [postgres_url, other_url]
    if at_work == "target":
        way.reverse()
    with pytest.raises(FailedPrecondition, match=r"An engine is at work on P.*\w\. Stop it first"):
        copy(*way)
    engine.close()


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite"])
@pytest.mark.parametrize("name", ["home", "q?x/home", "p%41c/home"])
@pytest.mark.parametrize("at_work", ["source", "target"])
def test_an_engine_in_the_home_of_a_file_is_noticed(
    tmp_path: Path, at_work: str, name: str, scheme: str
) -> None:
    home, other_url = Home(tmp_path / name), f"sqlite:///{tmp_path}/other.db"
    way = [databaseurl.sqlite_url(home.path / "engine.db").replace("sqlite", scheme, 1), other_url]
    if at_work == "target":
        way.reverse()
    open_store(way[0]).close()
    with pytest.raises(FailedPrecondition, match=r"engine is at work on .*/home/engine.db. Stop"):
        copy(*way)
    assert not databaseurl.sqlite_file(way[1]).exists()
    home.close()
    assert copy(*way)["jobs"] == 0
    Home(home.path).close()  # which the copy has left


@pytest.mark.parametrize("asked", [3, 6])
def test_a_lead_that_is_lost_on_the_way_undoes_the_copy(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    target_url = f"sqlite:///{tmp_path}/target.db"
    source = open_store(sqlite_url)
    fill(source)
    source.close()
    answers = iter([True] * asked + [False])
    monkeypatch.setattr("mlengine.store.sqlite._Alone.held", lambda lead: next(answers))
    with pytest.raises(FailedPrecondition, match="was not this copy's alone"):
        copy(sqlite_url, target_url)
    target = open_store(target_url)
    assert target.events(limit=1000) == []
    target.close()


def test_rows_of_somebody_else_in_between_are_told_from_a_defect(
    sqlite_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (sqlite_url, postgres_url):
        store = open_store(url)
        if url == sqlite_url:
            store.add_bucket(Bucket(name="b-1"))
        store.close()
    asked = []

    def held(lead: object) -> bool:
        asked.append(lead)
        if len(asked) == 2:  # the rows of the target have been looked for by now
            other = open_store(postgres_url)
            other.add_bucket(Bucket(name="b-1"))
            other.close()
        return True

    monkeypatch.setattr("mlengine.store.postgres_lead.SessionLead.held", held)
    with pytest.raises(FailedPrecondition, match=r"got \w+ from somebody else"):
        copy(sqlite_url, postgres_url)


def test_the_command_says_what_it_copied_or_why_it_did_not(
    sqlite_url: str, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(sqlite_url)
    fill(store)
    store.close()
    words = [sys.executable, "-m", "mlengine.store.copy", sqlite_url, postgres_url]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 jobs" in done.stdout
    assert main([sqlite_url, postgres_url]) == 1
    said = capsys.readouterr()
    assert "Name a database that is empty." in said.err
    assert PASSWORD not in done.stdout + said.out + said.err
