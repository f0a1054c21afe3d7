"""A Ray cluster whose parts are killed: nothing outlives its attempt or is RUNNING for ever."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import Unavailable
from mlengine.runtime import farlink
from mlengine.training.launchers import (
    AttemptSpec,
    AttemptStatus,
    ExitRecord,
    Machine,
    Outcome,
    Phase,
    ReplicaSpec,
)
from mlengine.training.launchers.ray import RayLauncher
from mlengine.training.retries import retry_reason
from tests.fakes.warm import log_of
from tests.live.raycluster import Launchers, launchers, ray_cluster
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(900)

# The product's promise, with what a machine shared with other tests may need on top.
RECOVERY_S = 60.0 + 30.0

slow = pytest.mark.skipif(
    os.environ.get("MLENGINE_RAY_SLOW") != "1",
    reason="MLENGINE_RAY_SLOW=1 asks for it: half a minute that another test goes through as well",
)


@pytest.fixture(scope="module")
def on_ray() -> Iterator[Launchers]:
    with ray_cluster() as cluster, launchers(cluster) as made:
        yield made


WAITS = "setsid sleep 999 & echo $! $$ > {}.pids; echo up; wait"


class Attempt:
    """An attempt whose replicas write their process ids to files, then wait."""

    def __init__(self, launcher: RayLauncher, folder: Path) -> None:
        self.launcher, self.dir, self.folder = launcher, folder / "1", folder

    def start(self, *cpus: float) -> None:
        replicas = [
            ReplicaSpec(
                task=f"{role}-replica-0", role=role, index=0, cwd=str(self.folder),
                env={"PATH": os.environ["PATH"]}, machine=Machine(cpus=cpu, memory_bytes=0),
                argv=["/bin/sh", "-c", WAITS.format(role)],
            )
            for role, cpu in zip(("master", "worker"), cpus, strict=False)
        ]  # fmt: skip
        spec = AttemptSpec(job="projects/p/jobs/j", attempt=1, replicas=replicas, grace_s=1.0)
        self.launcher.start(self.dir, spec)
        wait_until(lambda: self.phase is Phase.RUNNING, RECOVERY_S, f"{spec.job} runs on Ray")
        wait_until(lambda: all(log_of(self.dir, r.task).count("up") for r in replicas), RECOVERY_S)

    @property
    def phase(self) -> Phase:
        return self.launcher.poll(self.dir).phase

    def supervisor(self) -> int:
        return int(json.loads((self.dir / "supervisor.lock").read_text())["pid"])

    def alive(self) -> list[int]:
        """Return the processes of its replicas that are still there."""
        told = " ".join(path.read_text() for path in self.folder.glob("*.pids"))
        return [pid for pid in map(int, told.split()) if _lives(pid)]

    def node(self, role: str) -> str:
        (line,) = (x for x in log_of(self.dir, f"{role}-replica-0") if "runs on" in x)
        return line.split()[-1].rstrip(".")

    def end(self) -> AttemptStatus:
        """Wait for the end; nothing of it lives once it is seen."""
        wait_until(lambda: self.phase in (Phase.EXITED, Phase.LOST), RECOVERY_S)
        if self.phase is Phase.EXITED:
            assert self.alive() == []
        return self.launcher.poll(self.dir)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def begin(on_ray: Launchers, tmp_path: Path) -> Callable[..., Attempt]:
    def call(*cpus: float) -> Attempt:
        attempt = Attempt(on_ray(), tmp_path)
        attempt.start(*cpus)
        return attempt

    return call


def lost(record: ExitRecord | None) -> list[str]:
    assert record is not None
    assert record.outcome is Outcome.FAILED
    assert retry_reason(record), record
    return [replica.task for replica in record.replicas if replica.lost]


def test_a_supervisor_that_is_killed_leaves_nothing_on_the_cluster(
    begin: Callable[..., Attempt],
) -> None:
    attempt = begin(1, 1)
    os.kill(attempt.supervisor(), signal.SIGKILL)
    assert attempt.end().phase is Phase.LOST

    def swept() -> bool:
        try:
            attempt.launcher.sweep(attempt.dir)
        except Unavailable:
            return False
        return True

    wait_until(swept, RECOVERY_S)
    assert attempt.alive() == []  # so another attempt never meets this one


def test_a_replica_that_is_killed_fails_the_attempt_in_a_way_that_may_pass(
    begin: Callable[..., Attempt],
) -> None:
    attempt = begin(1, 1)
    pid = int((attempt.folder / "worker.pids").read_text().split()[1])
    os.kill(pid, signal.SIGKILL)
    record = attempt.end().exit
    assert record is not None
    assert "The replica worker 0 exited with a non-zero status of 9(SIGKILL)" in record.message
    assert retry_reason(record) == "worker 0 was killed by SIGKILL"


@slow
def test_an_actor_that_is_killed_takes_its_replica_along(
    begin: Callable[..., Attempt], on_ray: Launchers
) -> None:
    attempt = begin(1)
    posts = [pid for node in on_ray.cluster.nodes for pid in node.pids() if _is_post(pid)]
    assert posts
    for pid in posts:
        os.kill(pid, signal.SIGKILL)
    assert lost(attempt.end().exit) == ["master-replica-0"]


def _is_post(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Post")
    except OSError:
        return False


def test_an_agent_that_is_killed_ends_its_attempts_and_is_replaced(
    begin: Callable[..., Attempt], on_ray: Launchers, tmp_path: Path
) -> None:
    attempt = begin(1, 1)
    os.kill(on_ray.agent, signal.SIGKILL)
    assert lost(attempt.end().exit) == ["master-replica-0", "worker-replica-0"]
    launcher = on_ray()
    # As an engine does, also when the first one to follow gives up on a cluster that is slow.
    wait_until(lambda: launcher.tend().nodes, RECOVERY_S, "a new agent sees the cluster")
    (tmp_path / "again").mkdir()
    again = Attempt(launcher, tmp_path / "again")
    again.start(1)
    again.launcher.cancel(again.dir)
    assert again.end().exit.outcome is Outcome.CANCELLED


@slow
def test_an_agent_that_hangs_keeps_nobody_running(
    begin: Callable[..., Attempt], on_ray: Launchers
) -> None:
    attempt, agent = begin(1), on_ray.agent
    os.kill(agent, signal.SIGSTOP)
    try:
        assert lost(attempt.end().exit) == ["master-replica-0"]
    finally:
        os.kill(agent, signal.SIGCONT)


def test_a_raylet_that_is_killed_loses_its_replicas(
    begin: Callable[..., Attempt], on_ray: Launchers
) -> None:
    attempt = begin(2, 2)
    head = on_ray.cluster.host
    role = next(r for r in ("master", "worker") if attempt.node(r) != head)
    (node,) = (n for n in on_ray.cluster.nodes if n.host == attempt.node(role))
    began_s = time.monotonic()
    node.kill("raylet")
    assert lost(attempt.end().exit) == [f"{role}-replica-0"]
    assert time.monotonic() - began_s < RECOVERY_S
    assert f"The replica {role} 0 was lost" in attempt.end().exit.message


def test_z_a_head_that_is_killed_fails_what_runs_and_what_is_tried(
    begin: Callable[..., Attempt], on_ray: Launchers, tmp_path: Path
) -> None:
    """The last test: there is no cluster after it."""
    attempt = begin(1)
    on_ray.cluster.nodes[0].kill()
    assert lost(attempt.end().exit) == ["master-replica-0"]
    wait_until(lambda: attempt.launcher.view().problem, RECOVERY_S + farlink.CERTAIN_S)
    (tmp_path / "again").mkdir()
    again = Attempt(on_ray(), tmp_path / "again")
    replica = ReplicaSpec(
        task="master-replica-0", role="master", index=0, argv=["true"], env={}, cwd=str(tmp_path)
    )
    again.launcher.start(
        again.dir, AttemptSpec(job="projects/p/jobs/j", attempt=1, replicas=[replica])
    )
    record = again.end().exit
    assert lost(record) == ["master-replica-0"]
    # Who notices first says it: the agent, or on a busy machine the supervisor that waits for it.
    said = (f"cluster at {on_ray.cluster.address}", "the agent that runs replicas on the cluster")
    assert record is not None and any(words in record.message for words in said)
