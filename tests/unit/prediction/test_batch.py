"""Batch jobs: what is checked before one is created, and what the runner is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlengine.core.errors import Aborted, EngineError, FailedPrecondition, InvalidArgument
from mlengine.core.resources import Bucket, Job, JobOptions, Model, PredictionInput, Version
from mlengine.core.states import JobState, VersionState
from mlengine.environments import Environments
from mlengine.models.artifacts import Artifacts
from mlengine.models.registry import Models
from mlengine.models.surroundings import SurroundingsOf
from mlengine.prediction.batch import REFUSED_OPTIONS, BatchJobs
from mlengine.storage import BucketPath, Buckets, ObjectInfo
from mlengine.store import JobRecord, open_store
from mlengine.training.kinds import Preparation
from mlengine.training.launchers import AttemptSpec, ExitRecord, Outcome
from tests.fakes.clock import PlayedClock

MODEL = "projects/p/models/census"


class World:
    def __init__(self, home: Path) -> None:
        self.store = open_store(f"sqlite:///{home / 'engine.db'}")
        self.buckets = Buckets(self.store, home / "buckets")
        self.buckets.create(Bucket(name="mine"))
        self.buckets.write("gs://mine/in/a.jsonl", [b"1\n"])
        self.buckets.write("gs://mine/in/b.jsonl", [b"2\n"])
        self.buckets.write("gs://mine/model/model.joblib", [b"model"])
        self.artifacts = Artifacts(self.buckets, home / "models", max_bytes=1000)
        models = Models(
            self.store, self.artifacts, clock=PlayedClock(),
            deploy=lambda record: None, publish=lambda: None,
        )  # fmt: skip
        models.create_model("p", Model(name="census"))
        surroundings = SurroundingsOf(Environments(home / "environments"), home)
        self.kind = BatchJobs(
            self.buckets, models, self.artifacts, surroundings,
            grace_s=3.0, log_quota_bytes=9, notify="/n", cpus=lambda: 3.0,
        )  # fmt: skip
        self.lines: list[str] = []
        self.attempt_dir = home / "attempt"
        self.attempt_dir.mkdir()

    def deploy(self, version_id: str = "v1", *, ready: bool = True, **asked: str) -> str:
        uid = f"u-{version_id}"
        version = Version(
            name=version_id, deployment_uri="gs://mine/model", framework="XGBOOST",
            **asked,
        )  # fmt: skip
        record = self.store.add_version("p", "census", version, uid=uid)
        if ready:
            self.store.move_version(record, VersionState.READY)
        return uid

    def record(self, **fields: Any) -> JobRecord:
        job = Job(job_id="b", prediction_input=_spec(**fields), state=JobState.PREPARING)
        return JobRecord(seq=1, project="p", uid="u", job=job, attempt=1)

    def prepare(self, **fields: Any) -> tuple[AttemptSpec, dict[str, Any]]:
        preparation = Preparation(
            self.record(**fields), self.attempt_dir, self.lines.append, lambda: False,
            self.lines.append,
        )  # fmt: skip
        spec = self.kind.prepare(preparation)
        return spec, json.loads(Path(spec.replicas[0].argv[-1]).read_text())


def _spec(**fields: Any) -> PredictionInput:
    defaults: dict[str, Any] = {
        "model_name": MODEL,
        "data_format": "TEXT",
        "input_paths": ["gs://mine/in/*"],
        "output_path": "gs://mine/out",
        "region": "local",
    }
    return PredictionInput(**{**defaults, **fields})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "two sources": ({"uri": "gs://mine/model"}, "prediction_input"),
    "no source": ({"model_name": ""}, "prediction_input"),
    "no region": ({"region": ""}, "prediction_input.region"),
    "an input format that is none": ({"data_format": "AVRO"}, "prediction_input.data_format"),
    "CSV as input": ({"data_format": "CSV"}, "prediction_input.data_format"),
    "an output format that is none": (
        {"output_data_format": "TF_RECORD"},
        "prediction_input.output_data_format",
    ),
    "no inputs": ({"input_paths": []}, "prediction_input.input_paths"),
    "inputs that match nothing": (
        {"input_paths": ["gs://mine/none/*"]},
        "prediction_input.input_paths",
    ),
    "no output": ({"output_path": ""}, "prediction_input.output_path"),
    "an output that climbs": (
        {"output_path": "gs://mine/../x"},
        "prediction_input.output_path",
    ),
    "an output that is an object": (
        {"output_path": "gs://mine/in/a.jsonl"},
        "prediction_input.output_path",
    ),
    "an output below an object": (
        {"output_path": "gs://mine/in/a.jsonl/b/out/"},
        "prediction_input.output_path",
    ),
    "a negative batch": ({"batch_size": -1}, "prediction_input.batch_size"),
    "a model directory with no model": (
        {"model_name": "", "uri": "gs://mine/in"},
        "uri",
    ),
    "a model without a version": ({}, "prediction_input.model_name"),
    "a name that is none": ({"model_name": "models/census/x"}, "prediction_input.model_name"),
    "a model as version name": (
        {"model_name": "", "version_name": MODEL},
        "prediction_input.version_name",
    ),
}


@pytest.mark.parametrize(("fields", "field"), BAD.values(), ids=BAD.keys())
def test_what_can_never_run_is_refused_by_field(
    world: World, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(EngineError) as caught:
        world.kind.check("p", Job(job_id="b", prediction_input=_spec(**fields)))
    assert caught.value.field == field


@pytest.mark.parametrize("name", REFUSED_OPTIONS)
def test_an_option_of_training_is_refused_by_its_name(world: World, name: str) -> None:
    world.deploy()
    options = JobOptions(**{name: ["NAN_OBJECTIVE"] if name == "allow" else True})
    job = Job(job_id="b", prediction_input=_spec(), options=options)
    with pytest.raises(InvalidArgument) as caught:
        world.kind.check("p", job)
    assert caught.value.field == f"job.options.{name}"
    job.options = JobOptions(max_retries=2)
    world.kind.check("p", job)


def test_a_call_has_the_cores_that_it_has_online(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the version's machine type, as far as the machine has them."""

    def cores(**fields: Any) -> str:
        spec, _plan = world.prepare(**fields)
        return spec.replicas[0].env["OMP_NUM_THREADS"]

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for version_id, machine_type in [("one", ""), ("two", "n1-standard-2"), ("all", "mls1-c4-m2")]:
        world.deploy(version_id, machine_type=machine_type)
    versions = [f"{MODEL}/versions/{version_id}" for version_id in ("one", "two", "all")]
    assert [cores(model_name="", version_name=name) for name in versions] == ["1", "2", "3"]
    assert cores(model_name="", uri="gs://mine/model") == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # whoever runs the engine said so
    assert cores(model_name="", version_name=versions[2]) == "7"


