"""Keys of object stores go from the engine to a helper, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.sidecar.config import open_buckets, read_config
from mlengine.storage.sidecar.keys import keep_keys, take_keys
from mlengine.training.access import BucketAccess
from tests.fakes.bucket_table import BucketTableFake

ENVIRON = {
    "AWS_SECRET_ACCESS_KEY": "never-to-be-told", "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json", "MLENGINE_TOKEN": "token", "PATH": "/bin",
}  # fmt: skip


def test_what_stores_are_reached_by_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keep_keys(path, ENVIRON)
    keep_keys(path, ENVIRON)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [*tmp_path.iterdir()] == [path]
    with mock.patch.dict(os.environ, {}, clear=True):
        take_keys(path)
        assert sorted(os.environ) == [
            "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST",
        ]  # fmt: skip
        take_keys(tmp_path / "none")


def test_an_attempt_is_told_of_keys_only_where_a_bucket_needs_them(tmp_path: Path) -> None:
    table = BucketTableFake()
    buckets = Buckets(table, tmp_path / "buckets")
    (tmp_path / "run").mkdir()
    access = BucketAccess(buckets, tmp_path / "buckets", tmp_path / "run", ENVIRON)

    def prepared() -> tuple[str, str]:
        given = access.prepare(tmp_path, project="p")
        said = repr([given.env, given.sidecars]) + (tmp_path / "buckets.json").read_text()
        return read_config(tmp_path / "buckets.json").keys, said

    assert prepared()[0] == ""
    table.add_bucket(Bucket(name="far", backing="s3://team/ml"))
    keys, said = prepared()
    assert "never-to-be-told" in Path(keys).read_text()
    assert "never-to-be-told" not in said
    table.remove_bucket("far")
    assert prepared()[0] == ""
    assert not Path(keys).exists()


def test_a_jobs_own_programs_reach_a_store_through_the_helper(tmp_path: Path) -> None:
    table = BucketTableFake()
    buckets = Buckets(table, tmp_path / "buckets")
    (tmp_path / "run").mkdir()
    table.add_bucket(Bucket(name="far", backing="s3://team/ml"))
    table.add_bucket(Bucket(name="memo", backing="memory://memo"))
    BucketAccess(buckets, tmp_path / "buckets", tmp_path / "run", ENVIRON).prepare(
        tmp_path, project="p"
    )
    seen = open_buckets(read_config(tmp_path / "buckets.json"), by_helper=True)
    assert {b.name: b.backing for b in seen.list()} == {
        "far": "gcs://far", "memo": "memory://memo",
    }  # fmt: skip
