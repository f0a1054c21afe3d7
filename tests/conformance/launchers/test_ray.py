"""What every `Launcher` promises, kept on a Ray cluster of three nodes; and what Ray adds."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.core.resources import Job, PredictionInput
from mlengine.training.cluster import Cluster
from mlengine.training.launchers import (
    AttemptSpec,
    ExitRecord,
    Launcher,
    Machine,
    Outcome,
    Phase,
    ReplicaSpec,
)
from mlengine.training.launchers.ray import RayLauncher
from mlengine.training.packaging import build_packages
from mlengine.training.ports import Ports
from tests.conformance.launchers.contract import *  # noqa: F403 - the tests
from tests.conformance.launchers.contract import LONG_S, end
from tests.fakes.warm import log_of
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.live.raycluster import Launchers, launchers, ray_cluster
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

JOBS = int(os.environ.get("MLENGINE_RAY_JOBS", "12"))


CAN_HIDE = subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def hidden() -> Iterator[Path]:
    """A folder that no node sees, if the machine allows that."""
    folder = Path(tempfile.mkdtemp(prefix="mle-hidden-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def on_ray(hidden: Path) -> Iterator[Launchers]:
    with ray_cluster(hidden=hidden if CAN_HIDE else None) as cluster, launchers(cluster) as made:
        yield made


@pytest.fixture
def make(on_ray: Launchers) -> Callable[[], Launcher]:
    return on_ray


@pytest.fixture
def run(on_ray: Launchers, tmp_path: Path) -> Callable[..., ExitRecord]:
    launcher = on_ray()

    def call(*replicas: ReplicaSpec, **options: object) -> ExitRecord:
        spec = AttemptSpec(
            job="projects/p/jobs/j", attempt=1, replicas=list(replicas), grace_s=1.0, **options
        )  # type: ignore[arg-type]
        launcher.start(tmp_path / "1", spec)
        found = end(launcher, tmp_path / "1").exit
        assert found is not None
        return found

    return call


def shell(script: str, cwd: Path, *, role: str = "master", index: int = 0) -> ReplicaSpec:
    return ReplicaSpec(
        task=f"{role}-replica-{index}", role=role, index=index, argv=["/bin/sh", "-c", script],
        env={"PATH": os.environ["PATH"]}, cwd=str(cwd), machine=Machine(cpus=1, memory_bytes=0),
    )  # fmt: skip


MEETING = """
import json, os, socket, threading
config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
mine = config["cluster"].get(task["type"], [])
def serve():
    host, port = mine[task["index"]].split(":")
    with socket.create_server((host, int(port))) as server:
        while True:
            server.accept()[0].close()
if task["type"] != "evaluator":
    threading.Thread(target=serve, daemon=True).start()
for role, addresses in sorted(config["cluster"].items()):
    for address in addresses:
        host, port = address.split(":")
        while True:
            try:
                socket.create_connection((host, int(port)), 1).close()
                break
            except OSError:
                threading.Event().wait(0.05)
        print("met", role, flush=True)
print("at", os.environ.get("MASTER_ADDR", ""), mine and mine[task["index"]].split(":")[0])
if task["type"] != "evaluator":
    threading.Event().wait(1 if task["type"] == "chief" else 600)
