"""A job's copies of what lies in a store that is no folder; memory stands in for the store."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from mlengine.core.errors import FailedPrecondition, Unavailable
from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.backends.folder import FolderBackend
from mlengine.storage.paths import BucketPath
from mlengine.training.mirrors import JobMirror, is_event_file, mirror_path
from tests.fakes.bucket_table import BucketTableFake
from tests.waiting import wait_until

LEADS_OUT = "is a link that leads to no file of the job's own copies."


class World:
    def __init__(self, folder: Path) -> None:
        self.buckets = Buckets(BucketTableFake(), folder / "buckets")
        self.buckets.create(Bucket(name="far", backing=f"memory://{secrets.token_hex(8)}"))
        self.job, self.state = folder / "jobs" / "uid", folder / "mirrors" / "uid.json"
        self.lines: list[str] = []

    def mirror(self) -> JobMirror:
        return JobMirror(self.buckets, self.job, self.state, "p", "j")

    def put(self, *names: str) -> None:
        for name in names:
            self.buckets.write(f"gs://far/{name}", [name.encode()])

    def fetch(self, mirror: JobMirror, name: str) -> int:
        return mirror.fetch(BucketPath("far", name), self.lines.append, lambda: False)

    def path(self, name: str) -> Path:
        return mirror_path(self.job, BucketPath("far", name))

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def there(self) -> dict[str, str]:
        found = {}
        for info in self.buckets.objects("far"):
            with self.buckets.open_read(info.uri) as file:
                found[info.name] = file.read().decode()
        return found

    def copies(self) -> list[str]:
        root = self.path("")
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("run/", ["run/a", "run/b/c"]),
        ("run", ["run/a", "run/b/c"]),
        ("run/a", ["run/a"]),
        ("run*", ["run-2"]),
        ("run/*", ["run/a"]),
        ("run/**", ["run/a", "run/b/c"]),
        ("table-", ["table-1", "table-2"]),
        ("nothing", []),
    ],
)
def test_what_a_place_means_is_fetched_and_no_more(
    world: World, name: str, wanted: list[str]
) -> None:
    world.put("run/a", "run/b/c", "run-2", "table-1", "table-2", "tab")
    assert world.fetch(world.mirror(), name) == len(wanted)
    assert world.copies() == wanted
    assert len(world.lines) == bool(wanted)
    for each in wanted:
        assert world.path(each).read_text() == each


def test_a_copy_has_the_time_of_its_object(world: World) -> None:
    world.put("old")
    updated = world.buckets.stat("gs://far/old").updated.timestamp()
    world.fetch(world.mirror(), "old")
    assert world.path("old").stat().st_mtime == pytest.approx(updated, abs=1e-3)


def test_what_a_trainer_writes_replaces_and_removes_is_done_in_the_bucket(world: World) -> None:
    world.put("run/kept", "run/changed", "run/removed", "other")
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    assert mirror.push().changed == 0
    world.write("run/changed", "anew")
    world.write("run/deep/new", "new")
    world.path("run/removed").unlink()
    assert mirror.push().changed == 3
    assert world.there() == {
        "other": "other", "run/kept": "run/kept", "run/changed": "anew", "run/deep/new": "new",
    }  # fmt: skip
    assert mirror.push().changed == 0


def test_a_file_that_grows_goes_again(world: World) -> None:
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    world.write("run/log", "1")
    assert mirror.push().changed == 1
    with world.path("run/log").open("a") as log:
        log.write("2")
    assert mirror.push().changed == 1
    assert world.there() == {"run/log": "12"}


def test_links_that_lead_out_and_pipes_are_nobodys_objects(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    world.write("run/file", "mine")
    world.path("run/link").symlink_to(secret)
    world.path("run/linked").symlink_to(tmp_path)
    os.mkfifo(world.path("run/pipe"))
    assert sorted(mirror.push().left_out) == [
        (("far", "run/link"), f"gs://far/run/link {LEADS_OUT}"),
        (("far", "run/linked"), f"gs://far/run/linked {LEADS_OUT}"),
        (("far", "run/pipe"), "gs://far/run/pipe is not a regular file."),
    ]
    assert world.there() == {"run/file": "mine"}


def test_a_link_to_a_file_of_the_copies_is_carried_as_that_file(world: World) -> None:
    world.put("run/latest.pth", "in/base.pth")
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    world.fetch(mirror, "in/")
    world.write("run/epoch_2.pth", "epoch 2")
    world.path("run/latest.pth").unlink()
    world.path("run/latest.pth").symlink_to("epoch_2.pth")
    world.path("run/base.pth").symlink_to(world.path("in/base.pth"))
    assert mirror.push() == (3, [])
    carried = {
        "in/base.pth": "in/base.pth", "run/base.pth": "in/base.pth",
        "run/epoch_2.pth": "epoch 2", "run/latest.pth": "epoch 2",
    }  # fmt: skip
    assert world.there() == carried
    assert mirror.push() == (0, [])
    world.write("run/epoch_3.pth", "epoch 3")
    world.path("run/latest.pth").unlink()
    world.path("run/latest.pth").symlink_to("epoch_3.pth")
    assert mirror.push().changed == 2
    assert world.there() == {**carried, "run/epoch_3.pth": "epoch 3", "run/latest.pth": "epoch 3"}
    mirror.retire()
    assert world.copies() == []


@pytest.mark.parametrize(
    "target",
    ["nothing", "folder", "latest", "../../../state", "../../.staging/half", "/etc/passwd"],
)
def test_nothing_is_removed_where_something_lies_that_cannot_be_carried(
    world: World, target: str
) -> None:
    for file in (world.job / "state", world.job / "buckets/.staging/half"):
        file.parent.mkdir(parents=True)
        file.write_text("not of the copies")
    world.put("run/latest", "run/deep/kept", "run/removed", "run/file")
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    world.path("run/folder").mkdir()
    world.path("run/latest").unlink()
    world.path("run/latest").symlink_to(target)
    world.path("run/deep").rename(world.path("run/moved"))
    world.path("run/deep").symlink_to("folder")
    world.path("run/removed").unlink()
    world.path("run/file").unlink()
    world.path("run/file").mkdir()
    told = mirror.push().left_out
    assert [each.where.name for each in sorted(told)] == ["run/deep", "run/latest"]
    assert sorted(world.there()) == ["run/deep/kept", "run/latest", "run/moved/kept"]


def test_what_is_left_out_stays_when_the_job_is_over(world: World) -> None:
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    world.write("run/model", "model")
    world.write("run/back\\slash", "odd")
    world.write("run/odd\\folder/weights", "odd")
    world.write(os.fsdecode(b"run/latin-\xe9"), "odd")
    left_out = mirror.push().left_out
    assert world.there() == {"run/model": "model"}
    assert sorted(each.problem for each in left_out) == [
        f"'gs://far/run/{name}' is a name that no URI can say."
        for name in ("back\\\\slash", "latin-\\udce9", "odd\\\\folder")
    ]
    mirror.retire(left_out)
    kept = ["run/back\\slash", os.fsdecode(b"run/latin-\xe9"), "run/odd\\folder/weights"]
    assert world.copies() == kept


def test_what_may_not_be_read_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    world.write("run/closed", "closed")

    def closed(_tree: FolderBackend, name: str) -> BinaryIO:
        raise FailedPrecondition(f"The engine may not touch {name}.", "Mend its mode.")

    monkeypatch.setattr(FolderBackend, "open_object", closed)
    assert mirror.push() == (
        0, [(("far", "run/closed"), "The engine may not touch run/closed.")]
    )  # fmt: skip


def test_copies_that_are_lost_remove_no_original(world: World) -> None:
    world.put("run/a")
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    world.path("").rename(world.job / "moved")
    assert mirror.push().changed == 0
    assert world.there() == {"run/a": "run/a"}


def test_a_later_attempt_finds_what_the_former_wrote_and_removed(world: World) -> None:
    world.put("run/old", "run/gone")
    world.fetch(world.mirror(), "run/")
    world.write("run/old", "newer than in the bucket")
    world.path("run/gone").unlink()
    later = world.mirror()  # of an engine that was restarted
    world.put("run/late")
    world.fetch(later, "run/")
    assert world.copies() == ["run/late", "run/old"]
    assert world.path("run/old").read_text() == "newer than in the bucket"
    later.push()
    assert world.there() == {"run/old": "newer than in the bucket", "run/late": "run/late"}


def test_an_attempt_elsewhere_begins_with_what_the_bucket_has(world: World, tmp_path: Path) -> None:
    world.put("run/checkpoint")
    mirror = JobMirror(world.buckets, tmp_path / "else", tmp_path / "else.json", "p", "j")
    mirror.fetch(BucketPath("far", "run/"), world.lines.append, lambda: False)
    assert mirror.path(BucketPath("far", "run/checkpoint")).read_text() == "run/checkpoint"


def test_a_job_that_is_cancelled_fetches_no_more(world: World) -> None:
    world.put("run/a", "run/b")
    world.mirror().fetch(BucketPath("far", "run/"), world.lines.append, lambda: True)
    assert world.copies() == []
    world.mirror().push()
    assert sorted(world.there()) == ["run/a", "run/b"]


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_broken_fetch_brought_is_not_the_trainers(
    world: World, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    world.put("run/a", "run/b", "run/c")
    read = world.buckets.open_read

    def fragile(path: BucketPath) -> BinaryIO:
        if path.name == "run/b":  # last: it ends what was not yet begun
            wait_until(lambda: world.copies() == ["run/a", "run/c"])
            raise Unavailable("The store is away.", "Wait.")
        return read(path)

    monkeypatch.setattr(world.buckets, "open_read", fragile)
    with pytest.raises(Unavailable):
        world.fetch(world.mirror(), "run/")
    assert world.copies() == ["run/a", "run/c"]
    monkeypatch.undo()
    if killed:
        world.state.unlink()
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    assert world.copies() == ["run/a", "run/b", "run/c"]
    assert mirror.push().changed == 0
    world.write("run/a", "anew")
    assert mirror.push().changed == 1


@pytest.fixture
def killed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Whose engine was killed when all copies had come, and nobody had written that down."""
    world.put("run/a", "run/b")
    known: list[bytes] = []
    read = world.buckets.open_read

    def noting(path: BucketPath) -> BinaryIO:
        known.append(world.state.read_bytes())
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(world.buckets, "open_read", noting)
        world.fetch(world.mirror(), "run/")
    world.state.write_bytes(known[0])
    return world


