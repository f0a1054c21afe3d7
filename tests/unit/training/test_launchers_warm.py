"""Which attempts may share an interpreter, and which must be started cold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mlengine.training.launchers import AttemptSpec, ReplicaSpec, WarmStart
from tests.fakes.warm import WarmLauncher

PYTHON = sys.executable


def spec(
    *environments: dict[str, str], argv: list[str] | None = None, modules: tuple[str, ...] = (),
    layer: str = "",
) -> AttemptSpec:  # fmt: skip
    return AttemptSpec(
        job="projects/p/jobs/j", attempt=1,
        replicas=[
            ReplicaSpec(task=f"worker-replica-{i}", role="worker", index=i, env=env, cwd="/",
                        argv=argv or [PYTHON, "-m", "task"])
            for i, env in enumerate(environments or ({},))
        ],
        warm=WarmStart(base_python=PYTHON, python=PYTHON, site_packages=layer,
                       modules=list(modules)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmLauncher]:
    made = WarmLauncher(tmp_path_factory.mktemp("warm") / "run", limit=1)
    made.heat(spec({"OMP_NUM_THREADS": "1"}))
    yield made
    made.close()


SHARED = {
    "the same": spec({"OMP_NUM_THREADS": "1"}),
    "another place in the cluster": spec(
        {"OMP_NUM_THREADS": "1", "TF_CONFIG": "{}", "RANK": "1", "CUDA_VISIBLE_DEVICES": "0"}
    ),
    "another path": spec({"OMP_NUM_THREADS": "1", "PATH": "/x", "CLOUD_ML_JOB_ID": "j"}),
    "another layer": spec({"OMP_NUM_THREADS": "1"}, layer="/x"),
    "many alike": spec({"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "1", "RANK": "1"}),
}
OTHERS = {
    "another number of threads": spec({"OMP_NUM_THREADS": "2"}),
    "a variable less": spec({}),
    "one that SciPy reads": spec({"OMP_NUM_THREADS": "1", "SCIPY_ARRAY_API": "1"}),
    "another home": spec({"OMP_NUM_THREADS": "1", "HOME": "/x"}),
    "other modules": spec({"OMP_NUM_THREADS": "1"}, modules=("json",)),
}
COLD = {
    "not asked for": msgspec.structs.replace(spec({"OMP_NUM_THREADS": "1"}), warm=None),
    "a path that cannot be had after the start": spec({"PYTHONPATH": "/x"}),
    "replicas that differ": spec({"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "2"}),
    "another command": spec(argv=["sh", "-c", "true"]),
    "an option": spec(argv=[PYTHON, "-O", "-m", "task"]),
    "no module": spec(argv=[PYTHON, "-m"]),
    "another interpreter": spec(argv=["/usr/bin/python3", "-m", "task"]),
}


@pytest.mark.parametrize("other", SHARED.values(), ids=SHARED.keys())
def test_attempts_share_an_interpreter(launcher: WarmLauncher, other: AttemptSpec) -> None:
    assert launcher.interpreters.ready(other)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_what_matters_at_import_takes_another_interpreter(
    launcher: WarmLauncher, other: AttemptSpec
) -> None:
    assert not launcher.interpreters.ready(other)


@pytest.mark.parametrize("cold", COLD.values(), ids=COLD.keys())
def test_cold_attempts_make_no_interpreter(launcher: WarmLauncher, cold: AttemptSpec) -> None:
    before = launcher.interpreters.pids()
    assert launcher.interpreters.claim(cold) is None
    assert launcher.interpreters.pids() == before
    assert not launcher.interpreters.ready(cold)


def test_none_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    launcher = WarmLauncher(tmp_path / "run", limit=0)
    assert launcher.interpreters.claim(spec()) is None
    assert launcher.interpreters.pids() == []


def test_one_that_cannot_start_is_not_tried_again_at_once(tmp_path: Path) -> None:
    launcher = WarmLauncher(tmp_path / "run")
    broken = spec()
    assert broken.warm is not None
    warm = msgspec.structs.replace(broken.warm, base_python="/no/such/python")
    broken = msgspec.structs.replace(broken, warm=warm)
    for _ in range(3):
        assert launcher.interpreters.claim(broken) is None
    assert launcher.interpreters.pids() == []
    assert not list((tmp_path / "run").glob("*.log"))
