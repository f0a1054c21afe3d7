"""Keys of object stores go from the engine to a helper, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.core.resources import Bucket
from mlengine.runtime import envelope
from mlengine.storage import Buckets
from mlengine.storage.sidecar.config import open_buckets, read_config
from mlengine.storage.sidecar.keys import keys_in, pack_keys, take_keys
from mlengine.training.access import BucketAccess
from tests.fakes.bucket_table import BucketTableFake

ENVIRON = {
    "AWS_SECRET_ACCESS_KEY": "never-to-be-töld", "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json", "MLENGINE_TOKEN": "token", "PATH": "/bin",
}  # fmt: skip
KEPT = {name: ENVIRON[name] for name in list(ENVIRON)[:3]}


def test_what_stores_are_reached_by_is_taken_from_an_envelope() -> None:
    assert keys_in(ENVIRON) == KEPT
    for environ, expected in ((ENVIRON, KEPT), ({"PATH": "/bin"}, {})):
        sealed = envelope.seal(pack_keys(environ))
        with mock.patch.dict(os.environ, {}, clear=True):
            take_keys(sealed.detach())
            assert dict(os.environ) == expected


def test_more_than_an_envelope_holds_is_refused_before_a_job_starts(tmp_path: Path) -> None:
    table = BucketTableFake()
    table.add_bucket(Bucket(name="far", backing="gcs://team/ml"))
    (tmp_path / "run").mkdir()
    environ = {**ENVIRON, "GOOGLE_CREDENTIALS": "x" * envelope.MAX_BYTES}
    buckets = Buckets(table, tmp_path / "buckets")
    access = BucketAccess(buckets, tmp_path / "buckets", tmp_path / "run", environ)
    with pytest.raises(FailedPrecondition, match="longest is GOOGLE_CREDENTIALS") as caught:
        access.prepare(tmp_path, project="p")
    assert "xxx" not in str(caught.value)


def test_a_helper_takes_keys_only_where_a_bucket_needs_them(tmp_path: Path) -> None:
    table = BucketTableFake()
    buckets = Buckets(table, tmp_path / "buckets")
    run = tmp_path / "run"
    run.mkdir()

    def takes_keys(environ: dict[str, str]) -> bool:
        access = BucketAccess(buckets, tmp_path / "buckets", run, environ)
        given = access.prepare(tmp_path, project="p")
        said = repr([given.env, given.sidecars]) + (tmp_path / "buckets.json").read_text()
        assert "never-to-be" not in said
        assert not [p for p in run.rglob("*") if p.is_file() and b"never-to-be" in p.read_bytes()]
        return given.sidecars[0].takes_keys

    assert not takes_keys(ENVIRON)
    table.add_bucket(Bucket(name="near", backing="memory://near"))
    assert not takes_keys(ENVIRON)
    table.add_bucket(Bucket(name="far", backing="s3://team/ml"))
    assert takes_keys(ENVIRON)
    assert not takes_keys({"PATH": "/bin"})
    table.remove_bucket("far")
    assert not takes_keys(ENVIRON)


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
