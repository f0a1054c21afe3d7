"""What every `Launcher` promises, kept on a Ray cluster of three nodes; and what Ray adds."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
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


@pytest.fixture(scope="module")
def on_ray() -> Iterator[Launchers]:
    with ray_cluster() as cluster, launchers(cluster) as made:
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
import json, os, threading
print("spec", json.loads(os.environ["TF_CONFIG"])["cluster"], flush=True)
threading.Event().wait(600)
"""


@pytest.fixture
def engine(
    on_ray: Launchers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LiveEngine]:
    for name, value in on_ray.cluster.variables.items():
        monkeypatch.setenv(name, value)
    with live_engine(tmp_path / "home", backend=on_ray.cluster.address) as engine:
        engine.make_bucket()
        yield engine


def test_jobs_of_an_engine_run_on_the_cluster(engine: LiveEngine, tmp_path: Path) -> None:
    """The census sample to its model, and a cluster of jobs that is cancelled."""
    (archive,) = build_packages(CENSUS / "sklearn_trainer" / "trainer", tmp_path)
    for source in (archive, CENSUS / "data/adult.data.csv.gz", CENSUS / "data/adult.test.csv.gz"):
        engine.client.write_object(BUCKET, f"in/{source.name}", [source.read_bytes()])
    engine.submit(
        "census", f"gs://{BUCKET}/in/{archive.name}",
        "--train-files", f"gs://{BUCKET}/in/adult.data.csv.gz",
        "--eval-files", f"gs://{BUCKET}/in/adult.test.csv.gz", "--max-iter", "10",
        job_dir=f"gs://{BUCKET}/out",
    )  # fmt: skip
    waits = engine.upload_package(WAITS)
    engine.submit(
        "waits", waits, scale_tier="CUSTOM", master_type="n1-standard-4",
        worker_type="n1-standard-4", worker_count=1,
    )  # fmt: skip
    job = engine.ended("census", timeout_s=300)
    lines = engine.lines("census")
    assert job.state == "SUCCEEDED", (job.error_message, lines[-20:])
    assert any(line.startswith("The replica runs on 127.") for line in lines)
    names = {o.name for o in engine.client.list_objects(BUCKET, prefix="out/").items}
    assert any(name.endswith("model.joblib") for name in names), names
    found = next(x for x in engine.lines("waits", until="spec") if x.startswith("spec"))
    assert found.count("'127.") == 2 and "127.0.0.1" not in found
    engine.client.cancel_job(P, "waits")
    assert engine.ended("waits", timeout_s=120).state == "CANCELLED"