def test_what_a_killed_fetch_brought_is_fetched_again_where_the_bucket_has_newer(
    killed: World,
) -> None:
    killed.buckets.write("gs://far/run/a", [b"uploaded anew"])
    assert killed.mirror().push().changed == 0
    mirror = killed.mirror()
    killed.fetch(mirror, "run/")
    assert killed.lines[1] == "Fetching gs://far/run/: 1 file(s), 0.0 MB.", "b is the same"
    assert killed.path("run/a").read_text() == "uploaded anew"
    assert mirror.push().changed == 0
    assert killed.there() == {"run/a": "uploaded anew", "run/b": "run/b"}
    killed.write("run/a", "by the trainer")
    assert killed.mirror().push().changed == 1


def test_what_a_killed_fetch_brought_goes_where_the_bucket_has_nothing_any_more(
    killed: World,
) -> None:
    killed.buckets.delete_object("gs://far/run/a")
    mirror = killed.mirror()
    assert killed.fetch(mirror, "run/") == 1
    assert killed.copies() == ["run/b"]
    assert mirror.push().changed == 0
    killed.write("run/a", "by the trainer")
    assert mirror.push().changed == 1


def test_a_job_that_ends_after_a_killed_fetch_changes_nothing_in_its_bucket(killed: World) -> None:
    killed.buckets.write("gs://far/run/a", [b"uploaded anew"])
    mirror = killed.mirror()
    mirror.retire(mirror.push().left_out)
    assert killed.there() == {"run/a": "uploaded anew", "run/b": "run/b"}
    assert killed.copies() == []


