"""When mirrors are carried; the store of jobs is real, memory stands in for the object store."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from mlengine.core.resources import Bucket, Job, TrainingInput
from mlengine.core.states import JobState
from mlengine.storage import Buckets
from mlengine.storage.backends import ObjectInfo
from mlengine.storage.paths import BucketPath
from mlengine.store import JobRecord, open_store
from mlengine.training.kinds import NotYet, Preparation
from mlengine.training.launchers import ExitRecord, Outcome
from mlengine.training.mirroring import Mirrors
from mlengine.training.mirrors import JobMirror
from mlengine.training.newfolders import NewFolders
from mlengine.training.places import Places
from tests.fakes.clock import PlayedClock
from tests.waiting import wait_until

SUCCEEDED = ExitRecord(outcome=Outcome.SUCCEEDED, replicas=[], message="", started=0, ended=1)
URI = "gs://far/run"


class World:
    def __init__(self, home: Path) -> None:
        self.home, self.clock = home, PlayedClock()
        self.store = open_store(f"sqlite:///{home / 'engine.db'}")
        self.buckets = Buckets(self.store, home / "buckets")
        self.buckets.create(Bucket(name="far", backing=f"memory://{secrets.token_hex(8)}"))
        self.buckets.create(Bucket(name="here"))
        self.lines: list[str] = []
        self.leads = True
        self.mirrors = self.engine()
        spec = TrainingInput(python_module="trainer.task", job_dir=URI, region="local")
        self.record = self.store.add_job("p", Job(job_id="j", training_input=spec), uid="u")

    def engine(self) -> Mirrors:
        """Another engine over the same records and files."""
        self.mirrors = Mirrors(
            self.store, self.buckets, self.home / "jobs", clock=self.clock,
            leading=lambda: self.leads,
        )  # fmt: skip
        self.places = Places(self.buckets, self.mirrors, NewFolders(self.home / "newfolders"))
        return self.mirrors

    def preparation(self) -> Preparation:
        return Preparation(
            record=self.record, attempt_dir=self.home, log=self.lines.append,
            cancelled=lambda: False, warn=self.lines.append,
        )  # fmt: skip

    def open(self, *, verbatim: bool = False) -> str:
        return self.places.open_job_dir(URI, self.preparation(), verbatim=verbatim)

    def end(self) -> None:
        moved = self.store.move_job(self.record, JobState.CANCELLING)
        assert moved is not None
        assert self.store.move_job(moved, JobState.CANCELLED) is not None

    def names(self) -> list[str]:
        return [info.name for info in self.buckets.objects("far")]

    def goes_away(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        def away(*_arguments: object) -> ObjectInfo:
            raise error

        monkeypatch.setattr(self.buckets, "write", away)

    def carried(self, *names: str) -> None:
        self.come_to(lambda: self.names() == [*names])

    def come_to(self, predicate: Callable[[], bool]) -> None:
        """Let time pass until it is so: a turn may end after its files are there, or come again."""

        def is_so() -> bool:
            self.clock.pass_s(1.0)
            self.mirrors.tick()
            return predicate()

        wait_until(is_so)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.mirrors.close()
    world.store.close()


def test_files_are_carried_while_the_job_runs_and_after_it_was_cancelled(world: World) -> None:
    folder = Path(world.open())
    (folder / "first").write_text("1")
    world.carried("run/first")
    (folder / "second").write_text("2")
    world.end()
    world.carried("run/first", "run/second")
    world.come_to(lambda: not [*world.home.glob("mirrors/*")])
    wait_until(lambda: not folder.exists())


def test_an_engine_that_comes_later_goes_on_with_what_is_open(world: World) -> None:
    (Path(world.open()) / "left").write_text("left")
    world.mirrors.close()
    world.engine()
    world.end()
    world.carried("run/left")


def test_a_fetch_that_takes_long_keeps_nobody_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.buckets.write(f"{URI}/a", [b"a"])
    ended: list[dict[str, bool]] = []

    def push(_mirror: JobMirror) -> None:
        raise AssertionError("it would wait for the fetch")

    def meanwhile(_line: str) -> None:
        world.mirrors.tick()
        wait_until(lambda: ended)

    monkeypatch.setattr(JobMirror, "push", push)
    monkeypatch.setattr(world.mirrors, "_end_turn", lambda _uid, **how: ended.append(how))
    world.mirrors.of(world.record).fetch(BucketPath("far", "run/"), meanwhile, lambda: False)
    assert ended == [{"is_over": False}]


def test_only_the_engine_that_leads_carries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(world.open()) / "file").write_text("file")
    asked: list[bool] = []

    def leading() -> bool:
        asked.append(world.leads)
        return world.leads

    monkeypatch.setattr(world.mirrors, "_leading", leading)
    world.leads = False
    world.come_to(lambda: len(asked) > 1)
    assert world.names() == []
    world.leads = True
    world.carried("run/file")


def test_copies_of_a_job_that_the_records_do_not_know_are_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = Path(world.open()) / "model"
    model.write_text("model")

    def job(_project: str, job_id: str) -> JobRecord:  # of a backup
        raise NotFound(f"The job '{job_id}' was not found.")

    monkeypatch.setattr(world.store, "job", job)
    world.come_to(lambda: "the files of job u wait" in caplog.text)
    assert model.exists()
    assert world.names() == []
    assert [*world.home.glob("mirrors/*")]


def test_a_job_without_places_elsewhere_costs_nothing(world: World) -> None:
    world.places.settle(world.record, SUCCEEDED)
    world.mirrors.tick()
    assert not (world.home / "mirrors").exists()


def test_success_waits_for_a_store_that_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(world.open()) / "model").write_text("model")
    world.goes_away(monkeypatch, Unavailable("Away.", "Wait."))
    with pytest.raises(NotYet, match=r"not in their bucket yet: Away\. They are in .*/buckets"):
        world.places.settle(world.record, SUCCEEDED)
    monkeypatch.undo()
    world.places.settle(world.record, SUCCEEDED)
    assert world.names() == ["run/model"]


def test_success_is_none_where_the_store_takes_no_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(world.open()) / "model").write_text("model")
    world.goes_away(monkeypatch, FailedPrecondition("Forbidden.", "Ask."))
    with pytest.raises(FailedPrecondition, match="Forbidden") as caught:
        world.places.settle(world.record, SUCCEEDED)
    assert not isinstance(caught.value, NotYet)


def test_what_can_be_in_no_bucket_is_warned_of_and_stays(world: World) -> None:
    folder = Path(world.open())
    (folder / "model").write_text("model")
    for number in range(22):
        (folder / f"back\\slash-{number:02}").write_text("odd")
    warnings = world.places.settle(world.record, SUCCEEDED)
    copies = world.home / "jobs/u/buckets"
    assert len(warnings) == 21
    assert warnings[0] == (
        "'gs://far/run/back\\\\slash-00' is a name that no URI can say. It is in no bucket but in "
        f"{copies}; leave regular files with plain names."
    )
    assert warnings[-1] == f"2 more files and links are in no bucket but in {copies}."
    world.end()
    world.come_to(lambda: not [*world.home.glob("mirrors/*")])
    wait_until(lambda: not (folder / "model").exists())
    assert len([*folder.iterdir()]) == 22


def test_what_is_no_object_in_a_bucket_of_this_machine_is_warned_of(world: World) -> None:
    spec = TrainingInput(python_module="trainer.task", job_dir="gs://here/run", region="local")
    record = world.store.add_job("p", Job(job_id="k", training_input=spec), uid="v")
    folder = world.buckets.local_path("gs://here/run")
    assert world.places.settle(record, SUCCEEDED) == []
    (folder / "ckpt-2").mkdir(parents=True)
    (folder / "ckpt-2" / "w.bin").write_text("weights")
    assert world.places.settle(record, SUCCEEDED) == []
    (folder / "latest").symlink_to("ckpt-2")
    (folder / "ckpt-2" / "best.bin").symlink_to("w.bin")
    (folder / os.fsdecode(b"odd\xff")).write_text("odd")
    (warning,) = world.places.settle(record, SUCCEEDED)
    assert warning == (
        "Not all that is in the job directory is an object of its bucket: "
        "gs://here/run/ckpt-2/best.bin is a link. gs://here/run/latest is a link. "
        "'gs://here/run/odd\\udcff' is a name that no URI can say. Nothing lists, copies or "
        "deploys them; leave regular files with plain names, and copy what a link points to into "
        "its place."
    )
    later = msgspec.structs.replace(SUCCEEDED, started=time.time() + 60)
    assert world.places.settle(record, later) == [], "it was there before"
    for number in range(4):
        (folder / f"link-{number}").symlink_to("nowhere")
    (warning,) = world.places.settle(record, SUCCEEDED)
    assert "gs://here/run/link-2 is a link. 2 more files and links are none either." in warning


def test_a_job_directory_that_has_become_a_link_is_warned_of(world: World) -> None:
    spec = TrainingInput(python_module="trainer.task", job_dir="gs://here/run", region="local")
    record = world.store.add_job("p", Job(job_id="k", training_input=spec), uid="v")
    world.buckets.local_path("gs://here/run").symlink_to(world.home)
    (warning,) = world.places.settle(record, SUCCEEDED)
    assert "gs://here/run is a link or lies behind one." in warning


def test_a_failed_job_does_not_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(world.open()) / "log").write_text("log")
    world.goes_away(monkeypatch, Unavailable("Away.", "Wait."))
    failed = ExitRecord(outcome=Outcome.FAILED, replicas=[], message="", started=0, ended=1)
    world.places.settle(world.record, failed)
    monkeypatch.undo()
    world.end()
    world.carried("run/log")


def test_what_a_trainer_wrote_by_itself_is_there_to_be_judged(world: World) -> None:
    assert world.open(verbatim=True) == URI
    assert world.places.job_dir(world.record, URI) is None
    world.buckets.write(f"{URI}/model.joblib", [b"model"])
    world.places.settle(world.record, SUCCEEDED)
    folder = world.places.job_dir(world.record, URI)
    assert folder is not None
    assert (folder / "model.joblib").read_text() == "model"


def test_arguments_become_paths_and_what_cannot_stays(world: World) -> None:
    world.buckets.write("gs://far/in/a.csv", [b"a"])
    world.buckets.write("gs://here/in/b.csv", [b"b"])

    def resolved(uri: str) -> str | None:
        return world.places.resolve(uri, world.preparation())

    path = resolved("gs://far/in/a.csv")
    assert path is not None
    assert Path(path).read_text() == "a"
    assert resolved("gs://far/in/*.csv") == str(Path(path).parent / "*.csv")
    assert resolved("gs://here/in/b.csv") == str(world.home / "buckets/here/in/b.csv")
    out = resolved("gs://far/out/")
    assert out is not None
    assert out.endswith("/out/")
    assert Path(out).is_dir()
    assert "Made the folder gs://far/out/, for there was nothing of that name." in world.lines
    assert resolved("gs://far/none.csv") is not None
    assert resolved("gs://far") is None
    odd = "in/ts=00%3A00/in put#1.csv"
    assert resolved(f"gs://here/{odd}") == str(world.home / "buckets/here" / odd)
    assert resolved("gs://here/in/?.csv") == str(world.home / "buckets/here/in/?.csv")
    world.lines.clear()
    assert resolved("gs://cloud-samples-data/x") is None
    assert world.lines == []
    assert resolved("gs://here/../x") is None
    assert world.lines == [
        "'gs://here/../x' has a '..' segment. The trainer gets this argument as it was written."
    ]


def test_no_job_has_a_whole_bucket_of_an_object_store_as_its_directory(world: World) -> None:
    for whole in ("gs://far", "gs://far/"):
        with pytest.raises(InvalidArgument, match=r"Name a folder in it: gs://far/JOB\.") as caught:
            world.places.check_job_dir(whole)
        assert caught.value.field == "training_input.job_dir"
        world.places.check_job_dir(whole, is_tuning=True)
    world.places.check_job_dir("gs://far/run")
    world.places.check_job_dir("gs://here")


def test_a_job_from_before_that_was_refused_fetches_no_whole_bucket(world: World) -> None:
    world.buckets.write("gs://far/precious", [b"precious"])
    with pytest.raises(InvalidArgument, match="a whole bucket"):
        world.places.open_job_dir("gs://far", world.preparation(), verbatim=False)
    assert world.lines == []
    assert world.places.open_job_dir("gs://far", world.preparation(), verbatim=True) == "gs://far"


@pytest.mark.parametrize("bucket", ["here", "far"])
def test_a_file_may_be_written_to_a_new_folder(world: World, bucket: str) -> None:
    uri = f"gs://{bucket}/results/run1/metrics.txt"
    path = world.places.resolve(uri, world.preparation())
    assert world.lines == [
        f"Made the folder gs://{bucket}/results/run1, for there was nothing of that name."
    ]
    assert path is not None
    Path(path).write_text("0.9")
    assert world.places.resolve(f"gs://{bucket}/in/none.csv", world.preparation()) is not None
    world.places.settle(world.record, SUCCEEDED)
    assert [info.uri for info in world.buckets.objects(bucket)] == [uri]
    assert not (world.home / "buckets" / bucket / "in").exists(), "nothing came of it"


def test_of_a_cancelled_job_no_empty_folder_stays_though_its_engine_has_ended(
    world: World,
) -> None:
    assert world.places.resolve("gs://here/results/run1/m.txt", world.preparation()) is not None
    world.engine()
    world.places.release(world.record)
    assert [*(world.home / "buckets/here").iterdir()] == []


def test_an_argument_whose_store_is_away_starts_the_job_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_name: str) -> None:
        raise Unavailable("Away.", "Wait.")

    monkeypatch.setattr(world.buckets, "stat", away)
    with pytest.raises(NotYet):
        world.places.resolve("gs://far/in/a.csv", world.preparation())
