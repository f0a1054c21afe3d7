"""Trainers that will not go, supervisors that die, floods: what is left, and what is said."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.runtime import processes
from mlengine.training import logs
from mlengine.training.launchers import AttemptSpec, ExitRecord, Outcome, Phase, ReplicaSpec
from mlengine.training.launchers.process import ProcessLauncher
from tests.waiting import wait_until

RACES = int(os.environ.get("MLENGINE_RACES", "60"))


class Attempts:
    """Runs trainers in one attempt folder and finds what they leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dir = folder / "1"
        self.launcher = ProcessLauncher()

    def start(
        self, *argvs: list[str], grace_s: float = 0.5, max_running_s: float | None = None,
        log_quota_bytes: int = 1 << 28, notify: str = "",
    ) -> None:  # fmt: skip
        replicas = [
            ReplicaSpec(
                task=f"{role}-replica-{index}", role=role, index=index, argv=argv,
                env={"PATH": os.environ["PATH"]}, cwd=str(self.folder),
            )
            for (role, index), argv in zip(
                [("master", 0), ("worker", 0), ("worker", 1)], argvs, strict=False
            )
        ]  # fmt: skip
        self.launcher.start(self.dir, AttemptSpec(
            job="projects/p/jobs/j", attempt=1, replicas=replicas, grace_s=grace_s,
            max_running_s=max_running_s, log_quota_bytes=log_quota_bytes, notify=notify,
        ))  # fmt: skip

    def end(self, timeout_s: float = 30.0) -> ExitRecord:
        wait_until(lambda: self.launcher.poll(self.dir).exit is not None, timeout_s)
        assert self.left() == []  # at the very moment at which the record is visible
        record = self.launcher.poll(self.dir).exit
        assert record is not None
        return record

    def tag(self) -> str:
        tag: str = json.loads((self.dir / "supervisor.lock").read_text())["tag"]
        return tag

    def left(self) -> list[processes.Process]:
        return processes.of_attempt(self.tag(), {})

    def supervisor(self) -> int:
        pid: int = json.loads((self.dir / "supervisor.lock").read_text())["pid"]
        return pid

    def running(self) -> None:
        wait_until(lambda: self.launcher.poll(self.dir).phase is Phase.RUNNING)

    def lines(self, task: str = "master-replica-0") -> list[str]:
        found, cursor = [], ""
        while True:
            entries, cursor = logs.read(self.folder, cursor=cursor, task_name=task)
            if not entries:
                return found
            found += [e.message for e in entries]

    def wait_for_line(self, text: str) -> None:
        wait_until(lambda: text in self.lines())


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    found = Attempts(tmp_path)
    yield found
    if (found.dir / "supervisor.lock").exists():
        found.launcher.cancel(found.dir)
        wait_until(
            lambda: found.launcher.poll(found.dir).phase not in (Phase.RUNNING, Phase.STARTING), 20
        )
        found.launcher.sweep(found.dir)


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


DOUBLE_FORK = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ.clear()
    signal.pause()
    signal.pause()
    os._exit(0)
os.wait()
print("ready", flush=True)
"""
FORKS = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
for _ in range(400):
    if os.fork() == 0:
        os.setsid()
        for _ in range(3):
            if os.fork() == 0:
                break
        signal.pause()
        signal.pause()
signal.pause()
signal.pause()
"""
WAIT = "import signal; signal.pause(); signal.pause()"

CLINGING = {
    "a double-forked daemon in its own session that ignores TERM": python(DOUBLE_FORK + WAIT),
    "nohup in the background": sh("nohup sleep 300 >/dev/null 2>&1 & echo ready; wait"),
    "setsid": sh("setsid sleep 300 & echo ready; wait"),
    "ignores TERM": sh("trap '' TERM; echo ready; sleep 300; sleep 300"),
    "stopped itself": sh("echo ready; kill -STOP $$; sleep 300"),
    "a bomb-lite of sessions": python(FORKS),
}


@pytest.mark.parametrize("argv", CLINGING.values(), ids=CLINGING.keys())
def test_cancel_leaves_nothing(attempts: Attempts, argv: list[str]) -> None:
    attempts.start(argv)
    attempts.wait_for_line("ready")
    attempts.launcher.cancel(attempts.dir)
    record = attempts.end()
    assert (record.outcome, record.message) == (Outcome.CANCELLED, "The job was cancelled.")