"""


def test_every_role_meets_every_other(run: Callable[..., ExitRecord], tmp_path: Path) -> None:
    counts = {"chief": 1, "worker": 2, "ps": 1, "evaluator": 1}
    cluster = Cluster.of(counts, Ports().take(Cluster.ports_needed(counts)))
    (tmp_path / "meeting.py").write_text(MEETING)
    replicas = []
    for role, count in counts.items():
        for index in range(count):
            own = [int(a.split(":")[1]) for a in cluster.addresses.get(role, [])[index : index + 1]]
            own += [cluster.master_port, cluster.coordinator_port] if role == "chief" else []
            config = {"cluster": cluster.addresses, "task": {"type": role, "index": index}}
            env = {**cluster.variables(role, index), "TF_CONFIG": json.dumps(config)}
            replicas.append(ReplicaSpec(
                task=f"{role}-replica-{index}", role=role, index=index, env=env, ports=own,
                argv=[sys.executable, str(tmp_path / "meeting.py")], cwd=str(tmp_path),
                machine=Machine(cpus=1, memory_bytes=64 << 20),
            ))  # fmt: skip
    record = run(*replicas)
    assert record.outcome is Outcome.SUCCEEDED, record
    for replica in replicas:
        lines = log_of(tmp_path / "1", replica.task)
        met = [line for line in lines if line.startswith("met ")]
        assert met == ["met chief", "met ps", "met worker", "met worker"], (replica.task, lines)
    by_role = {r.task: r for r in record.replicas}
    assert by_role["evaluator-replica-0"].exit_code == 0
    assert by_role["worker-replica-0"].stopped and by_role["ps-replica-0"].stopped
    hosts = {line.split()[-1] for r in replicas for line in log_of(tmp_path / "1", r.task)
             if line.startswith("The replica runs on")}  # fmt: skip
    assert len(hosts) > 1, "five CPUs are on more than one node of two"


def test_a_log_is_whole_though_its_replica_dies(
    run: Callable[..., ExitRecord], tmp_path: Path
) -> None:
    record = run(shell("seq 50000; printf end >&2; kill -SEGV $$", tmp_path))
    assert record.replicas[0].signal == 11
    lines = log_of(tmp_path / "1")
    assert [line for line in lines if line.isdigit()] == [str(n) for n in range(1, 50001)]
    assert "end" in lines


def test_a_replica_that_fails_ends_all(run: Callable[..., ExitRecord], tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    record = run(
        shell("sleep 300", tmp_path),
        shell(f"until [ -e {deaf} ]; do sleep 0.1; done; echo bad; exit 7", tmp_path,
              role="worker"),
        shell(f"trap '' TERM; touch {deaf}; while :; do sleep 300; done", tmp_path,
              role="worker", index=1),
    )  # fmt: skip
    assert record.outcome is Outcome.FAILED
    assert record.message == (
        "The replica worker 0 exited with a non-zero status of 7. Termination reason: Error. "
        "Its last line: bad"
    )
    how = [(r.stopped, r.signal) for r in record.replicas]
    assert how == [(True, 15), (False, None), (True, 9)]


def test_a_job_that_runs_too_long_is_stopped(
    run: Callable[..., ExitRecord], tmp_path: Path
) -> None:
    record = run(shell("setsid sleep 300 & sleep 300", tmp_path), max_running_s=0.3)
    assert record.outcome is Outcome.TIMED_OUT


def test_what_no_node_has_is_refused_by_name(
    run: Callable[..., ExitRecord], tmp_path: Path
) -> None:
    gpu = Machine(cpus=1, memory_bytes=0, gpus=1)
    record = run(ReplicaSpec(
        task="master-replica-0", role="master", index=0, argv=["true"], env={}, cwd=str(tmp_path),
        machine=gpu,
    ))  # fmt: skip
    assert record.outcome is Outcome.FAILED
    assert "the cluster cannot hold 1 replica of 1 CPUs, 0.0 GiB, 1 GPUs" in record.message


def test_an_interpreter_that_a_node_lacks_is_named(
    run: Callable[..., ExitRecord], tmp_path: Path
) -> None:
    record = run(ReplicaSpec(
        task="master-replica-0", role="master", index=0, argv=["/no/such/python"], env={},
        cwd=str(tmp_path),
    ))  # fmt: skip
    assert "has no /no/such/python. Install the runtime's interpreter" in record.message


def test_many_short_jobs(on_ray: Launchers, tmp_path: Path) -> None:
    launcher = on_ray()
    attempts = [tmp_path / str(n) for n in range(JOBS)]
    for attempt in attempts:
        spec = AttemptSpec(
            job=f"projects/p/jobs/j{attempt.name}", attempt=1,
            replicas=[shell(f"echo line of {attempt.name}", tmp_path)],
        )  # fmt: skip
        assert launcher.start(attempt, spec).new
    over = (Phase.EXITED, Phase.LOST)
    wait_until(lambda: all(launcher.poll(a).phase in over for a in attempts), LONG_S + 4 * JOBS)
    for attempt in attempts:
        found = launcher.poll(attempt).exit
        assert found is not None and found.outcome is Outcome.SUCCEEDED, found
        assert log_of(attempt).count(f"line of {attempt.name}") == 1


def test_another_version_of_ray_is_refused_and_both_are_named(
    on_ray: Launchers, tmp_path: Path
) -> None:
    """An agent that says it has another version, for there is only one to install."""
    other = tmp_path / "site"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import ray\nray.__version__ = '2.59.0'\n")
    environ = {**os.environ, **on_ray.cluster.variables, "PYTHONPATH": str(other)}
    launcher = RayLauncher(on_ray.cluster.address, tmp_path / "run", environ=environ)
    with pytest.raises(FailedPrecondition, match=r"2\.59\.0.*2\.60\.0|2\.60\.0.*2\.59\.0"):
        launcher.open(wait_s=120)
    launcher.close()
    wait_until(lambda: not launcher.agent_lives(), 60)


CENSUS = Path(__file__).resolve().parents[3] / "samples" / "census"
WAITS = """
import json, os, threading, urllib.request
url = os.environ["STORAGE_EMULATOR_HOST"] + "/storage/v1/b/mine/o/in%2Fx?alt=media"
print("helper says", urllib.request.urlopen(url).read().decode(), flush=True)
print("spec", json.loads(os.environ["TF_CONFIG"])["cluster"], flush=True)
threading.Event().wait(600)
"""


def engine_on(on_ray: Launchers, home: Path) -> contextlib.AbstractContextManager[LiveEngine]:
    return live_engine(home, backend=on_ray.cluster.address, environ=on_ray.cluster.variables)


def test_jobs_of_an_engine_run_on_the_cluster(on_ray: Launchers, tmp_path: Path) -> None:
    """Two replicas that see the engine's home, with a helper each on their nodes; cancelled."""
    with engine_on(on_ray, tmp_path / "home") as engine:
        engine.make_bucket()
        engine.client.write_object(BUCKET, "in/x", [b"bytes"])
        waits = engine.upload_package(WAITS)
        engine.submit(
            "waits", waits, scale_tier="CUSTOM", master_type="n1-standard-4",
            worker_type="n1-standard-4", worker_count=1,
        )  # fmt: skip
        lines = engine.lines("waits", until="spec")
        assert "helper says bytes" in lines
        assert any(line.startswith("The replica runs on 127.") for line in lines)
        assert not any("does not see" in line for line in lines), lines
        found = next(line for line in lines if line.startswith("spec"))
        assert found.count("'127.") == 2 and "127.0.0.1" not in found
        engine.client.cancel_job(P, "waits")
        assert engine.ended("waits", timeout_s=120).state == "CANCELLED"


