"""No text of a user, and no link a trainer plants, leads out of the folder it is meant for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlengine.core.errors import AlreadyExists, EngineError, FailedPrecondition, InvalidArgument
from mlengine.core.resources import Bucket
from mlengine.storage import Buckets, beneath
from mlengine.storage.paths import (
    BucketPath,
    check_name,
    inside,
    open_inside,
    parse_backing,
    parse_uri,
)
from tests.fakes.bucket_table import BucketTableFake

# Each was a way into somebody's files: MLflow CVE-2023-1177, -2356, -2780, -6909, -6977, -30172,
# CVE-2024-1483, -3848, CVE-2025-11201, CVE-2026-2033, and their relatives.
NAME_PAYLOADS = [
    "..", "../x", "../../etc/passwd", "a/..", "a/../b", "a/../../b", "./x", ".", "a/.", "a/./b",
    "/etc/passwd", "//etc/passwd", "/", "//proc/self/root/etc/passwd", "a//b", "a//", "//",
    "..\\x", "a\\..\\b", "..\\..\\etc\\passwd", "\\\\host\\share", "C:\\x",
    "a\0", "\0", "a\0.csv", "../x\0.csv", "a\nb", "a\rb", "a\tb", "a\x1bb", "a\x7fb", "a\x85b",
    "a\u2028b", "a\u2029b", "a\udcffb", "x" * 256, "a/" + "x" * 256, "é" * 128, "a/" * 600 + "a",
]  # fmt: skip
URI_ONLY_PAYLOADS = [
    "a?b", "a?..", "?", "．．/x", "‥/x", "a／..／b", "a＼b",
]  # fmt: skip
# Mean more than they say only to who decodes, expands or cuts them off, which nothing here does.
LITERAL_PAYLOADS = [
    "%2e%2e/x", "%2E%2E/x", ".%2e/x", "a/%2e./b", "%252e%252e/x", "%25%32%65/x", "..%2fx",
    "..%5cx", "a%00b", "%c0%ae%c0%ae/x", "a#b", "#", "%u002e%u002e/%2e", "a%2f..%2f..%2fb", "a%",
    "~", "~/x", "~root/.ssh/id_rsa", "a/~/b",
]  # fmt: skip
URI_PAYLOADS = [
    "", " ", "x", "/etc/passwd", "../x", "gs:", "gs:/", "gs://", "gs:///x", "gs:data/x",
    "gs:/data/x",
    "GS://data/x", "Gs://data/x", " gs://data/x", "\tgs://data/x", "gs//data/x", "gs:\\\\data\\x",
    "file:///etc/passwd", "file://localhost/etc/passwd", "http://169.254.169.254/latest",
    "http://[::ffff:127.0.0.1]/", "https://2130706433/", "http://0177.0.0.1/", "gopher://x/_",
    "ftp://x/y", "s3://data/x", "gcs://data/x", "memory://x", "javascript:alert(1)", "data:,x",
    "gs://user@data/x", "gs://user:pass@data/x", "gs://data:80/x", "gs://127.0.0.1/x",
    "gs://Data/x", "gs://DATA", "gs://../x", "gs://./x", "gs://~/x", "gs://.staging/x",
    "gs://da ta/x", "gs://data..example/x", "gs://data.-x/y",
    "gs://-data/x", "gs://data-/x", "gs://d", "gs://" + "d" * 64, "gs://data?x", "gs://data#x",
    "gs://data%2fx", "gs://dätä/x", "gs://data\\x", "gs://[::1]/x", "gs://data\0/x",
    "simplecache::gs://data/x", "gs://gs://data/x", "dbfs:/x", "runs:/x", "//data/x",
]  # fmt: skip


def digest(root: Path) -> dict[str, str]:
    """Return what is where beneath `root`, links as what they point to."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path)] = "-> " + str(path.readlink())
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A home with canaries around the buckets."""
    for name in ("token", "buckets/canary", "run/secret", "buckets/data/inside"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def buckets(world: Path) -> Buckets:
    made = Buckets(BucketTableFake(), world / "buckets", private=[world])
    made.create(Bucket(name="data"))
    return made


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({*NAME_PAYLOADS, *URI_ONLY_PAYLOADS, *LITERAL_PAYLOADS}) >= 60
    assert len({*URI_PAYLOADS}) >= 50


@pytest.mark.parametrize("payload", NAME_PAYLOADS, ids=ascii)
def test_a_hostile_name_is_refused_before_anything_is_opened(
    buckets: Buckets, world: Path, payload: str
) -> None:
    before = digest(world)
    path = BucketPath("data", payload)
    acts: list[Callable[[], object]] = [
        lambda: check_name(payload),
        lambda: inside(world, payload),
        lambda: open_inside(world / "buckets", payload),
        lambda: open_inside(world / "buckets", payload, "xb"),
        lambda: buckets.stat(path),
        lambda: buckets.open_read(path),
        lambda: buckets.write(path, [b"x"]),
        lambda: buckets.delete_object(path),
    ]
    if payload not in ("/", "a/.", "a//"):  # as prefixes these end in a slash, or match nothing
        acts.append(lambda: buckets.objects("data", prefix=payload + "/"))
        acts.append(lambda: buckets.download(path, world / "out"))
    for act in acts:
        with pytest.raises(InvalidArgument):
            act()
    (world / "out").rmdir() if (world / "out").exists() else None
    assert digest(world) == before


@pytest.mark.parametrize(
    "uri",
    [*URI_PAYLOADS, *(f"gs://data/{name}" for name in NAME_PAYLOADS + URI_ONLY_PAYLOADS)],
    ids=ascii,
)
def test_a_hostile_uri_is_refused_with_its_field_its_value_and_the_way_out(
    buckets: Buckets, world: Path, uri: str
) -> None:
    before = digest(world)
    with pytest.raises(InvalidArgument) as caught:
        parse_uri(uri, field="job.job_dir")
    assert caught.value.field == "job.job_dir"
    assert ascii(uri)[1:20] in caught.value.problem
    assert caught.value.remedy
    acts: list[Callable[[], object]] = [
        lambda: buckets.open_read(uri),
        lambda: buckets.write(uri, [b"x"]),
        lambda: buckets.local_path(uri),
        lambda: buckets.upload_tree(world / "run", uri),
    ]
    for act in acts:
        with pytest.raises(InvalidArgument):
            act()
    assert digest(world) == before


@pytest.mark.parametrize("name", LITERAL_PAYLOADS, ids=ascii)
def test_an_encoded_name_is_that_of_a_file_inside_and_of_no_other(
    buckets: Buckets, world: Path, name: str
) -> None:
    before = digest(world)
    uri = f"gs://data/{name}"
    assert parse_uri(uri) == BucketPath("data", name)
    buckets.write(uri, [b"x"])
    path = world / "buckets/data" / name
    assert buckets.local_path(uri) == path and path.read_bytes() == b"x"
    assert digest(world) == {**before, str(path): hashlib.sha256(b"x").hexdigest()}
    with buckets.open_read(uri) as file:
        assert file.read() == b"x"
    buckets.delete_object(uri)
    assert digest(world) == before


@pytest.mark.parametrize(
    "backing",
    [
        "", "x", "/etc", "http://169.254.169.254/", "https://x/y", "ftp://x", "github://a:b@/",
        "gs://data", "file://etc", "file://localhost/etc", "file:/etc", "file:///", "file://",
        "file:///a/../b", "file:///a//b", "file:///a/%2e%2e/b", "file:///a#b", "file:///a?b",
        "s3://key:secret@b/c", "s3://user@b", "s3://b:80/c", "s3://", "S3://b", "s3://b/../c",
        "simplecache::s3://b", "zip://x::s3://b", "memory://", "s3://b\0", "s3://b/\n", "s3://b/*",
        "s3://b?versionId=1", "sftp://host/x", "local:///etc", "dir:///etc", "reference://x",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_hostile_backing_is_refused(buckets: Buckets, backing: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_backing(backing)
    if backing:
        with pytest.raises(InvalidArgument):
            buckets.create(Bucket(name="evil", backing=backing))
        assert [bucket.name for bucket in buckets.list()] == ["data"]


@pytest.mark.parametrize("below", ["", "buckets", "buckets/data", "run", ".."])
def test_no_bucket_may_show_the_engines_own_files(
    buckets: Buckets, world: Path, below: str
) -> None:
    folder = (world / below).resolve()
    with pytest.raises(InvalidArgument, match="the engine's own files"):
        buckets.create(Bucket(name="evil", backing=f"file://{folder}"))


def test_a_backing_that_is_a_link_to_the_home_is_refused(
    buckets: Buckets, world: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(world)
    with pytest.raises(InvalidArgument, match="the engine's own files"):
        buckets.create(Bucket(name="evil", backing=f"file://{link}"))


@pytest.fixture(params=["openat2", "step by step"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with the kernel's own check, and as on a kernel that has none."""
    if request.param == "openat2" and not beneath._has_openat2():
        pytest.skip("this kernel has no openat2: the step by step runs cover it")
    monkeypatch.setattr(beneath, "_has_openat2", lambda: request.param == "openat2")
    return str(request.param)


