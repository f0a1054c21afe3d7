"""Workers that load, that do not, and that die: the real worker process, small models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import joblib
import psutil
import pytest
from sklearn.linear_model import LinearRegression

from mlengine.core.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from mlengine.prediction.call import ping, predict_once
from mlengine.prediction.workers.confinement import group_tag, limits_of
from mlengine.prediction.workers.pool import WorkerHealth, WorkerPool
from mlengine.runtime.manifest import manifest_of
from tests.waiting import wait_until

VERSION = "projects/p/models/m/versions/v1"
BODY = b'{"instances": [[1.0], [2.0]]}'


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pool-") as folder:
        yield Path(folder)


@pytest.fixture
def artifact(home: Path) -> Path:
    folder = home / "artifact"
    folder.mkdir()
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 3.0]), folder / "model.joblib")
    return folder


def scripted(text: str) -> Callable[[str, Path], list[str]]:
    """A worker that is this program; its folder is ``sys.argv[1]``."""
    return lambda python, folder: [sys.executable, "-c", text, str(folder)]


def test_a_real_worker_loads_answers_and_is_stopped(
    home: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLENGINE_TOKEN", "secret")
    pool = WorkerPool(home)
    pool.start(VERSION, "u1", artifact, "SCIKIT_LEARN")
    info = pool.wait_ready("u1", 60)
    assert (info.framework, info.version_name) == ("SCIKIT_LEARN", VERSION)
    status, body = predict_once(info.socket, BODY, 10)
    assert status == 200
    assert json.loads(body)["predictions"] == pytest.approx([3.0, 6.0])
    assert pool.ping("u1") and pool.check("u1") is WorkerHealth.ALIVE
    process = psutil.Process(info.pid)
    assert "secret" not in process.environ().values()
    assert Path(f"/proc/{info.pid}/oom_score_adj").read_text().strip() == "500"
    assert not process.net_connections("inet")
    pool.stop("u1")
    assert not process.is_running()
    assert not Path(info.socket).exists() and not list((home / "run" / "workers").iterdir())
    pool.stop("u1")  # again is harmless


def test_a_bad_artifact_fails_with_the_loaders_own_words(home: Path, artifact: Path) -> None:
    (artifact / "model.joblib").write_bytes(b"no model")
    pool = WorkerPool(home)
    pool.start(VERSION, "u1", artifact)
    with pytest.raises(FailedPrecondition, match=r"^Failed to load model: .*model\.joblib"):
        pool.wait_ready("u1", 60)
    assert pool.check("u1") is WorkerHealth.MISSING


def test_an_artifact_that_is_not_what_was_deployed_is_not_loaded(
    home: Path, artifact: Path
) -> None:
    model = artifact / "model.joblib"
    data = model.read_bytes()
    rows = [("model.joblib", len(data), hashlib.sha256(data).hexdigest())]
    manifest_of(artifact).write_text(json.dumps({"files": rows, "packages": []}))
    pool = WorkerPool(home)
    pool.start(VERSION, "u1", artifact)
    pool.wait_ready("u1", 60)
    pool.stop("u1")
    model.write_bytes(data.replace(b"coef_", b"coeg_"))
    pool.start(VERSION, "u1", artifact)
    with pytest.raises(FailedPrecondition, match=r"'model\.joblib' has other contents"):
        pool.wait_ready("u1", 60)


@pytest.mark.parametrize(("program", "said"), [
    ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    ("print('one'); raise SystemExit('out of luck')", "exited with status 1.*one | out of luck"),
    ("import sys; sys.exit(3)", "exited with status 3"),
])  # fmt: skip
def test_a_worker_that_ends_says_how(home: Path, program: str, said: str) -> None:
    pool = WorkerPool(home, command=scripted(program))
    pool.start(VERSION, "u1", home)
    with pytest.raises(FailedPrecondition, match=said):
        pool.wait_ready("u1", 20)


def test_a_worker_that_takes_too_long_is_ended_and_its_last_lines_are_told(home: Path) -> None:
    stubborn = (
        "import signal; signal.signal(15, signal.SIG_IGN)\n"
        "print('still loading', flush=True)\n"
        "while True: signal.pause()"
    )
    pool = WorkerPool(home, command=scripted(stubborn))
    pool.start(VERSION, "u1", home)
    log = home / "logs" / "worker-u1.log"
    wait_until(lambda: "still loading" in log.read_text())
    told = r"within 0\.2 s \(load_timeout_s\)\. Its last lines: still loading \(Error code: 0\)"
    with pytest.raises(FailedPrecondition, match=told):
        pool.wait_ready("u1", 0.2)
    assert not [p for p in psutil.process_iter(["cmdline"])
                if str(home / "run" / "workers") in " ".join(p.info["cmdline"] or [])]  # fmt: skip


READY_THEN_DIES = (
    "import sys, os\n"
    "print('so it goes', flush=True)\n"
    "open(sys.argv[1] + '/ready.json', 'w').write('{}')\n"
)


def test_a_worker_that_keeps_dying_is_restarted_with_longer_and_longer_waits(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = WorkerPool(home, command=scripted(READY_THEN_DIES))
    pool.start(VERSION, "u1", home)
    restarts = []

    def has_died_three_times() -> bool:
        restarts.extend(pool.tick())
        return pool.deaths("u1") >= 3

    assert not pool.loops()
    wait_until(has_died_three_times, 60)
    assert restarts in (["u1"] * 2, ["u1"] * 3)
    (end,) = pool.loops().values()
    assert end == "its process exited with status 0."
    assert f"{end} Its last lines: so it goes" in caplog.text  # for the engine's owner alone
    assert pool.wanted("u1")
    pool.stop("u1")
    assert not pool.wanted("u1")


def test_a_worker_that_hangs_when_it_is_started_again_is_ended(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hangs = home / "hangs"
    program = (
        "import os, sys, signal\n"
        f"if not os.path.exists({str(hangs)!r}):\n"
        "    open(sys.argv[1] + '/ready.json', 'w').write('{}')\n"
        "signal.pause()"
    )
    pool = WorkerPool(home, command=scripted(program), load_timeout_s=0.2)
    pool.start(VERSION, "u1", home)
    pid = pool.wait_ready("u1", 60).pid
    hangs.touch()
    pool._workers["u1"].started_s -= 1.0  # who is ready may live for as long as it likes
    pool.tick()
    assert pool.check("u1") is WorkerHealth.ALIVE
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: [pool.tick(), pool.deaths("u1")][1] == 2)
    assert "it was not ready within 0.2 s (load_timeout_s)." in caplog.text
    pool.stop("u1")


class Clock:
    """The pool's own, which a test may put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        ahead = SimpleNamespace(monotonic=lambda: time.monotonic() + self.ahead_s)
        monkeypatch.setattr("mlengine.prediction.workers.pool.time", ahead)