# --- nodes that do not see the engine's home ---

hides = pytest.mark.skipif(
    not CAN_HIDE, reason="a mount namespace cannot be made here: every node sees every folder"
)

TRAVELS = """
import os, subprocess, sys, threading, urllib.request
from pathlib import Path
home, data, out = sys.argv[1], Path(sys.argv[3]), Path(sys.argv[5])
def wait_for(path):
    while not path.exists():
        threading.Event().wait(0.1)
if '"type": "worker"' in os.environ["TF_CONFIG"]:
    wait_for(out / "nested" / "from-master")
    (out / "from-worker").write_text("worker")
    threading.Event().wait(600)
print("sees", Path(home).exists(), flush=True)
(out / "nested").mkdir(parents=True)
(out / "nested" / "from-master").write_text(data.read_text() * 2)
(out / "old").unlink()
Path("notes").write_text("in the working folder")
metrics = Path(os.environ["CLOUD_ML_HP_METRIC_FILE"])
metrics.parent.mkdir(parents=True, exist_ok=True)
metrics.write_text("measured")
url = os.environ["STORAGE_EMULATOR_HOST"] + "/storage/v1/b/mine/o/in%2Fx?alt=media"
print("helper says", urllib.request.urlopen(url).read().decode(), flush=True)
said = subprocess.run(["gsutil", "cat", "gs://mine/in/x"], capture_output=True, text=True)
print("gsutil says", said.stdout, said.stderr, flush=True)
wait_for(out / "from-worker")
"""


@pytest.fixture(scope="module")
def far(on_ray: Launchers, hidden: Path) -> Iterator[LiveEngine]:
    """An engine whose home no node sees."""
    with engine_on(on_ray, hidden / "home") as engine:
        engine.make_bucket()
        yield engine


@hides
def test_what_a_node_does_not_see_is_brought_and_comes_home(
    far: LiveEngine, on_ray: Launchers
) -> None:
    far.client.write_object(BUCKET, "in/x", [b"bytes"])
    far.client.write_object(BUCKET, "out/old", [b"removed by the trainer"])
    far.submit(
        "travels", far.upload_package(TRAVELS), str(far.home), "--data", f"gs://{BUCKET}/in/x",
        job_dir=f"gs://{BUCKET}/out", scale_tier="CUSTOM", master_type="n1-standard-4",
        worker_type="n1-standard-4", worker_count=1,
    )  # fmt: skip
    job = far.ended("travels", timeout_s=300)
    lines = far.lines("travels")
    assert job.state == "SUCCEEDED", (job.error_message, lines[-20:])
    assert {"sees False", "helper says bytes", "gsutil says bytes "} <= set(lines), lines
    assert sum("does not see the folders of the engine's machine" in x for x in lines) == 2
    names = {o.name for o in far.client.list_objects(BUCKET, prefix="out/").items}
    assert names == {"out/nested/from-master", "out/from-worker"}
    (attempt,) = (far.home / "jobs").glob("travels-*/1")
    assert (attempt / "work" / "master-replica-0" / "notes").read_text() == "in the working folder"
    assert (attempt / "hypertune" / "master-0.metrics").read_text() == "measured"
    assert not list((attempt / "arriving").iterdir())
    for node in on_ray.cluster.caches:
        wait_until(lambda node=node: not list((node / "jobs").iterdir()), LONG_S)


