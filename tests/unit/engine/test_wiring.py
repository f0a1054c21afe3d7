"""What the machine and the settings make of an engine."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument
from mlengine.core.limits import MAX_LOG_WAIT_S
from mlengine.core.resources import Job, Model, TrainingInput, Version
from mlengine.core.states import JobState, VersionState
from mlengine.engine import wiring
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.store import open_store
from mlengine.training.inventory import Inventory


@pytest.mark.parametrize(("wanted", "cores", "cpus", "allowed"), [
    (True, 2, 2.0, True), (True, 64, 64.0, True), (False, 2, 2.0, False),
    (True, 1, 1.0, False),  # one CPU
    (True, 64, 4.0, False), (True, 2, 1.5, False),  # a ration of the time of more
])  # fmt: skip
def test_gateway_and_workers_stay_awake_where_there_is_time_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool, cores: int, cpus: float,
    allowed: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(wiring, "probe", lambda **_: Inventory(cpus=cpus, memory_bytes=1 << 30))
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(cores)))
    settings = Settings(home=tmp_path / "home", stay_awake=wanted)
    wired = wiring.wire(settings, SharedFolder(settings))
    try:
        serving: Any = wired.serving
        assert serving._snapshot().may_stay_awake is allowed
    finally:
        wired.stop()


def test_older_records_cost_no_model_that_they_do_not_know(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    wired = wiring.wire(settings, SharedFolder(settings))
    store = open_store(settings.database_url)
    store.add_model("p", Model(name="m"))
    failed = store.add_version("p", "m", Version(name="v1"), uid="failed")
    assert store.move_version(failed, VersionState.FAILED)
    store.close()
    models = settings.home / "models"
    for uid in ("newer", "failed"):
        (models / uid / "artifact").mkdir(parents=True)
    wired.reconciler._run(wired.reconciler._seldom)
    wired.stop()
    assert [*models.iterdir()] == [models / "newer"]


def test_a_job_that_was_over_when_its_engine_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    wired = wiring.wire(settings, SharedFolder(settings))
    store = open_store(settings.database_url)
    job = Job(job_id="a", training_input=TrainingInput(python_module="trainer.task"))
    record = store.add_job("p", job, uid="over", priority=0)
    assert store.move_job(record, JobState.FAILED, error_message="It failed.")
    store.close()
    home = settings.home
    (home / "newfolders").mkdir()
    (home / "buckets/mine/new").mkdir(parents=True)
    for uid in ("over", "newer"):
        (home / "newfolders" / f"{uid}.json").write_text(f'["{home}/buckets/mine/new"]')
        (home / "jobs" / uid / "packages").mkdir(parents=True)
    (home / "newfolders/newer.json").write_text("[]")
    wired.reconciler._run(wired.reconciler._seldom)
    wired.stop()
    left = [p for name in ("jobs/*/*", "newfolders/*", "buckets/*/*") for p in home.glob(name)]
    assert left == [home / "jobs/newer/packages", home / "newfolders/newer.json"]


def test_who_waits_for_log_lines_is_let_go_before_the_engine_ends(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    wired = wiring.wire(settings, SharedFolder(settings))
    store = open_store(settings.database_url)
    store.add_job("p", Job(job_id="a", training_input=TrainingInput()), uid="a", priority=0)
    store.close()
    with ThreadPoolExecutor(1) as callers:
        asked = callers.submit(wired.engine.read_logs, "p", "a", wait_s=MAX_LOG_WAIT_S)
        wired.let_go()
        page = asked.result(MAX_LOG_WAIT_S / 2)
    assert (page.entries, page.finished) == ([], False)
    wired.stop()


@pytest.mark.parametrize("turned", [False, True])
def test_an_engine_that_ended_is_not_started_on_older_records(tmp_path: Path, turned: bool) -> None:
    settings = Settings(home=tmp_path / "home")
    wired = wiring.wire(settings, SharedFolder(settings))
    shutil.copy(settings.home / "engine.db", tmp_path / "older.db")
    wired.engine.create_model("p", Model(name="m"))
    if turned:
        wired.reconciler._run(wired.reconciler._often)
        assert (settings.home / "run" / "records").is_file()  # before it ends: it may be killed
    wired.stop()
    older = dataclasses.replace(settings, database=f"sqlite:///{tmp_path}/older.db")
    with pytest.raises(FailedPrecondition, match="newest records"):
        wiring.wire(older, SharedFolder(older))


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
def test_a_certificate_in_nobodys_home_is_refused_by_name(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path, **{name: "~nosuch/x.pem"})
    with pytest.raises(InvalidArgument, match=f"'{name}' is '~nosuch/x.pem'.*whole path"):
        wiring._doors(settings)
