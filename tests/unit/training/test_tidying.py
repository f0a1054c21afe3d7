"""A job that nobody tidied when it was over is tidied by the next engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.resources import Job, TrainingInput
from mlengine.core.states import TERMINAL_JOB_STATES, JobState
from mlengine.store import JobRecord, Store, open_store
from mlengine.training.newfolders import NewFolders
from mlengine.training.tidying import Tidying


class World:
    def __init__(self, home: Path) -> None:
        self.store: Store = open_store(f"sqlite:///{home / 'engine.db'}")
        self.root = home / "jobs"
        self.new_folders = NewFolders(home / "newfolders")
        self.tidied: list[tuple[str, Path]] = []
        self.tidying = Tidying(self.store, self.new_folders, self.root, self.tidy)

    def tidy(self, record: JobRecord, job_dir: Path) -> None:
        self.tidied.append((record.job_id, job_dir))
        self.new_folders.release(record.uid)

    def begin(self, job_id: str) -> JobRecord:
        job = Job(job_id=job_id, training_input=TrainingInput(python_module="t.task"))
        record = self.store.add_job("p", job, uid=f"uid-{job_id}", priority=0)
        self.new_folders.begin(record.uid)
        moved = self.store.move_job(record, JobState.PREPARING, attempt=1)
        assert moved
        return moved


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_a_job_that_is_over_is_tidied_and_one_that_runs_is_not(world: World) -> None:
    world.begin("runs")
    world.store.move_job(world.begin("over"), JobState.FAILED, error_message="no")
    world.tidying.tick()
    assert world.tidied == [("over", world.root / "uid-over")]
    assert world.new_folders.jobs() == {"uid-runs"}


def test_what_no_record_names_stays(world: World) -> None:
    world.new_folders.begin("newer")
    world.tidying.tick()
    assert (world.tidied, world.new_folders.jobs()) == ([], {"newer"})


def test_jobs_that_are_over_are_read_only_for_what_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin("runs")
    world.new_folders.begin("newer")
    world.tidying.tick()
    asked: list[Collection[JobState]] = []

    def jobs_in(states: Collection[JobState], **_limit: Any) -> list[JobRecord]:
        asked.append(states)
        return [world.store.job("p", "runs")]

    monkeypatch.setattr(world.store, "jobs_in", jobs_in)
    world.tidying.tick()
    assert asked and TERMINAL_JOB_STATES not in asked
