"""Third-party trainer packages, unchanged: `local train` and a job leave the same behind."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from tests.live.engines import LiveEngine, P
from tests.live.old_trainers import TRAINERS, Trainer
from tests.live.terminal import mlengine


@pytest.fixture(scope="module")
def tables(engine: LiveEngine) -> LiveEngine:
    engine.client.write_object("mine", "tables/a.csv", [b"x,y\n1,2\n2,4\n"])
    engine.client.write_object("mine", "tables/b.csv", [b"x,y\n3,9\n"])
    return engine


def write_package(trainer: Trainer, folder: Path) -> None:
    for name, text in trainer.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip())


def left_behind(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in files}


def run_as_job(engine: LiveEngine, name: str, code: Path) -> str:
    """Run a trainer as a job, once an engine; return the job's id."""
    trainer = TRAINERS[name]
    job_id = f"old_{list(TRAINERS).index(name)}"
    if job_id not in [job.job_id for job in engine.client.list_jobs(P).items]:
        write_package(trainer, code)
        mlengine(
            engine, "jobs", "submit", "training", job_id, "--module-name", trainer.module,
            "--package-path", trainer.package, "--job-dir", f"gs://mine/out/{job_id}",
            "--staging-bucket", "gs://mine", "--runtime-version", "local", "--stream-logs",
            "--", *trainer.args, cwd=code,
        )  # fmt: skip
    return job_id


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_leaves_the_same_at_home_and_as_a_job(
    tables: LiveEngine, name: str, tmp_path: Path
) -> None:
    trainer = TRAINERS[name]
    code, out = tmp_path / "code", tmp_path / "out"
    write_package(trainer, code)
    before = sorted(code.rglob("*"))
    what = ("--module-name", trainer.module, "--package-path", trainer.package)
    mlengine(tables, "local", "train", *what, "--job-dir", str(out), "--", *trainer.args, cwd=code)
    assert left_behind(out) == trainer.exports

    job_id = run_as_job(tables, name, code)
    assert left_behind(tables.home / "buckets" / "mine" / "out" / job_id) == trainer.exports
    after = [path for path in sorted(code.rglob("*")) if "__pycache__" not in path.parts]
    assert after == before, "a run left something beside the sources"


def test_a_projects_script_and_version_are_installed_for_the_job(
    tables: LiveEngine, tmp_path: Path
) -> None:
    job_id = run_as_job(tables, "a pyproject.toml with its package below src", tmp_path)
    assert "installed as 1.2.3" in tables.lines(job_id)


def test_a_loud_trainers_log_is_read_by_what_it_says(tables: LiveEngine, tmp_path: Path) -> None:
    job_id = run_as_job(tables, "progress bars, logging and a metric file", tmp_path)
    done = mlengine(
        tables, "jobs", "stream-logs", job_id, "--task-name", "master-replica-0", "--format",
        "value(severity,message)", cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines()[1:-2] == [
        "INFO\tINFO:trainer:starting",
        "INFO\tEpoch 1/1 100% |##########",
        "WARNING\tW1121 06:16:13.123456 139 task.py:12] learning rate is high",
        "ERROR\tE1121 06:16:13.123456 139 task.py:13] a shard is missing",
        "NOTICE\thalf way",
        "INFO\tgespeichert: é ✓",
    ]
    (metrics,) = tables.home.glob(f"jobs/{job_id}-*/1/hypertune/*.metrics")
    assert json.loads(metrics.read_text())["acc"] == "0.93"
