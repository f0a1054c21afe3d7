"""Many replicas of one attempt, as real processes: who ends whom, and who is blamed."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlengine.training import logs
from mlengine.training.lastwords import last_words
from mlengine.training.launchers import AttemptSpec, ExitRecord, Outcome, ReplicaSpec
from mlengine.training.launchers.process import ProcessLauncher
from tests.waiting import wait_until

FOREVER = "sleep 300 & wait"
DEAF = "trap '' TERM; touch deaf; while :; do sleep 300; done"
LOST_A_PEER = (
    "echo 'Traceback (most recent call last):' >&2; echo '  File \"t.py\", line 1' >&2;"
    " echo 'tensorflow.errors.UnavailableError: Connection reset by peer' >&2;"
)
OWN_ERROR = (
    "echo 'Traceback (most recent call last):' >&2; echo '  File \"t.py\", line 2' >&2;"
    " echo 'ValueError: bad batch' >&2;"
)

Run = Callable[..., ExitRecord]


HANDLED = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n"


def replica(role: str, index: int, script: str, cwd: Path) -> ReplicaSpec:
    return ReplicaSpec(
        task=f"{role}-replica-{index}", role=role, index=index, argv=["sh", "-c", script],
        env={"PATH": os.environ["PATH"]}, cwd=str(cwd),
    )  # fmt: skip


def python(code: str) -> str:
    return f"exec {shlex.quote(sys.executable)} -u -c {shlex.quote(code)}"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give what runs scripts by role, ``worker=[...]``, and returns how the attempt ended."""

    def call(
        *, grace_s: float = 0.3, evaluator_grace_s: float = 120, limit_s: float | None = None,
        **scripts: list[str],
    ) -> ExitRecord:  # fmt: skip
        launcher, attempt = ProcessLauncher(), tmp_path / "1"
        spec = AttemptSpec(
            job="projects/p/jobs/j", attempt=1, grace_s=grace_s,
            evaluator_grace_s=evaluator_grace_s, max_running_s=limit_s,
            replicas=[
                replica(role, index, script, tmp_path)
                for role, texts in scripts.items()
                for index, script in enumerate(texts)
            ],
        )  # fmt: skip
        launcher.start(attempt, spec)
        wait_until(lambda: launcher.poll(attempt).exit is not None, 60)
        record = launcher.poll(attempt).exit
        assert record is not None
        return record

    return call


def lines(folder: Path, task: str) -> list[tuple[str, str]]:
    entries, _cursor = logs.read(folder, cursor="", task_name=task)
    return [(e.severity, e.message) for e in entries]


