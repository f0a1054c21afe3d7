# ruff: noqa: E501  # one row a line makes the tables readable
from __future__ import annotations

import datetime
import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.resources import Bucket
from mlengine.storage import BucketPath, Buckets, ObjectInfo, staging
from mlengine.storage.browse import (
    disk_usage,
    list_places,
    plan_removal,
    plan_remove,
    run_remove,
)
from mlengine.storage.mirror import same_bytes
from mlengine.storage.sources import ObjectStore
from mlengine.storage.transfer import (
    CopyStep,
    open_place,
    plan_copy,
    plan_move,
    remove_place,
    run_copy,
    run_move,
)
from tests.fakes.bucket_table import BucketTableFake


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: ``one``, ``two.csv`` and a tree ``dir`` with ``a`` and ``sub/b``."""
    folder = tmp_path / "user"
    (folder / "dir/sub").mkdir(parents=True)
    for name in ("one", "two.csv", "dir/a", "dir/sub/b"):
        (folder / name).write_text(name)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(buckets: Buckets) -> Buckets:
    """``data`` with a folder ``old`` and objects; ``other`` is empty."""
    buckets.create(Bucket(name="other"))
    for name in ("old/x", "old/y/z", "top.csv", "top2.csv"):
        buckets.write(BucketPath("data", name), [name.encode()])
    return buckets


def plan(store: ObjectStore, *words: str, recursive: bool = False) -> list[str]:
    """Return the destinations, those on this machine relative to the user's folder."""
    steps = plan_copy(words[:-1], words[-1], recursive=recursive, store=store)
    return [os.path.relpath(t) if "gs:" not in (t := str(s.destination)) else t for s in steps]


UPLOADS = {
    "onto a name": (["one", "gs://data/new"], False, ["gs://data/new"]),
    "into a bucket": (["one", "gs://data"], False, ["gs://data/one"]),
    "into a bucket with a slash": (["one", "gs://data/"], False, ["gs://data/one"]),
    "into a folder by its slash": (["one", "gs://data/new/"], False, ["gs://data/new/one"]),
    "into a folder that exists": (["one", "gs://data/old"], False, ["gs://data/old/one"]),
    "onto an object": (["one", "gs://data/top.csv"], False, ["gs://data/top.csv"]),
    "several": (["one", "two.csv", "gs://data/n"], False, ["gs://data/n/one", "gs://data/n/two.csv"]),
    "a wildcard": (["*.csv", "gs://data/n"], False, ["gs://data/n/two.csv"]),
    "a file URI": (["file://{here}/one", "gs://data"], False, ["gs://data/one"]),
    "a tree under a new name": (["dir", "gs://data/n"], True, ["gs://data/n/a", "gs://data/n/sub/b"]),
    "a tree into a bucket": (["dir", "gs://data"], True, ["gs://data/dir/a", "gs://data/dir/sub/b"]),
    "a tree with a slash": (["dir/", "gs://data/"], True, ["gs://data/dir/a", "gs://data/dir/sub/b"]),
    "a tree into a folder": (["dir", "gs://data/old"], True, ["gs://data/old/dir/a", "gs://data/old/dir/sub/b"]),
    "this folder": (["dir/sub/..", "gs://data/n/"], True, ["gs://data/n/dir/a", "gs://data/n/dir/sub/b"]),
    "trees and files": (["dir/sub", "one", "gs://data/n"], True, ["gs://data/n/sub/b", "gs://data/n/one"]),
    "a file with -r": (["one", "gs://data/n"], True, ["gs://data/n"]),
}  # fmt: skip
DOWNLOADS = {
    "onto a name": (["gs://data/old/x", "new"], False, ["new"]),
    "into a new folder's name": (["gs://data/old/x", "new/deep"], False, ["new/deep"]),
    "into a folder by its slash": (["gs://data/old/x", "new/"], False, ["new/x"]),
    "into a folder that exists": (["gs://data/old/x", "dir"], False, ["dir/x"]),
    "into this folder": (["gs://data/old/x", "."], False, ["x"]),
    "onto a file": (["gs://data/old/x", "one"], False, ["one"]),
    "a wildcard": (["gs://data/top*.csv", "."], False, ["top.csv", "top2.csv"]),
    "a question mark": (["gs://data/top?.csv", "dir"], False, ["dir/top2.csv"]),
    "two stars flatten": (["gs://data/old/**", "dir"], False, ["dir/x", "dir/z"]),
    "a tree under a new name": (["gs://data/old", "new"], True, ["new/x", "new/y/z"]),
    "a tree into a folder": (["gs://data/old", "dir"], True, ["dir/old/x", "dir/old/y/z"]),
    "a tree by its slash": (["gs://data/old/", "dir"], True, ["dir/old/x", "dir/old/y/z"]),
    "what is in a tree": (["gs://data/old/*", "dir"], True, ["dir/x", "dir/y/z"]),
    "a bucket": (["gs://data", "dir"], True, ["dir/data/old/x", "dir/data/old/y/z", "dir/data/top.csv", "dir/data/top2.csv"]),
    "folders by a wildcard": (["gs://data/o*", "dir"], True, ["dir/old/x", "dir/old/y/z"]),
    "a bucket to a bucket": (["gs://data/old", "gs://other"], True, ["gs://other/old/x", "gs://other/old/y/z"]),
    "a file to a file": (["one", "dir/a2"], False, ["dir/a2"]),
}  # fmt: skip


