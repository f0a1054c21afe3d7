from __future__ import annotations

import builtins
import contextlib
import datetime
import hashlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import (
    AlreadyExists,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from mlengine.core.resources import Bucket
from mlengine.storage import BucketPath, Buckets, staging
from mlengine.storage.gcs.foldershelf import FolderShelf
from mlengine.storage.records import ObjectRecord
from mlengine.storage.sidecar.table import BucketSnapshot
from tests.fakes.bucket_table import BucketTableFake


class FixedClock:
    def now(self) -> datetime.datetime:
        return datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)

    def monotonic_s(self) -> float:
        return 0.0


def names(buckets: Buckets, bucket: str = "data") -> list[str]:
    return [info.name for info in buckets.objects(bucket)]


def fill(buckets: Buckets, *wanted: str, bucket: str = "data") -> None:
    for name in wanted:
        buckets.write(BucketPath(bucket, name), [name.encode()])


# --- buckets ------------------------------------------------------------------------------------


def test_a_bucket_is_a_private_folder_and_knows_when_it_was_made(tmp_path: Path) -> None:
    buckets = Buckets(BucketTableFake(), tmp_path / "b", clock=FixedClock())
    created = buckets.create(Bucket(name="data"))
    assert created.create_time == "2030-01-02T03:04:05Z"
    assert buckets.get("data") == created
    assert (tmp_path / "b/data").stat().st_mode & 0o777 == 0o700


def test_buckets_are_listed_by_name(buckets: Buckets) -> None:
    buckets.create(Bucket(name="abc"))
    assert [bucket.name for bucket in buckets.list()] == ["abc", "data"]


def test_a_name_is_taken_once(buckets: Buckets) -> None:
    fill(buckets, "kept")
    with pytest.raises(AlreadyExists):
        buckets.create(Bucket(name="data"))
    assert names(buckets) == ["kept"]


@pytest.mark.parametrize("name", ["", "a", "A-b-c", "a..b", "-ab", ".staging", "127.0.0.1"])
def test_a_bucket_needs_a_lawful_name(buckets: Buckets, name: str) -> None:
    with pytest.raises(InvalidArgument):
        buckets.create(Bucket(name=name))


def test_a_bucket_may_be_named_like_a_domain(buckets: Buckets, tmp_path: Path) -> None:
    buckets.create(Bucket(name="models.example.com"))
    fill(buckets, "a/b", bucket="models.example.com")
    assert names(buckets, "models.example.com") == ["a/b"]
    table = BucketSnapshot(tmp_path / "home/buckets", [])
    assert "models.example.com" in {bucket.name for bucket in table.buckets()}
    buckets.delete("models.example.com", force=True)
    assert not (tmp_path / "home/buckets/models.example.com").exists()


def test_a_bucket_whose_folder_cannot_be_made_is_not_recorded(
    buckets: Buckets, tmp_path: Path
) -> None:
    (tmp_path / "home/buckets/other").write_text("in the way")
    with pytest.raises(AlreadyExists):
        buckets.create(Bucket(name="other"))
    with pytest.raises(NotFound):
        buckets.get("other")


def test_an_unknown_bucket_is_not_found_and_a_near_one_is_named(buckets: Buckets) -> None:
    with pytest.raises(NotFound, match="Did you mean 'data'"):
        buckets.objects("dta")
    with pytest.raises(NotFound):
        buckets.write("gs://dta/x", [b"x"])
    with pytest.raises(NotFound):
        buckets.delete("dta")


def test_a_bucket_with_objects_is_deleted_only_by_force(buckets: Buckets, tmp_path: Path) -> None:
    fill(buckets, "a/b")
    with pytest.raises(FailedPrecondition, match="Remove it with its objects by"):
        buckets.delete("data")
    buckets.delete("data", force=True)
    with pytest.raises(NotFound):
        buckets.get("data")
    buckets.create(Bucket(name="data"))
    assert names(buckets) == []
    assert [*(tmp_path / "home/buckets/.staging").iterdir()] == []


def test_a_bucket_of_hollow_folders_is_empty(buckets: Buckets, tmp_path: Path) -> None:
    (tmp_path / "home/buckets/data/a/b").mkdir(parents=True)
    buckets.delete("data")
    assert not (tmp_path / "home/buckets/data").exists()