LINKS = {
    "a link to a file outside": ("x", "../../token"),
    "an absolute link": ("x", "/etc/passwd"),
    "a link to a file in the same bucket": ("x", "inside"),
    "a link to itself": ("x", "x"),
    "a link that leads nowhere": ("x", "nowhere"),
    "a link to /proc/self/root": ("x", "/proc/self/root/etc/passwd"),
}


@pytest.mark.parametrize(("name", "target"), LINKS.values(), ids=LINKS.keys())
def test_a_planted_link_is_refused_on_every_way_in(
    buckets: Buckets, world: Path, how: str, name: str, target: str
) -> None:
    (world / "buckets/data" / name).symlink_to(target)
    before = digest(world)
    for act in (buckets.stat, buckets.open_read, buckets.delete_object, buckets.local_path):
        with pytest.raises(FailedPrecondition, match="link"):
            act(f"gs://data/{name}")
    with pytest.raises(FailedPrecondition):
        buckets.download("gs://data", world / "out")
    assert digest(world / "buckets") == {k: v for k, v in before.items() if "/buckets/" in k}
    assert [info.name for info in buckets.objects("data")] == ["inside"]


def test_a_planted_link_to_a_folder_is_refused_on_every_way_in(
    buckets: Buckets, world: Path, how: str
) -> None:
    (world / "buckets/data/dir").symlink_to(world / "run")
    before = digest(world)
    for name in ("dir/secret", "dir/new", "dir/deep/new"):
        for act in (buckets.stat, buckets.open_read, buckets.local_path, buckets.delete_object):
            with pytest.raises(FailedPrecondition, match="link"):
                act(f"gs://data/{name}")
        with pytest.raises(FailedPrecondition, match="link"):
            buckets.write(f"gs://data/{name}", [b"x"])
    assert buckets.objects("data", prefix="dir/") == []
    assert digest(world) == before