@hides
def test_the_census_loop_runs_on_nodes_that_see_nothing(far: LiveEngine, tmp_path: Path) -> None:
    """From the sample's data to its model, and to predictions of it by a batch job."""
    (archive,) = build_packages(CENSUS / "sklearn_trainer" / "trainer", tmp_path)
    instances = CENSUS / "instances.jsonl"
    for source in (archive, instances, *(CENSUS / "data").glob("*.gz")):
        far.client.write_object(BUCKET, f"census/{source.name}", [source.read_bytes()])
    far.submit(
        "census", f"gs://{BUCKET}/census/{archive.name}",
        "--train-files", f"gs://{BUCKET}/census/adult.data.csv.gz",
        "--eval-files", f"gs://{BUCKET}/census/adult.test.csv.gz", "--max-iter", "10",
        job_dir=f"gs://{BUCKET}/trained",
    )  # fmt: skip
    job = far.ended("census", timeout_s=300)
    assert job.state == "SUCCEEDED", (job.error_message, far.lines("census")[-20:])
    names = [o.name for o in far.client.list_objects(BUCKET, prefix="trained/").items]
    (model,) = (name for name in names if name.endswith("model.joblib"))
    asked = PredictionInput(
        uri=f"gs://{BUCKET}/{model.rpartition('/')[0]}", data_format="JSON", region="local",
        input_paths=[f"gs://{BUCKET}/census/{instances.name}"], output_path=f"gs://{BUCKET}/told",
    )  # fmt: skip
    far.client.create_job(P, Job(job_id="batch", prediction_input=asked))
    job = far.ended("batch", timeout_s=300)
    assert job.state == "SUCCEEDED", (job.error_message, far.lines("batch")[-20:])
    assert job.prediction_output is not None
    assert job.prediction_output.prediction_count == len(instances.read_text().splitlines())
    told = b"".join(far.client.read_object(BUCKET, "told/prediction.results-00000-of-00001"))
    assert len(told.splitlines()) == job.prediction_output.prediction_count


TUNED = """
import argparse
from pathlib import Path
from mlengine.runtime import report
parser = argparse.ArgumentParser()
parser.add_argument("--job-dir", type=Path)
parser.add_argument("--x", type=float)
args = parser.parse_args()
assert report("loss", args.x, step=1) and report("loss", args.x / 2, step=2)
args.job_dir.mkdir(parents=True, exist_ok=True)
(args.job_dir / "tried").write_text(str(args.x))
"""


@hides
def test_trials_run_on_nodes_and_what_they_measure_comes_home(far: LiveEngine) -> None:
    params = [{"parameterName": "x", "type": "DISCRETE", "discreteValues": [1, 2, 4]}]
    far.submit(
        "tuned", far.upload_package(TUNED), job_dir=f"gs://{BUCKET}/tuned",
        hyperparameters={
            "goal": "MINIMIZE", "hyperparameterMetricTag": "loss", "algorithm": "GRID_SEARCH",
            "maxTrials": 3, "maxParallelTrials": 2, "params": params,
        },
    )  # fmt: skip
    job = far.ended("tuned", timeout_s=300)
    lines = far.lines("tuned")
    assert job.state == "SUCCEEDED", (job.error_message, lines[-20:])
    assert job.training_output is not None
    found = {t["trialId"]: [m["objectiveValue"] for m in t["allMetrics"]]
             for t in job.training_output.trials}  # fmt: skip
    assert found == {"1": [1.0, 0.5], "2": [2.0, 1.0], "3": [4.0, 2.0]}
    assert list(found) == ["1", "2", "3"], "best first"
    for trial, value in {"1": b"1.0", "2": b"2.0", "3": b"4.0"}.items():
        assert b"".join(far.client.read_object(BUCKET, f"tuned/{trial}/tried")) == value
    assert sum("does not see the folders of the engine's machine" in x for x in lines) == 3


@hides
def test_a_python_that_no_node_has_is_refused_by_name(
    run: Callable[..., ExitRecord], hidden: Path
) -> None:
    """An environment that nobody's interpreter fits: one of this name says so of itself."""
    program = hidden / "venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    told = {"version": "3.99", "implementation": "CPython", "python": "/no/python3.99",
            "prefix": str(hidden / "venv"), "is_venv": True, "folders": []}  # fmt: skip
    program.write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    program.chmod(0o700)
    record = run(ReplicaSpec(
        task="master-replica-0", role="master", index=0, argv=[str(program)], env={},
        cwd=str(hidden),
    ))  # fmt: skip
    assert record.outcome is Outcome.FAILED
    assert "has no CPython 3.99, which the job's environment is made for" in record.message
    assert "on PATH as python3.99" in record.message
