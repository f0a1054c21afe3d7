"""A job's archives are fetched once, whoever does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.store import open_store
from mlengine.training.jobpackages import job_packages

URI = "gs://mine/p/trainer-0.0.0.tar.gz"


def test_two_engines_that_fetch_at_once_end_up_with_one_copy(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'engine.db'}")
    buckets = Buckets(store, tmp_path / "buckets")
    buckets.create(Bucket(name="mine"))
    buckets.write(URI, [b"archive"])
    job_dir = tmp_path / "job"
    job_dir.mkdir()
    by_other: list[Path] = []

    def log(_line: str) -> None:
        """Have the engine that led before come first."""
        if not by_other:
            by_other.append(job_dir)
            by_other[:] = job_packages(buckets, [URI], job_dir, log)

    found = job_packages(buckets, [URI], job_dir, log)
    store.close()
    assert found == by_other == [job_dir / "packages" / "trainer-0.0.0.tar.gz"]
    assert found[0].read_bytes() == b"archive"
    assert [path.name for path in job_dir.iterdir()] == ["packages"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'engine.db'}")
    buckets = Buckets(store, tmp_path / "buckets")
    buckets.create(Bucket(name="mine"))
    buckets.write(URI, [b"archive"])

    def log(_line: str) -> None:
        (tmp_path / "packages").write_text("no folder")

    with pytest.raises(NotADirectoryError):
        job_packages(buckets, [URI], tmp_path, log)
    store.close()