def test_a_bucket_folder_that_is_swapped_for_a_link_is_refused(
    buckets: Buckets, world: Path, how: str
) -> None:
    (world / "buckets/data/inside").unlink()
    (world / "buckets/data").rmdir()
    (world / "buckets/data").symlink_to(world / "run")
    for act in (buckets.stat, buckets.open_read):
        with pytest.raises(FailedPrecondition):
            act("gs://data/secret")
    with pytest.raises(FailedPrecondition):
        buckets.write("gs://data/new", [b"x"])
    assert buckets.objects("data") == []
    buckets.delete("data", force=True)
    assert (world / "run/secret").exists()


def test_a_hard_link_is_not_taken_into_an_artefact(buckets: Buckets, world: Path) -> None:
    os.link(world / "token", world / "buckets/data/hard")
    with pytest.raises(FailedPrecondition, match="link"):
        buckets.download("gs://data", world / "out")


def test_a_pipe_and_a_folder_are_not_opened_and_hang_nobody(
    buckets: Buckets, world: Path, how: str
) -> None:
    os.mkfifo(world / "buckets/data/pipe")
    (world / "buckets/data/dir").mkdir()
    for name in ("pipe", "dir"):
        with pytest.raises(EngineError, match="was not found"):
            buckets.open_read(f"gs://data/{name}")
    with pytest.raises(FailedPrecondition):
        buckets.download("gs://data", world / "out")


