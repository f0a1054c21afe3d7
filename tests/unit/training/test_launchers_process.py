"""The launcher of one machine: what it makes of a supervisor that is missing or broken."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import Unavailable
from mlengine.runtime import attemptfiles, processes
from mlengine.training.launchers import AttemptSpec, AttemptStatus, Outcome, Phase, ReplicaSpec
from mlengine.training.launchers.process import ProcessLauncher, identity_of
from tests.waiting import wait_until


def spec(script: str, cwd: Path, *, replicas: int = 1, quota_bytes: int = 1 << 28) -> AttemptSpec:
    return AttemptSpec(
        job="projects/p/jobs/j",
        attempt=1,
        replicas=[
            ReplicaSpec(
                task=f"master-replica-{index}",
                role="master",
                index=index,
                argv=["sh", "-c", script],
                env={"PATH": os.environ["PATH"]},
                cwd=str(cwd),
            )
            for index in range(replicas)
        ],
        grace_s=0.5,
        log_quota_bytes=quota_bytes,
    )


def ended(launcher: ProcessLauncher, attempt: Path) -> bool:
    return launcher.poll(attempt).phase is Phase.EXITED


def test_an_interpreter_that_is_missing_may_come_back(tmp_path: Path) -> None:
    attempt = tmp_path / "1"
    with pytest.raises(Unavailable, match="could not be started"):
        ProcessLauncher(python="/no/such/python").start(attempt, spec("true", tmp_path))
    launcher = ProcessLauncher()
    assert launcher.poll(attempt).phase is Phase.NOT_STARTED
    assert launcher.start(attempt, spec("true", tmp_path)).new
    wait_until(lambda: ended(launcher, attempt))


def test_a_supervisor_that_died_before_it_began_is_started_again(tmp_path: Path) -> None:
    attempt = tmp_path / "1"
    silent = ProcessLauncher(python="/bin/true")
    silent.start(attempt, spec("true", tmp_path))
    wait_until(lambda: silent.poll(attempt).phase is Phase.NOT_STARTED)
    launcher = ProcessLauncher()
    assert launcher.start(attempt, spec("true", tmp_path)).new
    wait_until(lambda: ended(launcher, attempt))


def test_a_supervisor_that_said_why_it_cannot_begin_is_lost(tmp_path: Path) -> None:
    attempt = tmp_path / "1"
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no libpython >&2\nexit 127\n")
    broken.chmod(0o700)
    launcher = ProcessLauncher(python=str(broken))
    launcher.start(attempt, spec("true", tmp_path))
    wait_until(lambda: launcher.poll(attempt).phase is Phase.LOST)
    assert (attempt / "supervisor.err").read_text() == "no libpython\n"


def test_a_half_written_identity_means_that_nothing_ran(tmp_path: Path) -> None:
    (tmp_path / attemptfiles.LOCK).write_text('{"pid": 1')
    assert ProcessLauncher().poll(tmp_path).phase is Phase.NOT_STARTED
    assert ProcessLauncher().sweep(tmp_path) == 0


@pytest.mark.parametrize("record", [b"", b'{"outcome": "fai', b'{"outcome": "lost"}', b'"\xff"'])
def test_a_record_that_cannot_be_read_ends_the_attempt_by_name(
    tmp_path: Path, record: bytes
) -> None:
    (tmp_path / attemptfiles.EXIT).write_bytes(record)
    status = ProcessLauncher().poll(tmp_path)
    assert status.exit is not None
    assert (status.phase, status.exit.outcome) == (Phase.EXITED, Outcome.FAILED)
    assert f"{tmp_path / attemptfiles.EXIT} cannot be read" in status.exit.message


def test_after_a_restart_of_the_machine_nobody_is_swept(tmp_path: Path) -> None:
    me = processes.look(os.getpid())
    assert me is not None
    identity = {"pid": me.pid, "started": me.started, "boot_id": "another", "tag": "j/1/x"}
    (tmp_path / attemptfiles.LOCK).write_text(json.dumps(identity))
    launcher = ProcessLauncher()
    assert launcher.poll(tmp_path).phase is Phase.LOST
    assert launcher.sweep(tmp_path) == 0
    launcher.cancel(tmp_path)  # signals nobody, least of all this test


@pytest.fixture
def stray(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of attempt 1, whose folder says that it is the supervisor too."""
    attempt, tag = tmp_path / "1", "j/1/x"
    attempt.mkdir()
    with subprocess.Popen(["sleep", "300"], env={processes.TAG_VARIABLE: tag}) as process:
        try:
            wait_until(lambda: [p.pid for p in processes.of_attempt(tag, {})] == [process.pid])
            with (attempt / attemptfiles.LOCK).open("w") as lock:
                identity = processes.note(process.pid, lock.fileno())
                lock.write(json.dumps({**identity, "tag": tag, "folder": str(attempt)}))
            yield process
        finally:
            process.kill()


def test_a_copy_of_an_attempts_folder_ends_nothing_of_the_original(
    tmp_path: Path, stray: subprocess.Popen[bytes]
) -> None:
    copy, launcher = tmp_path / "backup" / "1", ProcessLauncher()
    shutil.copytree(tmp_path / "1", copy)
    assert launcher.poll(copy) == AttemptStatus(Phase.LOST, ran_in=str(tmp_path / "1"))
    assert launcher.sweep(copy) == 0
    _say(copy, place=None)
    assert launcher.sweep(copy) == 0
    launcher.cancel(copy)
    # Of signals that wait for a process the kernel delivers the lowest number first.
    stray.send_signal(signal.SIGVTALRM)
    assert stray.wait() == -signal.SIGVTALRM


