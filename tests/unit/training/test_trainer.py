"""Training jobs: what is checked before one is created, and what an attempt is started with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.resources import Bucket, Job, PredictionOutput, Scheduling, TrainingInput
from mlengine.core.states import JobState
from mlengine.environments import Environments
from mlengine.storage import Buckets
from mlengine.store import JobRecord, open_store
from mlengine.training import trainer
from mlengine.training.access import BucketAccess
from mlengine.training.kinds import Preparation, consumption, kind_of, ml_units
from mlengine.training.launchers import AttemptSpec, ExitRecord, Outcome, ReplicaExit
from mlengine.training.mirroring import Mirrors
from mlengine.training.newfolders import NewFolders
from mlengine.training.notes import environment_note
from mlengine.training.packaging import build_packages
from mlengine.training.places import Places
from mlengine.training.trainer import TrainerJobs
from tests.fakes.clock import PlayedClock

SPEC = TrainingInput(
    python_module="trainer.task",
    package_uris=["gs://mine/p/trainer-0.0.0.tar.gz"],
    region="local",
    args=["--files=gs://mine/data/*.csv,gs://elsewhere/x", "--out", "gs://mine/out/"],
    job_dir="gs://mine/jobs/a",
)


class World:
    def __init__(self, home: Path) -> None:
        self.store = open_store(f"sqlite:///{home / 'engine.db'}")
        self.buckets = Buckets(self.store, home / "buckets")
        self.buckets.create(Bucket(name="mine"))
        package = home / "src" / "trainer"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "task.py").write_text("print('hello')")
        (home / "dist").mkdir()
        (archive,) = build_packages(package, home / "dist")
        self.buckets.write(SPEC.package_uris[0], [archive.read_bytes()])
        self.kind = TrainerJobs(
            self.buckets,
            Environments(home / "environments"),
            grace_s=3.0,
            log_quota_bytes=1000,
            notify="/n",
            new_folders=NewFolders(home / "newfolders"),
            unfinished=lambda: self.unfinished,
        )
        self.unfinished: list[JobRecord] = []
        self.lines: list[str] = []
        self.attempt_dir = home / "attempt"
        self.attempt_dir.mkdir()

    def check(self, **changes: Any) -> list[str]:
        spec = msgspec.structs.replace(SPEC, **changes)
        return list(self.kind.check("p", Job(job_id="a", training_input=spec)))

    def prepare(self, **changes: Any) -> AttemptSpec:
        spec = msgspec.structs.replace(SPEC, **changes)
        job = Job(job_id="a", training_input=spec, state=JobState.PREPARING)
        record = JobRecord(seq=1, project="p", uid="u", job=job, attempt=2)
        return self.kind.prepare(
            Preparation(
                record=record,
                attempt_dir=self.attempt_dir,
                log=self.lines.append,
                cancelled=lambda: False,
                warn=self.lines.append,
            )
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_a_good_job_passes(world: World) -> None:
    assert world.check() == []
    world.check(job_dir="")
    world.check(job_dir="/somewhere/absolute")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a package that is not there": (
        {"package_uris": ["gs://mine/none.tar.gz"]},
        "training_input.package_uris[0]",
    ),
    "a package of a wrong kind": (
        {"package_uris": ["gs://mine/p/trainer.exe"]},
        "training_input.package_uris[0]",
    ),
    "a job dir in no bucket": ({"job_dir": "gs://nope/x"}, ""),
    "a job dir that is relative": ({"job_dir": "out"}, "training_input.job_dir"),
    "a job dir that climbs": ({"job_dir": "gs://mine/../x"}, "training_input.job_dir"),
}


@pytest.mark.parametrize(("changes", "field"), BAD.values(), ids=BAD.keys())
def test_what_can_never_run_is_refused(world: World, changes: dict[str, Any], field: str) -> None:
    world.buckets.write("gs://mine/p/trainer.exe", [b"MZ"])
    with pytest.raises(EngineError) as caught:
        world.check(**changes)
    assert caught.value.field == field or not field


def test_a_job_dir_in_a_bucket_that_is_no_folder_is_refused(world: World) -> None:
    world.buckets.create(Bucket(name="memo", backing="memory://memo"))
    with pytest.raises(FailedPrecondition, match="memory://memo"):
        world.check(job_dir="gs://memo/out")


def test_a_whole_bucket_of_an_object_store_is_the_directory_of_tuning_jobs_alone(
    world: World, tmp_path: Path
) -> None:
    world.buckets.create(Bucket(name="memo", backing="memory://memo"))
    mirrors = Mirrors(world.store, world.buckets, tmp_path / "jobs", clock=PlayedClock())
    world.kind = TrainerJobs(
        world.buckets, Environments(tmp_path / "environments"), grace_s=3.0, log_quota_bytes=1000,
        notify="/n", new_folders=NewFolders(tmp_path / "newfolders"), mirrors=mirrors,
    )  # fmt: skip
    with pytest.raises(InvalidArgument, match="gs://memo/ is a whole bucket"):
        world.check(job_dir="gs://memo")
    params = [{"parameterName": "x", "type": "DOUBLE", "minValue": 0, "maxValue": 1}]
    world.check(job_dir="gs://memo", hyperparameters={"params": params})
    mirrors.close()


def test_a_batch_job_is_none_of_its_business(world: World) -> None:
    with pytest.raises((FailedPrecondition, InvalidArgument)):
        world.kind.check("p", Job(job_id="a"))
    assert kind_of(Job(training_input=SPEC)) == "training"
    assert kind_of(Job()) == "prediction"


def test_an_attempt_gets_module_arguments_and_job_dir(world: World, tmp_path: Path) -> None:
    spec = world.prepare(scheduling=Scheduling(max_running_time="90s"))
    (replica,) = spec.replicas
    mine = tmp_path / "buckets" / "mine"
    assert replica.argv[1:] == [
        "-m",
        "trainer.task",
        f"--files={mine}/data/*.csv,gs://elsewhere/x",
        "--out",
        f"{mine}/out/",
        "--job-dir",
        f"{mine}/jobs/a",
    ]
    assert Path(replica.argv[0]).exists()
    assert (mine / "jobs" / "a").is_dir()
    assert Path(replica.cwd).is_dir()
    assert (replica.task, replica.role) == ("master-replica-0", "master")
    assert (spec.job, spec.attempt, spec.grace_s) == ("projects/p/jobs/a", 2, 3.0)
    assert (spec.max_running_s, spec.log_quota_bytes, spec.notify) == (90.0, 1000, "/n")
    config = json.loads(replica.env["TF_CONFIG"])
    assert config["task"] == {"type": "master", "index": 0}
    assert config["job"]["job_dir"] == "gs://mine/jobs/a"
    assert replica.env["CLOUD_ML_JOB_ID"] == "a"
    assert any("built" in line for line in world.lines)


def test_a_tier_starts_all_its_replicas_and_says_which(world: World) -> None:
    spec = world.prepare(scale_tier="STANDARD_1", use_chief_in_tf_config=True)
    tasks = [r.task for r in spec.replicas]
    assert tasks[:2] == ["master-replica-0", "worker-replica-0"] and len(tasks) == 8
    configs = [json.loads(r.env["TF_CONFIG"]) for r in spec.replicas]
    assert [c["cluster"] for c in configs] == [configs[0]["cluster"]] * 8
    assert {role: len(hosts) for role, hosts in configs[0]["cluster"].items()} == {
        "chief": 1, "ps": 3, "worker": 4
    }  # fmt: skip
    assert len({r.env["MASTER_PORT"] for r in spec.replicas if "RANK" in r.env}) == 1
    assert "Replicas: 1 master (n1-highcpu-8), 4 worker (n1-highcpu-8), 3 ps (n1-standard-4)." in (
        world.lines
    )


def test_preparing_again_after_a_crash_reuses_the_environment(world: World) -> None:
    first = world.prepare()
    world.lines.clear()
    assert world.prepare().replicas[0].argv == first.replicas[0].argv
    assert any("reused" in line for line in world.lines)


def test_the_environment_is_named_and_no_copy_of_a_package_outlives_the_job(world: World) -> None:
    (replica,) = world.prepare().replicas
    job_dir = world.attempt_dir.parent
    assert sorted(p.name for p in world.attempt_dir.iterdir()) == ["environment", "work"]
    assert replica.argv[0].startswith(f"{environment_note(world.attempt_dir)}/")
    assert [p.name for p in (job_dir / "packages").iterdir()] == ["trainer-0.0.0.tar.gz"]
    (job_dir / "packages-killed").mkdir()
    assert [p.name for p in (job_dir / "newfolders").iterdir()] == ["u.json"]
    record = JobRecord(seq=1, project="p", uid="u", job=Job(job_id="a"), attempt=2)
    world.kind.tidy(record, job_dir)
    assert list(job_dir.glob("packages*")) == list((job_dir / "newfolders").iterdir()) == []


def test_a_job_that_fails_before_it_has_its_packages_is_known_to_need_tidying(
    world: World,
) -> None:
    world.buckets.delete_object(SPEC.package_uris[0])
    with pytest.raises(NotFound):
        world.prepare()
    assert NewFolders(world.attempt_dir.parent / "newfolders").jobs() == {"u"}


def test_a_later_attempt_needs_no_package_that_the_first_one_s_trainer_removed(
    world: World,
) -> None:
    first = world.prepare()
    world.buckets.delete_object(SPEC.package_uris[0])
    world.lines.clear()
    assert world.prepare().replicas[0].argv == first.replicas[0].argv
    assert not any("Downloading" in line for line in world.lines)


def test_a_package_that_is_gone_before_the_first_attempt_is_named(world: World) -> None:
    world.buckets.delete_object(SPEC.package_uris[0])
    with pytest.raises(NotFound, match=r"gs://mine/p/.* is gone.*--staging-bucket"):
        world.prepare()
    assert list(world.attempt_dir.parent.glob("packages*")) == []


def test_without_a_job_dir_none_is_passed(world: World) -> None:
    (replica,) = world.prepare(job_dir="", args=[]).replicas
    assert replica.argv[1:] == ["-m", "trainer.task"]


def test_a_job_dir_keeps_its_slash_for_those_who_join_texts(world: World, tmp_path: Path) -> None:
    (replica,) = world.prepare(job_dir="gs://mine/run/").replicas
    path = f"{tmp_path}/buckets/mine/run"
    assert replica.argv[-2:] == ["--job-dir", f"{path}/"]
    assert replica.env["MLENGINE_JOB_DIR"] == path
    assert replica.env["AIP_MODEL_DIR"] == f"{path}/model/"
    (replica,) = world.prepare(job_dir=f"{tmp_path}/elsewhere/").replicas
    assert replica.argv[-1] == f"{tmp_path}/elsewhere/"


def test_folders_to_write_to_are_made(world: World, tmp_path: Path) -> None:
    world.prepare(args=["--out", "gs://mine/new/out", "--read", "gs://mine/a.csv"])
    mine = tmp_path / "buckets" / "mine"
    assert (mine / "new" / "out").is_dir() and not (mine / "a.csv").exists()
    assert any("gs://mine/new/out" in line for line in world.lines)


def test_a_trainer_that_reads_uris_gets_them_as_written(world: World, tmp_path: Path) -> None:
    package = tmp_path / "apart" / "trainer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "task.py").write_text("import sys\nb = sys.argv[1].replace('gs://', '')")
    (archive,) = build_packages(package, tmp_path / "dist")
    world.buckets.write(SPEC.package_uris[0], [archive.read_bytes()])
    by_path = world.prepare().replicas[0]
    world.kind = TrainerJobs(
        world.buckets,
        Environments(tmp_path / "environments"),
        grace_s=3.0,
        log_quota_bytes=1000,
        notify="/n",
        new_folders=NewFolders(tmp_path / "newfolders"),
        access=BucketAccess(world.buckets, tmp_path / "buckets", tmp_path / "run", {}),
    )
    (replica,) = world.prepare().replicas
    assert replica.argv[3:] == [*SPEC.args, "--job-dir", "gs://mine/jobs/a"]
    assert world.prepare(job_dir="gs://mine/a/").replicas[0].argv[-1] == "gs://mine/a/"
    assert replica.env["MLENGINE_JOB_DIR"] == by_path.env["MLENGINE_JOB_DIR"]
    assert replica.env["AIP_MODEL_DIR"] == "gs://mine/jobs/a/model/"
    assert by_path.env["AIP_MODEL_DIR"] == f"{by_path.env['MLENGINE_JOB_DIR']}/model/"
    assert "gs://mine" not in " ".join(by_path.argv), "there is no other way to the bucket"


def test_another_runtime_is_warned_about(world: World) -> None:
    (told,) = world.check(python_version="2.7")
    assert told.startswith("Python 2.7 was asked for; the runtime 'local' has Python 3.")
    world.prepare(python_version="2.7")
    assert told in world.lines


def test_a_broken_package_is_an_error_that_names_it(world: World) -> None:
    world.buckets.write(SPEC.package_uris[0], [b"no archive"])
    with pytest.raises(EngineError, match=r"trainer-0\.0\.0\.tar\.gz"):
        world.prepare()


def test_the_bill_is_how_long_it_ran(world: World) -> None:
    ended = ExitRecord(
        outcome=Outcome.SUCCEEDED, replicas=[], message="", started=1000.0, ended=4600.0
    )
    record = JobRecord(seq=1, project="p", uid="u", job=Job(training_input=SPEC), attempt=1)
    output = world.kind.collect(record, world.attempt_dir, ended)["training_output"]
    assert output.consumed_m_l_units == 1.0
    assert world.kind.progress(record, world.attempt_dir) == {}


def test_the_bill_is_of_all_attempts(world: World) -> None:
    for number, record in ((1, {"started": 0.0, "ended": 1800.0}), (2, None)):
        folder = world.attempt_dir.parent / str(number)
        folder.mkdir()
        (folder / "started.json").write_text('{"time": 0.0}')
        if record:  # the second one's supervisor was killed: nobody knows when
            (folder / "exit.json").write_text(json.dumps(record))
    ended = ExitRecord(
        outcome=Outcome.SUCCEEDED, replicas=[], message="", started=5000.0, ended=8600.0
    )
    third = JobRecord(seq=1, project="p", uid="u", job=Job(training_input=SPEC), attempt=3)
    output = world.kind.collect(third, world.attempt_dir, ended)["training_output"]
    assert output.consumed_m_l_units == 1.5


def test_a_cut_attempt_is_billed_as_a_whole_one_is() -> None:
    job = Job(training_input=msgspec.structs.replace(SPEC, scale_tier="STANDARD_1"))
    (output,) = consumption(job, 3600.0).values()
    assert output.consumed_m_l_units == ml_units(job, 3600.0) > 1.0
    batch = Job(prediction_output=PredictionOutput(prediction_count=7, output_path="gs://b/out"))
    (predicted,) = consumption(batch, 3600.0).values()
    assert predicted == msgspec.structs.replace(batch.prediction_output, node_hours=1.0)


def test_a_new_folder_that_a_cancelled_job_left_empty_goes(world: World) -> None:
    world.prepare()
    out = world.buckets.local_path("gs://mine/out")
    assert out.is_dir()
    record = JobRecord(seq=1, project="p", uid="u", job=Job(job_id="a"), attempt=2)
    world.kind.tidy(record, world.attempt_dir.parent)
    assert not out.exists()


def test_what_is_in_no_bucket_is_among_the_warnings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ExitRecord(outcome=Outcome.SUCCEEDED, replicas=[], message="", started=0.0, ended=1.0)
    record = JobRecord(seq=1, project="p", uid="u", job=Job(training_input=SPEC), attempt=1)
    monkeypatch.setattr(Places, "settle", lambda *_given: ["a link"])
    assert world.kind.collect(record, world.attempt_dir, ended)["warnings"] == ["a link"]


def test_how_long_a_job_was_judged_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ExitRecord(outcome=Outcome.SUCCEEDED, replicas=[], message="", started=0.0, ended=1.0)
    record = JobRecord(seq=1, project="p", uid="u", job=Job(training_input=SPEC), attempt=1)
    now_s = iter((100.0, 107.5))
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(now_s)))
    assert world.kind.collect(record, world.attempt_dir, ended)["judge_seconds"] == 7.5


def test_a_job_does_not_fail_for_what_another_one_writes_to_its_directory(world: World) -> None:
    replica = ReplicaExit(task="master-replica-0", role="master", index=0, exit_code=0)
    ended = ExitRecord(
        outcome=Outcome.SUCCEEDED, replicas=[replica], message="", started=0.0, ended=1.0
    )
    record = JobRecord(seq=1, project="p", uid="u", job=Job(training_input=SPEC), attempt=1)
    world.buckets.write("gs://mine/jobs/a/model.pkl", [b""])
    assert "BROKEN_EXPORT" in world.kind.collect(record, world.attempt_dir, ended)["error_message"]
    job = Job(job_id="b", training_input=SPEC)
    world.unfinished.append(JobRecord(seq=2, project="p", uid="v", job=job, attempt=1))
    outputs = world.kind.collect(record, world.attempt_dir, ended)
    assert outputs["error_message"] == ""
    assert any("the job b" in line for line in outputs["warnings"])
