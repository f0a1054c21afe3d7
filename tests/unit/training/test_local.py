"""``local train``: the shell's own child."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument
from mlengine.runtime.processes import look
from mlengine.training.local import run_local
from mlengine.training.ports import Ports
from tests.waiting import wait_until

REPORT = """
import json, os, sys
config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
name = f"{task.get('type', 'alone')}{task.get('index', '')}"
with open(name + ".tmp", "w") as file:
    json.dump({
        "argv": sys.argv[1:], "config": config, "pid": os.getpid(), "env": dict(os.environ),
    }, file)
os.rename(name + ".tmp", name + ".json")
"""
WAIT = "import signal; signal.pause()\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "trainer"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "task.py").write_text(REPORT)
    return folder


def run(package: Path, *, module: str = "trainer.task", **options: Any) -> int:
    return run_local(module, package, python=sys.executable, **options)


def report(package: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((package.parent / f"{name}.json").read_text())
    return found


def test_one_process_next_to_its_package(package: Path) -> None:
    assert run(package, job_dir="gs://b/out", args=["--epochs", "2"]) == 0
    found = report(package, "alone")
    argv = ["--epochs", "2", "--job-dir", "gs://b/out"]
    assert found["argv"] == argv
    assert found["config"] == {
        "job": {"job_name": "trainer.task", "args": argv},
        "task": {}, "cluster": {}, "environment": "cloud",
    }  # fmt: skip


def test_a_trainer_that_knows_the_variables_only_runs_as_in_a_job(package: Path) -> None:
    (package / "task.py").write_text(REPORT + "assert os.environ['AIP_MODEL_DIR']\n")
    warnings: list[str] = []
    assert run(package, job_dir="out/", args=["--epochs", "2"], warn=warnings.append) == 0
    found = report(package, "alone")
    assert found["argv"] == found["config"]["job"]["args"] == ["--epochs", "2"]
    assert found["env"]["AIP_MODEL_DIR"] == "out/model/"
    assert warnings == ["The trainer reads AIP_MODEL_DIR: it is not given --job-dir."]


@pytest.mark.parametrize(("cluster", "name"), [({}, "alone"), ({"worker_count": 0}, "chief0")])
def test_folders_for_outputs_are_told_by_the_job_dir_as_the_trainer_knows_it(
    package: Path, cluster: dict[str, int], name: str
) -> None:
    if cluster:
        cluster = {**cluster, "parameter_server_count": 0, "start_port": port_range(1)}
    place = str(package.parent / "b/out")
    run(package, job_dir="gs://b/out", job_place=place, distributed=bool(cluster), **cluster)
    env = report(package, name)["env"]
    assert env["MLENGINE_JOB_DIR"] == place
    assert {key: value for key, value in env.items() if key.startswith("AIP_")} == {
        "AIP_MODEL_DIR": "gs://b/out/model/",
        "AIP_CHECKPOINT_DIR": "gs://b/out/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": "gs://b/out/logs/",
    }


def test_the_exit_code_is_the_trainers(package: Path) -> None:
    (package / "task.py").write_text("import sys; sys.exit(7)")
    assert run(package) == 7
    (package / "task.py").write_text("import os; os.kill(os.getpid(), 9)")
    assert run(package) == 137


def test_counts_without_distributed_are_warned_about(package: Path) -> None:
    warnings: list[str] = []
    run(package, worker_count=3, evaluator_count=1, warn=warnings.append)
    assert warnings == [
        f"{flag} is ignored if --distributed is not provided.\n"
        "Did you mean to run distributed training?"
        for flag in ("--worker-count", "--evaluator-count")
    ]


def port_range(count: int) -> int:
    """Find adjacent ports that nobody has."""
    while True:
        (start,) = Ports().take(1)
        try:
            for port in range(start, start + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return start


def test_a_cluster_lives_as_long_as_its_chief(package: Path) -> None:
    (package / "task.py").write_text(
        REPORT + "import time, subprocess\n"
        "if task['type'] == 'chief':\n"
        "    names = ['ps0', 'worker0', 'worker1', 'evaluator0']\n"
        "    while not all(os.path.exists(n + '.json') for n in names): time.sleep(0.01)\n"
        "    sys.exit(3)\n"
        "signal = __import__('signal'); signal.signal(signal.SIGTERM, lambda *_: sys.exit())\n"
        "signal.pause()\n"
    )
    start = port_range(4)
    code = run(
        package, distributed=True, worker_count=2, parameter_server_count=1, evaluator_count=1,
        start_port=start,
    )  # fmt: skip
    assert code == 3
    addresses = {
        "chief": [f"localhost:{start}"],
        "ps": [f"localhost:{start + 1}"],
        "worker": [f"localhost:{start + 2}", f"localhost:{start + 3}"],
    }
    for name in ("chief0", "ps0", "worker0", "worker1", "evaluator0"):
        found = report(package, name)
        assert found["config"]["cluster"] == addresses
        assert look(found["pid"]) is None
        assert found["env"]["MLENGINE_WORLD_SIZE"] == "5"
    envs = {name: report(package, name)["env"] for name in ("chief0", "worker0", "worker1")}
    assert [env["RANK"] for env in envs.values()] == ["0", "1", "2"]
    assert len({env["MASTER_PORT"] for env in envs.values()}) == 1
    assert "RANK" not in report(package, "ps0")["env"]


def test_an_evaluator_ends_by_itself_once_all_others_have_gone(package: Path) -> None:
    (package / "task.py").write_text(
        REPORT + "import time\n"
        "role = task['type']\n"
        "if role == 'chief':\n"
        "    names = ['ps0', 'evaluator0']\n"
        "    while not all(os.path.exists(n + '.json') for n in names): time.sleep(0.01)\n"
        "elif role == 'evaluator':\n"
        "    server = lambda: json.load(open('ps0.json'))['pid']\n"
        "    while not os.path.exists('ps0.json') or os.path.exists(f'/proc/{server()}'):\n"
        "        time.sleep(0.01)\n"
        "    open('evaluated', 'w')\n"
        "else:\n"
        "    time.sleep(300)\n"
    )
    code = run(
        package, distributed=True, worker_count=0, parameter_server_count=1, evaluator_count=1,
        start_port=port_range(2),
    )  # fmt: skip
    assert code == 0
    assert (package.parent / "evaluated").exists()
    assert look(report(package, "evaluator0")["pid"]) is None


def test_an_evaluator_that_does_not_end_is_stopped_after_its_grace(package: Path) -> None:
    (package / "task.py").write_text(
        REPORT + "import time\n"
        "if task['type'] == 'evaluator': time.sleep(300)\n"
        "while not os.path.exists('evaluator0.json'): time.sleep(0.01)\n"
    )
    code = run(
        package, distributed=True, worker_count=0, parameter_server_count=0, evaluator_count=1,
        start_port=port_range(1), evaluator_grace_s=0.0,
    )  # fmt: skip
    assert code == 0
    assert look(report(package, "evaluator0")["pid"]) is None


def test_a_process_that_is_alone_may_be_part_of_somebody_elses_gang(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(package)
    env = report(package, "alone")["env"]
    assert (env["RANK"], env["WORLD_SIZE"], env["MLENGINE_ROLE"]) == ("0", "1", "master")
    monkeypatch.setenv("RANK", "3")
    run(package)
    assert report(package, "alone")["env"]["RANK"] == "3"


def test_processes_that_share_the_machine_share_its_cpus(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    options = {"distributed": True, "parameter_server_count": 0, "worker_count": 1}
    run(package, start_port=port_range(2), **options)
    assert report(package, "chief0")["env"]["OMP_NUM_THREADS"] == "4"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run(package, start_port=port_range(2), **options)
    assert report(package, "chief0")["env"]["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_leaves_nobody(package: Path, signum: int) -> None:
    (package / "task.py").write_text(REPORT + WAIT)
    start = port_range(3)
    code = (
        "import sys; from mlengine.training.local import run_local;"
        f"sys.exit(run_local('trainer.task', {str(package)!r}, distributed=True, worker_count=1,"
        f" parameter_server_count=1, start_port={start}, python=sys.executable))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL
    )
    names = ("chief0", "ps0", "worker0")
    wait_until(lambda: all((package.parent / f"{n}.json").exists() for n in names), 60)
    if signum == signal.SIGINT:
        os.killpg(child.pid, signum)  # as the terminal does
    else:
        child.send_signal(signum)
    child.wait(60)
    pids = [report(package, name)["pid"] for name in names]
    wait_until(lambda: not [p for p in pids if (row := look(p)) is not None and row.alive], 60)


SAVES = f"""
import os, time
try:
{indent(REPORT + WAIT, "    ")}
except KeyboardInterrupt:
    open("saving", "w").close()
    while not os.path.exists("go-on"):
        time.sleep(0.01)
    open("saved", "w").close()