def test_a_version_that_is_not_ready_is_refused(world: World) -> None:
    world.deploy(ready=False)
    with pytest.raises(FailedPrecondition, match="CREATING"):
        world.kind.check("p", Job(job_id="b", prediction_input=_spec()))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model_name": "census"},
        {"output_path": "gs://mine"},
        {"output_path": "gs://mine/in/"},
        {"model_name": "", "version_name": f"{MODEL}/versions/v1"},
        {"model_name": "", "uri": "gs://mine/model/"},
        {"data_format": "TF_RECORD_GZIP", "output_data_format": "CSV", "batch_size": 7},
    ],
)
def test_what_can_run_passes(world: World, fields: dict[str, Any]) -> None:
    world.deploy()
    assert world.kind.check("p", Job(job_id="b", prediction_input=_spec(**fields))) == []


def test_another_runtime_is_warned_about_when_it_is_created(world: World) -> None:
    world.deploy()
    job = Job(job_id="b", prediction_input=_spec(runtime_version="1.15"))
    (told,) = world.kind.check("p", job)
    assert told.startswith("runtime '1.15' is not used here")


@pytest.mark.parametrize("asked", [{"python_version": "2.7"}, {"prediction_class": "m.P"}])
def test_a_version_that_the_engines_own_python_serves_asks_for_no_runtime(
    world: World, asked: dict[str, str]
) -> None:
    world.deploy(**asked)
    (told,) = world.kind.check("p", Job(job_id="b", prediction_input=_spec(runtime_version="1.15")))
    assert "the engine's own Python" in told


def test_the_runtime_of_the_version_itself_is_not_warned_about(world: World) -> None:
    world.deploy(runtime_version="2.15")
    job = Job(job_id="b", prediction_input=_spec(runtime_version="2.15"))
    assert world.kind.check("p", job) == []
    job = Job(job_id="b", prediction_input=_spec(runtime_version="1.15"))
    (told,) = world.kind.check("p", job)
    assert "'1.15' is not used here" in told
    assert "the version 'v1' itself" in told
    job = Job(
        job_id="b",
        prediction_input=_spec(model_name="", uri="gs://mine/model/", runtime_version="2.15"),
    )
    (told,) = world.kind.check("p", job)
    assert "the engine's own Python" in told