def test_a_bucket_whose_folder_is_gone_is_empty_and_comes_back_by_writing(
    buckets: Buckets, tmp_path: Path
) -> None:
    (tmp_path / "home/buckets/data").rmdir()
    assert names(buckets) == []
    fill(buckets, "a")
    assert names(buckets) == ["a"]
    buckets.delete("data", force=True)


def test_a_bucket_with_a_folder_that_somebody_made_is_empty(buckets: Buckets) -> None:
    FolderShelf(buckets, "data").make_folder("made/deep/", ObjectRecord())
    buckets.delete("data")
    assert buckets.list() == []


def test_a_bucket_whose_folder_is_gone_can_be_deleted(buckets: Buckets, tmp_path: Path) -> None:
    (tmp_path / "home/buckets/data").rmdir()
    buckets.delete("data")
    assert buckets.list() == []


def test_an_upload_that_ends_after_its_buckets_deletion_is_not_acknowledged(
    buckets: Buckets, tmp_path: Path
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        buckets.delete("data")
        yield b"rest"

    with pytest.raises(NotFound, match="the folder of its bucket is gone"):
        buckets.write("gs://data/a/b", chunks())
    assert not (tmp_path / "home/buckets/data").exists()
    assert BucketSnapshot(tmp_path / "home/buckets", []).buckets() == []
    buckets.create(Bucket(name="data"))
    assert names(buckets) == []


def test_an_object_that_comes_while_its_bucket_is_found_empty_stays(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside = staging.set_aside

    def late(root: Path, name: str, *, staging: str) -> str:
        (root / name / "deep").mkdir()
        (root / name / "deep/trained").write_bytes(b"by path")
        return set_aside(root, name, staging=staging)

    with monkeypatch.context() as patched:
        patched.setattr(staging, "set_aside", late)
        with pytest.raises(FailedPrecondition, match="'data' is not empty"):
            buckets.delete("data")
    assert names(buckets) == ["deep/trained"]
    assert [*(tmp_path / "home/buckets/.staging").iterdir()] == []
    fill(buckets, "more")
    buckets.delete("data", force=True)
    assert not (tmp_path / "home/buckets/data").exists()


@contextlib.contextmanager
def late_writers(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: dict[str, str]
) -> Iterator[None]:
    """Have files, or folders where a name ends in a slash, come around a bucket's setting aside."""

    def make(folder: Path, made: dict[str, str]) -> None:
        for name, content in made.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                (folder / name).mkdir()
            else:
                (folder / name).write_text(content)

    set_aside = staging.set_aside

    def late(root: Path, name: str, *, staging: str) -> str:
        make(root / name, before)
        aside = set_aside(root, name, staging=staging)
        make(root / name, after)
        return aside

    with monkeypatch.context() as patched:
        patched.setattr(staging, "set_aside", late)
        yield


def test_what_is_put_back_finds_place_beside_what_has_come_meanwhile(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = {"a": "trained", "deep/b": "trained", "both/c": "trained", "both/empty/": ""}
    meanwhile = {"a/drafted/": "", "deep/b/": "", "both/d": "newer", "made/": ""}
    with late_writers(monkeypatch, trained, meanwhile):
        with pytest.raises(FailedPrecondition, match="'data' is not empty"):
            buckets.delete("data")
    assert names(buckets) == ["a", "both/c", "both/d", "deep/b"]
    assert (tmp_path / "home/buckets/data/both/empty").is_dir()
    assert [*(tmp_path / "home/buckets/.staging").iterdir()] == []


def test_what_cannot_be_put_back_is_kept_and_told_of(
    buckets: Buckets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trained = {"a": "older", "b/c": "trained", "d": "trained", "e": "trained"}
    meanwhile = {"a": "newer", "b": "a file", "d/f": "behind a folder"}
    with late_writers(monkeypatch, trained, meanwhile):
        with pytest.raises(FailedPrecondition, match="'data' is not empty"):
            buckets.delete("data")
    assert names(buckets) == ["a", "b", "d/f", "e"]
    assert buckets.open_read("gs://data/a").read() == b"newer"
    assert buckets.sweep(older_than_s=-1) == 0
    [kept] = (tmp_path / "home/buckets/.staging").iterdir()
    assert sorted(str(p.relative_to(kept)) for p in kept.rglob("*")) == ["a", "b", "b/c", "d"]
    assert f"the rest is in {kept}" in caplog.text


def test_a_bucket_that_is_made_anew_while_the_old_one_goes_has_its_folder(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_bucket = buckets._store.remove_bucket

    def remove(name: str) -> None:
        remove_bucket(name)
        buckets.create(Bucket(name=name))

    monkeypatch.setattr(buckets._store, "remove_bucket", remove)
    buckets.delete("data")
    assert (tmp_path / "home/buckets/data").is_dir()


def test_who_publishes_is_waited_for_before_a_bucket_goes(buckets: Buckets) -> None:
    refused: list[EngineError] = []

    def delete() -> None:
        try:
            buckets.delete("data")
        except FailedPrecondition as error:
            refused.append(error)

    deleter = threading.Thread(target=delete)
    with buckets.records("data").locked("x"):
        deleter.start()
        deleter.join(0.1)
        assert deleter.is_alive()
        buckets.folder("data").write("x", [b"published"])
    deleter.join(20)
    assert refused and names(buckets) == ["x"]


def test_a_bucket_that_is_deleted_while_somebody_looks_is_not_made_anew(
    buckets: Buckets, tmp_path: Path
) -> None:
    stale = buckets.get("data")
    buckets.delete("data")
    with pytest.raises(NotFound):
        buckets._renew(stale)
    assert not (tmp_path / "home/buckets/data").exists()


def test_of_a_bucket_backed_elsewhere_only_the_name_is_deleted(
    buckets: Buckets, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    buckets.create(Bucket(name="disk", backing=f"file://{tmp_path}/disk"))
    fill(buckets, "mine", bucket="disk")
    with pytest.raises(FailedPrecondition):
        buckets.delete("disk")
    buckets.delete("disk", force=True)
    assert (tmp_path / "disk/mine").read_text() == "mine"


def test_a_file_backing_must_be_a_folder(buckets: Buckets, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="is not a folder"):
        buckets.create(Bucket(name="disk", backing=f"file://{tmp_path}/missing"))


@pytest.mark.parametrize(("scheme", "package"), [("s3", "botocore"), ("gcs", "urllib3")])
def test_a_backing_without_its_package_says_how_to_install_it(
    buckets: Buckets, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("mlengine.storage.backends.")]:
        if name.rpartition(".")[2] in ("s3", "gcs", "gcswire"):
            monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FailedPrecondition, match=rf"pip install 'mlengine\[{scheme}\]'"):
        buckets.create(Bucket(name="far", backing=f"{scheme}://far/away"))
    assert [bucket.name for bucket in buckets.list()] == ["data"]


# --- objects ------------------------------------------------------------------------------------


def test_objects_are_paged_by_name(buckets: Buckets) -> None:
    fill(buckets, *(f"o{n}" for n in range(5)))
    page = buckets.objects("data", limit=2)
    assert [info.name for info in page] == ["o0", "o1"]
    assert [i.name for i in buckets.objects("data", after=page[-1].name, limit=9)] == [
        "o2",
        "o3",
        "o4",
    ]


def test_an_object_can_be_named_by_path_or_by_uri(buckets: Buckets) -> None:
    written = buckets.write("gs://data/a b/c", [b"x"])
    assert buckets.stat(BucketPath("data", "a b/c")) == written
    assert written.uri == "gs://data/a b/c"
    assert written.resource().size == 1
    assert written.resource().updated.endswith("Z")
    buckets.delete_object(written.uri)
    with pytest.raises(NotFound):
        buckets.open_read(written.uri)


@pytest.mark.parametrize("uri", ["gs://data", "gs://data/", "gs://data/a/"])
def test_a_folder_is_no_object(buckets: Buckets, uri: str) -> None:
    with pytest.raises(InvalidArgument, match="names no object"):
        buckets.write(uri, [b"x"])


GLOBS = {
    "data/*.csv": ["data/a.csv", "data/b.csv"],
    "data/?.csv": ["data/a.csv", "data/b.csv"],
    "data/**": ["data/a.csv", "data/b.csv", "data/deep/c.csv"],
    "**/*.csv": ["data/a.csv", "data/b.csv", "data/deep/c.csv", "top.csv"],
    "*/deep/*": ["data/deep/c.csv"],
    "data/": ["data/a.csv", "data/b.csv", "data/deep/c.csv"],
    "": ["data/a.csv", "data/b.csv", "data/deep/c.csv", "database", "top.csv"],
    "top.csv": ["top.csv"],
    "data": [],
    "nothing*": [],
}


@pytest.mark.parametrize(("pattern", "expected"), GLOBS.items(), ids=GLOBS.keys())
def test_wildcards_mean_objects(buckets: Buckets, pattern: str, expected: list[str]) -> None:
    fill(buckets, "data/a.csv", "data/b.csv", "data/deep/c.csv", "top.csv", "database")
    assert [info.name for info in buckets.glob(f"gs://data/{pattern}")] == expected


def test_input_patterns_give_each_object_once_in_the_order_of_the_patterns(
    buckets: Buckets,
) -> None:
    fill(buckets, "a/1", "a/2", "b/1")
    found = buckets.expand_inputs(["gs://data/b/*", "gs://data/a/2", "gs://data/**"])
    assert [info.name for info in found] == ["b/1", "a/2", "a/1"]


def test_an_input_pattern_that_means_nothing_is_named_with_its_field(buckets: Buckets) -> None:
    with pytest.raises(NotFound, match=r"'gs://data/x\*'") as caught:
        buckets.expand_inputs(["gs://data/x*"], field="job.prediction_input.input_paths")
    assert caught.value.field == "job.prediction_input.input_paths"


# --- trees --------------------------------------------------------------------------------------


def test_the_real_path_is_given_for_folders_only(buckets: Buckets, tmp_path: Path) -> None:
    assert buckets.local_path("gs://data/a/b") == tmp_path / "home/buckets/data/a/b"
    assert buckets.local_path("gs://data") == tmp_path / "home/buckets/data"
    assert not (tmp_path / "home/buckets/data/a").exists()
    buckets.create(Bucket(name="mem", backing="memory://x"))
    with pytest.raises(FailedPrecondition, match="memory://x") as caught:
        buckets.local_path("gs://mem/a", field="job.job_dir")
    assert caught.value.field == "job.job_dir"


def test_a_tree_is_downloaded_with_sizes_and_digests(buckets: Buckets, tmp_path: Path) -> None:
    fill(buckets, "m/a", "m/b/c", "mx")
    for source in ("gs://data/m", "gs://data/m/"):
        out = tmp_path / hashlib.sha256(source.encode()).hexdigest()
        files = buckets.download(source, out)
        assert [(f.name, f.size) for f in files] == [("a", 3), ("b/c", 5)]
        assert files[1].sha256 == hashlib.sha256(b"m/b/c").hexdigest()
        assert (out / "b/c").read_text() == "m/b/c"


def test_one_object_is_downloaded_under_its_own_name(buckets: Buckets, tmp_path: Path) -> None:
    fill(buckets, "m/model.joblib", "m/model.joblib.bak/x")
    files = buckets.download("gs://data/m/model.joblib", tmp_path / "out")
    assert [file.name for file in files] == ["model.joblib"]


def test_nothing_cannot_be_downloaded(buckets: Buckets, tmp_path: Path) -> None:
    for source in ("gs://data/none", "gs://data/none/", "gs://data"):
        with pytest.raises(NotFound):
            buckets.download(source, tmp_path / "out")


@pytest.mark.parametrize("limits", [{"max_files": 1}, {"max_bytes": 3}])
def test_a_download_stays_within_its_limits(
    buckets: Buckets, tmp_path: Path, limits: dict[str, int]
) -> None:
    fill(buckets, "m/a", "m/b")
    with pytest.raises(ResourceExhausted):
        buckets.download("gs://data/m", tmp_path / "out", **limits)


def test_a_download_never_writes_over_a_file(buckets: Buckets, tmp_path: Path) -> None:
    fill(buckets, "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("mine")
    with pytest.raises(AlreadyExists):
        buckets.download("gs://data", tmp_path / "out")
    assert (tmp_path / "out/a").read_text() == "mine"


def test_a_local_tree_is_uploaded(buckets: Buckets, tmp_path: Path) -> None:
    (tmp_path / "local/sub").mkdir(parents=True)
    (tmp_path / "local/a").write_text("1")
    (tmp_path / "local/sub/b").write_text("22")
    (tmp_path / "link").symlink_to("local")
    for number, source in enumerate([tmp_path / "local", tmp_path / "link"]):
        written = buckets.upload_tree(source, f"gs://data/up{number}")
        assert [(info.name, info.size) for info in written] == [
            (f"up{number}/a", 1),
            (f"up{number}/sub/b", 2),
        ]


def test_a_local_tree_with_a_link_is_not_uploaded(buckets: Buckets, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local/a").symlink_to("/etc/passwd")
    with pytest.raises(FailedPrecondition):
        buckets.upload_tree(tmp_path / "local", "gs://data/up/")
    with pytest.raises(InvalidArgument, match="is not a folder"):
        buckets.upload_tree(tmp_path / "local/none", "gs://data/up/")
    assert names(buckets) == []


# --- the fsspec backend's own corners -----------------------------------------------------------


def test_a_large_object_is_sent_as_a_file(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlengine.storage.backends import fsspec as module
    from mlengine.storage.paths import Backing

    monkeypatch.setattr(module, "_IN_ONE_CALL_BYTES", 10)
    backend = module.FsspecBackend(Backing("file", str(tmp_path / "far")), bucket="far")
    assert backend.write("a/b", [b"x" * 100]).size == 100


def test_an_error_of_the_service_is_unavailable_and_shows_no_secret(
    buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets.create(Bucket(name="mem", backing="memory://x"))
    from fsspec.implementations.memory import MemoryFileSystem

    def fail(*_args: object, **_more: object) -> None:
        raise RuntimeError("AKIA-SECRET at /home/me")

    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    monkeypatch.setattr(MemoryFileSystem, "ls", fail)
    for act in (lambda: buckets.stat("gs://mem/x"), lambda: buckets.objects("mem")):
        with pytest.raises(Unavailable, match="RuntimeError") as caught:
            act()
        assert "SECRET" not in str(caught.value)


def test_rows_of_services_are_read_in_their_own_dialects(tmp_path: Path) -> None:
    from mlengine.storage.backends.fsspec import FsspecBackend
    from mlengine.storage.paths import Backing

    noon = datetime.datetime(2024, 5, 6, 12)
    rows = [
        {"name": "root/", "type": "directory", "size": 0},
        {"name": "root/dir", "type": "directory", "size": 0},
        {"name": "root/s3", "type": "file", "size": 1, "LastModified": noon},
        {"name": "root/gcs", "type": "file", "size": 2, "updated": "2024-05-06T12:00:00Z"},
        {"name": "root/disk", "type": "file", "size": None, "mtime": 1714996800.0},
        {"name": "root/none", "type": "file", "size": 4},
        {"name": "root/link", "type": "link", "size": 4},
        {"name": "root/a\nb", "type": "file", "size": 4},
    ]

    class Service:
        def ls(self, where: str, *, detail: bool) -> builtins.list[dict[str, object]]:
            assert detail
            return rows if where == "root" else []

        def info(self, where: str) -> dict[str, object]:
            return rows[1]

    backend = FsspecBackend(Backing("memory", "root"), bucket="far")
    backend._fs, backend._base = Service(), "root"
    found = {info.name: info for info in backend.list()}
    utc = noon.replace(tzinfo=datetime.UTC)
    assert {name: info.size for name, info in found.items()} == {
        "disk": 0,
        "gcs": 2,
        "none": 4,
        "s3": 1,
    }
    assert found["s3"].updated == found["gcs"].updated == found["disk"].updated == utc
    assert found["none"].updated.year == 1970
    with pytest.raises(NotFound):
        backend.stat("dir")
    with pytest.raises(FailedPrecondition, match="not a plain object"):
        [*backend.list(strict=True)]


def test_a_backing_that_is_away_does_not_stop_the_sweep(buckets: Buckets, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    buckets.create(Bucket(name="disk", backing=f"file://{tmp_path}/disk"))
    (tmp_path / "disk").rmdir()
    assert buckets.sweep() == 0
    with pytest.raises(EngineError):
        buckets.write("gs://disk/a", [b"x"])