"""


@pytest.fixture
def interrupted(package: Path) -> Iterator[subprocess.Popen[str]]:
    """A local training whose trainer saves what it has, since Ctrl-C was pressed."""
    (package / "task.py").write_text(SAVES)
    code = (
        "import sys; from mlengine.training.local import run_local;"
        f"sys.exit(run_local('trainer.task', {str(package)!r}, python=sys.executable))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, text=True, stderr=subprocess.PIPE
    )
    try:
        wait_until((package.parent / "alone.json").exists)
        os.killpg(child.pid, signal.SIGINT)  # as the terminal does
        assert child.stderr is not None
        assert child.stderr.readline() == (
            "WARNING: Waiting for the trainer to end. Press Ctrl-C again to stop it now.\n"
        )
        wait_until((package.parent / "saving").exists)
        yield child
    finally:
        child.kill()
        child.communicate()


def test_a_trainer_that_saves_at_ctrl_c_is_waited_for(
    package: Path, interrupted: subprocess.Popen[str]
) -> None:
    (package.parent / "go-on").touch()
    assert interrupted.wait(60) == -signal.SIGINT
    assert (package.parent / "saved").exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_or_a_sigterm_stops_it(
    package: Path, interrupted: subprocess.Popen[str], signum: int
) -> None:
    interrupted.send_signal(signum)
    interrupted.wait(60)
    trainer = look(report(package, "alone")["pid"])
    assert trainer is None or not trainer.alive
    assert not (package.parent / "saved").exists()


REFUSED: dict[str, tuple[str, str, type[EngineError], str]] = {
    "no folder": ("nothing", "trainer.task", InvalidArgument, "does not exist"),
    "no package": ("bare", "bare.task", InvalidArgument, "`__init__.py` file. Please create one"),
    "a typo": ("trainer", "trainer.taks", InvalidArgument, "Did you mean 'trainer.task'"),
    "no part": ("trainer", "trainer..task", InvalidArgument, "Write it with dots"),
    "a path": ("trainer", "trainer/task.py", InvalidArgument, "Write it with dots"),
    "not there": ("trainer", "trianer.task", InvalidArgument, "nor is it installed"),
}


@pytest.mark.parametrize(("folder", "module", "kind", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_package_or_module_is_refused_with_a_remedy(
    package: Path, folder: str, module: str, kind: type[EngineError], text: str
) -> None:
    (package.parent / "bare").mkdir()
    with pytest.raises(kind, match=re.escape(text)):
        run(package.parent / folder, module=module)


def test_a_module_that_is_installed_will_do(package: Path) -> None:
    assert run(package, module="this", args=[]) == 0


def test_a_package_with_a_main_will_do(package: Path) -> None:
    (package / "__main__.py").write_text("raise SystemExit(4)")
    assert run(package, module="trainer") == 4


def test_a_module_whose_file_no_statement_could_import_will_do(package: Path) -> None:
    (package / "2-train-census.py").write_text("raise SystemExit(5)")
    assert run(package, module="trainer.2-train-census") == 5


def test_an_interpreter_that_is_missing_is_refused(package: Path) -> None:
    with pytest.raises(InvalidArgument, match="was not found"):
        run_local("trainer.task", package, python="/no/such/python")


def test_a_port_in_use_is_named(package: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FailedPrecondition, match=f"Port {port} cannot be used"):
            run(package, distributed=True, start_port=port)


@pytest.mark.parametrize(
    "options", [{"worker_count": -1}, {"start_port": 65535}, {"start_port": 0}]
)
def test_impossible_clusters_are_refused(package: Path, options: dict[str, int]) -> None:
    with pytest.raises((InvalidArgument, FailedPrecondition)):
        run(package, distributed=True, **options)