def test_the_runner_is_told_model_files_and_formats(world: World, tmp_path: Path) -> None:
    uid = world.deploy()
    spec, plan = world.prepare(signature_name="s", output_data_format="CSV", batch_size=7)
    mine = tmp_path / "buckets" / "mine"
    assert plan["artifact"] == str(world.artifacts.path(uid))
    assert (plan["framework"], plan["version"]) == ("XGBOOST", uid)
    assert plan["inputs"] == [f"{mine}/in/a.jsonl", f"{mine}/in/b.jsonl"]
    assert plan["input_names"] == ["gs://mine/in/a.jsonl", "gs://mine/in/b.jsonl"]
    assert (plan["data_format"], plan["output_format"]) == ("JSON", "CSV")
    assert (plan["signature_name"], plan["batch_size"]) == ("s", 7)
    assert (spec.job, spec.notify, spec.grace_s) == ("projects/p/jobs/b", "/n", 3.0)
    assert "mlengine.runtime.batchstart" in spec.replicas[0].argv


def test_inputs_are_read_whatever_they_are_called(world: World, tmp_path: Path) -> None:
    world.deploy()
    odd = ["ts=00%3A00/part-0.jsonl", "in put#1.jsonl", "what?.jsonl"]
    for name in odd:
        world.buckets.write(BucketPath("mine", f"ws/{name}"), [b"1"])
    _spec, plan = world.prepare(input_paths=[f"gs://mine/ws/{odd[0]}", "gs://mine/ws/**"])
    expected = [odd[0], *sorted(odd[1:])]
    assert plan["inputs"] == [f"{tmp_path}/buckets/mine/ws/{name}" for name in expected]
    assert plan["input_names"] == [f"gs://mine/ws/{name}" for name in expected]


def test_a_model_directory_is_copied_first(world: World) -> None:
    _started, plan = world.prepare(model_name="", uri="gs://mine/model")
    assert (Path(plan["artifact"]) / "model.joblib").read_bytes() == b"model"
    assert plan["batch_size"] == 64


@pytest.mark.parametrize("fields", [
    {"model_name": "", "uri": "gs://mine/model"}, {"input_paths": ["gs://away/*"]},
])  # fmt: skip
def test_a_cancelled_job_fetches_nothing_more(world: World, fields: dict[str, Any]) -> None:
    world.deploy()
    world.buckets.create(Bucket(name="away", backing="memory://batch"))
    world.buckets.write("gs://away/rows.jsonl", [b"1"])
    preparation = Preparation(
        world.record(**fields), world.attempt_dir, world.lines.append, lambda: True,
        world.lines.append,
    )  # fmt: skip
    with pytest.raises(Aborted):
        world.kind.prepare(preparation)


@pytest.mark.parametrize(("state", "kept"), [("SUCCEEDED", False), ("FAILED", True)])
def test_output_that_its_bucket_refused_stays(world: World, state: str, *, kept: bool) -> None:
    job_dir = world.attempt_dir.parent / "job"
    (job_dir / "1").mkdir(parents=True)
    _left(world, RESULTS, STATS)
    shutil.move(world.attempt_dir / "batch", job_dir / "1" / "batch")
    record = world.record()
    record.job.state = JobState(state)
    world.kind.tidy(record, job_dir)
    assert (job_dir / "1" / "batch" / "output").exists() == kept


def _exit(outcome: Outcome) -> ExitRecord:
    return ExitRecord(outcome=outcome, replicas=[], message="m", started=0.0, ended=3600.0)


def test_the_output_appears_when_the_run_succeeded(world: World) -> None:
    output = world.attempt_dir / "batch" / "output"
    output.mkdir(parents=True)
    (output / "prediction.results-00000-of-00001").write_text("1\n")
    progress = world.attempt_dir / "batch" / "progress.json"
    progress.write_text('{"prediction_count": 1, "error_count": 2}')
    record = world.record()
    live = world.kind.progress(record, world.attempt_dir)["prediction_output"]
    assert (live.prediction_count, live.error_count) == (1, 2)
    world.kind.collect(record, world.attempt_dir, _exit(Outcome.CANCELLED))
    assert not world.buckets.glob("gs://mine/out/**")
    done = world.kind.collect(record, world.attempt_dir, _exit(Outcome.SUCCEEDED))
    assert done["prediction_output"].node_hours == 1.0
    assert [i.name for i in world.buckets.glob("gs://mine/out/**")] == [
        "out/prediction.results-00000-of-00001"
    ]


def _left(world: World, *names: str) -> None:
    """Let an attempt have left these files as its output, and nothing else."""
    output = world.attempt_dir / "batch" / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for name in names:
        (output / name).write_text("new")


RESULTS, ERRORS = "prediction.results-00000-of-00001", "prediction.errors-00000-of-00001"
STATS, HEADER = "prediction.errors_stats-00000-of-00001", "prediction.results_header.csv"


