"""``local train`` gives a trainer for ``gs://`` what a job would give it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.training import localplaces
from mlengine.training.localplaces import local_places


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "buckets" / "mine").mkdir(parents=True)
    (tmp_path / "buckets" / "mine" / "a.csv").touch()
    (tmp_path / "files" / "data").mkdir(parents=True)
    return tmp_path / "buckets"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").touch()
    (tmp_path / "trainer" / "task.py").write_text("open(args.data)")
    return tmp_path / "trainer"


GIVEN = {
    "an object": ("gs://mine/a.csv", "{root}/mine/a.csv"),
    "several": ("--f=gs://mine/a.csv,gs://mine/*", "--f={root}/mine/a.csv,{root}/mine/*"),
    "a folder": ("gs://mine/runs/", "{root}/mine/runs/"),
    "a bucket": ("gs://mine", "{root}/mine/"),
    "in a folder of its own": ("gs://backed/data", "{files}/data"),
    "in an object store": ("gs://away/data", "gs://away/data"),
    "somebody else's": ("gs://public/data", "gs://public/data"),
    "no URI": ("data", "data"),
}


@pytest.mark.parametrize(("text", "expected"), GIVEN.values(), ids=GIVEN.keys())
def test_what_an_argument_becomes(root: Path, package: Path, text: str, expected: str) -> None:
    files = root.parent / "files"
    backed = [
        Bucket(name="backed", backing=f"file://{files}"),
        Bucket(name="away", backing="s3://team/ml"),
    ]
    warnings: list[str] = []
    with local_places(root, package, backed=backed, warn=warnings.append) as places:
        assert places.argument(text) == expected.format(root=root, files=files)
    assert warnings == []


def test_a_file_to_write_finds_its_folder_and_what_stays_empty_goes(
    root: Path, package: Path
) -> None:
    mine = root / "mine"
    with local_places(root, package, backed=[], warn=pytest.fail) as places:
        model = Path(places.argument("gs://mine/new/deep/model.txt"))
        model.write_text("model")
        assert places.argument("--out=gs://mine/new/other/x.txt")
        assert places.argument("gs://mine/empty/deep/x.txt")
        assert (mine / "new" / "other").is_dir() and (mine / "empty" / "deep").is_dir()
    assert sorted(p.name for p in mine.rglob("*")) == ["a.csv", "deep", "model.txt", "new"]


def test_a_trainer_that_takes_uris_apart_gets_them_as_they_were_written(
    root: Path, package: Path
) -> None:
    (package / "deep").mkdir()
    (package / "deep" / "store.py").write_text("from google.cloud import storage")
    with local_places(root, package, backed=[], warn=pytest.fail) as places:
        assert places.argument("gs://mine/new/x.txt") == "gs://mine/new/x.txt"
        assert places.job_dir("gs://mine/u1/") == ("gs://mine/u1/", f"{root}/mine/u1")
    assert not (root / "mine" / "new").exists()


def test_the_package_is_read_once_and_only_if_something_asks_for_it(
    root: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(localplaces, "package_takes_uris_apart", read.append)
    with local_places(root, package, backed=[], warn=pytest.fail) as places:
        assert (places.argument("--data=d"), places.job_dir("out")) == ("--data=d", ("out", "out"))
        assert read == []
        places.argument("gs://mine/a.csv,gs://mine/b.csv")
        places.job_dir("gs://mine/u1")
        assert read == [package]


def test_the_job_dir_is_a_path_of_which_nothing_is_made_here(root: Path, package: Path) -> None:
    with local_places(root, package, backed=[], warn=pytest.fail) as places:
        assert places.job_dir("gs://mine/a b/") == (f"{root}/mine/a b/", f"{root}/mine/a b")
        assert places.job_dir("gs://else/u1") == ("gs://else/u1", "gs://else/u1")
        assert places.job_dir("out") == ("out", "out")
        assert places.job_dir("") == ("", "")
    assert not (root / "mine" / "a b").exists()


def test_what_cannot_be_a_path_is_left_as_it_is_and_said(root: Path, package: Path) -> None:
    warnings: list[str] = []
    with local_places(root, package, backed=[], warn=warnings.append) as places:
        assert places.argument("gs://mine/../x") == "gs://mine/../x"
    assert len(warnings) == 1 and "'gs://mine/../x' has a '..' segment" in warnings[0]


def test_a_home_without_buckets_is_left_alone(tmp_path: Path, package: Path) -> None:
    with local_places(tmp_path / "none", package, backed=[], warn=pytest.fail) as places:
        assert places.argument("gs://mine/x/../y") == "gs://mine/x/../y"
    assert not (tmp_path / "none").exists()