def test_a_log_has_the_order_in_which_its_replica_printed(run: Run, tmp_path: Path) -> None:
    code = "import os\nfor n in range(500):\n    os.write(1 + n % 2, b'%d\\n' % n)"
    run(master=[python(code)])
    printed = [text for _severity, text in lines(tmp_path, "master-replica-0") if text.isdecimal()]
    assert printed == [str(n) for n in range(500)]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (f"{HANDLED}print('handled, saved')", ""),
        (f"print('saving')\n{HANDLED}", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_comes_last_on_either_stream_tells_whether_an_error_was_handled(
    run: Run, tmp_path: Path, code: str, error: str
) -> None:
    run(master=[python(f"import traceback\nprint('epoch 1')\n{code}")])
    assert last_words(tmp_path / "1", "master-replica-0").error == error


def test_the_end_of_the_chief_ends_parameter_servers_that_will_not_go(
    run: Run, tmp_path: Path
) -> None:
    record = run(
        grace_s=0.3,
        master=["until [ -e deaf ]; do sleep 0.02; done"],
        worker=["exit 0"],
        ps=[DEAF, FOREVER],
    )
    assert (record.outcome, record.message) == (Outcome.SUCCEEDED, "")
    ended = {r.task: (r.exit_code, r.signal) for r in record.replicas}
    assert ended["worker-replica-0"] == (0, None)
    assert ended["ps-replica-0"] == (None, signal.SIGKILL)
    assert ended["ps-replica-1"] == (None, signal.SIGTERM)
    assert lines(tmp_path, "ps-replica-0")[-1] == (
        "INFO",
        "The replica was stopped because the chief has ended; it ended with signal 9 (SIGKILL).",
    )
    assert lines(tmp_path, "master-replica-0")[-1] == ("INFO", "Task completed successfully.")


def test_after_a_success_nobody_gets_a_long_grace(run: Run) -> None:
    """With the grace of an hour this would outlive the test; 5 s is the most."""
    record = run(
        grace_s=3600, master=["until [ -e deaf ]; do sleep 0.02; done"], ps=[DEAF]
    )  # fmt: skip
    assert record.outcome is Outcome.SUCCEEDED
    assert record.replicas[1].signal == signal.SIGKILL


@pytest.mark.parametrize("role", ["worker", "ps", "evaluator"])
def test_any_replica_that_fails_fails_the_job_and_is_named(
    run: Run, tmp_path: Path, role: str
) -> None:
    record = run(master=[FOREVER], **{role: ["exit 0", "exit 7"]})
    assert record.outcome is Outcome.FAILED
    assert record.message == (
        f"The replica {role} 1 exited with a non-zero status of 7. Termination reason: Error. "
        "It printed nothing."
    )
    assert lines(tmp_path, f"{role}-replica-1")[-1] == (
        "ERROR", "The replica ended with exit status 7. It printed nothing."
    )  # fmt: skip
    stopped = "The replica was stopped because another replica failed; it ended with signal 15"
    assert lines(tmp_path, "master-replica-0")[-1] == ("INFO", f"{stopped} (SIGTERM).")


def test_a_replica_that_was_killed_says_so_in_its_log(run: Run, tmp_path: Path) -> None:
    record = run(master=[FOREVER], worker=["echo training; kill -SEGV $$"])
    assert record.message.startswith("The replica worker 0 exited with a non-zero status of 11")
    assert lines(tmp_path, "worker-replica-0")[-1] == (
        "ERROR", "The replica ended with signal 11 (SIGSEGV)."
    )  # fmt: skip


def test_the_peer_that_lost_its_connection_is_not_blamed(run: Run) -> None:
    """The culprit printed its error and was slow to go; its peers went first."""
    record = run(
        grace_s=20,
        master=[FOREVER],
        worker=[
            f"until [ -e said ]; do sleep 0.02; done; {LOST_A_PEER} exit 1",
            f"{OWN_ERROR} trap '' TERM; touch said; until [ -e go ]; do sleep 0.02; done; exit 1",
        ],
        ps=["trap 'touch go; exit 0' TERM; sleep 300 & wait"],
    )
    assert record.outcome is Outcome.FAILED
    first, _, second = record.message.partition(" The replica ")
    assert first.startswith("The replica worker 1") and "ValueError: bad batch" in first
    assert second.startswith("worker 0") and "UnavailableError" in second


def test_a_chief_that_succeeded_is_not_overruled_by_who_misses_it(run: Run) -> None:
    record = run(
        master=["exec sleep 0.2"],
        worker=["trap 'exit 9' TERM; sleep 300 & wait"] * 2,
    )
    assert (record.outcome, record.message) == (Outcome.SUCCEEDED, "")
    assert [r.exit_code for r in record.replicas] == [0, 9, 9]


def test_an_evaluator_ends_by_itself_while_the_others_are_stopped(run: Run, tmp_path: Path) -> None:
    """It waits until a server that will not go has gone: killed while it evaluates."""
    record = run(
        grace_s=0.3,
        master=["until [ -e deaf ] && [ -e here ]; do sleep 0.02; done"],
        worker=[FOREVER],
        ps=[DEAF.replace("touch deaf", "echo $$ > deaf")],
        evaluator=["touch here; until [ -s deaf ] && ! kill -0 $(cat deaf); do sleep 0.02; done"],
    )
    assert (record.outcome, record.message) == (Outcome.SUCCEEDED, "")
    ended = {r.task: (r.exit_code, r.signal) for r in record.replicas}
    assert ended["evaluator-replica-0"] == (0, None)
    assert ended["worker-replica-0"] == (None, signal.SIGTERM)
    assert ended["ps-replica-0"] == (None, signal.SIGKILL)
    assert lines(tmp_path, "evaluator-replica-0")[-1] == ("INFO", "Task completed successfully.")


def test_an_evaluator_that_fails_after_the_chief_fails_nobody(run: Run, tmp_path: Path) -> None:
    wait_for_the_end = "until ! kill -0 $(cat chief); do sleep 0.02; done; exit 3"
    record = run(
        master=["echo $$ > chief; until [ -e here ]; do sleep 0.02; done"],
        evaluator=[f"until [ -s chief ]; do sleep 0.02; done; touch here; {wait_for_the_end}"],
    )
    assert (record.outcome, record.message) == (Outcome.SUCCEEDED, "")
    assert record.replicas[1].exit_code == 3
    assert lines(tmp_path, "evaluator-replica-0")[-1][0] == "WARNING"


@pytest.mark.parametrize("limits", [{"evaluator_grace_s": 0.4}, {"limit_s": 1.0}])
def test_an_evaluator_has_its_time_and_no_more(
    run: Run, tmp_path: Path, limits: dict[str, float]
) -> None:
    record = run(master=["exit 0"], evaluator=[FOREVER], **limits)
    assert record.outcome is Outcome.SUCCEEDED
    assert (record.replicas[1].signal, record.replicas[1].stopped) == (signal.SIGTERM, True)
    (severity, said), _stopped = lines(tmp_path, "evaluator-replica-0")[-2:]
    assert severity == "WARNING"
    assert said.startswith("The chief ended well before this evaluator: evaluator_grace_s or")


def test_a_request_to_cancel_ends_evaluators_at_once(tmp_path: Path) -> None:
    launcher, attempt = ProcessLauncher(), tmp_path / "1"
    chief = "echo $$ > chief; until [ -e here ]; do sleep 0.02; done"
    evaluator = (
        "until [ -s chief ]; do sleep 0.02; done; touch here;"
        f"until ! kill -0 $(cat chief); do sleep 0.02; done; echo alone; {FOREVER}"
    )
    scripts = {"master": chief, "evaluator": evaluator}
    spec = AttemptSpec(
        job="projects/p/jobs/j", attempt=1, grace_s=0.3, evaluator_grace_s=3600,
        replicas=[replica(role, 0, text, tmp_path) for role, text in scripts.items()],
    )  # fmt: skip
    launcher.start(attempt, spec)
    heard = ("INFO", "alone")
    wait_until(lambda: heard in lines(tmp_path, "evaluator-replica-0"), 60)
    launcher.cancel(attempt)
    wait_until(lambda: launcher.poll(attempt).exit is not None, 60)
    record = launcher.poll(attempt).exit
    assert record is not None and record.outcome is Outcome.CANCELLED
    # Not that the job was cancelled: its trial may have been stopped early.
    severity, said = lines(tmp_path, "evaluator-replica-0")[-1]
    assert severity == "INFO"
    assert said.startswith("The replica was stopped because its end was asked for; it ended with")


def warnings(folder: Path, task: str = "master-replica-0") -> list[str]:
    return [text for severity, text in lines(folder, task) if severity == "WARNING"]


def test_work_left_in_the_background_is_stopped_and_told(run: Run, tmp_path: Path) -> None:
    """The program's own last words stay its last."""
    left = "import subprocess, traceback\nfor n in (300, 301):\n"
    left += "    subprocess.Popen(['sleep', str(n)], start_new_session=n > 300)\n"
    record = run(master=[python(left + HANDLED)], ps=["setsid sleep 302; true"])
    assert record.outcome is Outcome.SUCCEEDED
    (text,) = warnings(tmp_path)
    start, _colon, rest = text.partition(": ")
    assert start == "2 processes were still running after the program had ended, and stopped"
    named, _stop, remedy = rest.partition(". ")
    assert sorted(named.split(", ")) == ["sleep 300", "sleep 301"]
    assert remedy == (
        "Have the program wait for what it starts: nothing goes on in the background."
    )
    assert last_words(tmp_path / "1", "master-replica-0").error.startswith("ZeroDivisionError")


HELPERS = {
    "one that sees that its program has gone": (
        "(while kill -0 $$ 2>/dev/null; do sleep 0.02; done) & exit 0"
    ),
    "multiprocessing's": python(
        "from multiprocessing import resource_tracker as t\nt.ensure_running()"
    ),
}


@pytest.mark.parametrize("script", HELPERS.values(), ids=HELPERS.keys())
def test_helpers_that_end_by_themselves_are_worth_no_word(
    run: Run, tmp_path: Path, script: str
) -> None:
    assert run(master=[script]).outcome is Outcome.SUCCEEDED
    assert warnings(tmp_path) == []


def test_what_is_killed_while_evaluators_go_on_is_told_once(run: Run, tmp_path: Path) -> None:
    deaf = shlex.quote("trap '' TERM; echo $$ > deaf; exec sleep 300")
    record = run(
        master=[f"sh -c {deaf} & until [ -s deaf ] && [ -e here ]; do sleep 0.02; done"],
        evaluator=["touch here; until [ -s deaf ] && ! kill -0 $(cat deaf); do sleep 0.02; done"],
    )
    assert record.outcome is Outcome.SUCCEEDED
    (text,) = warnings(tmp_path)
    assert text.startswith("1 process was still running after the program had ended, and stopped: ")


def test_all_or_none(run: Run) -> None:
    """The last one cannot be started: the others are stopped, and none is left."""
    record = run(master=[FOREVER], worker=[FOREVER] * 3, ps=["x\0y"])
    assert record.outcome is Outcome.FAILED
    assert record.message.startswith("The replica ps 0 could not be started: ")
    assert [r.signal for r in record.replicas[:4]] == [signal.SIGTERM] * 4


def test_as_many_replicas_as_the_largest_tier_has(run: Run, tmp_path: Path) -> None:
    """PREMIUM_1: every one of 31 runs, at the same time, and none is left."""
    meet = "touch $0.here; until [ $(ls | grep -c here) = 31 ]; do sleep 0.05; done; "
    roles = {"master": 1, "worker": 19, "ps": 11}
    scripts = {
        role: [
            meet.replace("$0", f"{role}{n}") + ("" if role == "master" else FOREVER)
            for n in range(count)
        ]
        for role, count in roles.items()
    }
    record = run(**scripts)
    assert record.outcome is Outcome.SUCCEEDED
    assert len(record.replicas) == 31
    assert len(list(tmp_path.glob("*.here"))) == 31
    assert {(r.exit_code, r.signal) for r in record.replicas} <= {(0, None), (None, 15)}