def test_creating_inside_a_root_never_replaces(tmp_path: Path, how: str) -> None:
    with open_inside(tmp_path, "a/b", "xb") as file:
        file.write(b"x")
    with pytest.raises(AlreadyExists):
        open_inside(tmp_path, "a/b", "xb")
    with open_inside(tmp_path, "a/b") as file:
        assert file.read() == b"x"


def test_everything_made_is_closed_to_others(buckets: Buckets, world: Path) -> None:
    buckets.write("gs://data/a/b/c", [b"x"])
    made = [world / "buckets/data/a", world / "buckets/data/a/b", world / "buckets/data/a/b/c"]
    assert [path.stat().st_mode & 0o077 for path in [*made, world / "buckets/.staging"]] == [0] * 4


def test_no_descriptor_is_left_open_by_refusals(buckets: Buckets, world: Path, how: str) -> None:
    (world / "buckets/data/link").symlink_to("/etc/passwd")
    before = len([*Path("/proc/self/fd").iterdir()])
    for _turn in range(50):
        for name in ("link", "link/x", "missing", "a/b/c"):
            with contextlib.suppress(EngineError):
                buckets.open_read(f"gs://data/{name}")
        with contextlib.suppress(EngineError):
            buckets.write("gs://data/link/x", [b"x"])
        next(iter(buckets.backend("data").list()))
    assert len([*Path("/proc/self/fd").iterdir()]) == before


TURNS = 4000


SWAP = """
import ctypes, signal, sys
folder, link = (text.encode() for text in sys.argv[1:])
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
exchange = ctypes.CDLL(None).renameat2
turns = 0
print("ready", flush=True)
while not ended:
    assert exchange(-100, folder, -100, link, 2) == 0
    assert exchange(-100, folder, -100, link, 2) == 0
    turns += 1
print(turns)
"""


class Swapper:
    """Swaps a folder for a link and back, from its own process, as fast as a trainer could."""

    def __init__(self, folder: Path, outside: Path) -> None:
        link = folder.with_name("planted")
        link.symlink_to(outside)
        argv = [sys.executable, "-c", SWAP, str(folder), str(link)]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.turns = 0

    def __enter__(self) -> Swapper:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        out, _err = self._process.communicate(timeout=60)
        self.turns = int(out)


def test_a_folder_swapped_for_a_link_while_reading_leaks_nothing(
    buckets: Buckets, world: Path, how: str
) -> None:
    folder = world / "buckets/data/d/e"
    folder.mkdir(parents=True)
    (folder / "secret").write_text("harmless")
    outcomes = {"read": 0, "refused": 0}
    with Swapper(folder, world / "run") as swapper:
        while sum(outcomes.values()) < TURNS:
            try:
                with buckets.open_read("gs://data/d/e/secret") as file:
                    assert file.read() == b"harmless"
                outcomes["read"] += 1
            except EngineError:
                outcomes["refused"] += 1
            assert {info.size for info in buckets.objects("data", prefix="d/e/")} <= {8}
    assert min(*outcomes.values(), swapper.turns) > 100, f"the race was not run: {outcomes}"


def test_a_folder_swapped_for_a_link_while_writing_and_deleting_touches_nothing_outside(
    buckets: Buckets, world: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # more turns a second; nobody cuts the power
    folder = world / "buckets/data/d/e"
    folder.mkdir(parents=True)
    before = digest(world / "run")
    refused = done = 0
    with Swapper(folder, world / "run") as swapper:
        while refused + done < TURNS or min(refused, done) < 20:
            try:
                buckets.write("gs://data/d/e/f/secret", [b"mine"])
                buckets.delete_object("gs://data/d/e/f/secret")
                done += 1
            except EngineError:
                refused += 1
    assert digest(world / "run") == before
    assert sorted(path.name for path in (world / "run").iterdir()) == ["secret"]
    assert min(refused, done, swapper.turns) >= 20, (
        f"the race was not run: {refused} refused, {done} done"
    )
