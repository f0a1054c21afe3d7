"""Zygotes that are killed, frozen or refuse: jobs run on, and the next one just starts cold."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.runtime import processes
from mlengine.training.launchers import AttemptSpec, Outcome, Phase, ReplicaSpec, WarmStart
from mlengine.training.launchers.warm import WarmInterpreters
from tests.fakes.warm import Layer, WarmLauncher, end, log_of
from tests.waiting import wait_until

WAITS = "import signal\nprint('ready')\nsignal.pause()\nsignal.pause()\n"
CLEARED = """
import os, signal
if os.fork() == 0:
    os.environ.clear()
    signal.pause()
    signal.pause()
if os.fork() == 0:
    os.setsid()
    signal.pause()
    signal.pause()
print('ready')
signal.pause()
signal.pause()
"""


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    made = Layer(tmp_path)
    made.module("counts", "open('ran', 'a').write('x')\n")
    made.module("waits", WAITS)
    made.module("cleared", CLEARED)
    return made


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[WarmLauncher]:
    made = WarmLauncher(tmp_path / "run")
    yield made
    made.close()


def runs(launcher: WarmLauncher, spec: AttemptSpec, attempt: Path, *, warm: bool) -> None:
    """Run an attempt to its end; check how it was started, and that it ran once."""
    before = launcher.interpreters.claimed
    ran = Path(spec.replicas[0].cwd) / "ran"
    ran.unlink(missing_ok=True)
    launcher.start(attempt, spec)
    assert (launcher.interpreters.claimed > before) is warm
    status = end(launcher, attempt)
    assert status.exit is not None
    assert status.exit.outcome is Outcome.SUCCEEDED, log_of(attempt)
    assert ran.read_text() == "x"


def replica_of(attempt: Path) -> int:
    pid: int = json.loads((attempt / "started.json").read_text())["replicas"][0]["pid"]
    return pid


def children_of(pid: int) -> list[processes.Process]:
    return processes.descendants([pid], processes.snapshot())


def test_a_killed_zygote_takes_no_job_along(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path
) -> None:
    waits, counts = layer.spec("waits"), layer.spec("counts")
    zygote = launcher.heat(waits)
    launcher.start(tmp_path / "1", waits)
    assert launcher.interpreters.claimed == 1
    wait_until(lambda: "ready" in log_of(tmp_path / "1"))
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: not launcher.interpreters.pids())
    assert launcher.poll(tmp_path / "1").phase is Phase.RUNNING
    runs(launcher, counts, tmp_path / "2", warm=False)
    assert launcher.heat(counts) != zygote
    runs(launcher, counts, tmp_path / "3", warm=True)
    assert launcher.poll(tmp_path / "1").phase is Phase.RUNNING
    launcher.cancel(tmp_path / "1")
    assert end(launcher, tmp_path / "1").exit.outcome is Outcome.CANCELLED


def test_the_end_of_the_engine_ends_zygotes_but_no_job(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path
) -> None:
    spec = layer.spec("waits")
    launcher.heat(spec)
    launcher.start(tmp_path / "1", spec)
    wait_until(lambda: "ready" in log_of(tmp_path / "1"))
    launcher.interpreters.close()  # as the kernel does for an engine that was killed
    wait_until(launcher.interpreters.reap)
    assert launcher.poll(tmp_path / "1").phase is Phase.RUNNING
    launcher.cancel(tmp_path / "1")
    assert end(launcher, tmp_path / "1").exit.outcome is Outcome.CANCELLED


def test_a_frozen_zygote_starts_nothing_when_it_wakes(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = layer.spec("counts")
    zygote = launcher.heat(spec)
    monkeypatch.setattr("subprocess.Popen.kill", lambda self: None)  # it is to live on
    before = {row.pid for row in children_of(os.getpid())}
    os.kill(zygote, signal.SIGSTOP)
    runs(launcher, spec, tmp_path / "1", warm=False)
    os.kill(zygote, signal.SIGCONT)
    wait_until(launcher.interpreters.reap)  # it finds that nobody holds its socket, and ends
    wait_until(lambda: {row.pid for row in children_of(os.getpid())} <= before)
    assert Path(spec.replicas[0].cwd, "ran").read_text() == "x"


def test_a_frozen_zygote_is_killed_and_replaced(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path
) -> None:
    spec = layer.spec("counts")
    os.kill(launcher.heat(spec), signal.SIGSTOP)
    runs(launcher, spec, tmp_path / "1", warm=False)
    wait_until(launcher.interpreters.reap)
    launcher.heat(spec)
    runs(launcher, spec, tmp_path / "2", warm=True)


def test_a_supervisor_that_nobody_orders_ends(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path
) -> None:
    spec = layer.spec("counts")
    zygote = launcher.heat(spec)
    claim = launcher.interpreters.claim(spec)
    assert claim is not None
    waiting = {row.pid for row in children_of(zygote)}
    assert waiting
    claim.connection.close()
    wait_until(lambda: not waiting & {row.pid for row in children_of(zygote)})


@pytest.mark.parametrize("module", ["waits", "cleared"])
def test_a_killed_supervisor_takes_its_forked_replicas_along(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path, module: str
) -> None:
    spec = layer.spec(module, replicas=2)
    launcher.heat(spec)
    launcher.start(tmp_path / "1", spec)
    assert launcher.interpreters.claimed == 1
    wait_until(lambda: launcher.poll(tmp_path / "1").phase is Phase.RUNNING)
    for task in ("master-replica-0", "worker-replica-0"):
        wait_until(lambda task=task: "ready" in log_of(tmp_path / "1", task))  # type: ignore[misc]
    identity = json.loads((tmp_path / "1" / "supervisor.lock").read_text())
    mine = {row.pid: row for row in children_of(identity["pid"])}
    assert len(mine) >= 2
    os.kill(identity["pid"], signal.SIGKILL)
    wait_until(lambda: launcher.poll(tmp_path / "1").phase is Phase.LOST)
    launcher.sweep(tmp_path / "1")
    left = [r for r in mine.values() if (now := processes.look(r.pid)) and now.alive
            and now.started == r.started]  # fmt: skip
    assert left == []


def test_the_tag_alone_finds_a_forked_replica(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path
) -> None:
    spec = layer.spec("waits")
    launcher.heat(spec)
    launcher.start(tmp_path / "1", spec)
    wait_until(lambda: "ready" in log_of(tmp_path / "1"))
    tag = json.loads((tmp_path / "1" / "supervisor.lock").read_text())["tag"]
    wait_until(lambda: launcher.poll(tmp_path / "1").phase is Phase.RUNNING)
    found = [row.pid for row in processes.of_attempt(tag, {})]
    assert found == [replica_of(tmp_path / "1")]
    launcher.cancel(tmp_path / "1")
    end(launcher, tmp_path / "1")


CRASHES = """
import os
count = len(os.listdir("."))
open(f"run{count}", "w").close()
print("run", count, flush=True)
if count == 0:
    os.abort()
