"""The engine's runtimes: what is told of one, and whose environments nobody may remove."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from mlengine.core.errors import FailedPrecondition, Unavailable
from mlengine.core.resources import Job, Model, TrainingInput, Version
from mlengine.core.states import JobState, VersionState
from mlengine.engine.runtimes import Runtimes
from mlengine.environments import Environments
from mlengine.environments.catalogue import Catalogue, Recipe, read_catalogue
from mlengine.models.surroundings import SurroundingsOf, Wants
from mlengine.store import JobRecord, Store, open_store
from mlengine.training.jobs import folder_of
from mlengine.training.notes import write_environment_note
from tests.waiting import wait_until

PYTHON_NOBODY_HAS = SpecifierSet("==3.5.*")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'engine.db'}")
    yield store
    store.close()


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    recipes = [
        read_catalogue().get("local"),
        Recipe("bare", "An interpreter and nothing else", SpecifierSet(">=3.11")),
        Recipe("old", "Of old", PYTHON_NOBODY_HAS, aliases=("ancient",)),
    ]
    return Environments(tmp_path / "environments", catalogue=Catalogue(recipes))


@pytest.fixture
def runtimes(environments: Environments, store: Store, tmp_path: Path) -> Runtimes:
    surroundings = SurroundingsOf(environments, tmp_path)
    return Runtimes(surroundings, store, tmp_path / "jobs", max_bytes=1)


def started(store: Store, tmp_path: Path, spec: str) -> JobRecord:
    """Record a job that is being prepared, with this in its attempt's specification."""
    job = Job(job_id="j", training_input=TrainingInput(region="local"))
    record = store.add_job("p", job, uid="u1")
    record = store.move_job(record, JobState.PREPARING, attempt=record.attempt + 1) or record
    folder = folder_of(tmp_path / "jobs", record) / str(record.attempt)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec)
    return record


def make_old(environments: Environments) -> None:
    for path in (environments.builds.parent / ".used").iterdir():
        os.utime(path, (time.time() - 5_000,) * 2)


def test_a_runtime_tells_what_it_is_and_what_is_built(runtimes: Runtimes) -> None:
    local, bare, old = sorted(runtimes.list(), key=lambda runtime: runtime.name != "local")
    assert (local.name, local.built, local.problem) == ("local", True, "")
    assert (bare.built, bare.size_bytes, bare.last_use_time) == (False, 0, "")
    assert "needs Python ==3.5.*" in old.problem and not old.interpreter
    built = runtimes.build("bare")
    assert built.built and built.size_bytes > 0 and built.last_use_time.endswith("Z")
    assert Path(built.log).read_text().splitlines()[-1].endswith("is built.")
    assert runtimes.get("bare") == built
    assert runtimes.get("ANCIENT").name == "old"
    with pytest.raises(FailedPrecondition, match=r"pyenv install 3\.5"):
        runtimes.build("old")


def test_an_engine_that_ends_waits_for_no_installer(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installer that would take an hour, and an engine that is told to end while it runs."""
    recipe = Recipe("slow", "Never done", SpecifierSet(">=3.11"), lock=("anything==1.0",))
    built = Environments(tmp_path / "environments", catalogue=Catalogue([recipe]))
    runtimes = Runtimes(SurroundingsOf(built, tmp_path), store, tmp_path / "jobs", max_bytes=1)
    installer = tmp_path / "uv"
    installer.write_text(f"#!/bin/sh\n/usr/bin/touch {tmp_path}/began\nexec /bin/sleep 3600\n")
    installer.chmod(0o755)
    monkeypatch.setattr("mlengine.environments.installers.uv.find_uv", lambda _python: installer)
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(runtimes.build, "slow")
        wait_until((tmp_path / "began").exists, 60)
        runtimes.let_go()
        with pytest.raises(Unavailable, match="ended before the runtime slow was built"):
            asked.result(timeout=60)


def test_what_a_running_attempt_names_is_never_removed(
    runtimes: Runtimes, environments: Environments, store: Store, tmp_path: Path
) -> None:
    found = environments.prepare([], runtime_version="bare")
    make_old(environments)
    record = started(store, tmp_path, f'{{"argv":["{found.python}","-m","trainer"]}}')
    assert runtimes.in_use() == {found.path}
    runtimes.tidy()
    assert runtimes.collect(0) == 0
    with pytest.raises(FailedPrecondition, match="in use by a job"):
        runtimes.delete("bare")
    assert found.python.exists()
    store.move_job(record, JobState.FAILED)
    assert runtimes.in_use() == set()
    runtimes.tidy()
    assert not found.path.exists()


def test_what_an_attempt_that_still_fetches_its_inputs_names_is_never_removed(
    runtimes: Runtimes, environments: Environments, store: Store, tmp_path: Path
) -> None:
    found = environments.prepare([], runtime_version="bare")
    make_old(environments)
    record = started(store, tmp_path, "{}")
    attempt_dir = folder_of(tmp_path / "jobs", record) / str(record.attempt)
    (attempt_dir / "spec.json").unlink()
    write_environment_note(attempt_dir, found.path)
    runtimes.tidy()
    with pytest.raises(FailedPrecondition, match="in use by a job"):
        runtimes.delete("bare")
    assert found.python.exists()


def test_what_a_version_runs_in_stays_until_the_version_goes(
    runtimes: Runtimes, environments: Environments, store: Store, tmp_path: Path
) -> None:
    store.add_model("p", Model(name="m"))
    record = store.add_version("p", "m", Version(name="v", deployment_uri="gs://b/m"), uid="u1")
    surroundings = SurroundingsOf(environments, tmp_path)
    wants = Wants(tmp_path, runtime_version="bare", prediction_class="m.Routine")
    made = surroundings.prepare(record.uid, wants)
    make_old(environments)
    runtimes.tidy()
    with pytest.raises(FailedPrecondition, match="in use"):
        runtimes.delete("bare")
    assert Path(made.python).exists()
    record = store.move_version(record, VersionState.FAILED) or record
    assert runtimes.in_use() == set()
    assert list((tmp_path / "run" / "surroundings").iterdir()) == []
    runtimes.tidy()
    assert not Path(made.python).exists()


def test_without_a_limit_nothing_is_removed_unless_asked(
    environments: Environments, store: Store, tmp_path: Path
) -> None:
    surroundings = SurroundingsOf(environments, tmp_path)
    runtimes = Runtimes(surroundings, store, tmp_path / "jobs", max_bytes=0)
    runtimes.build("bare")
    make_old(environments)
    assert runtimes.collect() == 0
    assert runtimes.collect(0) > 0