@pytest.mark.parametrize(("words", "recursive", "expected"), UPLOADS.values(), ids=UPLOADS.keys())
def test_uploads_land_where_gsutil_puts_them(
    store: Buckets, here: Path, words: list[str], recursive: bool, expected: list[str]
) -> None:
    words = [word.replace("{here}", str(here)) for word in words]
    assert plan(store, *words, recursive=recursive) == expected


@pytest.mark.parametrize(
    ("words", "recursive", "expected"), DOWNLOADS.values(), ids=DOWNLOADS.keys()
)
def test_downloads_land_where_gsutil_puts_them(
    store: Buckets, here: Path, words: list[str], recursive: bool, expected: list[str]
) -> None:
    assert plan(store, *words, recursive=recursive) == expected


@pytest.mark.parametrize("word", ["latest", "latest/"])
def test_a_link_to_a_folder_keeps_the_name_that_was_written(
    store: Buckets, here: Path, word: str
) -> None:
    (here / "latest").symlink_to("dir")
    expected = ["gs://data/latest/a", "gs://data/latest/sub/b"]
    assert plan(store, word, "gs://data", recursive=True) == expected
    assert plan(store, f"{here}/lat*", "gs://data", recursive=True) == expected


def test_this_folder_has_the_name_of_what_it_is(
    store: Buckets, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here / "dir/sub")
    assert plan(store, ".", "gs://data", recursive=True) == ["gs://data/sub/b"]
    expected = ["gs://data/dir/a", "gs://data/dir/sub/b"]
    assert plan(store, "..", "gs://data", recursive=True) == expected


class _Flat(Buckets):
    """An object store, which has no folders: ``both`` has an object ``d`` and ``d/x`` too."""

    def objects(
        self, bucket: str, *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[ObjectInfo]:
        if bucket != "both":
            return super().objects(bucket, prefix=prefix, after=after, limit=limit)
        then = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        names = [name for name in ("d", "d/x", "dd") if name.startswith(prefix) and name > after]
        return [ObjectInfo(bucket, name, len(name), then) for name in names[:limit]]


@pytest.fixture
def both(tmp_path: Path) -> Buckets:
    made = _Flat(BucketTableFake(), tmp_path / "flat")
    made.create(Bucket(name="other"))
    return made


BOTH = {
    "under a new name": (["gs://both/d", "gs://other/n"], ["gs://other/n", "gs://other/n/x"]),
    "into a bucket": (["gs://both/d", "gs://other"], ["gs://other/d", "gs://other/d/x"]),
    "a wildcard": (["gs://both/d*", "gs://other"], ["gs://other/d", "gs://other/dd", "gs://other/d/x"]),
    "what is beneath": (["gs://both/d/", "gs://other"], ["gs://other/d/x"]),
    "what is beneath, to here": (["gs://both/d/", "new"], ["new/x"]),
}  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), BOTH.values(), ids=BOTH.keys())
def test_an_object_goes_with_what_lies_beneath_its_name(
    both: Buckets, here: Path, words: list[str], expected: list[str]
) -> None:
    assert plan(both, *words, recursive=True) == expected