"""


def test_a_crash_after_a_warm_start_is_started_again_cold_and_remembered(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path
) -> None:
    layer.module("crashes", CRASHES)
    spec = layer.spec("crashes", env={"HOME": "/crashes"})
    launcher.heat(spec)
    launcher.start(tmp_path / "1", spec)
    record = end(launcher, tmp_path / "1").exit
    assert record is not None
    assert record.outcome is Outcome.SUCCEEDED
    log = log_of(tmp_path / "1")
    (warning,) = [line for line in log if "SIGABRT" in line]
    assert "cold" in warning
    assert [line for line in log if line.startswith("run ")] == ["run 0", "run 1"]
    assert launcher.interpreters.claim(spec) is None  # from now on
    another = WarmLauncher(launcher.folder)  # an engine that was started again knows it too
    assert another.interpreters.claim(spec) is None
    another.interpreters.close()


def test_what_is_remembered_of_layers_is_forgotten_once_nobody_asks(tmp_path: Path) -> None:
    attempt = AttemptSpec(
        job="projects/p/jobs/j", attempt=1,
        replicas=[ReplicaSpec(task="master-replica-0", role="master", index=0, env={}, cwd="/",
                              argv=[sys.executable, "-m", "task"])],
        warm=WarmStart(base_python=sys.executable, python=sys.executable),
    )  # fmt: skip
    made = WarmInterpreters(tmp_path)
    old, fresh = tmp_path / "old.cold", tmp_path / "fresh.cold"
    for path in (old, fresh, tmp_path / "old.log"):
        path.touch()
    for path in (old, tmp_path / "old.log"):
        os.utime(path, (0, 0))
    try:
        assert made.claim(attempt) is None  # a new interpreter is begun, which looks around
        assert fresh.exists() and not old.exists() and not (tmp_path / "old.log").exists()
    finally:
        made.close()


def test_a_second_crash_is_the_trainers_own(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path
) -> None:
    layer.module("aborts", "import os\nprint('run')\nos.abort()\n")
    spec = layer.spec("aborts")
    launcher.heat(spec)
    launcher.start(tmp_path / "1", spec)
    record = end(launcher, tmp_path / "1").exit
    assert record is not None
    assert (record.outcome, record.replicas[0].signal) == (Outcome.FAILED, signal.SIGABRT)
    assert log_of(tmp_path / "1").count("run") == 2


THREADS = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"


def test_a_module_whose_threads_stay_is_left_out(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Layer(tmp_path / "base")  # the zygote's interpreter has the modules, not the layer
    base.module("threads_at_import", THREADS)
    base.module("fails_at_import", "raise RuntimeError('no')\n")
    base.module("harmless", "")
    layer.module("shows", "import sys\nprint(sorted({'threads_at_import', 'fails_at_import',"
                          "'harmless'} & set(sys.modules)))")  # fmt: skip
    layer.base = str(base.python)
    spec = layer.spec("shows", modules=["threads_at_import", "fails_at_import", "harmless"])
    launcher.heat(spec)
    launcher.start(tmp_path / "1", spec)
    assert launcher.interpreters.claimed == 1
    end(launcher, tmp_path / "1")
    assert "['harmless']" in log_of(tmp_path / "1")
    (log,) = launcher.folder.glob("*.log")
    assert "threads_at_import" in log.read_text()
    assert "RuntimeError: no" in log.read_text()


def test_a_layer_with_its_own_version_is_started_cold(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path
) -> None:
    base = Layer(tmp_path / "base")
    base.module("library.part", "WHOSE = 'base'")
    base.module("library.__init__", "")
    layer.module("library.part", "WHOSE = 'layer'")
    layer.module("library.__init__", "")
    layer.module("asks", "import library.part\nprint(library.part.WHOSE)")
    layer.base = str(base.python)
    spec = layer.spec("asks", modules=["library.part"])
    launcher.heat(spec)
    launcher.start(tmp_path / "1", spec)
    assert end(launcher, tmp_path / "1").exit.outcome is Outcome.SUCCEEDED
    log = log_of(tmp_path / "1")
    assert "layer" in log
    assert "It is not started warm: the package brings its own library." in log


def test_interpreters_that_nobody_uses_make_room(layer: Layer, tmp_path: Path) -> None:
    launcher = WarmLauncher(tmp_path / "run", limit=2)
    first, second, third = (layer.spec("counts", env={"OMP_NUM_THREADS": n}) for n in "123")
    launcher.heat(first)
    launcher.heat(second)
    runs(launcher, first, tmp_path / "1", warm=True)
    launcher.heat(third)  # the second one is the least recently used
    runs(launcher, first, tmp_path / "2", warm=True)
    runs(launcher, third, tmp_path / "3", warm=True)
    assert len(launcher.interpreters.pids()) == 2
    assert not launcher.interpreters.ready(second)
    launcher.close()


def test_an_idle_zygote_ends_by_itself(layer: Layer, tmp_path: Path) -> None:
    launcher = WarmLauncher(tmp_path / "run", idle_s=0.2)
    spec = layer.spec("counts")
    launcher.heat(spec)
    wait_until(lambda: not launcher.interpreters.pids())
    runs(launcher, spec, tmp_path / "1", warm=False)
    launcher.close()


def test_nothing_leaks(launcher: WarmLauncher, layer: Layer, tmp_path: Path) -> None:
    spec = layer.spec("counts")
    zygote = launcher.heat(spec)
    runs(launcher, spec, tmp_path / "0", warm=True)

    def census() -> tuple[int, int, int]:
        mine = len(list(Path("/proc/self/fd").iterdir()))
        return mine, len(list(Path(f"/proc/{zygote}/fd").iterdir())), threading.active_count()

    before = census()
    for number in range(1, 12):
        runs(launcher, spec, tmp_path / str(number), warm=True)
    assert census() == before
    rows = [r for r in processes.snapshot().values() if r.parent == zygote]
    assert [r for r in rows if not r.alive] == []


@pytest.mark.parametrize("kill_after_s", [0.0, 0.001, 0.003, 0.006, 0.01, 0.02])
def test_a_zygote_that_is_killed_in_between_costs_no_attempt(
    launcher: WarmLauncher, layer: Layer, tmp_path: Path, kill_after_s: float
) -> None:
    spec = layer.spec("counts")
    zygote = launcher.heat(spec)
    timer = threading.Timer(kill_after_s, os.kill, (zygote, signal.SIGKILL))
    timer.start()
    assert launcher.start(tmp_path / "1", spec).new
    status = end(launcher, tmp_path / "1")
    timer.join()
    assert status.exit is not None
    assert status.exit.outcome is Outcome.SUCCEEDED
    assert Path(spec.replicas[0].cwd, "ran").read_text() == "x"
