"""`mlengine.runtime.report` where there is no mlengine: in a layer over any Python."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from mlengine.environments import Environments
from mlengine.environments.base import describe_base
from mlengine.environments.interpreters import find_interpreter
from mlengine.environments.trainermodule import add_trainer_module
from mlengine.environments.venv import make_venv, python_of, site_packages_of
from mlengine.training.hypertune import ReportLines
from mlengine.training.launchers import AttemptSpec, Outcome, Phase, ReplicaSpec
from mlengine.training.launchers.process import ProcessLauncher
from tests.fakes.archives import sdist
from tests.waiting import wait_until

TASK = """
import sys
import mlengine.runtime
from mlengine.runtime import report
assert mlengine.runtime.report("auc", 0.5, step=1) and report("", 0.25, 2)
assert mlengine.runtime.save_golden("model", [[1, float("nan")], (2, b"x")], [0.5, 1]) == 2
print(open("model/golden.jsonl").read())
print(sys.version_info[:2], [name for name in sys.modules if name.startswith("mlengine")])
"""


def layer(folder: Path, version: str) -> Path:
    """Make a layer over a Python of this machine; return its interpreter."""
    found = find_interpreter(SpecifierSet(version))
    if found is None:
        pytest.skip(f"there is no Python {version} here")
    base = describe_base(str(found.path))
    make_venv(folder, base, linked=False)
    add_trainer_module(site_packages_of(folder, base))
    trainer = site_packages_of(folder, base) / "trainer.py"
    trainer.write_text(TASK)
    return python_of(folder)


@pytest.mark.parametrize("version", ["==3.7.*", "==3.10.*", ">=3.12"])
def test_a_replica_reports_in_any_python(tmp_path: Path, version: str) -> None:
    python, file = layer(tmp_path / "layer", version), tmp_path / "master.metrics"
    replica = ReplicaSpec(
        task="master-replica-0", role="master", index=0, argv=[str(python), "-m", "trainer"],
        env={"CLOUD_ML_HP_METRIC_FILE": str(file), "CLOUD_ML_HP_METRIC_TAG": "loss"},
        cwd=str(tmp_path),
    )  # fmt: skip
    launcher, attempt = ProcessLauncher(), tmp_path / "1"
    launcher.start(attempt, AttemptSpec(job="projects/p/jobs/j", attempt=1, replicas=[replica]))
    wait_until(lambda: launcher.poll(attempt).phase is Phase.EXITED)
    record = launcher.poll(attempt).exit
    assert record is not None
    assert record.outcome is Outcome.SUCCEEDED, record
    found = [(s.tag, s.step, s.value) for s in ReportLines(file).read()]
    assert found == [("auc", 1, 0.5), ("loss", 2, 0.25)]
    saved = (tmp_path / "model" / "golden.jsonl").read_text().splitlines()
    assert [json.loads(line)["instance"] for line in saved] == [[1, None], [2, "x"]]


def test_it_holds_the_report_and_nothing_else(tmp_path: Path) -> None:
    python = layer(tmp_path, ">=3.12")
    code = "import mlengine, mlengine.runtime, sys; print(*vars(mlengine.runtime), *sys.path[1:])"
    names = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    *_, last = names.stdout.split()
    assert "_mlengine_trainer" in last  # behind all others
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([python, "-c", "import mlengine.core"], capture_output=True, check=True)


def test_a_job_on_the_engines_own_installation_has_all_of_mlengine(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "environments", timeout_s=120)
    environment = environments.prepare([sdist(tmp_path)])
    code = "import mlengine.core, mlengine.runtime; print(mlengine.runtime.__file__)"
    done = subprocess.run(
        [environment.python, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert not done.stdout.startswith(str(environment.path))