def test_an_object_is_removed_with_what_lies_beneath_its_name(both: Buckets) -> None:
    doomed = plan_remove(["gs://both/d"], recursive=True, store=both)
    assert [path.name for path in doomed] == ["d", "d/x"]
    assert [path.name for path in plan_remove(["gs://both/d"], store=both)] == ["d"]


@pytest.mark.parametrize("destination", ["new", "dir", "dir/"])
def test_an_object_and_what_lies_beneath_it_cannot_both_be_files_here(
    both: Buckets, here: Path, destination: str
) -> None:
    with pytest.raises(InvalidArgument, match=r"gs://both/d would become .*, a folder for"):
        plan(both, "gs://both/d", destination, recursive=True)


WRONG = {
    "a folder without -r": (["dir", "gs://data"], False, InvalidArgument, "Add -r"),
    "a remote folder without -r": (["gs://data/old", "."], False, InvalidArgument, "Add -r"),
    "a missing file": (["none", "gs://data"], False, NotFound, "'none'"),
    "a missing object": (["gs://data/none", "."], False, NotFound, "none"),
    "a missing tree": (["gs://data/none", "."], True, NotFound, "none"),
    "a wildcard for nothing": (["gs://data/none*", "."], False, NotFound, "none"),
    "a wildcard for folders only": (["gs://data/ol*", "."], False, NotFound, "matches no object"),
    "an unknown source bucket": (["gs://unknown/x", "."], False, NotFound, "unknown"),
    "an unknown destination bucket": (["one", "gs://unknown/x"], False, NotFound, "unknown"),
    "several to one file": (["one", "two.csv", "dir/a"], False, InvalidArgument, "not a folder"),
    "a wildcard as the destination": (["one", "gs://data/x*"], False, InvalidArgument, "wildcards"),
    "two of one name": (["dir/a", "a", "gs://data/n"], False, InvalidArgument, "would both"),
    "an object onto itself": (["gs://data/top.csv", "gs://data"], False, InvalidArgument, "itself"),
    "a file onto itself": (["one", "dir/../one"], False, InvalidArgument, "itself"),
    "another scheme": (["http://x/y", "."], False, InvalidArgument, "gs://"),
    "no source": (["gs://data"], False, InvalidArgument, "nothing to copy"),
    "a path that climbs": (["one", "gs://data/../x"], False, InvalidArgument, "segment"),
}


