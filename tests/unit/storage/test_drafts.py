from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.storage.backends.folder import FolderBackend


@pytest.fixture
def backend(tmp_path: Path) -> FolderBackend:
    (tmp_path / "data").mkdir()
    return FolderBackend(tmp_path, bucket="data", folder="data")


def names(backend: FolderBackend) -> list[str]:
    return [info.name for info in backend.list()]


def test_a_draft_appears_when_it_is_published_with_the_time_it_was_given(
    backend: FolderBackend, tmp_path: Path
) -> None:
    with contextlib.closing(backend.draft("a/b")) as draft:
        draft.append(b"one")
        draft.append(b"two")
        assert (names(backend), draft.size, [*draft.chunks(4)]) == ([], 6, [b"onet", b"wo"])
        draft.settle()
        foreseen = draft.dated(1_500_000_000_000_001_000)
        assert draft.publish() == foreseen == backend.stat("a/b")
    assert foreseen.changed_ns == 1_500_000_000_000_001_000
    assert (tmp_path / "data/a/b").read_bytes() == b"onetwo"


def test_a_draft_that_is_closed_leaves_what_was_there(
    backend: FolderBackend, tmp_path: Path
) -> None:
    backend.write("x", [b"old"])
    draft = backend.draft("x")
    draft.append(b"new")
    draft.close()
    draft.close()
    assert (tmp_path / "data/x").read_bytes() == b"old"
    assert [*(tmp_path / ".staging").iterdir()] == []


def test_who_writes_when_the_bucket_is_deleted_does_not_bring_it_back(
    backend: FolderBackend, tmp_path: Path
) -> None:
    with contextlib.closing(backend.draft("a/b")) as draft:
        draft.append(b"late")
        shutil.rmtree(tmp_path / "data")
        with pytest.raises(NotFound, match="gs://data/a/b cannot be written: the folder of its"):
            draft.publish()
    for write in (lambda: backend.draft("x"), lambda: backend.make_folder("x/y/")):
        with pytest.raises(NotFound, match="If the bucket was deleted meanwhile, make it anew"):
            write()
    assert not (tmp_path / "data").exists()
    assert [*(tmp_path / ".staging").iterdir()] == []


def test_a_held_draft_is_not_swept(backend: FolderBackend) -> None:
    with contextlib.closing(backend.draft("x")) as draft:
        assert backend.sweep(older_than_s=0, now_s=2e10) == 0
        draft.append(b"1")
        draft.publish()
    assert names(backend) == ["x"]


@pytest.mark.parametrize("name", ["file/x", "../x", "a//b"])
def test_a_name_that_cannot_be_is_refused_before_a_byte_is_sent(
    backend: FolderBackend, name: str
) -> None:
    backend.write("file", [b""])
    with pytest.raises((FailedPrecondition, InvalidArgument)):
        backend.draft(name)


def test_folders_are_made_and_removed_only_when_they_are_empty(backend: FolderBackend) -> None:
    backend.make_folder("a/b/")
    backend.make_folder("a/b/")
    assert backend.has_folder("a/b/") and not backend.has_folder("a/c/")
    backend.remove_folder("a/")
    assert backend.has_folder("a/")
    backend.remove_folder("a/b/")
    backend.remove_folder("a/b/")
    assert not backend.has_folder("a/b/")


def test_a_shallow_list_takes_one_object_for_each_folder(backend: FolderBackend) -> None:
    for name in ("a/1", "a/2", "a/z/3", "b", "c/d/e/1", "c/d/e/2"):
        backend.write(name, [])
    assert [i.name for i in backend.list(is_shallow=True)] == ["a/1", "b", "c/d/e/1"]
    assert [i.name for i in backend.list("a/", is_shallow=True)] == ["a/1", "a/2", "a/z/3"]
