"""`mlengine jobs metrics`, `clone` and what `stream-logs` can leave out; `mlengine tensorboard`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from mlengine.core.clock import SystemClock
from mlengine.core.resources import (
    Bucket,
    Job,
    JobOptions,
    LogEntry,
    MetricSeries,
    Object,
    PredictionInput,
    Runtime,
    TrainingInput,
)
from mlengine.engine import EngineStatus
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run
from tests.unit.training.test_metrics import events
from tests.waiting import wait_until

LOSS = MetricSeries(
    tag="loss", run="train", source="tensorboard", steps=[1, 2, 3], values=[1.0, 0.25, "NaN"],
    times=[1.0, 2.0, 3.0], points=3, min=0.25, max=1.0,
)  # fmt: skip
ACCURACY = MetricSeries(
    tag="accuracy", run="master-replica-0", source="hypertune", steps=[0, 0], values=[0.5, 0.75],
    times=[1.0, 2.0], points=2, min=0.5, max=0.75,
)  # fmt: skip


def submit(engine: FakeEngine, job_id: str, **fields: object) -> Job:
    spec = TrainingInput(region="local", python_module="trainer.task", **fields)  # type: ignore[arg-type]
    return engine.create_job("default", Job(job_id=job_id, training_input=spec))


# --- metrics ---


@pytest.fixture
def reported(engine: FakeEngine) -> FakeEngine:
    submit(engine, "census")
    engine.metrics["default", "census"] = [ACCURACY, LOSS]
    return engine


def test_metrics_are_a_table_with_what_sums_each_up(run: Run, reported: FakeEngine) -> None:
    assert run("jobs", "metrics", "census").out == (
        "TAG       RUN               SOURCE       POINTS  STEP  FIRST  LAST  MIN   MAX\n"
        "accuracy  master-replica-0  hypertune    2       0     0.5    0.75  0.5   0.75\n"
        "loss      train             tensorboard  3       3     1      nan   0.25  1\n"
    )


def test_json_has_every_point(run: Run, reported: FakeEngine) -> None:
    (row,) = json.loads(run("jobs", "metrics", "census", "--tag=loss", "--format=json").out)
    assert (row["steps"], row["values"], row["times"]) == ([1, 2, 3], [1.0, 0.25, "NaN"], [1, 2, 3])
    assert run("jobs", "metrics", "census", "--filter=tag:acc*", "--format=value(last)").out == (
        "0.75\n"
    )


def test_sums_are_of_all_points_and_what_is_missing_is_said(run: Run, reported: FakeEngine) -> None:
    thinned = msgspec.structs.replace(ACCURACY, points=30_001, min=0.001, max=9.0, notes=["Lost."])
    reported.metrics["default", "census"] = [thinned, thinned]
    done = run("jobs", "metrics", "census", "--format=value(points,first,last,min,max)")
    assert done.out == "30001\t0.5\t0.75\t0.001\t9\n" * 2
    assert done.err == (
        "WARNING: [accuracy] of master-replica-0: Lost.\n"
        "Long metrics are listed and drawn with 2 of their points, evenly chosen; "
        "POINTS, MIN and MAX are of all.\n"
    )


def test_an_unknown_tag_lists_those_that_are_known(run: Run, reported: FakeEngine) -> None:
    done = run("jobs", "metrics", "census", "--tag=los")
    assert done.code == 1 and done.out == ""
    assert "has reported no metric [los] so far. It reported: accuracy, loss." in done.err
    submit(reported, "quiet")
    assert "has reported no metrics" in run("jobs", "metrics", "quiet", "--tag=x").err
    assert run("jobs", "metrics", "quiet") == (0, "", "Listed 0 items.\n")


def test_a_metric_under_its_other_name_comes_with_a_warning(
    run: Run, reported: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reported, "job_metrics", lambda *_names, tag="": [ACCURACY])
    done = run("jobs", "metrics", "census", "--tag=acc")
    assert done.out.count("\n") == 2
    assert done.err == "WARNING: The job reported no metric [acc]; this is [accuracy].\n"


def test_a_plot_of_nothing_says_so(run: Run, reported: FakeEngine) -> None:
    submit(reported, "quiet")
    done = run("jobs", "metrics", "quiet", "--plot")
    assert (done.code, done.out) == (0, "")
    assert "Job [quiet] has reported no metrics so far. Report with" in done.err
    assert "mlengine.runtime.report(TAG, VALUE, step=STEP)" in done.err


def test_a_plot_is_as_wide_as_the_terminal(
    run: Run, reported: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    done = run("jobs", "metrics", "census", "--plot", "--format=json")
    lines = done.out.splitlines()
    assert lines[0] == "accuracy  (master-replica-0, hypertune)"
    assert "loss  (train, tensorboard)" in lines
    assert "(1 of 3 values are not finite)" in lines
    assert max(len(line) for line in lines if "└" in line) == 39
    assert "--format is ignored" in done.err


# --- clone ---

DATA = b"a package"
DIGEST = hashlib.sha256(DATA).hexdigest()
PACKAGE = f"gs://mine/jobs/census/packages/{DIGEST}/trainer-0.0.0.tar.gz"


@pytest.fixture
def trained(engine: FakeEngine) -> FakeEngine:
    engine.create_bucket(Bucket(name="mine"))
    engine.write_object("mine", PACKAGE.removeprefix("gs://mine/"), [DATA])
    spec = TrainingInput(
        region="local",
        python_module="trainer.task",
        package_uris=[PACKAGE],
        args=["--steps", "5", "--out=gs://mine/jobs/census/out"],
        job_dir="gs://mine/jobs/census",
        runtime_version="2.15",
    )
    engine.create_job(
        "default",
        Job(job_id="census", training_input=spec, labels={"owner": "alice"},
            options=JobOptions(max_retries=2)),
    )  # fmt: skip
    return engine


def test_a_clone_has_the_same_everything_but_its_id_and_place(
    run: Run, trained: FakeEngine
) -> None:
    done = run("jobs", "clone", "census", "census_2")
    assert done.code == 0
    assert done.out == "jobId: census_2\nstate: QUEUED\n"
    assert done.err.startswith(
        "Job directory: gs://mine/jobs/census_2\n"
        "WARNING: The argument [--out=gs://mine/jobs/census/out] still names the job directory of "
        "the old job.\nJob [census_2] submitted successfully.\n"
    )
    old, new = (trained.get_job("default", name) for name in ("census", "census_2"))
    assert old.training_input is not None and new.training_input is not None
    assert new.training_input == msgspec.structs.replace(
        old.training_input, job_dir="gs://mine/jobs/census_2"
    )
    assert (new.labels, new.options) == (old.labels, old.options)


@pytest.mark.parametrize("job_dir", ["gs://mine/other", ""])
def test_a_clone_takes_the_job_dir_that_it_is_given(
    run: Run, trained: FakeEngine, job_dir: str
) -> None:
    assert run("jobs", "clone", "census", "census_2", f"--job-dir={job_dir}").code == 0
    spec = trained.get_job("default", "census_2").training_input
    assert spec is not None and spec.job_dir == job_dir


def test_a_package_that_was_overwritten_is_not_cloned(run: Run, trained: FakeEngine) -> None:
    trained.write_object("mine", PACKAGE.removeprefix("gs://mine/"), [b"another"])
    done = run("jobs", "clone", "census", "census_2")
    assert done.code == 1
    assert "are no longer what it ran" in done.err and DIGEST in done.err
    assert ("default", "census_2") not in trained.jobs


def test_a_package_without_a_digest_is_judged_by_its_time(
    run: Run, trained: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.write_object("mine", "p.tar.gz", [DATA])
    submit(trained, "plain", package_uris=["gs://mine/p.tar.gz"])
    assert run("jobs", "clone", "plain", "plain_2").code == 0
    later = Object(bucket="mine", name="p.tar.gz", updated="2018-03-02T06:50:06.5Z")
    monkeypatch.setattr(trained, "stat_object", lambda bucket, name: later)
    done = run("jobs", "clone", "plain", "plain_3")
    assert done.code == 1 and "was written at 2018-03-02T06:50:06.5Z, after job" in done.err


def test_a_batch_prediction_is_not_cloned(run: Run, engine: FakeEngine) -> None:
    engine.create_job("default", Job(job_id="p", prediction_input=PredictionInput()))
    done = run("jobs", "clone", "p", "p_2")
    assert done.code == 1 and "is a batch prediction" in done.err


# --- logs ---


@pytest.fixture
def logged(engine: FakeEngine) -> FakeEngine:
    submit(engine, "census")
    for stamp, text in (
        ("2018-03-02T06:50:06Z", "early"), ("2018-03-02T06:50:06.5Z", "half past"),
        ("2018-03-02T06:50:07Z", "late"), ("", "torn"),
    ):  # fmt: skip
        entry = LogEntry(severity="INFO", timestamp=stamp, task_name="m", message=text)
        engine.say("default", "census", entry)
    return engine


def shown(run: Run, *flags: str) -> list[str]:
    rows = run("jobs", "stream-logs", "census", "--format=value(message)", *flags).out
    return rows.splitlines()


@pytest.mark.parametrize(
    "since", ["2018-03-02T06:50:06.2Z", "2018-03-02 06:50:06.2", "2018-03-02T07:50:06.2+01:00"]
)
def test_a_log_since_a_moment(run: Run, logged: FakeEngine, since: str) -> None:
    logged.cancel_job("default", "census")
    assert shown(run, f"--since={since}") == ["half past", "late", "torn"]


def test_a_log_since_so_long_ago(
    run: Run, logged: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged.cancel_job("default", "census")
    now = datetime(2018, 3, 2, 6, 50, 7, tzinfo=UTC) + timedelta(minutes=10)
    monkeypatch.setattr(SystemClock, "now", lambda _self: now)
    assert shown(run, "--since=10m") == ["late", "torn"]
    assert shown(run, "--since=1h") == ["early", "half past", "late", "torn"]


def test_a_time_that_is_none_is_a_usage_error(run: Run, logged: FakeEngine) -> None:
    for text in ("soon", "10", "10y", "99999999999d", "999999999w", "2018-13-01"):
        done = run("jobs", "stream-logs", "census", f"--since={text}")
        assert done.code == 2 and f"'{text}' is no time" in done.err


def test_without_follow_a_running_job_s_log_ends_with_what_there_is(
    run: Run, logged: FakeEngine
) -> None:
    assert shown(run, "--no-follow") == ["early", "half past", "late", "torn"]


# --- TensorBoard ---


def status(home: Path) -> EngineStatus:
    return EngineStatus(
        pid=1, version="0", endpoint="", home=str(home), started="", gateway_pid=1, running_jobs=0,
        queued_jobs=0, ready_versions=0, store="",
    )  # fmt: skip


@pytest.fixture
def home(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    engine.create_bucket(Bucket(name="mine"))
    monkeypatch.setattr(engine, "status", lambda: status(tmp_path), raising=False)
    monkeypatch.setattr(engine, "list_runtimes", lambda: [Runtime()], raising=False)
    return tmp_path


@pytest.fixture
def local(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MLENGINE_ENDPOINT", "http://127.0.0.1:8470")
    return run


def test_jobs_that_cannot_be_looked_at_say_why(local: Run, engine: FakeEngine, home: Path) -> None:
    pytest.importorskip("tensorboard")
    for name, job_dir in (("none", ""), ("gone", "gs://gone/x")):
        submit(engine, name, job_dir=job_dir)
    assert "has no job directory" in local("tensorboard", "none").err
    assert "is not on this machine" in local("tensorboard", "gone").err
    done = local("tensorboard")
    assert done.code == 1 and "has written event files" in done.err
    assert "does not exist" in local("tensorboard", "--logdir", str(home / "none")).err
    assert local("tensorboard", "none", "--logdir", str(home)).code == 2


def test_an_engine_elsewhere_has_no_folders_here(run: Run, engine: FakeEngine, home: Path) -> None:
    pytest.importorskip("tensorboard")
    submit(engine, "a", job_dir="gs://mine/jobs/a")
    assert "is not on this machine" in run("tensorboard", "a").err


def test_a_tunnelled_engine_has_no_folders_here_either(
    local: Run, engine: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.cli.commands.tensorboard._python", lambda _session: "false")
    engine.create_bucket(Bucket(name="backed", backing=f"file://{home}/backing"))
    places = {"own": "buckets/mine", "backed": "backing", "plain": "buckets"}
    submit(engine, "own", job_dir="gs://mine/jobs/own")
    submit(engine, "backed", job_dir="gs://backed/jobs/backed")
    submit(engine, "plain", job_dir=f"{home}/jobs/plain")
    for name in places:
        done = local("tensorboard", name)
        assert done.code == 1 and "is not on this machine" in done.err
    assert "has written event files" in local("tensorboard").err
    assert not any((home / name).exists() for name in ("buckets", "backing", "jobs"))
    for name, folder in places.items():  # where the engine is this machine's they are awaited
        (home / folder).mkdir(parents=True, exist_ok=True)
        assert "TensorBoard ended" in local("tensorboard", name).err
        assert [*home.glob(f"**/jobs/{name}")] != []


def test_without_tensorboard_it_says_what_to_install(
    local: Run, engine: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert "pip install tensorboard" in local("tensorboard", "--logdir", str(home)).err


def test_a_program_that_ends_is_an_error_with_its_last_line(
    local: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlengine.cli.commands import tensorboard

    python = home / "python"
    python.write_text("#!/bin/sh\necho 'port 6006 is taken' >&2\nexit 3\n")
    python.chmod(0o700)
    monkeypatch.setattr(tensorboard, "_python", lambda _session: str(python))
    done = local("tensorboard", "--logdir", str(home), "--port=6006")
    assert done.code == 1 and "TensorBoard ended (exit 3): port 6006 is taken" in done.err


def test_a_runtime_that_has_it_is_used(
    local: Run, engine: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = home / "environments" / ("a" * 32)
    (root / "lib/python3.11/site-packages/tensorboard").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "bin/python").write_text('#!/bin/sh\necho "$@" >&2\nexit 1\n')
    (root / "bin/python").chmod(0o700)
    built = [Runtime(name="bare", built=True, digest="b" * 64),
             Runtime(name="2.21", built=True, digest="a" * 64)]  # fmt: skip
    monkeypatch.setattr(engine, "list_runtimes", lambda: built)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    err = local("tensorboard", "--logdir", str(home), "--port=0").err
    assert f"-m tensorboard.main --logdir {home} --host 127.0.0.1 --port 0" in err


MAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mlengine.cli.main import main
from mlengine.core.resources import Bucket, Job, TrainingInput
from tests.fakes.engine import FakeEngine
from tests.unit.cli.test_job_reports import status
engine = FakeEngine()
engine.create_bucket(Bucket(name="mine"))
for name in sys.argv[3:]:
    spec = TrainingInput(region="local", job_dir=f"gs://mine/jobs/{name}")
    engine.create_job("default", Job(job_id=name, training_input=spec))
engine.status = lambda: status(Path(sys.argv[2]))
sys.exit(main(["tensorboard", "--port=0"], connect=lambda _settings: engine))
"""


def tags_at(url: str) -> dict[str, list[str]]:
    with urllib.request.urlopen(url + "data/plugin/scalars/tags", timeout=60) as reply:
        return {name: list(tags) for name, tags in json.load(reply).items()}


def test_the_real_tensorboard_sees_the_tags_of_the_newest_jobs(home: Path) -> None:
    pytest.importorskip("tensorboard")
    for name in ("a", "b"):
        events(home / f"buckets/mine/jobs/{name}/train/e.tfevents.1", ("loss", 0.5, 1, 1.0))
    environ = {**os.environ, "MLENGINE_ENDPOINT": "unix:/none", "MLENGINE_HOME": str(home)}
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(root), str(home), "a", "b", "quiet"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    try:
        assert url.startswith("http://127.0.0.1:"), process.communicate()
        expected = {"a/train": ["loss"], "b/train": ["loss"]}
        wait_until(lambda: tags_at(url) == expected, 60)
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "Showing the newest jobs that have event files (2)." in err
