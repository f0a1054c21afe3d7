"""A new folder goes when it is empty and nobody is left who was given it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlengine.training.newfolders import NewFolders
from mlengine.training.uris import ensure_folder


@pytest.fixture
def folders() -> NewFolders:
    return NewFolders()


def given(folders: NewFolders, path: Path, uid: str) -> None:
    folders.add(ensure_folder(path), uid)
    folders.use(path, uid)


def test_what_was_left_empty_goes_and_what_is_used_stays(
    folders: NewFolders, tmp_path: Path
) -> None:
    given(folders, tmp_path / "in/none.csv", "a")
    given(folders, tmp_path / "results/run1/metrics.txt", "a")
    given(folders, tmp_path / "results/run2/metrics.txt", "a")
    (tmp_path / "results/run1/metrics.txt").write_text("1")
    folders.release("a")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["metrics.txt", "results", "run1"]


def test_a_folder_stays_while_another_job_may_write_to_it(
    folders: NewFolders, tmp_path: Path
) -> None:
    given(folders, tmp_path / "results/a.txt", "a")
    given(folders, tmp_path / "results/b.txt", "b")
    given(folders, tmp_path / "results/deep/c.txt", "c")
    for uid in "ab":
        folders.release(uid)
        assert (tmp_path / "results/deep").is_dir()
    folders.release("c")
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_was_there_is_nobodys_to_remove(folders: NewFolders, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    given(folders, tmp_path / "there/x.csv", "a")
    folders.release("a")
    assert (tmp_path / "there").is_dir()