def test_a_fetch_opens_no_mirror_that_was_retired_meanwhile(world: World) -> None:
    world.put("run/a")

    def meanwhile(_line: str) -> None:
        assert world.state.exists()
        world.mirror().retire()

    world.mirror().fetch(BucketPath("far", "run/"), meanwhile, lambda: False)
    assert not world.state.exists()


def test_more_than_there_is_room_for_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("run/a")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(FailedPrecondition, match=r"room for 0\.0 GB"):
        world.fetch(world.mirror(), "run/")
    assert world.copies() == []


def failing(world: World, fails: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    write = world.buckets.write

    def fragile(path: BucketPath, chunks: object) -> ObjectInfo:
        if fails(path.name):
            raise Unavailable("The store is away.", "Wait.")
        return write(path, chunks)  # type: ignore[arg-type]

    monkeypatch.setattr(world.buckets, "write", fragile)


def test_what_could_not_be_carried_is_carried_another_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    for name in ("run/a", "run/b", "run/c"):
        world.write(name, name)
    failing(world, lambda name: name == "run/b", monkeypatch)
    with pytest.raises(Unavailable):
        mirror.push()
    assert "run/b" not in world.there()
    monkeypatch.undo()
    world.mirror().push()
    assert sorted(world.there()) == ["run/a", "run/b", "run/c"]


def test_of_a_job_dir_that_is_watched_what_is_wanted_is_copied_as_it_grows(world: World) -> None:
    mirror = world.mirror()
    mirror.watch(BucketPath("far", "run/"))
    world.put("run/events.out.tfevents.1", "run/model")
    mirror.look(lambda info: is_event_file(info.name))
    assert world.copies() == ["run/events.out.tfevents.1"]
    world.buckets.write("gs://far/run/events.out.tfevents.1", [b"more than before" * 10])
    mirror.look(lambda info: is_event_file(info.name))
    assert world.path("run/events.out.tfevents.1").read_text() == "more than before" * 10
    assert mirror.push().changed == 0
    world.path("run/events.out.tfevents.1").unlink()
    mirror.push()
    assert len(world.there()) == 2


@pytest.fixture
def late(world: World) -> JobMirror:
    """Of an engine that led before, of a job with inputs, outputs and event files."""
    world.put("in/a.csv")
    mirror = world.mirror()
    world.fetch(mirror, "in/")
    world.fetch(mirror, "run/")
    world.write("run/model", "model")
    world.write("run/events.out.tfevents.1", "events")
    mirror.push()
    return mirror


def test_who_led_before_removes_nothing_of_a_job_that_is_over(
    world: World, late: JobMirror
) -> None:
    before = world.there()
    world.mirror().retire()
    assert late.push().changed == 0
    assert world.there() == before
    assert not world.state.exists()


def test_who_led_before_removes_nothing_while_another_engine_retires_the_mirror(
    world: World, late: JobMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, listed = world.there(), FolderBackend.list

    def meanwhile(tree: FolderBackend) -> Iterator[ObjectInfo]:
        world.mirror().retire()
        return listed(tree)

    monkeypatch.setattr(FolderBackend, "list", meanwhile)
    late.push()
    assert world.there() == before
    assert not world.state.exists()


def test_who_led_before_opens_no_mirror_again(
    world: World, late: JobMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("run/model", "newer")
    write = world.buckets.write

    def meanwhile(path: BucketPath, chunks: Iterable[bytes]) -> ObjectInfo:
        world.mirror().retire()
        return write(path, chunks)

    monkeypatch.setattr(world.buckets, "write", meanwhile)
    assert late.push().changed == 1
    assert not world.state.exists()
    assert not late.is_open


def test_of_a_job_that_is_over_only_event_files_are_kept(world: World) -> None:
    world.put("run/kept")
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    world.write("run/deep/events.out.tfevents.1", "events")
    world.write("run/model", "model")
    mirror.push()
    before = world.there()
    mirror.retire()
    assert world.copies() == ["run/deep/events.out.tfevents.1"]
    assert not world.state.exists()
    assert mirror.push().changed == 0
    assert world.there() == before


def test_what_is_known_is_written_only_when_it_has_changed(world: World) -> None:
    world.put("run/a")
    mirror = world.mirror()
    world.fetch(mirror, "run/")
    written = world.state.stat().st_ino
    mirror.push()
    assert world.state.stat().st_ino == written
    world.write("run/b", "b")
    mirror.push()
    assert world.state.stat().st_ino != written
