"""Engines of one database take turns: what one does that leads no more, or not yet."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mlengine.core.errors import Cancelled, FailedPrecondition
from mlengine.core.states import JobState
from mlengine.store import StoreAway
from mlengine.training.admission import Demand
from mlengine.training.capacity import Capacity
from mlengine.training.jobs import Jobs, folder_of
from mlengine.training.launchers import Phase
from mlengine.training.reconciler import JobReconciler
from mlengine.training.retrying import Retrying
from mlengine.training.trials.tuningjobs import TuningJobs
from tests.unit.training.test_reconciler import P, World
from tests.waiting import wait_until


class Shared(World):
    """A world with two engines; `leads` says whether this one has the lead."""

    leads = True

    def engine(self) -> JobReconciler:
        folder = self.home / "jobs"
        self.capacity = Capacity(
            self.inventory, self.max_running,
            demand_of=lambda job: self.demands.get(job.job_id, Demand()),
            folder_of=partial(folder_of, folder),
        )  # fmt: skip
        return JobReconciler(
            self.store, self.launcher, {"training": self.kind}, folder,
            clock=self.clock, capacity=self.capacity,
            retrying=Retrying(self.clock, max_retries=self.max_retries, backoff_s=10.0),
            tuning=TuningJobs(self.store, folder, clock=self.clock, advise=lambda *_: []),
            leading=lambda: self.leads, alone=False,
        )  # fmt: skip

    def other(self) -> Jobs:
        """Return the verbs of another engine, which tells this one nothing."""
        return Jobs(
            self.store, {"training": self.kind}, self.home / "jobs", clock=self.clock,
            wake=lambda: None, admissible=lambda project, job: [], queued=lambda record: None,
        )  # fmt: skip

    def quiet(self, job_id: str) -> None:
        """Wait until nothing is being done for a job."""
        uid = self.store.job(P, job_id).uid
        wait_until(lambda: not self.reconciler._background.working(uid), 60)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Shared]:
    world = Shared(tmp_path)
    yield world
    world.kind.gate.set()
    world.reconciler.close()
    world.jobs.close()
    world.store.close()


def _preparing(world: Shared, job_id: str = "a") -> None:
    world.kind.gate.clear()
    world.submit(job_id)
    world.reconciler.tick()
    wait_until(lambda: world.kind.prepared == [job_id])


def test_who_lost_the_lead_while_preparing_starts_nothing(world: Shared) -> None:
    _preparing(world)
    world.leads = False
    world.kind.gate.set()
    world.quiet("a")
    assert world.launcher.specs == {}
    assert world.state("a") == "PREPARING"
    world.leads = True
    world.until_started("a")
    assert world.launcher.specs[world.attempt_dir("a")].attempt == 1


@pytest.mark.parametrize("error", [FailedPrecondition("Bad."), OSError(28, "disk full")])
def test_who_lost_the_lead_ends_no_job(world: Shared, error: Exception) -> None:
    _preparing(world)
    world.leads, world.kind.error = False, error
    world.kind.gate.set()
    world.quiet("a")
    assert world.state("a") == "PREPARING"
    world.leads = True
    world.until("a", "FAILED")


def test_a_job_that_ends_without_having_run_is_called_off(world: Shared) -> None:
    """Or an engine that led before, and was stopped just before the start, would start it yet."""
    _preparing(world)
    world.jobs.cancel(P, "a")
    world.kind.gate.set()
    world.until("a", "CANCELLED")
    assert world.launcher.cancelled == [world.attempt_dir("a")]


def test_a_job_that_ran_is_not_called_off(world: Shared) -> None:
    world.run("a")
    world.launcher.now(Phase.LOST)
    world.until("a", "FAILED")
    assert world.launcher.cancelled == []


def test_a_database_that_is_away_while_a_job_is_prepared_fails_nothing(world: Shared) -> None:
    world.kind.error = StoreAway("The database is away.")
    world.submit("a")
    world.reconciler.tick()
    wait_until(lambda: world.kind.prepared)
    world.quiet("a")
    assert world.state("a") == "PREPARING"
    world.kind.error = None
    world.until_started("a")


def test_an_engine_that_is_told_to_stop_fails_no_job(world: Shared) -> None:
    """Whatever is being installed is killed then: that is no failure of the job's."""
    _preparing(world)
    world.kind.error = Cancelled("The installation was cancelled.")
    world.reconciler._background.closing = True
    world.kind.gate.set()
    world.reconciler.close()
    assert world.state("a") == "PREPARING"
    world.kind.error = None
    world.restart()
    world.until_started("a")


def test_a_job_of_another_engine_does_not_wait_longer_than_it_may(world: Shared) -> None:
    world.submit("busy_1")
    world.submit("busy_2")
    world.reconciler.tick()
    world.reconciler.expire_waiting()  # the queue was looked at before the job came
    world.jobs = world.other()
    world.submit("impatient", max_wait_time="60s")
    world.clock.pass_s(61.0)
    world.reconciler.expire_waiting()
    assert world.store.job(P, "impatient").state is JobState.CANCELLING
