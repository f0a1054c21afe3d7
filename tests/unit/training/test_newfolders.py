"""A new folder goes when it is empty and nobody is left who was given it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlengine.training.newfolders import NewFolders
from mlengine.training.uris import ensure_folder

Engine = Callable[[], NewFolders]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Return what an engine that has just started knows."""
    return lambda: NewFolders(tmp_path / "notes")


@pytest.fixture
def folders(engine: Engine) -> NewFolders:
    return engine()


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    path = tmp_path / "bucket"
    path.mkdir()
    return path


def given(folders: NewFolders, path: Path, uid: str) -> None:
    folders.give(path, ensure_folder(path), uid)


def test_what_was_left_empty_goes_and_what_is_used_stays(folders: NewFolders, bucket: Path) -> None:
    given(folders, bucket / "in/none.csv", "a")
    given(folders, bucket / "results/run1/metrics.txt", "a")
    given(folders, bucket / "results/run2/metrics.txt", "a")
    (bucket / "results/run1/metrics.txt").write_text("1")
    folders.release("a")
    assert sorted(p.name for p in bucket.rglob("*")) == ["metrics.txt", "results", "run1"]


def test_a_folder_stays_while_another_job_may_write_to_it(
    folders: NewFolders, engine: Engine, bucket: Path
) -> None:
    given(folders, bucket / "results/a.txt", "a")
    given(folders, bucket / "results/b.txt", "b")
    given(folders, bucket / "results/deep/c.txt", "c")
    for uid in "ab":
        engine().release(uid)
        assert (bucket / "results/deep").is_dir()
    folders.release("c")
    assert [*bucket.iterdir()] == []


def test_a_folder_that_was_there_is_nobodys_to_remove(folders: NewFolders, bucket: Path) -> None:
    (bucket / "there").mkdir()
    given(folders, bucket / "there/x.csv", "a")
    folders.release("a")
    assert (bucket / "there").is_dir()


def test_the_next_engine_removes_what_a_job_left_empty(
    folders: NewFolders, engine: Engine, bucket: Path, tmp_path: Path
) -> None:
    given(folders, bucket / "results/run1/", "a")
    (tmp_path / "notes/b.json").write_text('["/half')
    engine().release("a")
    engine().release("a")
    assert [*bucket.iterdir()] == []
    assert not (tmp_path / "notes/a.json").exists()


def test_a_job_that_was_given_nothing_is_known_until_it_is_tidied(engine: Engine) -> None:
    engine().begin("a")
    assert engine().jobs() == {"a"}
    engine().release("a")
    assert engine().jobs() == set()


def test_a_job_that_begins_again_keeps_what_it_was_given(engine: Engine, bucket: Path) -> None:
    given(engine(), bucket / "results/", "a")
    engine().begin("a")
    engine().release("a")
    assert [*bucket.iterdir()] == []