def test_results_take_the_place_of_an_earlier_runs_and_of_nothing_else(world: World) -> None:
    own = ["notes.txt", "prediction.csv", "prediction.errors-00000-of-00001.bak", f"old/{ERRORS}"]
    for name in (RESULTS, ERRORS, STATS, *own):
        world.buckets.write(f"gs://mine/out/{name}", [b"old"])
    _left(world, f"{RESULTS}.csv", HEADER, STATS)
    world.kind.collect(world.record(), world.attempt_dir, _exit(Outcome.SUCCEEDED))
    found = {i.name.removeprefix("out/") for i in world.buckets.glob("gs://mine/out/**")}
    assert found == {f"{RESULTS}.csv", HEADER, STATS, *own}
    _left(world, RESULTS, ERRORS, STATS)
    record = world.record(output_path="gs://mine/out/")
    world.kind.collect(record, world.attempt_dir, _exit(Outcome.SUCCEEDED))
    found = {i.name.removeprefix("out/") for i in world.buckets.glob("gs://mine/out/**")}
    assert found == {RESULTS, ERRORS, STATS, *own}


def test_the_sign_that_all_is_there_goes_first_and_comes_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.buckets.write(f"gs://mine/out/{STATS}", [b"old"])
    _left(world, RESULTS, ERRORS, STATS)
    seen: list[tuple[str, bool]] = []
    write = world.buckets.write

    def watched(path: BucketPath, chunks: Iterable[bytes]) -> ObjectInfo:
        seen.append((path.name, bool(world.buckets.glob(f"gs://mine/out/{STATS}"))))
        return write(path, chunks)

    monkeypatch.setattr(world.buckets, "write", watched)
    world.kind.collect(world.record(), world.attempt_dir, _exit(Outcome.SUCCEEDED))
    assert seen == [(f"out/{name}", False) for name in (ERRORS, RESULTS, STATS)]


def test_a_link_where_results_belong_gives_way(world: World, tmp_path: Path) -> None:
    (tmp_path / "others").write_text("theirs")
    out = tmp_path / "buckets" / "mine" / "out"
    out.mkdir()
    (out / ERRORS).symlink_to(tmp_path / "others")
    (out / RESULTS).symlink_to(tmp_path / "others")
    _left(world, RESULTS, STATS)
    world.kind.collect(world.record(), world.attempt_dir, _exit(Outcome.SUCCEEDED))
    assert (tmp_path / "others").read_text() == "theirs"
    assert (out / RESULTS).read_text() == "new"


def test_node_hours_are_those_of_all_attempts(world: World) -> None:
    first = world.attempt_dir.parent / "1"
    first.mkdir()
    (first / "exit.json").write_text('{"started": 10.0, "ended": 1810.0}')
    record = msgspec.structs.replace(world.record(), attempt=2)
    done = world.kind.collect(record, world.attempt_dir, _exit(Outcome.CANCELLED))
    assert done["prediction_output"].node_hours == 1.5


@pytest.mark.parametrize("name", ["batch", "batch/output"])
def test_an_output_that_is_a_link_is_not_followed(world: World, tmp_path: Path, name: str) -> None:
    private = tmp_path / "private" / "output"
    private.mkdir(parents=True)
    (private / "secret").write_text("s")
    link = world.attempt_dir / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(private if name.endswith("output") else private.parent)
    with pytest.raises(FailedPrecondition, match="symbolic link"):
        world.kind.collect(world.record(), world.attempt_dir, _exit(Outcome.SUCCEEDED))
    assert not world.buckets.glob("gs://mine/out/**")


@pytest.mark.parametrize("said", [
    b'{"prediction_count": "many", "error_count": []}', b'{"prediction_count": -1}',
    b'{"prediction_count": true, "error_count": 1e400}', b'{"error_count": %d}' % (1 << 64),
    b'{"prediction_count": "\xff"}', b"[" * 200_000, b"[1]", b"9" * 5000,
])  # fmt: skip
def test_progress_that_a_model_made_up_counts_nothing(world: World, said: bytes) -> None:
    own = world.attempt_dir / "batch"
    own.mkdir()
    (own / "progress.json").write_bytes(said)
    live = world.kind.progress(world.record(), world.attempt_dir)["prediction_output"]
    assert (live.prediction_count, live.error_count) == (0, 0)


def test_a_model_that_does_not_load_is_quoted(world: World) -> None:
    own = world.attempt_dir / "batch"
    own.mkdir()
    (own / "progress.json").write_text('{"load_error": "Failed to load model: x"}')
    with pytest.raises(FailedPrecondition, match="Failed to load model: x"):
        world.kind.collect(world.record(), world.attempt_dir, _exit(Outcome.FAILED))


def test_a_training_job_is_none_of_its_business(world: World) -> None:
    with pytest.raises((FailedPrecondition, InvalidArgument)):
        world.kind.check("p", Job(job_id="b"))