@pytest.mark.parametrize(("words", "recursive", "kind", "match"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_found_before_a_byte_moves(
    store: Buckets, here: Path, words: list[str], recursive: bool, kind: type[Exception], match: str
) -> None:
    (here / "a").write_text("another a")
    with pytest.raises(kind, match=match):
        plan(store, *words, recursive=recursive)


def test_a_round_trip_keeps_every_byte_and_tells_its_progress(store: Buckets, here: Path) -> None:
    body = os.urandom(2_500_000)
    (here / "dir/sub/big").write_bytes(body)
    told: list[tuple[str, int]] = []

    def tell(step: CopyStep, done: int) -> None:
        told.append((str(step.destination).rpartition("/")[2], done))

    up = plan_copy(["dir"], "gs://other/copy", recursive=True, store=store)
    assert run_copy(up, store, tell) == 2_500_000 + 5 + 9 == sum(step.size for step in up)
    assert [t for t in told if t[0] == "big"] == [
        ("big", 0),
        ("big", 1 << 20),
        ("big", 2 << 20),
        ("big", 2_500_000),
    ]
    down = plan_copy(["gs://other/copy"], "back", recursive=True, store=store)
    run_copy(down, store)
    assert (here / "back/sub/big").read_bytes() == body
    assert sorted(p.name for p in (here / "back").rglob("*")) == ["a", "b", "big", "sub"]


def test_downloaded_files_have_the_modes_that_the_umask_leaves(store: Buckets, here: Path) -> None:
    umask = os.umask(0o022)
    try:
        run_copy(plan_copy(["gs://data/old"], "new", recursive=True, store=store), store)
    finally:
        os.umask(umask)
    assert (here / "new/y/z").stat().st_mode & 0o777 == 0o644
    assert (here / "new/y").stat().st_mode & 0o777 == 0o755


def test_links_in_a_tree_are_left_out_and_reported(store: Buckets, here: Path) -> None:
    (here / "dir/out").symlink_to("/etc/passwd")
    (here / "dir/inside").symlink_to("a")
    (here / "dir/folder").symlink_to("/etc")
    os.mkfifo(here / "dir/pipe")
    skipped: list[tuple[str, str]] = []
    steps = plan_copy(
        ["dir"],
        "gs://data/n",
        recursive=True,
        store=store,
        on_skip=lambda what, why: skipped.append((Path(what).name, why)),
    )
    assert [str(step.destination) for step in steps] == ["gs://data/n/a", "gs://data/n/sub/b"]
    assert sorted(skipped) == [
        ("folder", "is a link"),
        ("inside", "is a link"),
        ("out", "is a link"),
        ("pipe", "is no regular file"),
    ]


def test_a_link_that_the_user_names_is_followed(store: Buckets, here: Path) -> None:
    (here / "link").symlink_to("one")
    run_copy(plan_copy(["link"], "gs://data", store=store), store)
    with store.open_read("gs://data/link") as file:
        assert file.read() == b"one"


def test_folders_and_pipes_that_a_wildcard_meets_are_reported(store: Buckets, here: Path) -> None:
    os.mkfifo(here / "pipe")
    skipped: list[str] = []
    steps = plan_copy(
        ["*"], "gs://data/n", store=store, on_skip=lambda what, _why: skipped.append(what)
    )
    assert [str(step.destination) for step in steps] == ["gs://data/n/one", "gs://data/n/two.csv"]
    assert skipped == ["dir", "pipe"]
    skipped.clear()
    plan_copy(["gs://data/*"], ".", store=store, on_skip=lambda what, _why: skipped.append(what))
    assert skipped == ["gs://data/old/"]


def test_a_source_that_became_a_link_after_planning_is_not_read(store: Buckets, here: Path) -> None:
    steps = plan_copy(["dir"], "gs://data/n", recursive=True, store=store)
    (here / "dir/a").unlink()
    (here / "dir/a").symlink_to("/etc/passwd")
    with pytest.raises(FailedPrecondition):
        run_copy(steps, store)
    assert store.objects("data", prefix="n/") == []


def test_a_server_cannot_name_a_file_outside_the_destination(store: Buckets, here: Path) -> None:
    class Hostile(Buckets):
        def objects(self, bucket: str, **more: object) -> list[ObjectInfo]:
            return [ObjectInfo("data", "old/../../../evil", 1, updated)]

    updated = store.stat("gs://data/top.csv").updated
    hostile = object.__new__(Hostile)
    with pytest.raises(InvalidArgument, match=r"'\.\.' segment"):
        plan_copy(["gs://data/old"], "dir", recursive=True, store=hostile)


def test_a_link_in_the_destination_is_not_written_through(
    store: Buckets, here: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (here / "new").mkdir()
    (here / "new/old").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FailedPrecondition, match="link"):
        run_copy(plan_copy(["gs://data/old"], "new", recursive=True, store=store), store)
    assert [*(tmp_path / "elsewhere").iterdir()] == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "No space is left to write '{}'; nothing of it was kept. Free space on its disk"),
        (errno.EACCES, "You may not touch '{}': Permission denied. Mend its owner or mode"),
        (errno.EROFS, "You may not touch '{}': Read-only file system. Mend its owner or mode"),
    ],
)  # fmt: skip
def test_a_fault_of_the_callers_own_disk_is_not_said_to_be_the_engines(
    store: Buckets, here: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    def refused(path: Path | str, *_words: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    one = here / "one"
    steps = plan_copy(["gs://data/top.csv"], "one", store=store)
    acts: list[Callable[[], object]] = [
        lambda: run_copy(steps, store),
        lambda: open_place(one, store),
        lambda: same_bytes(one, BucketPath("data", "top.csv"), store),
        lambda: remove_place(one, store),
        lambda: plan_copy(["dir"], "gs://data", recursive=True, store=store),
    ]
    # Patched, for root, who may run this, may touch all files.
    monkeypatch.setattr(staging, "write_whole", refused)
    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(os, "open", _only_for(one, os.open, refused))
    monkeypatch.setattr(Path, "open", _only_for(one, Path.open, refused))
    monkeypatch.setattr(Path, "unlink", _only_for(one, Path.unlink, refused))
    for act, place in zip(acts, [one, one, one, one, here / "dir"], strict=True):
        with pytest.raises(EngineError) as caught:
            act()
        assert told.format(place) in str(caught.value)


def test_a_file_of_the_caller_that_is_gone_is_not_looked_for_in_a_bucket(
    store: Buckets, here: Path
) -> None:
    steps = plan_copy(["one"], "gs://data/n", store=store)
    (here / "one").unlink()
    with pytest.raises(NotFound, match=r"/one' was not found\. See what is there with 'ls'"):
        run_copy(steps, store)


def _only_for(
    one: Path, act: Callable[..., object], refused: Callable[..., object]
) -> Callable[..., object]:
    return lambda path, *words, **more: (refused if path == one else act)(path, *words, **more)


def _read_while(path: Path, act: Callable[[], object]) -> bytes:
    """Return what the reader of a named pipe gets while something is done."""
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    act()
    reader.join(10)
    return b"".join(got)


@pytest.mark.parametrize("name", ["pipe", "link", "again"])
def test_a_pipe_is_written_to_and_stays(store: Buckets, here: Path, name: str) -> None:
    os.mkfifo(here / "pipe")
    (here / "link").symlink_to("pipe")
    (here / "again").symlink_to(here / "link")
    steps = plan_copy(["gs://data/top.csv"], name, store=store)
    assert _read_while(here / "pipe", lambda: run_copy(steps, store)) == b"top.csv"
    assert stat.S_ISFIFO((here / "pipe").lstat().st_mode)
    assert (here / "link").is_symlink() and (here / "again").is_symlink()


@pytest.mark.parametrize("place", ["stdout", "again", "/dev/fd/{}", "/proc/self/fd/{}"])
def test_what_a_process_has_open_is_written_on_behind_what_it_holds(
    store: Buckets, here: Path, place: str
) -> None:
    with (here / "out").open("wb", buffering=0) as out:
        out.write(b"before ")
        (here / "stdout").symlink_to(f"/proc/self/fd/{out.fileno()}")  # as /dev/stdout is
        (here / "again").symlink_to("stdout")
        named = place.format(out.fileno())
        run_copy(plan_copy(["gs://data/top.csv"], named, store=store), store)
    assert (here / "stdout").is_symlink() and (here / "again").is_symlink()
    assert (here / "out").read_bytes() == b"before top.csv"


def test_a_pipe_that_only_lies_in_the_destination_is_neither_replaced_nor_waited_for(
    store: Buckets, here: Path
) -> None:
    (here / "new/old/y").mkdir(parents=True)
    os.mkfifo(here / "new/old/y/z")
    with pytest.raises(FailedPrecondition, match="new/old/y/z' is no regular file"):
        run_copy(plan_copy(["gs://data/old"], "new", recursive=True, store=store), store)
    assert stat.S_ISFIFO((here / "new/old/y/z").lstat().st_mode)


@pytest.mark.parametrize(("source", "place"), [("old", "new/old"), ("old/x", "new")])
def test_a_link_in_the_destination_to_a_pipe_is_replaced_like_other_links(
    store: Buckets, here: Path, source: str, place: str
) -> None:
    os.mkfifo(here / "pipe")
    (here / place).mkdir(parents=True)
    (here / place / "x").symlink_to(here / "pipe")
    run_copy(plan_copy([f"gs://data/{source}"], "new", recursive=True, store=store), store)
    assert (here / place / "x").read_bytes() == b"old/x"
    assert not (here / place / "x").is_symlink()


def test_a_link_to_a_file_is_replaced_and_the_file_left_alone(store: Buckets, here: Path) -> None:
    (here / "link").symlink_to("one")
    run_copy(plan_copy(["gs://data/top.csv"], "link", store=store), store)
    assert (here / "link").read_bytes() == b"top.csv"
    assert (here / "one").read_bytes() == b"one"


# --- mv -----------------------------------------------------------------------------------------


def test_mv_takes_a_link_away_and_not_what_it_leads_to(store: Buckets, here: Path) -> None:
    (here / "link").symlink_to("one")
    told: list[str] = []
    steps = plan_move(["dir", "gs://data/old", "link"], "gs://other", store=store)
    assert run_move(steps, store, lambda step, _done: told.append(str(step.destination))) == 29
    assert [info.name for info in store.objects("other")] == [
        "dir/a", "dir/sub/b", "link", "old/x", "old/y/z",
    ]  # fmt: skip
    assert told[0] == "gs://other/link"
    assert sorted(p.name for p in here.rglob("*") if not p.is_dir()) == ["one", "two.csv"]
    assert [info.name for info in store.objects("data")] == ["top.csv", "top2.csv"]


def test_mv_onto_what_is_to_move_too_is_refused_before_a_byte_moves(store: Buckets) -> None:
    for name in ("a/0", "a/a/0"):
        store.write(f"gs://other/{name}", [name.encode()])
    with pytest.raises(InvalidArgument, match="which is to move too"):
        plan_move(["gs://other/a"], "gs://other/a", store=store)


def test_nothing_is_moved_to_a_pipe(store: Buckets, here: Path) -> None:
    os.mkfifo(here / "pipe")
    with pytest.raises(InvalidArgument, match="/pipe', which is no regular file"):
        plan_move(["gs://data/top.csv"], "pipe", store=store)


def test_a_file_that_was_not_copied_whole_is_not_removed(store: Buckets, here: Path) -> None:
    steps = plan_move(["one"], "gs://data/n", store=store)
    (here / "one").unlink()
    (here / "one").symlink_to("two.csv")
    with pytest.raises(FailedPrecondition):
        run_move(steps, store)
    assert (here / "one").is_symlink()


# --- rm, ls, du ---------------------------------------------------------------------------------


def test_what_is_removed_is_planned_first_and_each_object_once(store: Buckets) -> None:
    paths = plan_remove(["gs://data/old", "gs://data/**/z", "gs://data/top.*"], recursive=True, store=store)  # fmt: skip
    assert [path.name for path in paths] == ["old/x", "old/y/z", "top.csv"]
    store.delete_object("gs://data/old/x")
    seen: list[str] = []
    assert run_remove(paths, store, lambda path: seen.append(path.name)) == 2
    assert run_remove(paths, store) == 0
    assert seen == ["old/y/z", "top.csv"]
    assert [info.name for info in store.objects("data")] == ["top2.csv"]


def test_only_a_bucket_that_is_named_whole_goes_with_its_objects(store: Buckets) -> None:
    whole = plan_removal(["gs://other/", "gs://data"], recursive=True, store=store)
    assert (len(whole.objects), whole.buckets) == (4, ["other", "data"])
    for uri in ("gs://data/*", "gs://data/**", "gs://data/old"):
        assert plan_removal([uri], recursive=True, store=store).buckets == []
    uris = ["gs://none", "gs://none/x", "gs://data/none", "gs://data/top.csv"]
    removal = plan_removal(uris, recursive=True, force=True, store=store)
    assert removal == ([BucketPath("data", "top.csv")], [])
    with pytest.raises(NotFound, match="none"):
        plan_removal(["gs://none"], recursive=True, store=store)


@pytest.mark.parametrize(
    ("uri", "kind"), [("one", InvalidArgument), ("gs://data/old", InvalidArgument), ("gs://data/no", NotFound)]
)  # fmt: skip
def test_a_path_of_this_machine_a_folder_or_nothing_is_not_removed(
    store: Buckets, here: Path, uri: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        plan_remove([uri], store=store)


def shown(store: ObjectStore, uri: str, *, recursive: bool = False) -> list[str]:
    return [place.name for place in list_places(uri, recursive=recursive, store=store)]


LISTINGS = {
    "a bucket": ("gs://data", False, ["old/", "top.csv", "top2.csv"]),
    "a folder": ("gs://data/old", False, ["old/x", "old/y/"]),
    "a folder by its slash": ("gs://data/old/", False, ["old/x", "old/y/"]),
    "an object": ("gs://data/top.csv", False, ["top.csv"]),
    "everything": ("gs://data", True, ["old/x", "old/y/z", "top.csv", "top2.csv"]),
    "a wildcard": ("gs://data/*", False, ["old/", "top.csv", "top2.csv"]),
    "a wildcard for folders": ("gs://data/*/", False, ["old/"]),
    "a wildcard and all beneath": ("gs://data/o*", True, ["old/x", "old/y/z"]),
    "an empty bucket": ("gs://other", False, []),
}


@pytest.mark.parametrize(("uri", "recursive", "names"), LISTINGS.values(), ids=LISTINGS.keys())
def test_ls_shows(store: Buckets, uri: str, recursive: bool, names: list[str]) -> None:
    assert shown(store, uri, recursive=recursive) == names


@pytest.mark.parametrize("uri", ["gs://data/none", "gs://data/none*", "gs://unknown"])
def test_ls_of_nothing_is_not_found(store: Buckets, uri: str) -> None:
    with pytest.raises(NotFound):
        shown(store, uri)


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_ls_shows_the_same_at_every_page_size(
    store: Buckets, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    for number in range(7):
        store.write(f"gs://other/d/{number}", [b"x"])
        store.write(f"gs://other/e{number}", [b"x"])
        store.write(f"gs://other/f/{number}/x", [b"x"])
    monkeypatch.setattr("mlengine.storage.sources.PAGE", page)
    monkeypatch.setattr("mlengine.storage.browse.PAGE", page)
    assert shown(store, "gs://other") == ["d/", *(f"e{n}" for n in range(7)), "f/"]
    assert len(shown(store, "gs://other", recursive=True)) == 21


def test_ls_goes_on_when_a_server_gives_fewer_than_asked(store: Buckets) -> None:
    class Stingy:
        def objects(self, bucket: str, *, limit: int, **more: str) -> list[ObjectInfo]:
            return store.objects(bucket, limit=min(limit, 1), **more)

    names = [place.name for place in list_places("gs://data/**", store=Stingy())]  # type: ignore[arg-type]
    assert names == ["old/x", "old/y/z", "top.csv", "top2.csv"]


def test_du_adds_up(store: Buckets) -> None:
    rows = disk_usage("gs://data", store=store)
    assert [(row.path.name, row.objects, row.size) for row in rows] == [
        ("old/", 2, 12),
        ("top.csv", 1, 7),
        ("top2.csv", 1, 8),
        ("", 4, 27),
    ]
    assert disk_usage("gs://other", store=store)[-1].size == 0
