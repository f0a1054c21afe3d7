from __future__ import annotations

from pathlib import Path

import pytest

from mlengine.core.errors import EngineError, FailedPrecondition, NotFound, PermissionDenied
from mlengine.core.resources import Bucket
from mlengine.storage.sidecar.config import SidecarConfig, open_buckets, read_config


def config(root: Path, *backed: Bucket) -> SidecarConfig:
    return SidecarConfig(secret="s", root=str(root), buckets=list(backed))


def test_a_bucket_is_there_for_as_long_as_its_folder_is(tmp_path: Path) -> None:
    buckets = open_buckets(config(tmp_path))
    assert buckets.list() == []
    (tmp_path / "later").mkdir()
    assert [bucket.name for bucket in buckets.list()] == ["later"]
    buckets.write("gs://later/x", [b"x"])
    assert (tmp_path / "later" / "x").read_bytes() == b"x"
    (tmp_path / "later").rename(tmp_path / "elsewhere.not")
    with pytest.raises(NotFound, match="'later' was not found"):
        buckets.get("later")
    buckets._renew(Bucket(name="later"))
    assert not (tmp_path / "later").exists()


def test_only_folders_with_a_buckets_name_are_buckets(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in (".staging", ".records", "UPPER"):
        (root / name).mkdir()
    (root / "a-file").write_text("x")
    (root / "a-link").symlink_to(tmp_path)
    buckets = open_buckets(config(root))
    assert buckets.list() == []
    for name in (".staging", "a-link", "a-file", "..", ""):
        with pytest.raises(EngineError):
            buckets.objects(name)


def test_one_that_is_backed_elsewhere_is_as_it_was_written_down(tmp_path: Path) -> None:
    root, far = tmp_path / "root", tmp_path / "far"
    far.mkdir()
    (far / "x").write_text("there")
    buckets = open_buckets(config(root, Bucket(name="far-one", backing=f"file://{far}")))
    assert [info.name for info in buckets.objects("far-one")] == ["x"]


def test_a_job_neither_makes_nor_deletes_buckets(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("kept")
    buckets = open_buckets(config(tmp_path))
    with pytest.raises(PermissionDenied, match="mlengine storage buckets create other"):
        buckets.create(Bucket(name="other"))
    for force in (False, True):
        with pytest.raises(PermissionDenied, match="buckets delete mine"):
            buckets.delete("mine", force=force)
    assert (tmp_path / "mine" / "x").read_text() == "kept"
    assert [bucket.name for bucket in buckets.list()] == ["mine"]


def test_a_file_that_is_gone_or_damaged_is_said(tmp_path: Path) -> None:
    for text in (None, "", "{}"):
        if text is not None:
            (tmp_path / "c.json").write_text(text)
        with pytest.raises(FailedPrecondition, match="cannot be read"):
            read_config(tmp_path / "c.json")