LEAVES = {
    "a daemon": (python(DOUBLE_FORK), Outcome.SUCCEEDED),
    "children that hold its output open": (sh("sleep 300 & setsid sleep 300 & exit 0"),
                                           Outcome.SUCCEEDED),
    "children, and fails": (sh("setsid nohup sleep 300 & exit 3"), Outcome.FAILED),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "outcome"), LEAVES.values(), ids=LEAVES.keys())
def test_a_trainer_that_ends_leaves_nothing(
    attempts: Attempts, argv: list[str], outcome: Outcome
) -> None:
    attempts.start(argv)
    assert attempts.end().outcome is outcome


def test_a_cancel_file_alone_is_enough(attempts: Attempts) -> None:
    attempts.start(sh("exec sleep 300"))
    attempts.running()
    (attempts.dir / "cancel").touch()
    assert attempts.end().outcome is Outcome.CANCELLED


def test_a_trainer_may_save_its_work_when_asked_to_end(attempts: Attempts) -> None:
    attempts.start(sh("trap 'echo saved; exit 0' TERM; echo ready; sleep 300 & wait"), grace_s=10)
    attempts.wait_for_line("ready")
    attempts.launcher.cancel(attempts.dir)
    record = attempts.end()
    assert (record.outcome, record.replicas[0].exit_code) == (Outcome.CANCELLED, 0)
    assert "saved" in attempts.lines()


def test_a_job_that_runs_too_long_is_stopped(attempts: Attempts) -> None:
    attempts.start(sh("exec sleep 300"), max_running_s=0.2)
    record = attempts.end()
    assert record.outcome is Outcome.TIMED_OUT
    assert "maxRunningTime of 0.2s" in record.message