def test_one_that_dies_late_while_it_loads_dies_again_and_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    pool = WorkerPool(home, command=scripted("print('loading')"))
    pool.start(VERSION, "u1", home)

    def is_told() -> bool:
        clock.ahead_s += 100
        pool.tick()
        return bool(pool.loops())

    wait_until(is_told)
    assert pool.deaths("u1") == 3
    pool.stop("u1")


READY_THEN_WAITS = (
    "import sys, signal\nopen(sys.argv[1] + '/ready.json', 'w').write('{}')\nsignal.pause()"
)


def test_one_that_is_adopted_is_healthy_once_it_has_lived_for_a_minute(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    first = WorkerPool(home, command=scripted(READY_THEN_WAITS))
    first.start(VERSION, "u1", home)
    first.wait_ready("u1", 60)
    second = WorkerPool(home, command=scripted(READY_THEN_WAITS))
    assert second.adopt() == ["u1"]
    assert not second.healthy()
    clock.ahead_s = 61.0
    assert second.healthy() == {"u1"}
    second.stop("u1")


FILLS = (
    "import sys, signal\n"
    "open(sys.argv[1] + '/ready.json', 'w').write('{}')\n"
    "open(sys.argv[1] + '/home/large', 'wb').write(b'x' * 2_000_000)\n"
    "signal.pause()"
)


def test_a_worker_that_fills_its_folder_is_ended_for_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mlengine.prediction.workers.pool._MOST_SCRATCH_BYTES", 1 << 20)
    pool = WorkerPool(home, command=scripted(FILLS))
    pool.start(VERSION, "u1", home)
    wait_until(lambda: [pool.tick(), pool.deaths("u1")][1], 60)
    assert "it filled its folder" in caplog.text
    pool.stop("u1")


def test_a_worker_that_is_given_up_is_started_again(home: Path) -> None:
    pool = WorkerPool(home, command=scripted("import signal; signal.pause()"))
    pool.start(VERSION, "u1", home)
    (before,) = pool._live_pids()
    pool.give_up("another.sock", "of no concern")
    assert pool._live_pids() == [before]
    pool.give_up(pool.socket("u1"), "it gave no answer")
    wait_until(lambda: pool.check("u1") is WorkerHealth.DEAD)
    pool.stop("u1")


SAYS_ITS_GPUS = """
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
(folder / "seen").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
(folder / "ready.json").write_text("{}")
time.sleep(60)
"""


def test_each_worker_sees_gpus_of_its_own_and_others_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")  # of whoever started the engine
    pool = WorkerPool(home, command=scripted(SAYS_ITS_GPUS), gpus=("1", "3", "5"))

    def seen(uid: str) -> str:
        pool.wait_ready(uid, 20)
        return (home / "run" / "workers" / uid / "own" / "seen").read_text()

    for uid, count in (("a", 2), ("b", 0), ("c", 1)):
        pool.start(VERSION, uid, home, gpus=count)
    assert [seen(uid) for uid in "abc"] == ["1,3", "-1", "5"]
    assert pool.free_gpus() == 0 and not pool.lack_of_gpus(0)
    with pytest.raises(Unavailable, match="1 GPU, and 0 of the 3 for versions are free"):
        pool.start(VERSION, "d", home, gpus=1)
    assert not pool.wanted("d")
    pid = psutil.Process(pool.wait_ready("a", 20).pid)
    pool.start(VERSION, "a", home, gpus=2)  # again is harmless
    assert pid.is_running()
    pool.stop("c")
    pool.start(VERSION, "d", home, gpus=1)
    assert seen("d") == "5"
    for uid in "abd":
        pool.stop(uid, grace_s=0.0)


IGNORES_ITS_END = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SAYS_ITS_GPUS


def test_a_worker_has_its_gpus_until_it_is_gone(home: Path) -> None:
    pool = WorkerPool(home, command=scripted(IGNORES_ITS_END), gpus=("0",))
    pool.start(VERSION, "a", home, gpus=1)
    process = psutil.Process(pool.wait_ready("a", 20).pid)
    ending = threading.Thread(target=pool.stop, args=["a"], kwargs={"grace_s": 3.0})
    ending.start()
    wait_until(lambda: not pool.wanted("a"), 20)
    assert pool.free_gpus() == 0 and pool.lack_of_gpus(1)
    wait_until(lambda: pool.free_gpus() == 1, 20)
    assert not process.is_running()
    ending.join()


def test_who_only_ends_workers_judges_nobody_by_its_gpus(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = WorkerPool(home, command=scripted(SAYS_ITS_GPUS), gpus=("1",))
    before.start(VERSION, "a", home, gpus=1)
    before.wait_ready("a", 20)
    after = WorkerPool(home, gpus=None)
    assert after.adopt() == ["a"]
    after.stop("a", grace_s=0.0)
    assert not caplog.records


def test_an_engine_with_fewer_gpus_for_versions_ends_who_has_the_others(home: Path) -> None:
    before = WorkerPool(home, command=scripted(SAYS_ITS_GPUS), gpus=("1", "3"))
    for uid in "ab":
        before.start(VERSION, uid, home, gpus=1)
        before.wait_ready(uid, 20)
    after = WorkerPool(home, command=scripted(SAYS_ITS_GPUS), gpus=("3",))
    assert after.adopt() == ["b"]
    assert after.free_gpus() == 0 and not after.wanted("a")
    after.stop("b", grace_s=0.0)


def test_an_unknown_worker_is_missing(home: Path) -> None:
    pool = WorkerPool(home)
    assert pool.check("nobody") is WorkerHealth.MISSING
    assert pool.info("nobody") is None
    with pytest.raises(NotFound):
        pool.wait_ready("nobody", 1)


def test_a_stray_of_a_killed_engine_does_not_stay(home: Path) -> None:
    waits = "import signal; signal.pause()"
    first = WorkerPool(home, command=scripted(waits))
    first.start(VERSION, "u1", home)
    (home / "run" / "workers" / "u1" / "process.json").unlink()
    second = WorkerPool(home, command=scripted(waits))
    assert second.adopt() == []
    wait_until(lambda: first.check("u1") is WorkerHealth.DEAD)
    second.stop("u1")


def test_an_unreadable_spec_is_passed_over(home: Path) -> None:
    folder = home / "run" / "workers" / "u1"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text("{")
    limits = limits_of(memory_bytes=0)
    limits.make(group_tag(folder), "u1")
    assert WorkerPool(home).adopt() == []
    assert not [group for group in limits.plan()["groups"] if Path(group).exists()]


def test_a_new_artifact_of_the_same_uid_replaces_the_worker(home: Path) -> None:
    pool = WorkerPool(home, command=scripted("import signal; signal.pause()"))
    pool.start(VERSION, "u1", home / "a")
    (before,) = pool._live_pids()
    pool.start(VERSION, "u1", home / "a")
    assert pool._live_pids() == [before]
    pool.start(VERSION, "u1", home / "b")
    assert pool._live_pids() != [before]
    pool.stop("u1")


def test_the_log_of_the_worker_before_is_kept(home: Path) -> None:
    pool = WorkerPool(home, command=scripted("print('said'); import signal; signal.pause()"))
    for artifact in ("a", "b"):
        pool.start(VERSION, "u1", home / artifact)
        wait_until(lambda: (home / "logs" / "worker-u1.log").read_text() == "said\n")
    assert (home / "logs" / "worker-u1.log.1").read_text() == "said\n"
    pool.stop("u1")


def test_calls_to_nobody_fail_clearly(home: Path) -> None:
    with pytest.raises(Unavailable, match="No worker is up at the moment: No such file"):
        predict_once(home / "none.sock", BODY, 1)
    assert not ping(home / "none.sock", 1)


def test_a_call_gives_up_in_time(home: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home / "s.sock"))
        silent.listen()
        with pytest.raises(DeadlineExceeded, match=r"0\.1 s"):
            predict_once(home / "s.sock", BODY, 0.1)


def test_a_copy_of_a_home_leaves_the_workers_of_the_original_alone(home: Path) -> None:
    first = WorkerPool(home / "a", command=scripted(READY_THEN_WAITS))
    first.start(VERSION, "u1", home)
    before = first.wait_ready("u1", 60)
    shutil.copytree(home / "a", home / "b", ignore=shutil.ignore_patterns("*.sock"))
    copy = WorkerPool(home / "b", command=scripted(READY_THEN_WAITS))
    assert copy.adopt() == [] == copy.uids()
    assert copy.tick() == []
    assert first.check("u1") is WorkerHealth.ALIVE and Path(before.socket).exists()
    copy.start(VERSION, "u1", home)
    copy.wait_ready("u1", 60)
    copy.stop("u1")
    assert first.check("u1") is WorkerHealth.ALIVE and Path(before.socket).exists()
    first.stop("u1")


def test_a_worker_of_a_home_that_was_moved_is_ended(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = WorkerPool(home / "a", command=scripted(READY_THEN_WAITS))
    first.start(VERSION, "u1", home)
    first.wait_ready("u1", 60)
    (home / "a").rename(home / "b")
    moved = WorkerPool(home / "b", command=scripted(READY_THEN_WAITS))
    assert moved.adopt() == [] == moved.uids()
    assert first.check("u1") is WorkerHealth.DEAD
    assert f"sockets lie in {home / 'a' / 'run'}: this is moved, or a copy" in caplog.text
