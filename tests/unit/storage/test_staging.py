"""Writes under real faults: a killed writer, a full disk, another file system, a racing delete."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlengine.core.errors import (
    AlreadyExists,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from mlengine.core.resources import Bucket
from mlengine.storage import Buckets, staging
from mlengine.storage.faults import from_os_error
from tests.fakes.bucket_table import BucketTableFake

WRITER = """
import sys
from pathlib import Path
from mlengine.storage.backends.folder import FolderBackend

def chunks():
    yield b"new" * 100_000
    print("half", flush=True)
    sys.stdin.read()
    yield b"rest"

FolderBackend(Path(sys.argv[1]), bucket="data", folder="data").write("a/b", chunks())
"""


def start_writer(root: Path) -> subprocess.Popen[str]:
    """Start a process that is in the middle of a write when this returns."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    return writer


def finish(writer: subprocess.Popen[str]) -> None:
    writer.communicate(timeout=30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home/buckets"


def unfinished(root: Path) -> int:
    return len([*(root / ".staging").iterdir()])


@pytest.mark.parametrize("old", [None, b"old"])
def test_the_object_of_a_killed_writer_is_the_old_one_or_none(
    buckets: Buckets, root: Path, old: bytes | None
) -> None:
    if old is not None:
        buckets.write("gs://data/a/b", [old])
    writer = start_writer(root)
    writer.send_signal(signal.SIGKILL)
    finish(writer)
    assert [info.size for info in buckets.objects("data")] == ([3] if old else [])
    assert unfinished(root) == 1
    assert (buckets.sweep(older_than_s=0), unfinished(root)) == (1, 0)


def test_the_sweep_leaves_a_slow_writer_alone(buckets: Buckets, root: Path) -> None:
    writer = start_writer(root)
    assert buckets.sweep(older_than_s=-1e9) == 0
    finish(writer)
    assert writer.returncode == 0
    assert buckets.stat("gs://data/a/b").size == 300_004


def test_the_sweep_waits_until_a_rest_is_old(buckets: Buckets, root: Path) -> None:
    writer = start_writer(root)
    writer.kill()
    finish(writer)
    assert buckets.sweep(older_than_s=3600) == 0
    os.utime(next((root / ".staging").iterdir()), (0, 0))
    assert buckets.sweep(older_than_s=3600) == 1


def test_the_sweep_removes_links_and_half_deleted_folders_and_follows_nothing(
    buckets: Buckets, root: Path, tmp_path: Path
) -> None:
    (root / ".staging/gone/deep").mkdir(parents=True)
    (root / ".staging/gone/deep/x").write_text("x")
    (tmp_path / "precious").write_text("kept")
    (root / ".staging/link").symlink_to(tmp_path)
    (root / ".staging/gone/link").symlink_to(tmp_path)
    assert buckets.sweep(older_than_s=-1e9) == 2
    assert (tmp_path / "precious").exists()


def test_nothing_was_ever_written_so_there_is_nothing_to_sweep(buckets: Buckets) -> None:
    assert buckets.sweep(older_than_s=-1e9) == 0


def test_on_a_full_disk_nothing_is_half_there_and_it_recovers(tiny_disk: Path) -> None:
    buckets = Buckets(BucketTableFake(), tiny_disk / "buckets")
    buckets.create(Bucket(name="data"))
    buckets.write("gs://data/old", [b"x" * 500_000])
    for turn in range(3):
        for name in ("old", f"new{turn}"):
            with pytest.raises(Unavailable, match=r"No space is left.*gs://data") as caught:
                buckets.write(f"gs://data/{name}", [b"y" * 100_000] * 10)
            assert "Free space" in caught.value.remedy
    assert [(i.name, i.size) for i in buckets.objects("data")] == [("old", 500_000)]
    assert unfinished(tiny_disk / "buckets") == 0
    with pytest.raises(Unavailable):
        buckets.upload_tree(Path(__file__).parents[3] / "src/mlengine", "gs://data/src")
    for info in buckets.objects("data", prefix="src/"):
        buckets.delete_object(f"gs://data/{info.name}")
    buckets.delete_object("gs://data/old")
    assert buckets.write("gs://data/new", [b"y" * 900_000]).size == 900_000


def test_on_a_full_disk_objects_of_earlier_engines_buckets_are_removed(tiny_disk: Path) -> None:
    buckets = Buckets(BucketTableFake(), tiny_disk / "buckets")
    buckets.create(Bucket(name="data"))
    buckets.write("gs://data/old", [b"x"])
    shutil.rmtree(tiny_disk / "buckets/.records/data")  # they made it with an object's first record
    buckets.sweep()
    fill_inodes(tiny_disk)
    buckets.delete_object("gs://data/old")
    assert buckets.objects("data") == []


def fill_inodes(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        for number in range(100):
            (disk / str(number)).touch()


def test_without_inodes_a_write_and_a_download_say_so(tiny_disk: Path, buckets: Buckets) -> None:
    tiny = Buckets(BucketTableFake(), tiny_disk / "buckets")
    tiny.create(Bucket(name="tiny"))
    with pytest.raises(Unavailable, match="No space is left"):
        for number in range(100):
            tiny.write(f"gs://tiny/{number}/x", [b"x"])
    assert unfinished(tiny_disk / "buckets") == 0
    buckets.write("gs://data/big", [b"x" * 2_000_000])
    with pytest.raises(Unavailable, match="No space is left"):
        buckets.download("gs://data", tiny_disk)


def test_a_disk_mounted_into_a_bucket_is_refused_with_the_way_out(
    root: Path, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def across(*_args: object, **_more: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", across)
    with pytest.raises(FailedPrecondition, match="file:///"):
        buckets.write("gs://data/x", [b"x"])
    assert unfinished(root) == 0


def test_a_folder_that_vanishes_before_the_rename_is_made_again(
    root: Path, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, turns = os.rename, []

    def racing(source: str, target: str, **fds: int) -> None:
        if not turns:
            turns.append(1)
            (root / "data/a/b").rmdir()
        rename(source, target, **fds)

    monkeypatch.setattr(os, "rename", racing)
    assert buckets.write("gs://data/a/b/c", [b"x"]).size == 1
    assert [info.name for info in buckets.objects("data")] == ["a/b/c"]


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOENT, NotFound), (errno.EISDIR, FailedPrecondition)]
)
def test_a_rename_that_never_succeeds_ends(
    root: Path, buckets: Buckets, monkeypatch: pytest.MonkeyPatch, number: int, error: type
) -> None:
    def never(*_args: object, **_more: object) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(os, "rename", never)
    monkeypatch.setattr(staging, "_remove_hollow", lambda *_args: None)
    with pytest.raises(error):
        buckets.write("gs://data/x", [b"x"])
    assert unfinished(root) == 0


def test_hollow_folders_give_way_to_an_object(root: Path, buckets: Buckets) -> None:
    (root / "data/a/b/c").mkdir(parents=True)
    (root / "data/a/d").mkdir(parents=True)
    buckets.write("gs://data/a", [b"x"])
    assert [info.name for info in buckets.objects("data")] == ["a"]


FAULTS = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,
    errno.ENOSPC: Unavailable,
    errno.EDQUOT: Unavailable,
    errno.ELOOP: FailedPrecondition,
    errno.EEXIST: AlreadyExists,
    errno.EISDIR: FailedPrecondition,
    errno.ENOTEMPTY: FailedPrecondition,
    errno.EXDEV: FailedPrecondition,
    errno.ENAMETOOLONG: InvalidArgument,
    errno.EACCES: FailedPrecondition,
    errno.EROFS: FailedPrecondition,
    errno.EMFILE: Unavailable,
    errno.EIO: Unavailable,
}


@pytest.mark.parametrize(("number", "kind"), FAULTS.items())
def test_a_fault_of_the_system_is_an_error_with_a_remedy_and_no_path(
    number: int, kind: type[EngineError]
) -> None:
    error = from_os_error(OSError(number, os.strerror(number), "/home/me/secret"), "gs://data/x")
    assert type(error) is kind
    assert "gs://data/x" in error.problem
    assert error.remedy
    assert "/home/me" not in str(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError("x"), NotFound),
        (PermissionError("x"), FailedPrecondition),
        (TimeoutError("x"), Unavailable),
    ],
)
def test_a_fault_without_a_number_is_known_by_its_class(
    error: OSError, kind: type[EngineError]
) -> None:
    assert type(from_os_error(error, "gs://data/x")) is kind
