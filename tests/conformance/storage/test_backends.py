"""The contract of `mlengine.storage.backends.Backend`, obligation by obligation, on all of them."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from mlengine.storage.backends import Backend
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.backends.fsspec import FsspecBackend
from mlengine.storage.backends.remote import open_remote
from mlengine.storage.paths import Backing

REMOTES = ["gcs://", "s3://"]
KINDS = ["folder", "folder as file://", "fsspec file://", "fsspec memory://", *REMOTES]


def make(kind: str, root: Path) -> Backend:
    if kind == "folder":
        (root / "data").mkdir(exist_ok=True)
        return FolderBackend(root, bucket="data", folder="data")
    if kind == "folder as file://":
        return FolderBackend(root, bucket="data", folder="", staging=".mlengine-staging")
    if kind in REMOTES:
        place = f"conformance/{secrets.token_hex(8)}"  # a prefix of one bucket is a bucket of ours
        return open_remote(Backing(kind.removesuffix("://"), place), bucket="data")
    if kind == "fsspec file://":
        return FsspecBackend(Backing("file", str(root)), bucket="data")
    return FsspecBackend(Backing("memory", secrets.token_hex(8)), bucket="data")


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return make(request.param, tmp_path)


# What Spark, Hive and people call files; to a URL's reader each means something else.
LITERAL = [
    "ts=00%3A00/part-0.jsonl", "in put#1.jsonl", "a%2Fb", "a%2e%2e", "100%", "a%253A", "a+b c?d",
    "#",
]  # fmt: skip


def names(backend: Backend, prefix: str = "", *, after: str = "") -> list[str]:
    return [info.name for info in backend.list(prefix, after=after)]


def fill(backend: Backend, *wanted: str) -> None:
    for name in wanted:
        backend.write(name, [name.encode()])


def test_what_was_written_is_read_back_with_its_size_and_time(backend: Backend) -> None:
    written = backend.write("a/b.bin", [b"one", b"", b"two"])
    assert (written.bucket, written.name, written.size) == ("data", "a/b.bin", 6)
    assert written.updated.tzinfo is not None
    assert backend.stat("a/b.bin") == written
    with backend.open_read("a/b.bin") as file:
        assert file.read() == b"onetwo"


@pytest.mark.parametrize(("offset", "rest"), [(0, b"0123"), (3, b"3"), (4, b""), (9, b"")])
def test_reading_starts_at_the_offset(backend: Backend, offset: int, rest: bytes) -> None:
    backend.write("digits", [b"0123"])
    with backend.open_read("digits", offset=offset) as file:
        assert file.read() == rest


def test_names_are_listed_in_the_order_of_their_code_points_not_folder_by_folder(
    backend: Backend,
) -> None:
    fill(backend, "a/c/d", "a0", "a/b", "a-b", "é", "B", "a.txt")
    assert names(backend) == ["B", "a-b", "a.txt", "a/b", "a/c/d", "a0", "é"]


def test_a_prefix_may_end_in_the_middle_of_a_segment(backend: Backend) -> None:
    fill(backend, "run-1/a", "run-10/a", "run-2/a", "other")
    assert names(backend, "run-1") == ["run-1/a", "run-10/a"]
    assert names(backend, "run-1/") == ["run-1/a"]
    assert names(backend, "nothing/here") == []


def test_an_empty_bucket_lists_nothing(backend: Backend) -> None:
    assert names(backend) == []


def test_listing_goes_on_behind_the_last_name_of_a_page(backend: Backend) -> None:
    fill(backend, "a", "b/1", "b/2", "c")
    assert names(backend, after="b/1") == ["b/2", "c"]
    assert names(backend, after="b/") == ["b/1", "b/2", "c"]
    assert names(backend, after="b0") == ["c"]
    assert names(backend, "b/", after="b/1") == ["b/2"]


NAME = st.text(st.sampled_from("ab-.0é"), min_size=1, max_size=4).filter(
    lambda s: s not in (".", "..")
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    wanted=st.sets(st.lists(NAME, min_size=1, max_size=3).map("/".join), max_size=8),
    prefix=st.sampled_from(["", "a", "a/", "a/b", "b-", "é/"]),
    after=NAME | st.just(""),
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "s3://"])  # moto is slow
def test_a_listing_is_the_sorted_set_of_names_with_the_prefix_behind_after(
    tmp_path_factory: pytest.TempPathFactory, kind: str, wanted: set[str], prefix: str, after: str
) -> None:
    # A folder cannot also be an object on a disk: keep the names that are no folder of others.
    wanted = {n for n in wanted if not any(other.startswith(n + "/") for other in wanted)}
    backend = make(kind, tmp_path_factory.mktemp("bucket"))
    fill(backend, *wanted)
    expected = sorted(n for n in wanted if n.startswith(prefix) and n > after)
    assert names(backend, prefix, after=after) == expected


def test_a_source_that_breaks_off_leaves_no_object_and_no_rest(backend: Backend) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the client went away")

    with pytest.raises(RuntimeError, match="the client went away"):
        backend.write("x/y", broken())
    assert names(backend) == []
    with pytest.raises(NotFound):
        backend.stat("x/y")
    assert backend.sweep(older_than_s=-1e9, now_s=0.0) == 0


def test_a_source_that_breaks_off_leaves_the_old_object(backend: Backend) -> None:
    def broken() -> Iterator[bytes]:
        yield b"new"
        raise OSError("the source's own disk")

    backend.write("x", [b"old"])
    with pytest.raises(OSError, match="the source's own disk"):
        backend.write("x", broken())
    with backend.open_read("x") as file:
        assert file.read() == b"old"


def test_an_unfinished_write_is_invisible(backend: Backend) -> None:
    seen: list[list[str]] = []

    def watching() -> Iterator[bytes]:
        yield b"a" * 100_000
        seen.append(names(backend))
        yield b"b"

    backend.write("late", watching())
    assert (seen, names(backend)) == ([[]], ["late"])


def test_the_last_complete_writer_wins_and_no_reader_sees_a_mixture(backend: Backend) -> None:
    bodies = [bytes([letter]) * 200_000 for letter in b"abcd"]
    backend.write("shared", [bodies[0]])
    done = threading.Event()

    def write(body: bytes) -> None:
        for _turn in range(10):
            backend.write("shared", [body[:1000], body[1000:]])

    def read() -> None:
        while not done.is_set():
            with backend.open_read("shared") as file:
                reads.append(file.read())

    reads: list[bytes] = []
    writers = [threading.Thread(target=write, args=(body,)) for body in bodies]
    reader = threading.Thread(target=read)
    atomic = not (isinstance(backend, FsspecBackend) and backend._scheme == "file")
    for thread in [*writers, *([reader] if atomic else [])]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    if atomic:  # through fsspec a local file is not replaced whole; mlengine never does that
        reader.join()
        assert reads
    with backend.open_read("shared") as file:
        reads.append(file.read())
    assert all(read in bodies for read in reads)


def test_a_file_that_is_open_stays_readable_when_it_is_replaced(backend: Backend) -> None:
    if isinstance(backend, FsspecBackend) and backend._scheme == "file":
        pytest.skip("fsspec writes local files in place; mlengine opens file:// as a folder")
    backend.write("x", [b"old" * 1000])
    with backend.open_read("x") as file:
        assert file.read(3) == b"old"
        backend.write("x", [b"new"])
        assert file.read() == b"old" * 999


@pytest.mark.parametrize("name", LITERAL)
def test_a_name_is_taken_as_it_is_and_never_decoded(backend: Backend, name: str) -> None:
    backend.write(name, [b"as it is"])
    assert names(backend) == names(backend, name) == [name]
    assert backend.stat(name).name == name
    with backend.open_read(name) as file:
        assert file.read() == b"as it is"
    for other in (unquote(name), name.partition("#")[0], name.partition("?")[0]):
        if other not in (name, ""):
            with pytest.raises((NotFound, InvalidArgument)):
                backend.stat(other)
    backend.delete(name)
    assert names(backend) == []


@pytest.mark.parametrize("name", ["missing", "a", "a/b/c"])
def test_nothing_and_a_folder_are_not_found(backend: Backend, name: str) -> None:
    backend.write("a/b", [b"x"])
    for act in (backend.stat, backend.open_read, backend.delete):
        with pytest.raises(NotFound):
            act(name)
    assert names(backend) == ["a/b"]


def test_a_deleted_object_is_gone_and_its_neighbour_is_not(backend: Backend) -> None:
    fill(backend, "a/1", "a/2")
    backend.delete("a/1")
    assert names(backend) == ["a/2"]


def test_where_a_folder_was_emptied_an_object_can_be_written(backend: Backend) -> None:
    fill(backend, "a/b/c")
    backend.delete("a/b/c")
    assert names(backend) == []
    if isinstance(backend, FsspecBackend):
        return
    backend.write("a", [b"now an object"])
    assert names(backend) == ["a"]


@pytest.mark.parametrize(
    "name", ["", "/", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\0b", "a\\b"]
)
def test_names_that_are_not_plain_are_refused_everywhere(backend: Backend, name: str) -> None:
    for act in (backend.stat, backend.open_read, backend.delete):
        with pytest.raises(InvalidArgument):
            act(name)
    with pytest.raises(InvalidArgument):
        backend.write(name, [b"x"])


@pytest.mark.parametrize("prefix", ["/", "../", "a/../b", "a//b/", "a/./"])
def test_prefixes_that_are_not_plain_are_refused(backend: Backend, prefix: str) -> None:
    with pytest.raises(InvalidArgument):
        names(backend, prefix)


def test_local_path_is_a_real_path_or_nothing(backend: Backend) -> None:
    backend.write("a/b", [b"here"])
    path = backend.local_path("a/b")
    if not isinstance(backend, FolderBackend):
        assert path is None
    else:
        assert path is not None
        assert path.read_bytes() == b"here"
        assert backend.local_path("not/yet/") == path.parent.parent / "not/yet"


def test_links_pipes_and_unsayable_names_are_not_objects(tmp_path: Path) -> None:
    backend = make("folder", tmp_path)
    fill(backend, "kept")
    secret = tmp_path / "token"
    secret.write_text("secret")
    folder = tmp_path / "data"
    (folder / "link").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    (folder / "new\nline").write_text("x")
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to("nowhere")
    assert names(backend) == ["kept"]
    for name in ("link", "linked/token", "dangling"):
        with pytest.raises(FailedPrecondition, match="is a link or lies behind one"):
            backend.open_read(name)
        with pytest.raises(FailedPrecondition):
            backend.stat(name)
        with pytest.raises(FailedPrecondition):
            backend.delete(name)
        with pytest.raises(FailedPrecondition):
            backend.local_path(name)
    with pytest.raises(NotFound):
        backend.open_read("pipe")
    with pytest.raises(FailedPrecondition):
        backend.write("linked/new", [b"x"])
    with pytest.raises(FailedPrecondition):
        [*backend.list(strict=True)]
    assert secret.read_text() == "secret"


def test_a_write_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    backend = make("folder", tmp_path)
    secret = tmp_path / "token"
    secret.write_text("secret")
    fill(backend, "a")
    (tmp_path / "data/link").symlink_to(secret)
    backend.write("link", [b"mine"])
    assert (secret.read_text(), backend.stat("link").size) == ("secret", 4)


@pytest.mark.parametrize("kind", ["folder", "folder as file://"])
def test_an_object_where_a_folder_is_and_the_other_way_round_is_refused(
    kind: str, tmp_path: Path
) -> None:
    backend = make(kind, tmp_path)
    fill(backend, "a/b")
    with pytest.raises(FailedPrecondition):
        backend.write("a", [b"x"])
    with pytest.raises(FailedPrecondition):
        backend.write("a/b/c", [b"x"])
    assert names(backend) == ["a/b"]


def test_the_staging_folder_of_a_file_backing_can_neither_be_seen_nor_named(tmp_path: Path) -> None:
    backend = make("folder as file://", tmp_path)
    fill(backend, "a")
    assert (tmp_path / ".mlengine-staging").is_dir()
    assert names(backend) == ["a"]
    assert names(backend, ".mlengine") == []
    assert [info.name for info in backend.list(strict=True)] == ["a"]
    with pytest.raises(InvalidArgument, match="reserved"):
        backend.write(".mlengine-staging/x", [b"x"])
