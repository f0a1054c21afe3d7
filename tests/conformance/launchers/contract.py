"""What every `Launcher` promises (the numbers are those of the protocol).

A test file for one technology takes all names from here and gives the fixture `make`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlengine.runtime.processes import TAG_VARIABLE
from mlengine.training.launchers import (
    AttemptSpec,
    AttemptStatus,
    Launcher,
    Outcome,
    Phase,
    ReplicaSpec,
    WarmStart,
)
from tests.waiting import wait_until

# A launcher whose replicas run elsewhere needs longer, on a busy machine much longer.
LONG_S = 60.0


@pytest.fixture
def launcher(make: Callable[[], Launcher]) -> Launcher:
    return make()


def python(code: str, *, cwd: Path, grace_s: float = 5.0) -> AttemptSpec:
    """Run code as a module, which is what can be started warm."""
    name = f"task_{abs(hash(code))}"
    if cwd != Path("/"):
        (cwd / f"{name}.py").write_text(code)
    replica = ReplicaSpec(
        task="master-replica-0", role="master", index=0, argv=[sys.executable, "-m", name],
        env={"PATH": os.environ["PATH"]}, cwd=str(cwd),
    )  # fmt: skip
    return AttemptSpec(
        job="projects/p/jobs/j", attempt=1, replicas=[replica], grace_s=grace_s,
        warm=WarmStart(base_python=sys.executable, python=sys.executable),
    )  # fmt: skip


def shell(script: str, *, cwd: Path, grace_s: float = 5.0) -> AttemptSpec:
    code = f"import os; os.execvp('sh', ['sh', '-c', {script!r}])"
    return python(code, cwd=cwd, grace_s=grace_s)


def end(launcher: Launcher, attempt: Path) -> AttemptStatus:
    wait_until(lambda: launcher.poll(attempt).phase in (Phase.EXITED, Phase.LOST), LONG_S)
    return launcher.poll(attempt)


def test_1_start_returns_before_the_replica_does(launcher: Launcher, tmp_path: Path) -> None:
    assert launcher.start(tmp_path / "1", shell("exec sleep 60", cwd=tmp_path)).new
    assert launcher.poll(tmp_path / "1").phase in (Phase.STARTING, Phase.RUNNING)
    launcher.cancel(tmp_path / "1")
    assert end(launcher, tmp_path / "1").exit.outcome is Outcome.CANCELLED


def test_2_twenty_concurrent_starts_run_the_replica_once(
    make: Callable[[], Launcher], tmp_path: Path
) -> None:
    spec = shell("echo run >> ran", cwd=tmp_path)
    news: list[bool] = []
    launchers = [make() for _ in range(20)]
    threads = [
        threading.Thread(target=lambda one=one: news.append(one.start(tmp_path / "1", spec).new))
        for one in launchers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end(launchers[0], tmp_path / "1")
    assert launchers[0].start(tmp_path / "1", spec).new is False
    assert news.count(True) == 1
    assert (tmp_path / "ran").read_text() == "run\n"
    for one in launchers:
        one.poll(tmp_path / "1")  # reaps


def test_3_a_replica_gets_its_own_environment_session_and_no_other_file(
    make: Callable[[], Launcher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLENGINE_TOKEN", "secret")
    launcher = make()
    code = """if True:
        import os
        shown = sorted(n for n in os.environ if n != "LC_CTYPE")
        try:
            parent = open(f"/proc/{os.getppid()}/environ", "rb").read()
        except PermissionError:
            parent = b""  # who starts it may be closed to it
        own = open("/proc/self/environ", "rb").read()
        files = sorted(int(f) for f in os.listdir("/proc/self/fd"))
        print(shown, os.getsid(0) == os.getpid(), files[:3], len(files), b"secret" in parent + own)
    """
    launcher.start(tmp_path / "1", python(code, cwd=tmp_path))
    assert end(launcher, tmp_path / "1").exit.outcome is Outcome.SUCCEEDED
    log = (tmp_path / "1" / "master-replica-0.log.jsonl").read_text()
    # The fourth descriptor is the one that lists the folder.
    assert f"['{TAG_VARIABLE}', 'PATH'] True [0, 1, 2] 4 False" in log


def test_4_an_unknown_folder_has_not_started(launcher: Launcher, tmp_path: Path) -> None:
    assert launcher.poll(tmp_path / "nothing") == AttemptStatus(Phase.NOT_STARTED)
    assert launcher.sweep(tmp_path / "nothing") == 0


def test_6_cancel_before_the_start_runs_nothing(launcher: Launcher, tmp_path: Path) -> None:
    launcher.cancel(tmp_path / "1")
    launcher.start(tmp_path / "1", shell("echo run >> ran", cwd=tmp_path))
    assert end(launcher, tmp_path / "1").exit.outcome is Outcome.CANCELLED
    assert not (tmp_path / "ran").exists()


def test_6_cancel_after_the_end_changes_nothing(launcher: Launcher, tmp_path: Path) -> None:
    launcher.start(tmp_path / "1", shell("exit 0", cwd=tmp_path))
    before = end(launcher, tmp_path / "1")
    launcher.cancel(tmp_path / "1")
    launcher.cancel(tmp_path / "1")
    assert launcher.poll(tmp_path / "1") == before


def test_7_sweep_leaves_a_living_attempt_alone(launcher: Launcher, tmp_path: Path) -> None:
    launcher.start(tmp_path / "1", shell("exec sleep 60", cwd=tmp_path))
    wait_until(lambda: launcher.poll(tmp_path / "1").phase is Phase.RUNNING, LONG_S)
    assert launcher.sweep(tmp_path / "1") == 0
    assert launcher.poll(tmp_path / "1").phase is Phase.RUNNING
    launcher.cancel(tmp_path / "1")
    end(launcher, tmp_path / "1")


def test_8_another_launcher_goes_on(make: Callable[[], Launcher], tmp_path: Path) -> None:
    first = make()
    first.start(tmp_path / "1", shell("exec sleep 60", cwd=tmp_path))
    second = make()
    wait_until(lambda: second.poll(tmp_path / "1").phase is Phase.RUNNING, LONG_S)
    second.cancel(tmp_path / "1")
    assert end(second, tmp_path / "1").exit.outcome is Outcome.CANCELLED
    first.poll(tmp_path / "1")  # reaps