def test_a_folder_that_was_moved_is_the_same_one(
    tmp_path: Path, stray: subprocess.Popen[bytes]
) -> None:
    assert ProcessLauncher().poll(tmp_path / "1") == AttemptStatus(Phase.LOST)
    moved = (tmp_path / "1").rename(tmp_path / "elsewhere")
    there = str(tmp_path / "1")
    assert ProcessLauncher().poll(moved) == AttemptStatus(Phase.LOST, ran_in=there)
    assert ProcessLauncher().sweep(moved) == 1
    assert stray.wait() == -signal.SIGKILL


def _say(attempt: Path, **facts: object) -> None:
    lock = attempt / attemptfiles.LOCK
    said = {**json.loads(lock.read_text()), **facts}
    lock.write_text(json.dumps({name: fact for name, fact in said.items() if fact is not None}))


@pytest.mark.usefixtures("stray")
def test_a_disk_with_another_number_after_a_restart_is_no_move(tmp_path: Path) -> None:
    attempt, launcher = tmp_path / "1", ProcessLauncher()
    device = attempt.stat().st_dev
    _say(attempt, device=device + 1)
    ran_in = str(attempt)
    assert launcher.poll(attempt) == AttemptStatus(Phase.LOST, ran_in=ran_in)  # in one boot it is
    _say(attempt, boot_id="another")
    assert launcher.poll(attempt) == AttemptStatus(Phase.LOST)
    copy = tmp_path / "copy"
    shutil.copytree(attempt, copy)
    assert launcher.poll(copy) == AttemptStatus(Phase.LOST, ran_in=ran_in)


def test_what_a_folder_left_running_on_another_disk_is_swept(
    tmp_path: Path, stray: subprocess.Popen[bytes]
) -> None:
    copy = tmp_path / "backup" / "1"
    shutil.copytree(tmp_path / "1", copy)
    (tmp_path / "1").rename(tmp_path / "kept")  # its inode must not be handed out again
    assert ProcessLauncher().sweep(copy) == 1
    assert stray.wait() == -signal.SIGKILL


def test_a_supervisor_that_did_not_name_its_file_is_believed(
    tmp_path: Path, stray: subprocess.Popen[bytes]
) -> None:
    # An engine that was upgraded meets those of jobs that it started before.
    lock = tmp_path / "1" / attemptfiles.LOCK
    identity = json.loads(lock.read_text())
    del identity["device"], identity["inode"], identity["place"]
    lock.write_text(json.dumps(identity))
    assert ProcessLauncher().poll(tmp_path / "1") == AttemptStatus(Phase.LOST)
    assert ProcessLauncher().sweep(tmp_path / "1") == 1
    assert stray.wait() == -signal.SIGKILL


def test_a_supervisor_names_the_file_that_it_holds(tmp_path: Path) -> None:
    launcher, attempt = ProcessLauncher(), tmp_path / "1"
    launcher.start(attempt, spec("true", tmp_path))
    wait_until(lambda: ended(launcher, attempt))
    identity, file = identity_of(attempt), (attempt / attemptfiles.LOCK).stat()
    assert identity is not None
    assert (identity["device"], identity["inode"]) == (file.st_dev, file.st_ino)


def test_a_job_whose_folder_is_moved_runs_on_and_its_end_is_not_known(tmp_path: Path) -> None:
    launcher, attempt = ProcessLauncher(), tmp_path / "1"
    launcher.start(attempt, spec("until [ -e done ]; do sleep 0.02; done", tmp_path))
    wait_until(lambda: launcher.poll(attempt).phase is Phase.RUNNING)
    moved = attempt.rename(tmp_path / "2")
    assert launcher.poll(moved).phase is Phase.RUNNING
    (tmp_path / "done").touch()
    wait_until(lambda: launcher.poll(moved) == AttemptStatus(Phase.LOST, ran_in=str(attempt)))


@pytest.mark.parametrize("replicas", [1, 4])
def test_the_logs_of_all_replicas_share_one_quota(tmp_path: Path, replicas: int) -> None:
    launcher, attempt = ProcessLauncher(), tmp_path / "1"
    launcher.start(attempt, spec("seq 1000", tmp_path, replicas=replicas, quota_bytes=24_000))
    wait_until(lambda: ended(launcher, attempt))
    held_bytes = sum(path.stat().st_size for path in attempt.glob("*.log*.jsonl"))
    assert 12_000 < held_bytes <= 24_000


def test_on_a_full_disk_a_cancel_still_reaches_the_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    launcher, attempt = ProcessLauncher(), tmp_path / "1"
    launcher.start(attempt, spec("exec sleep 300", tmp_path))
    wait_until(lambda: launcher.poll(attempt).phase is Phase.RUNNING)
    monkeypatch.setattr(Path, "touch", full)
    launcher.cancel(attempt)
    wait_until(lambda: ended(launcher, attempt))
    record = launcher.poll(attempt).exit
    assert record is not None and record.outcome is Outcome.CANCELLED
    with pytest.raises(Unavailable, match="could not be written"):
        launcher.cancel(tmp_path / "2")
