"""Real control groups: who takes more memory than its limit is ended, named, and nothing stays."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.runtime import limits
from mlengine.runtime.limits import Limits
from mlengine.training.launchers import AttemptSpec, Outcome, Phase, ReplicaSpec
from mlengine.training.retries import retry_reason
from tests.faults.test_supervisor import Attempts
from tests.waiting import wait_until

MIB = 1 << 20
HOG = "x = []\nwhile True: x.append(bytearray(1 << 20))"


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    probe = Limits(1.0, 64 * MIB)
    problem = probe.make("probe", tmp_path.name)
    problem = problem or ("" if probe._pids_file else "its processes are not limited")
    probe.close()
    if problem:
        pytest.skip(f"LIMITS NOT TESTED: this machine does not let the test limit: {problem}")
    attempts = Attempts(tmp_path)
    yield attempts
    attempts.launcher.cancel(attempts.dir)
    attempts.launcher.sweep(attempts.dir)


def start(attempts: Attempts, code: str, *, processes: int = 0) -> None:
    replica = ReplicaSpec(
        task="master-replica-0", role="master", index=0, argv=[sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"]}, cwd=str(attempts.folder), cpus=1.5,
        memory_bytes=96 * MIB, processes=processes,
    )  # fmt: skip
    attempts.launcher.start(
        attempts.dir, AttemptSpec(job="projects/p/jobs/j", attempt=1, replicas=[replica])
    )


def groups(attempts: Attempts) -> list[Path]:
    name = limits._group_of(attempts.tag())
    return [
        folder
        for controller in ("memory", "cpu", "pids")
        for folder in limits._own_group(controller).glob(f"{name}.*")
    ]


@pytest.mark.parametrize("in_child", [False, True])
def test_who_takes_more_memory_than_its_limit_is_ended_and_told(
    attempts: Attempts, in_child: bool
) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOG!r}], check=True)"
    start(attempts, child if in_child else HOG)
    record = attempts.end(60)
    assert record.outcome is Outcome.FAILED
    assert record.replicas[0].oom
    assert "master 0 ran out-of-memory" in record.message
    assert record.message.endswith("Its limit was 0.1 GiB.")
    assert retry_reason(record) == ""
    assert groups(attempts) == []


def test_who_keeps_to_its_limit_is_left_alone_inside_its_groups(attempts: Attempts) -> None:
    start(attempts, "print(open('/proc/self/cgroup').read())")
    record = attempts.end()
    assert record.outcome is Outcome.SUCCEEDED
    name = limits._group_of(attempts.tag())
    assert any(line.endswith(f"{name}.master-replica-0") for line in attempts.lines())
    assert not any("without its limits" in line for line in attempts.lines())
    assert groups(attempts) == []


def test_a_fork_bomb_takes_nothing_but_its_own_job(attempts: Attempts) -> None:
    start(attempts, "import os\nwhile True: os.fork()", processes=40)
    record = attempts.end(60)
    assert record.outcome is Outcome.FAILED
    assert "It was refused more than 40 processes and threads at a time." in attempts.lines()
    assert groups(attempts) == []


def test_open_files_are_limited_for_each_process(attempts: Attempts) -> None:
    start(attempts, "import resource as r; print('files', r.getrlimit(r.RLIMIT_NOFILE))")
    attempts.end()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    assert f"files ({most}, {most})" in attempts.lines()


def test_the_groups_of_a_dead_supervisor_are_swept(attempts: Attempts) -> None:
    start(attempts, "import time; print('ready', flush=True); time.sleep(300)")
    attempts.wait_for_line("ready")
    attempts.running()
    assert groups(attempts)
    os.kill(attempts.supervisor(), signal.SIGKILL)
    wait_until(lambda: attempts.launcher.poll(attempts.dir).phase is Phase.LOST, 60)
    attempts.launcher.sweep(attempts.dir)
    wait_until(lambda: (attempts.launcher.sweep(attempts.dir), not groups(attempts))[1], 60)


def test_a_machine_without_control_groups_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_MOUNT", tmp_path)
    made = Limits(1.0, MIB).make("tag", "master-replica-0")
    assert made.startswith("its memory is not limited: ")
    assert "its cpu is not limited" in made
    many = Limits(0.0, 0, 50)
    assert many.make("tag", "master-replica-0") == ""
    assert many._rlimits[resource.RLIMIT_NPROC] > 50 + threading.active_count() - 1
    assert not many.processes_refused() and not many.oom_killed()


def test_version_2_of_control_groups_is_told_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "user.slice"
    group = own / "mlengine-tag.master-replica-0"
    group.mkdir(parents=True)
    (tmp_path / "self").write_text("0::/user.slice\n")
    (own / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (own / "cgroup.subtree_control").write_text("cpu memory\n")
    for name in ("memory.max", "cpu.max", "pids.max", "cgroup.procs"):
        (group / name).touch()
    (group / "memory.events").write_text("low 0\noom 0\noom_kill 0\n")
    (group / "pids.events").write_text("max 0\n")
    monkeypatch.setattr(limits, "_MOUNT", tmp_path)
    monkeypatch.setattr(limits, "_OWN", tmp_path / "self")
    rlimits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", rlimits.__setitem__)
    made = Limits(1.5, 96 * MIB, 40)
    assert made.make("tag", "master-replica-0") == ""
    made.enter()
    told = {path.name: path.read_text() for path in group.iterdir()}
    assert told["memory.max"] == str(96 * MIB)
    assert (told["cpu.max"], told["pids.max"]) == ("150000 100000", "40")
    assert told["cgroup.procs"] == "0"
    assert (own / "cgroup.subtree_control").read_text().startswith("+pids")
    assert set(rlimits) == {resource.RLIMIT_NOFILE}
    assert not made.oom_killed() and not made.processes_refused()
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    (group / "pids.events").write_text("max 3\n")
    assert made.oom_killed() and made.processes_refused()
