"""What is said of objects, in a home that was copied: their files have other inodes there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.gcs.foldershelf import FolderShelf
from mlengine.storage.records import ObjectRecord
from tests.fakes.bucket_table import BucketTableFake

SAID = ObjectRecord(content_encoding="gzip", metadata={"epoch": "3"}, md5="m", crc32c="c")
NAMES = ["a/x", "a/y", "z"]


def upload(buckets: Buckets, name: str, record: ObjectRecord) -> None:
    shelf = FolderShelf(buckets, "data")
    draft = shelf.draft(name)
    draft.append(name.encode())
    shelf.commit(draft, record)
    draft.close()


def said(buckets: Buckets, name: str) -> dict[str, str]:
    """Return an object's metadata, as a request of its own finds it."""
    return FolderShelf(buckets, "data").find(name).record.metadata


def files(root: Path) -> set[str]:
    """Return which records there are, by the numbers of their objects' files."""
    return {file.name for file in (root / ".records/data").glob("*-*.json")}


def expected(root: Path) -> set[str]:
    status = [(root / "data" / name).stat() for name in NAMES]
    return {f"{each.st_ino:x}-{each.st_mtime_ns:x}.json" for each in status}


def as_it_is(_file: Path) -> None: ...


def cut(file: Path) -> None:
    """As tar packs times, unless it is told otherwise."""
    whole = int(file.stat().st_mtime) * 10**9
    os.utime(file, ns=(whole, whole))


@pytest.fixture(params=[as_it_is, cut])
def copied(
    request: pytest.FixtureRequest, buckets: Buckets, tmp_path: Path
) -> tuple[Buckets, Path]:
    """Buckets in a copy of a home, and their root."""
    for number, name in enumerate(NAMES):
        metadata = {"number": str(number)}
        upload(buckets, name, ObjectRecord(content_encoding="gzip", metadata=metadata))
    root = tmp_path / "elsewhere/buckets"
    shutil.copytree(tmp_path / "home/buckets", root)
    change: Callable[[Path], None] = request.param
    for name in NAMES:
        change(root / "data" / name)
    table = BucketTableFake()
    table.add_bucket(Bucket(name="data"))
    return Buckets(table, root), root


def test_what_is_said_of_objects_is_found_in_a_copy_and_filed_anew(
    copied: tuple[Buckets, Path],
) -> None:
    buckets, root = copied
    assert files(root).isdisjoint(expected(root))
    for _again in range(2):
        assert [said(buckets, name) for name in NAMES] == [{"number": n} for n in "012"]
        assert files(root) == expected(root)


def test_the_sweep_files_the_records_of_a_copy_anew_and_removes_none(
    copied: tuple[Buckets, Path],
) -> None:
    buckets, root = copied
    assert buckets.sweep(older_than_s=-1e9) == 0
    assert files(root) == expected(root)
    assert [said(buckets, name) for name in NAMES] == [{"number": n} for n in "012"]


def test_what_was_said_in_a_copy_is_not_replaced_by_what_was_said_before(
    copied: tuple[Buckets, Path],
) -> None:
    buckets, root = copied
    shelf = FolderShelf(buckets, "data")
    info = buckets.stat("gs://data/z")
    stray = root / f".records/data/1-{info.changed_ns:x}.json"
    shelf.update("z", lambda record: msgspec.structs.replace(record, metadata={"old": "1"}))
    shutil.copy(stray.with_name(f"{info.inode:x}-{info.changed_ns:x}.json"), stray)
    shelf.update("z", lambda record: msgspec.structs.replace(record, metadata={"new": "1"}))
    assert buckets.sweep(older_than_s=-1e9) == 1
    assert said(buckets, "z") == {"new": "1"}


def test_an_object_that_was_replaced_after_copying_has_no_record(
    copied: tuple[Buckets, Path],
) -> None:
    buckets, root = copied
    (root / "data/a/x").write_bytes(b"by a trainer")
    (root / "data/other").write_bytes(b"of the same time")
    status = (root / "data/z").stat()
    os.utime(root / "data/other", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert [said(buckets, name) for name in ("a/x", "other", "z")] == [{}, {}, {"number": "2"}]
    assert buckets.sweep(older_than_s=-1e9) == 1
    assert said(buckets, "a/y") == {"number": "1"}


def test_objects_without_records_cost_no_search_where_nothing_was_copied(
    buckets: Buckets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload(buckets, "x", SAID)
    (tmp_path / "home/buckets/data/y").write_bytes(b"by a trainer")
    records = buckets.records("data")
    assert records.of(buckets.stat("gs://data/y")) == ObjectRecord(name="y")
    assert "_by_second" not in vars(records)


def test_a_home_of_an_earlier_engine_is_settled_by_the_sweep(
    buckets: Buckets, tmp_path: Path
) -> None:
    upload(buckets, "x", SAID)
    place = tmp_path / "home/buckets/.records/data/place"
    place.unlink()
    assert said(buckets, "x") == {"epoch": "3"}
    assert buckets.sweep(older_than_s=-1e9) == 0
    assert place.is_file()
    assert buckets.sweep(older_than_s=-1e9) == 0
    assert said(buckets, "x") == {"epoch": "3"}