ENDED = "The replica master 0 exited with a non-zero status of "
UNBORN = "The replica master 0 could not be started: "
FAILURES = {
    "silent exit": (
        sh("exit 7"),
        ENDED + "7. Termination reason: Error. It printed nothing.",
    ),
    "a signal": (
        sh("echo bye; kill -SEGV $$"),
        ENDED + "11(SIGSEGV). Termination reason: Signal. Its last line: bye",
    ),
    "no such program": (
        ["/no/such/python"],
        UNBORN + "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/python'",
    ),
    "no such module": (
        [sys.executable, "-S", "-m", "no_such_thing"],
        ENDED + "1. Termination reason: Error. "
        + f"Its last line: {sys.executable}: No module named no_such_thing",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_says_who_how_and_why(attempts: Attempts, argv: list[str], message: str) -> None:
    attempts.start(argv)
    record = attempts.end()
    assert (record.outcome, record.message) == (Outcome.FAILED, message)


def test_an_exception_is_quoted_with_its_place(attempts: Attempts) -> None:
    package = attempts.folder / "trainer"
    package.mkdir()
    (package / "task.py").write_text("\n\ndef run():\n    raise ValueError('bad thing')\n\nrun()\n")
    attempts.start([sys.executable, "-m", "trainer.task"])
    record = attempts.end()
    assert record.replicas[0].last_error == "ValueError: bad thing (trainer/task.py:4)"
    assert record.message == (
        "The replica master 0 exited with a non-zero status of 1. Termination reason: Error. "
        "ValueError: bad thing (trainer/task.py:4)"
    )


def test_when_the_chief_ends_the_others_are_stopped(attempts: Attempts) -> None:
    attempts.start(sh("sleep 0.2"), sh("exec sleep 300"), sh("trap '' TERM; sleep 300; sleep 300"))
    record = attempts.end()
    assert record.outcome is Outcome.SUCCEEDED
    assert [r.signal for r in record.replicas] == [None, signal.SIGTERM, signal.SIGKILL]


def test_a_worker_may_end_early_but_not_fail(attempts: Attempts) -> None:
    attempts.start(sh("exec sleep 300"), sh("exit 0"), sh("sleep 0.3; exit 4"))
    record = attempts.end()
    assert record.outcome is Outcome.FAILED
    assert record.message.startswith("The replica worker 1 exited with a non-zero status of 4.")


def test_one_replica_that_cannot_start_stops_all(attempts: Attempts) -> None:
    attempts.start(sh("exec sleep 300"), ["/no/such/python"], sh("echo run > ran"))
    record = attempts.end()
    assert record.outcome is Outcome.FAILED
    assert "worker 0 could not be started" in record.message
    assert not (attempts.folder / "ran").exists()


@pytest.mark.parametrize("stray", ["setsid sleep 300 & exec sleep 300", "exec sleep 300"])
def test_a_killed_supervisor_takes_its_replicas_along(attempts: Attempts, stray: str) -> None:
    attempts.start(sh("echo ready; " + stray), sh("exec sleep 300"))
    attempts.wait_for_line("ready")
    attempts.running()
    os.kill(attempts.supervisor(), signal.SIGKILL)
    wait_until(lambda: attempts.launcher.poll(attempts.dir).phase is Phase.LOST, 60)
    attempts.launcher.sweep(attempts.dir)
    assert attempts.left() == []
    assert attempts.launcher.sweep(attempts.dir) == 0
    spec = AttemptSpec(job="projects/p/jobs/j", attempt=1, replicas=[])
    assert not attempts.launcher.start(attempts.dir, spec).new  # never a second time
    assert attempts.launcher.poll(attempts.dir).phase is Phase.LOST


def test_sweep_spares_strangers(attempts: Attempts) -> None:
    stranger = subprocess.Popen(
        ["sleep", "300"], env={**os.environ, processes.TAG_VARIABLE: "other/1/cafe"}
    )
    try:
        attempts.start(sh("setsid sleep 300 & echo ready; exec sleep 300"))
        attempts.wait_for_line("ready")
        attempts.running()
        # The record of a replica whose pid the kernel has handed to somebody else since.
        started = json.loads((attempts.dir / "started.json").read_text())
        started["replicas"].append({"task": "ps-replica-0", "pid": stranger.pid, "started": 1})
        (attempts.dir / "started.json").write_text(json.dumps(started))
        os.kill(attempts.supervisor(), signal.SIGKILL)
        wait_until(lambda: attempts.launcher.poll(attempts.dir).phase is Phase.LOST, 60)
        attempts.launcher.sweep(attempts.dir)
        assert attempts.left() == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_stopped_supervisor_goes_on_where_it_was(attempts: Attempts) -> None:
    attempts.start(sh("echo one; sleep 0.3; echo two"))
    attempts.running()
    os.kill(attempts.supervisor(), signal.SIGSTOP)
    assert attempts.launcher.poll(attempts.dir).phase is Phase.RUNNING
    os.kill(attempts.supervisor(), signal.SIGCONT)
    assert attempts.end().outcome is Outcome.SUCCEEDED
    assert attempts.lines()[1:3] == ["one", "two"]


def test_the_engine_is_told(attempts: Attempts, tmp_path: Path) -> None:
    address = str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
        here.bind(address)
        here.settimeout(10)
        attempts.start(sh("true"), notify=address)
        told = [json.loads(here.recv(4096)) for _ in range(2)]
    assert [t["event"] for t in told] == ["started", "exited"]
    assert told[0]["attempt_dir"] == str(attempts.dir)


def test_an_engine_that_is_away_is_no_obstacle(attempts: Attempts) -> None:
    attempts.start(sh("true"), notify=str(attempts.folder / "nobody"))
    assert attempts.end().outcome is Outcome.SUCCEEDED


def test_a_broken_specification_is_a_failed_attempt(attempts: Attempts) -> None:
    attempts.launcher.start(
        attempts.dir, AttemptSpec(job="projects/p/jobs/j", attempt=1, replicas=[])
    )
    record = attempts.end()
    assert record.outcome is Outcome.FAILED
    assert "no replicas" in record.message


def test_every_line_of_a_flood_is_there_in_order(attempts: Attempts) -> None:
    attempts.start(sh("seq 1 300000"))
    assert attempts.end(60).outcome is Outcome.SUCCEEDED
    assert attempts.lines()[1:-2] == [str(n) for n in range(1, 300_001)]


def test_a_flood_beyond_the_quota_keeps_its_head_and_tail(attempts: Attempts) -> None:
    quota = 1_000_000
    attempts.start(
        sh("echo begin; yes 0123456789012345678901234567890123456789 | head -c 50000000; echo end"),
        log_quota_bytes=quota,
    )
    assert attempts.end(120).outcome is Outcome.SUCCEEDED
    files = list(attempts.dir.glob("master-replica-0.log*.jsonl"))
    assert sum(f.stat().st_size for f in files) <= quota * 1.02
    lines = attempts.lines()
    assert lines[1] == "begin"
    assert lines[-4].endswith("end")
    assert "lines of this log were dropped" in lines[-1]


def test_who_follows_a_flood_sees_no_line_twice_the_gaps_and_the_last_line(
    attempts: Attempts,
) -> None:
    attempts.start(
        sh("seq 1 3000000; echo over >&2; head -c 1 fifo; echo the end"), log_quota_bytes=4_000_000
    )
    seen: list[str] = []
    ids: set[str] = set()
    cursor = ""

    def follow() -> bool:
        nonlocal cursor
        entries, cursor = logs.read(
            attempts.folder, cursor=cursor, task_name="master-replica-0", limit=200_000
        )
        assert ids.isdisjoint(e.insert_id for e in entries)
        ids.update(e.insert_id for e in entries)
        seen.extend(e.message for e in entries)
        return bool(seen) and "over" in seen[-5:]

    os.mkfifo(attempts.folder / "fifo")
    wait_until(follow, 60)  # while the trainer lives, and prints nothing more
    (attempts.folder / "fifo").write_bytes(b"x")
    assert attempts.end(60).outcome is Outcome.SUCCEEDED
    while not (seen and "lines of this log were dropped" in seen[-1]):
        follow()
    numbers = [int(text) for text in seen if text.isdecimal()]
    assert numbers == sorted(set(numbers))
    assert "3000000" in seen
    assert any("lines were dropped here" in text for text in seen)
    assert seen[-4].endswith("the end")


def test_binary_giant_and_returning_lines(attempts: Attempts) -> None:
    code = (
        "import sys; w=sys.stdout.buffer.write;"
        "w(b'\\xff\\xfe\\x00bin\\n'); w(b'g'*1000000+b'\\n');"
        "w(b'10%\\r50%\\r100%\\n'); w(b'no newline')"
    )
    attempts.start(python(code))
    assert attempts.end().outcome is Outcome.SUCCEEDED
    lines = attempts.lines()[1:-2]
    assert lines[0] == "\ufffd\ufffd\x00bin"
    assert "".join(lines[1:-2]) == "g" * 1_000_000
    assert lines[-2:] == ["100%", "no newline"]


def test_a_line_can_be_read_soon_after_it_was_printed(attempts: Attempts) -> None:
    attempts.start(sh("echo ready; exec sleep 300"))
    attempts.wait_for_line("ready")


def test_a_trainer_that_closes_its_output_goes_on(attempts: Attempts) -> None:
    attempts.start(sh("exec >&- 2>&-; sleep 0.3; exit 5"))
    assert attempts.end().replicas[0].exit_code == 5


def test_a_cancel_that_races_the_end_is_never_a_lie(tmp_path: Path) -> None:
    dice = random.Random(7)
    launcher = ProcessLauncher()

    def one_round(number: int, late_s: float) -> Outcome:
        attempts = Attempts(tmp_path / str(number))
        attempts.folder.mkdir()
        attempts.launcher = launcher
        attempts.start(sh("sleep 0.02; touch done"))
        threading.Event().wait(late_s)
        launcher.cancel(attempts.dir)
        record = attempts.end()
        (replica,) = record.replicas
        if record.outcome is Outcome.SUCCEEDED:
            assert replica.exit_code == 0
            assert (attempts.folder / "done").exists()
        else:
            assert record.outcome is Outcome.CANCELLED
        return record.outcome

    # Later after a cancel that won, earlier after one that lost: however fast the machine is, the
    # cancels come to lie around the end, where the race is.
    late_s, outcomes = 0.05, set()
    for number in range(RACES):
        outcome = one_round(number, late_s * dice.uniform(0.5, 1.5))
        outcomes.add(outcome)
        late_s *= 1.3 if outcome is Outcome.CANCELLED else 1 / 1.3
    assert outcomes == {Outcome.SUCCEEDED, Outcome.CANCELLED}


def test_nothing_leaks(tmp_path: Path) -> None:
    launcher = ProcessLauncher()

    def census() -> tuple[int, int, int]:
        me = os.getpid()
        children = [p for p in processes.snapshot().values() if p.parent == me]
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(children)

    before = census()
    for number in range(20):
        attempts = Attempts(tmp_path / str(number))
        attempts.folder.mkdir()
        attempts.launcher = launcher
        attempts.start(sh("true"))
        attempts.end()
        launcher.cancel(attempts.dir)
        launcher.sweep(attempts.dir)
    wait_until(lambda: launcher.poll(tmp_path / "0" / "1").exit and census() <= before)
