"""Jobs over a real store; the launcher, the kind of job and the clock are played."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import (
    Aborted,
    AlreadyExists,
    EngineError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from mlengine.core.resources import (
    Job,
    JobDetails,
    JobOptions,
    Scheduling,
    TrainingInput,
    TrainingOutput,
)
from mlengine.core.states import JobState
from mlengine.store import JobRecord, open_store
from mlengine.training.admission import Demand
from mlengine.training.capacity import Capacity
from mlengine.training.inventory import Inventory
from mlengine.training.jobs import Jobs, folder_of
from mlengine.training.kinds import JobKind, NotYet, Preparation
from mlengine.training.launchers import AttemptSpec, ExitRecord, Outcome, Phase, ReplicaExit
from mlengine.training.reconciler import JobReconciler
from mlengine.training.retrying import Retrying
from mlengine.training.trials.tuningjobs import TuningJobs
from tests.fakes.clock import PlayedClock
from tests.fakes.launcher import ScriptedLauncher
from tests.waiting import wait_until

P = "default"


class PlayedKind:
    """Prepares at once, or when its gate opens, or not at all."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.limit_s: float | None = None
        self.collect_error: Exception | None = None
        self.outputs: dict[str, Any] = {}
        self.prepared: list[str] = []
        self.live: dict[str, Any] = {}
        self.gpus: dict[str, tuple[str, ...]] = {}
        self.tidied: list[tuple[str, Path]] = []

    def check(self, project: str, job: Job) -> list[str]:
        assert job.training_input
        if job.training_input.python_module == "bad":
            raise InvalidArgument("No such module.", "Use another.", field="training_input.x")
        return ["Old."] if job.training_input.runtime_version == "0.1" else []

    def prepare(self, preparation: Preparation) -> AttemptSpec:
        self.prepared.append(preparation.record.job_id)
        if preparation.gpus:
            self.gpus[preparation.record.job_id] = preparation.gpus
        preparation.log("Installing.")
        preparation.warn("Old.")
        preparation.report(runtime="local", environment_seconds=1.25, environment_hit=True)
        assert self.gate.wait(60)
        if self.error:
            raise self.error
        return AttemptSpec(
            job="j", attempt=preparation.record.attempt, replicas=[], max_running_s=self.limit_s
        )

    def collect(
        self, record: JobRecord, attempt_dir: Path, exit_record: ExitRecord
    ) -> dict[str, Any]:
        if self.collect_error:
            raise self.collect_error
        return {"training_output": TrainingOutput(consumed_m_l_units=1.5), **self.outputs}

    def progress(self, record: JobRecord, attempt_dir: Path) -> dict[str, Any]:
        return self.live

    def tidy(self, record: JobRecord, job_dir: Path) -> None:
        self.tidied.append((record.state, job_dir))


_: type[JobKind] = PlayedKind


class World:
    def __init__(self, home: Path, *, max_running: int = 2) -> None:
        self.home = home
        self.clock = PlayedClock()
        self.kind = PlayedKind()
        self.launcher = ScriptedLauncher()
        self.store = open_store(f"sqlite:///{home / 'engine.db'}")
        self.max_running = max_running
        self.max_retries = 0
        self.inventory = Inventory(cpus=2.0, memory_bytes=8 << 30)
        self.demands: dict[str, Demand] = {}
        self.reconciler = self.engine()
        self.jobs = Jobs(
            self.store,
            {"training": self.kind},
            home / "jobs",
            clock=self.clock,
            wake=lambda: None,
            admissible=lambda project, job: self.capacity.check(project, job),
            queued=lambda record: self.reconciler.queued(record),
        )

    def engine(self) -> JobReconciler:
        """Another engine over the same records, as after a crash."""
        self.capacity = Capacity(
            self.inventory,
            self.max_running,
            demand_of=lambda job: self.demands.get(job.job_id, Demand()),
            folder_of=partial(folder_of, self.home / "jobs"),
        )
        return JobReconciler(
            self.store,
            self.launcher,
            {"training": self.kind},
            self.home / "jobs",
            clock=self.clock,
            capacity=self.capacity,
            retrying=Retrying(self.clock, max_retries=self.max_retries, backoff_s=10.0),
            tuning=TuningJobs(
                self.store, self.home / "jobs", clock=self.clock, advise=lambda *_: []
            ),
        )

    def restart(self) -> None:
        self.reconciler.close()
        self.reconciler = self.engine()

    def submit(self, job_id: str, **scheduling: Any) -> Job:
        spec = TrainingInput(
            python_module="trainer.task", region="local", scheduling=Scheduling(**scheduling)
        )
        return self.jobs.create(P, Job(job_id=job_id, training_input=spec))

    def state(self, job_id: str) -> str:
        return self.store.job(P, job_id).job.state

    def job(self, job_id: str) -> Job:
        return self.store.job(P, job_id).job

    def attempt_dir(self, job_id: str) -> Path:
        record = self.store.job(P, job_id)
        return folder_of(self.home / "jobs", record) / str(record.attempt)

    def until(self, job_id: str, state: str) -> None:
        def there() -> bool:
            self.reconciler.tick()
            return self.state(job_id) == state

        wait_until(there, 60)

    def until_started(self, job_id: str) -> None:
        def there() -> bool:
            self.reconciler.tick()
            return self.launcher.poll(self.attempt_dir(job_id)).phase is not Phase.NOT_STARTED

        wait_until(there, 60)

    def run(self, job_id: str) -> None:
        """Submit a job and bring it to RUNNING."""
        self.submit(job_id)
        self.until_started(job_id)
        self.launcher.now(Phase.RUNNING)
        self.until(job_id, "RUNNING")

    def lines(self, job_id: str) -> list[str]:
        entries, _cursor, _end = self.jobs.read_logs(P, job_id, cursor="", task_name="", wait_s=0)
        return [entry.message for entry in entries]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.kind.gate.set()
    world.reconciler.close()
    world.jobs.close()
    world.store.close()


def test_a_job_goes_all_the_way(world: World) -> None:
    job = world.submit("a")
    assert (job.state, job.create_time) == ("QUEUED", "2018-03-02T06:50:06Z")
    world.until_started("a")
    assert world.state("a") == "PREPARING"
    assert world.launcher.specs[world.attempt_dir("a")].attempt == 1
    world.launcher.now(Phase.RUNNING)
    world.until("a", "RUNNING")
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")
    done = world.job("a")
    assert done.start_time and done.end_time
    assert done.training_output == TrainingOutput(consumed_m_l_units=1.5)
    assert world.lines("a") == [
        "Validating job requirements...",
        "Job creation request has been successfully validated.",
        "Job a is queued.",
        "Waiting for job to be provisioned.",
        "Installing.",
        "Old.",
        "Waiting for training program to start.",
        "Job completed successfully.",
    ]


def test_a_trainer_faster_than_the_engine_was_running_all_the_same(world: World) -> None:
    world.submit("a")
    world.until_started("a")
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")
    moves = [e.detail.get("to") for e in world.store.events(limit=1000) if e.kind == "job.moved"]
    assert moves == ["PREPARING", "RUNNING", "SUCCEEDED"]


def test_a_failure_says_what_the_supervisor_said(world: World) -> None:
    world.run("a")
    world.launcher.ends(
        Outcome.FAILED, "The replica master 0 exited with 1. ValueError: x (t.py:3)"
    )
    world.until("a", "FAILED")
    assert world.job("a").error_message.endswith("ValueError: x (t.py:3)")
    assert world.job("a").training_output is not None
    assert world.lines("a")[-1].endswith("ValueError: x (t.py:3)")


def test_a_package_that_does_not_install_fails_the_job(world: World) -> None:
    world.kind.error = FailedPrecondition("trainer-0.0.0.tar.gz failed to install.", "See above.")
    world.submit("a")
    world.until("a", "FAILED")
    assert "failed to install" in world.job("a").error_message
    assert not world.job("a").start_time
    assert world.launcher.specs == {}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("defect")])
def test_an_unforeseen_error_while_preparing_ends_the_job(world: World, error: Exception) -> None:
    world.kind.error = error
    world.submit("a")
    world.until("a", "FAILED")
    assert (
        "No space left" in world.job("a").error_message or "defect" in world.job("a").error_message
    )


def test_outputs_that_cannot_be_collected_fail_the_job(world: World) -> None:
    world.run("a")
    world.kind.collect_error = FailedPrecondition("The bucket is gone.", "Make it again.")
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "FAILED")
    assert "bucket is gone" in world.job("a").error_message


def test_a_dead_supervisor_fails_the_job_after_a_sweep(world: World) -> None:
    world.run("a")
    world.launcher.now(Phase.LOST)
    world.until("a", "FAILED")
    assert "supervisor" in world.job("a").error_message
    assert world.launcher.swept == [world.attempt_dir("a")]


def test_a_job_that_ran_where_its_home_lay_before_fails_and_says_so(world: World) -> None:
    world.run("a")
    world.launcher.now(Phase.LOST, ran_in="/old/jobs/u/1")
    world.until("a", "FAILED")
    said = world.job("a").error_message
    assert "ran in /old/jobs/u/1" in said and "moved or copied" in said and "killed" not in said


def test_a_cancelled_job_never_succeeds(world: World) -> None:
    world.run("a")
    world.jobs.cancel(P, "a")
    assert world.state("a") == "CANCELLING"
    world.reconciler.tick()
    assert world.launcher.cancelled == [world.attempt_dir("a")]
    world.launcher.ends(Outcome.SUCCEEDED)  # it had ended before the signal came
    world.until("a", "CANCELLED")
    assert world.job("a").error_message == "The job was cancelled by its user."


def test_a_job_says_what_it_has_consumed_while_it_runs_and_when_it_is_cancelled(
    world: World,
) -> None:
    def hours() -> float:
        output = world.jobs.view(world.store.job(P, "a")).training_output
        return output.consumed_m_l_units if output else 0.0

    world.run("a")
    started = world.clock.now().timestamp()
    world.attempt_dir("a").mkdir(parents=True, exist_ok=True)
    (world.attempt_dir("a") / "started.json").write_text(json.dumps({"time": started}))
    etag = world.job("a").etag
    assert hours() == 0.0
    world.clock.pass_s(1800.0)
    assert hours() == 0.5
    assert world.job("a").etag == etag  # nothing was written for that
    world.jobs.cancel(P, "a")
    assert hours() == 0.5
    world.launcher.ends(Outcome.CANCELLED, ran_s=3600.0)
    world.until("a", "CANCELLED")
    assert world.job("a").training_output == TrainingOutput(consumed_m_l_units=1.0)
    assert hours() == 1.0


def test_a_queued_job_is_cancelled_without_a_start(world: World) -> None:
    world.submit("a")
    world.jobs.cancel(P, "a")
    world.until("a", "CANCELLED")
    assert world.launcher.specs == {}


def test_a_job_cancelled_while_it_is_prepared_never_starts(world: World) -> None:
    world.kind.gate.clear()
    world.submit("a")
    wait_until(lambda: (world.reconciler.tick(), bool(world.kind.prepared))[1], 60)
    world.jobs.cancel(P, "a")
    world.reconciler.tick()
    assert world.state("a") == "CANCELLING"
    world.kind.gate.set()
    world.until("a", "CANCELLED")
    assert world.launcher.specs == {}


def test_cancelling_a_finished_job_changes_nothing(world: World) -> None:
    world.run("a")
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")
    world.jobs.cancel(P, "a")
    assert world.state("a") == "SUCCEEDED"


def test_a_time_limit_ends_as_cancelled(world: World) -> None:
    world.run("a")
    world.launcher.ends(Outcome.TIMED_OUT, "The job ran longer than its maxRunningTime.")
    world.until("a", "CANCELLED")
    assert "maxRunningTime" in world.job("a").error_message


def test_waiting_too_long_ends_as_cancelled_on_the_monotonic_clock(world: World) -> None:
    world.max_running = 0
    world.restart()
    world.submit("a", max_wait_time="1800s")
    world.reconciler.expire_waiting()
    world.clock.jump_s(86_400)  # somebody set the clock: nothing may come of it
    world.reconciler.expire_waiting()
    assert world.state("a") == "QUEUED"
    world.clock.pass_s(1801)
    world.reconciler.expire_waiting()
    world.until("a", "CANCELLED")
    assert "maxWaitTime" in world.job("a").error_message


def test_slots_are_kept_and_priority_goes_first(world: World) -> None:
    world.kind.gate.clear()
    for job_id, priority in (("low", 0), ("high", 9), ("middle", 5)):
        world.submit(job_id, priority=priority)
    wait_until(lambda: (world.reconciler.tick(), len(world.kind.prepared) == 2)[1], 60)
    world.reconciler.tick()
    assert sorted(world.kind.prepared) == ["high", "middle"]
    assert world.state("low") == "QUEUED"


def test_a_queued_job_knows_its_place(world: World) -> None:
    for job_id, priority in (("low", 0), ("high", 9), ("low_too", 0)):
        world.submit(job_id, priority=priority)
    view = {j: world.jobs.view(world.store.job(P, j)) for j in ("high", "low", "low_too")}
    assert [job.job_position for job in view.values()] == [1, 2, 3]
    listed = world.jobs.list_view()
    assert [listed(world.store.job(P, j)).job_position for j in view] == [1, 2, 3]
    world.jobs.cancel(P, "high")
    assert world.jobs.list_view()(world.store.job(P, "high")).job_position == 0
    assert world.jobs.view(world.store.job(P, "low")).job_position == 1
    assert world.jobs.view(world.store.job(P, "high")).job_position == 0


def test_an_engine_that_died_while_preparing_prepares_again(world: World) -> None:
    world.submit("a")
    record = world.store.job(P, "a")
    assert world.store.move_job(record, JobState.PREPARING, attempt=1)
    world.until_started("a")
    assert world.kind.prepared == ["a"]
    assert world.store.job(P, "a").attempt == 1


def test_a_running_job_is_adopted_by_the_next_engine(world: World) -> None:
    world.run("a")
    world.restart()
    world.reconciler.tick()
    assert world.state("a") == "RUNNING"
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")
    assert world.kind.prepared == ["a"]


def test_live_outputs_are_shown_while_a_job_runs(world: World) -> None:
    world.run("a")
    world.kind.live = {"training_output": TrainingOutput(completed_trial_count=3)}
    world.reconciler.tick()
    assert world.job("a").training_output == TrainingOutput(completed_trial_count=3)


def test_an_id_is_used_up_for_ever_and_the_error_names_a_free_one(world: World) -> None:
    world.submit("a")
    world.submit("a_2")
    with pytest.raises(AlreadyExists, match="'a_3'"):
        world.submit("a_2")
    with pytest.raises(AlreadyExists, match="'a_3'") as caught:
        world.submit("a")
    assert caught.value.field == "job.job_id"


def test_an_id_whose_thousand_followers_are_taken_needs_another_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit("a_2")
    taken = world.store.job(P, "a_2")
    monkeypatch.setattr(world.store, "job", lambda project, job_id: taken)
    with pytest.raises(AlreadyExists, match="'a_3' to 'a_1001': choose another name than 'a'"):
        world.submit("a_2")


def test_fifty_creates_of_one_id_make_one_job(world: World) -> None:
    made: list[Job] = []
    refused: list[AlreadyExists] = []
    start = threading.Barrier(50)

    def create() -> None:
        start.wait()
        try:
            made.append(world.submit("a"))
        except AlreadyExists as error:
            refused.append(error)

    threads = [threading.Thread(target=create) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 49)


def test_a_bad_job_leaves_nothing_behind(world: World) -> None:
    with pytest.raises(InvalidArgument, match="No such module"):
        world.jobs.create(P, Job(job_id="a", training_input=TrainingInput(python_module="bad")))
    with pytest.raises(NotFound):
        world.store.job(P, "a")
    assert not (world.home / "jobs").exists()


def test_a_job_that_does_not_exist_is_named_with_its_neighbour(world: World) -> None:
    world.submit("census_1")
    with pytest.raises(NotFound, match="Did you mean 'census_1'"):
        world.jobs.record(P, "census1")


def test_labels_are_replaced_whole_and_the_etag_is_checked(world: World) -> None:
    job = world.submit("a")
    update = world.jobs.update
    changed = update(P, "a", Job(labels={"x": "y"}), update_mask="labels")
    assert changed.labels == {"x": "y"}
    assert changed.etag != job.etag
    with pytest.raises(Aborted, match="etag"):
        update(P, "a", Job(etag=job.etag, labels={}), update_mask="labels,etag")
    assert update(P, "a", Job(etag=changed.etag), update_mask="etag,labels").labels == {}
    with pytest.raises(InvalidArgument, match="cannot be updated"):
        update(P, "a", Job(), update_mask="state")
    sent_none = update(P, "a", Job(labels={"x": "z"}), update_mask="labels,etag")
    assert sent_none.labels == {"x": "z"}


def test_of_two_changes_with_one_etag_the_second_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = world.submit("a").etag
    edit = world.store.edit_job

    def overtaken(*arguments: Any, **more: Any) -> JobRecord:
        """Let somebody else be first, at the last moment."""
        monkeypatch.setattr(world.store, "edit_job", edit)
        world.jobs.update(P, "a", Job(etag=etag, labels={"n": "1"}), update_mask="labels,etag")
        return edit(*arguments, **more)

    monkeypatch.setattr(world.store, "edit_job", overtaken)
    with pytest.raises(Aborted, match="etag"):
        world.jobs.update(P, "a", Job(etag=etag, labels={"n": "2"}), update_mask="labels,etag")
    assert world.job("a").labels == {"n": "1"}


def test_who_waits_for_log_lines_is_let_go_at_the_end(world: World) -> None:
    world.run("a")
    _entries, cursor, finished = world.jobs.read_logs(P, "a", cursor="", task_name="", wait_s=0)
    assert not finished
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")
    entries, cursor, finished = world.jobs.read_logs(P, "a", cursor=cursor, task_name="", wait_s=30)
    assert [e.message for e in entries] == ["Job completed successfully."]
    _entries, _cursor, finished = world.jobs.read_logs(
        P, "a", cursor=cursor, task_name="", wait_s=30
    )
    assert finished


def test_closing_lets_waiting_readers_go(world: World) -> None:
    world.submit("a")
    _entries, cursor, _finished = world.jobs.read_logs(P, "a", cursor="", task_name="", wait_s=0)
    world.jobs.close()
    entries, _cursor, finished = world.jobs.read_logs(
        P, "a", cursor=cursor, task_name="", wait_s=30
    )
    assert (list(entries), finished) == ([], False)


# --- attempts ---


def killed(world: World) -> None:
    replica = ReplicaExit(task="master-replica-0", role="master", index=0, signal=9)
    world.launcher.ends(Outcome.FAILED, "The replica master 0 was killed.", replicas=[replica])


def until_retried(world: World, attempt: int) -> None:
    def there() -> bool:
        world.reconciler.tick()
        return world.store.job(P, "a").attempt == attempt

    wait_until(there, 60)
    world.until_started("a")


def test_nothing_is_started_again_unless_asked(world: World) -> None:
    world.run("a")
    killed(world)
    world.until("a", "FAILED")
    assert world.job("a").error_message == "The replica master 0 was killed."


def test_a_killed_job_is_started_again_after_its_pause(world: World) -> None:
    world.max_retries = 1
    world.restart()
    world.run("a")
    killed(world)
    world.reconciler.tick()
    world.reconciler.tick()
    world.clock.pass_s(9.9)
    world.reconciler.tick()
    assert (world.state("a"), world.store.job(P, "a").attempt) == ("RUNNING", 1)
    world.clock.pass_s(0.2)
    until_retried(world, 2)
    assert world.launcher.specs[world.attempt_dir("a")].attempt == 2
    world.launcher.now(Phase.RUNNING)
    world.reconciler.tick()
    details = world.job("a").details
    line = "Attempt 1 of 2: master 0 was killed by SIGKILL; starting again in 10 s."
    assert details and (details.attempt, details.warnings) == (2, ["Old.", line])
    killed(world)
    world.until("a", "FAILED")
    assert world.job("a").error_message == "The replica master 0 was killed. This was attempt 2."
    assert world.lines("a").count(line) == 1


def test_a_retry_is_told_once_though_the_engine_dies_in_between(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.max_retries = 1
    world.restart()
    world.run("a")
    line = "Attempt 1 of 2: master 0 was killed by SIGKILL; starting again in 10 s."

    def die(*_arguments: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr("mlengine.training.notes.write_retry_note", die)
        killed(world)
        world.reconciler.tick()
        assert world.lines("a").count(line) == 1, "it is told before it is decided"
    world.restart()
    world.reconciler.tick()
    world.clock.pass_s(10.1)
    until_retried(world, 2)
    assert world.lines("a").count(line) == 1


def _hours(world: World) -> float:
    """What the job is said to have consumed."""
    output = world.jobs.view(world.store.job(P, "a")).training_output
    return output.consumed_m_l_units if output else 0.0


def _until_second(world: World) -> None:
    """Bring a job to its second attempt; the first ran half an hour."""
    world.max_retries = 1
    world.restart()
    world.run("a")
    (world.attempt_dir("a") / "exit.json").write_text('{"started": 0.0, "ended": 1800.0}')
    killed(world)
    world.reconciler.tick()
    world.reconciler.tick()
    assert _hours(world) == 0.5
    world.clock.pass_s(10.1)


def test_what_a_job_consumes_grows_over_its_attempts(world: World) -> None:
    _until_second(world)
    until_retried(world, 2)
    assert _hours(world) == 0.5
    started = world.clock.now().timestamp()
    (world.attempt_dir("a") / "started.json").write_text(json.dumps({"time": started}))
    world.clock.pass_s(900.0)
    assert _hours(world) == 0.75
    world.jobs.cancel(P, "a")
    world.launcher.ends(Outcome.CANCELLED, ran_s=3600.0)
    world.until("a", "CANCELLED")
    assert world.job("a").training_output == TrainingOutput(consumed_m_l_units=1.5)


def test_an_attempt_that_is_never_made_keeps_the_bill_of_those_before_it(world: World) -> None:
    _until_second(world)
    world.kind.error = FailedPrecondition("The package is gone.", "Upload it again.")
    world.until("a", "FAILED")
    assert world.job("a").error_message.startswith("The package is gone.")
    assert _hours(world) == 0.5


def test_an_attempt_that_is_lost_keeps_the_bill_of_those_before_it(world: World) -> None:
    _until_second(world)
    until_retried(world, 2)
    world.launcher.now(Phase.LOST)
    world.until("a", "FAILED")
    assert _hours(world) == 0.5


def test_a_job_is_tidied_once_it_is_over_and_not_before_another_attempt(world: World) -> None:
    _until_second(world)
    until_retried(world, 2)
    assert world.kind.tidied == []
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")
    wait_until(lambda: bool(world.kind.tidied))
    assert world.kind.tidied == [("SUCCEEDED", world.attempt_dir("a").parent)]


def test_a_dead_supervisor_is_retried_after_a_sweep(world: World) -> None:
    world.max_retries = 1
    world.restart()
    world.run("a")
    first = world.attempt_dir("a")
    world.launcher.now(Phase.LOST)
    world.reconciler.tick()
    assert world.launcher.swept == [first]
    world.reconciler.tick()
    world.clock.pass_s(10.1)
    until_retried(world, 2)
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")


def test_a_job_whose_machine_is_shut_down_is_started_again(world: World) -> None:
    world.max_retries = 1
    world.restart()
    world.run("a")
    world.launcher.ends(Outcome.CANCELLED, "The job was cancelled.")
    world.reconciler.tick()
    line = "Attempt 1 of 2: its supervisor was told to end; starting again in 10 s."
    assert line in world.lines("a")
    world.reconciler.tick()
    world.clock.pass_s(10.1)
    until_retried(world, 2)
    world.launcher.ends(Outcome.CANCELLED, "The job was cancelled.")
    world.until("a", "FAILED")
    assert "told to end" in world.job("a").error_message


def test_a_cancel_request_that_an_attempt_has_seen_is_a_cancel(world: World) -> None:
    world.max_retries = 1
    world.restart()
    world.run("a")
    (world.attempt_dir("a") / "cancel").touch()
    world.launcher.ends(Outcome.CANCELLED, "The job was cancelled.")
    world.until("a", "CANCELLED")


@pytest.mark.parametrize("restarted", [False, True])
def test_all_attempts_share_one_time_limit(world: World, *, restarted: bool) -> None:
    world.max_retries, world.kind.limit_s = 2, 100.0
    world.restart()
    world.submit("a", max_running_time="100s")
    world.until_started("a")
    assert world.launcher.specs[world.attempt_dir("a")].max_running_s == 100.0
    world.launcher.now(Phase.RUNNING)
    world.until("a", "RUNNING")
    world.clock.pass_s(60.0)
    if restarted:
        world.restart()
    for attempt, passed_s, left_s in ((2, 15.0, 25.0), (3, 30.0, 0.0)):
        killed(world)
        world.reconciler.tick()
        world.reconciler.tick()
        world.clock.pass_s(passed_s)  # the pause is part of it
        until_retried(world, attempt)
        found = world.launcher.specs[world.attempt_dir("a")].max_running_s
        assert found == pytest.approx(left_s, abs=0.01)
        world.launcher.now(Phase.RUNNING)
        world.reconciler.tick()
    world.launcher.ends(Outcome.TIMED_OUT, "The job ran longer than its maxRunningTime of 0s.")
    world.until("a", "CANCELLED")
    assert "maxRunningTime of 100s, its 3 attempts" in world.job("a").error_message


def test_a_job_may_say_itself_how_often(world: World) -> None:
    world.max_retries = 5
    world.restart()
    spec = TrainingInput(python_module="trainer.task", region="local")
    world.jobs.create(P, Job(job_id="a", training_input=spec, options=JobOptions(max_retries=0)))
    world.until_started("a")
    killed(world)
    world.until("a", "FAILED")


@pytest.mark.parametrize("jump_s", [-86_400.0, -3600.0, 3600.0, 86_400.0])
def test_a_pause_is_deaf_to_a_wall_clock_that_jumps(world: World, jump_s: float) -> None:
    world.max_retries = 1
    world.restart()
    world.run("a")
    killed(world)
    world.reconciler.tick()
    world.reconciler.tick()
    world.clock.jump_s(jump_s)
    world.clock.pass_s(9.9)
    world.reconciler.tick()
    assert world.store.job(P, "a").attempt == 1
    world.clock.pass_s(0.2)
    until_retried(world, 2)


def test_a_pause_outlives_the_engine(world: World) -> None:
    world.max_retries = 1
    world.restart()
    world.run("a")
    killed(world)
    world.reconciler.tick()
    world.clock.pass_s(6.0)
    world.restart()
    world.reconciler.tick()
    world.clock.pass_s(3.9)
    world.reconciler.tick()
    assert world.store.job(P, "a").attempt == 1
    world.clock.pass_s(0.2)
    until_retried(world, 2)


def test_a_cancel_during_the_pause_ends_the_job_at_once(world: World) -> None:
    world.max_retries = 3
    world.restart()
    world.run("a")
    killed(world)
    world.reconciler.tick()
    world.jobs.cancel(P, "a")
    world.until("a", "CANCELLED")
    assert len(world.launcher.specs) == 1


def test_an_engine_that_died_between_attempts_prepares_the_next(world: World) -> None:
    world.max_retries = 1
    world.run("a")
    record = world.store.job(P, "a")
    assert world.store.move_job(record, JobState.RUNNING, attempt=2)
    world.restart()
    world.until_started("a")
    assert world.kind.prepared == ["a", "a"]
    world.launcher.now(Phase.RUNNING)
    world.reconciler.tick()
    details = world.job("a").details
    assert details and details.attempt == 2


# --- what the machine has ---


def test_a_job_that_can_never_fit_is_refused_with_what_is_there(world: World) -> None:
    world.demands["a"] = Demand(gpus=2)
    with pytest.raises(ResourceExhausted, match=r"2 GPUs exceeds .*: 0 \(0 free") as caught:
        world.submit("a")
    assert caught.value.field == "job.training_input.scale_tier"
    with pytest.raises(NotFound):
        world.store.job(P, "a")


def test_gpus_are_held_by_one_job_and_survive_the_engine(world: World) -> None:
    world.inventory = Inventory(cpus=4.0, memory_bytes=8 << 30, gpus=("0", "1", "2"))
    world.max_running = 4
    world.restart()
    world.demands = {"a": Demand(gpus=2), "b": Demand(gpus=1), "c": Demand(gpus=2)}
    for job_id in ("a", "b"):
        world.submit(job_id)
        world.until_started(job_id)
    assert world.kind.gpus == {"a": ("0", "1"), "b": ("2",)}
    world.submit("c")
    world.restart()
    world.reconciler.tick()
    assert world.state("c") == "QUEUED"
    world.launcher.ends(Outcome.SUCCEEDED, attempt_dir=world.attempt_dir("a"))
    world.until("a", "SUCCEEDED")
    world.until_started("c")
    assert world.kind.gpus["c"] == ("0", "1")


@pytest.mark.parametrize("lacking", ["gpus", "a node"])
def test_however_many_wait_for_what_is_away_they_hold_up_nobody(world: World, lacking: str) -> None:
    world.inventory = Inventory(cpus=4.0, memory_bytes=8 << 30, gpus=("0",))
    world.max_running = 4
    world.restart()
    world.capacity.varies = True
    waiting = [f"waits{number}" for number in range(70)]
    world.demands = dict.fromkeys(
        ("first", *waiting), Demand(gpus=1) if lacking == "gpus" else Demand(cpus=4.0, strict=True)
    )
    if lacking == "gpus":
        world.run("first")
    for job_id in (*waiting, "behind"):
        world.submit(job_id)
    if lacking == "a node":
        world.capacity.resize(Inventory(cpus=2.0, memory_bytes=8 << 30), world.max_running)
    world.until_started("behind")
    assert {world.state(job_id) for job_id in waiting} == {"QUEUED"}


def test_a_wide_job_is_not_overtaken(world: World) -> None:
    world.demands["wide"] = Demand(replicas=8)
    world.run("first")
    world.submit("wide")
    world.submit("small")
    world.reconciler.tick()
    assert [world.state(j) for j in ("wide", "small")] == ["QUEUED", "QUEUED"]
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("first", "SUCCEEDED")
    world.until_started("wide")
    assert world.state("small") == "QUEUED"


def test_a_machine_that_shrank_fails_what_can_never_run_and_goes_on(world: World) -> None:
    world.inventory = Inventory(cpus=4.0, memory_bytes=8 << 30)
    world.restart()
    world.demands["big"] = Demand(cpus=4.0, strict=True)
    world.submit("big", priority=9)
    world.submit("small")
    world.inventory = Inventory(cpus=2.0, memory_bytes=8 << 30)
    world.restart()
    world.until("big", "FAILED")
    assert "4 CPUs exceeds what there is for jobs: 2" in world.job("big").error_message
    world.until_started("small")


def test_a_job_waits_for_a_node_that_went_away_and_holds_nobody_up(world: World) -> None:
    large, small = (Inventory(cpus=cpus, memory_bytes=8 << 30) for cpus in (4.0, 2.0))
    world.inventory = large
    world.restart()
    world.capacity.varies = True
    world.demands["big"] = Demand(cpus=4.0, strict=True)
    world.submit("big", priority=9)
    world.capacity.resize(small, world.max_running)
    world.run("small")
    assert world.state("big") == "QUEUED"
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("small", "SUCCEEDED")
    world.capacity.resize(large, world.max_running)
    world.until_started("big")


def test_an_over_committed_tier_says_so(world: World) -> None:
    world.demands["a"] = Demand(replicas=8, cpus=52.0, memory_bytes=81 << 30)
    spec = TrainingInput(python_module="t.task", region="local", scale_tier="STANDARD_1")
    created = world.jobs.create(P, Job(job_id="a", training_input=spec))
    said = (
        "The job asks for 52 CPUs, 81.0 GiB of memory and no GPU; this machine has 2 CPUs, "
        "8.0 GiB of memory and no GPU: it is over-committed."
    )
    assert created.details and created.details.warnings == [said]
    assert said in world.lines("a")


def test_a_tier_that_fits_or_that_nobody_chose_is_not_warned_of(world: World) -> None:
    world.demands["a"] = Demand(cpus=4.0)
    created = world.submit("a")
    world.demands["b"] = Demand(cpus=2.0)
    spec = TrainingInput(python_module="t.task", region="local", scale_tier="STANDARD_1")
    other = world.jobs.create(P, Job(job_id="b", training_input=spec))
    assert created.details is other.details is None


def test_what_was_said_when_it_was_created_is_kept_and_not_said_again(world: World) -> None:
    spec = TrainingInput(python_module="t.task", region="local", runtime_version="0.1")
    created = world.jobs.create(P, Job(job_id="a", training_input=spec))
    assert created.details and created.details.warnings == ["Old."]
    world.until_started("a")
    world.launcher.now(Phase.RUNNING)
    world.until("a", "RUNNING")
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")
    details = world.job("a").details
    assert details and details.warnings == ["Old."] and details.environment_seconds == 1.25
    assert world.lines("a").count("Old.") == 1


def test_a_job_tells_where_its_time_went(world: World) -> None:
    world.submit("a")
    world.clock.pass_s(3.5)
    world.until_started("a")
    folder = world.attempt_dir("a")
    began = world.clock.now().timestamp()
    (folder / "started.json").write_text(json.dumps({"time": began + 0.25, "replicas": []}))
    world.launcher.now(Phase.RUNNING)
    world.until("a", "RUNNING")
    world.restart()
    world.launcher.ends(Outcome.SUCCEEDED, ran_s=36.0)
    world.until("a", "SUCCEEDED")
    assert world.job("a").details == JobDetails(
        runtime="local",
        environment_hit=True,
        environment_seconds=1.25,
        attempt=1,
        queue_seconds=3.5,
        start_seconds=0.25,
        run_seconds=36.0,
        warnings=["Old."],
    )


def test_keeping_what_a_job_made_is_told_apart_from_judging_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = world.kind.collect

    def collected(*given: Any) -> dict[str, Any]:
        world.clock.pass_s(10.0)
        return {**collect(*given), "judge_seconds": 7.5}

    monkeypatch.setattr(world.kind, "collect", collected)
    world.run("a")
    world.launcher.ends(Outcome.SUCCEEDED)
    world.until("a", "SUCCEEDED")
    details = world.job("a").details
    assert details and (details.upload_seconds, details.judge_seconds) == (2.5, 7.5)


@pytest.mark.parametrize("jump_s", [-86_400.0, -3600.0, 3600.0, 86_400.0])
def test_a_clock_that_jumps_neither_ends_nor_keeps_a_job(world: World, jump_s: float) -> None:
    world.run("runs")
    world.submit("waits", max_wait_time="1800s", priority=0)
    world.until_started("waits")
    world.submit("queued", max_wait_time="1800s")
    world.reconciler.expire_waiting()
    world.clock.jump_s(jump_s)
    world.reconciler.tick()
    world.reconciler.expire_waiting()
    states = [world.state(job_id) for job_id in ("runs", "waits", "queued")]
    assert states == ["RUNNING", "PREPARING", "QUEUED"]
    world.clock.pass_s(1801.0)
    world.reconciler.tick()
    world.reconciler.expire_waiting()
    states = [world.state(job_id) for job_id in ("runs", "waits", "queued")]
    assert states == ["RUNNING", "CANCELLING", "CANCELLING"]


# --- an object store that is away ---------------------------------------------------------------


def test_a_job_is_not_believed_before_its_files_are_where_they_belong(world: World) -> None:
    world.run("a")
    world.kind.collect_error = NotYet("The store is away.", "Wait.")
    world.launcher.ends(Outcome.SUCCEEDED)
    wait_until(lambda: _said(world, "a", "The store is away. It is tried again."))
    assert world.state("a") == "RUNNING"
    world.kind.collect_error = None
    world.clock.pass_s(3.0)
    world.until("a", "SUCCEEDED")
    assert world.lines("a").count("The store is away. It is tried again.") == 1


def test_a_job_does_not_wait_for_a_store_for_ever(world: World) -> None:
    world.run("a")
    world.kind.collect_error = NotYet("The store is away.", "Its files are here.")
    world.launcher.ends(Outcome.SUCCEEDED)
    wait_until(lambda: _said(world, "a", "The store is away. It is tried again."))
    world.clock.pass_s(3601.0)
    world.until("a", "FAILED")
    assert world.job("a").error_message == "The store is away. Its files are here."


def test_a_job_whose_packages_cannot_be_read_now_starts_later(world: World) -> None:
    world.kind.error = NotYet("The store is away.", "Wait.")
    world.submit("a")
    wait_until(lambda: _said(world, "a", "The store is away. It is tried again."))
    assert world.state("a") == "PREPARING"
    world.kind.error = None
    world.clock.pass_s(3.0)
    world.until_started("a")


def test_a_store_that_is_away_again_has_its_hour_anew(world: World) -> None:
    world.kind.error = NotYet("The store is away.", "Wait.")
    world.submit("a")
    wait_until(lambda: _said(world, "a", "The store is away. It is tried again."))
    world.kind.error = None
    world.clock.pass_s(3.0)
    world.until_started("a")
    world.launcher.now(Phase.RUNNING)
    world.until("a", "RUNNING")
    world.clock.pass_s(7200.0)
    world.kind.collect_error = NotYet("The store is away again.", "Wait.")
    world.launcher.ends(Outcome.SUCCEEDED)
    wait_until(lambda: _said(world, "a", "The store is away again. It is tried again."))
    assert world.state("a") == "RUNNING"
    world.kind.collect_error = None
    world.clock.pass_s(3.0)
    world.until("a", "SUCCEEDED")


def test_a_job_that_waits_for_a_store_can_be_cancelled(world: World) -> None:
    world.run("a")
    world.kind.collect_error = NotYet("The store is away.", "Wait.")
    world.launcher.ends(Outcome.SUCCEEDED)
    wait_until(lambda: _said(world, "a", "The store is away. It is tried again."))
    world.jobs.cancel(P, "a")
    world.clock.pass_s(3.0)
    world.until("a", "CANCELLED")


def test_a_stopped_trial_waits_for_its_store_and_keeps_what_it_measured(world: World) -> None:
    _stop_trial(world)
    world.kind.collect_error = NotYet("The store is away.", "Wait.")
    world.launcher.ends(Outcome.CANCELLED)
    wait_until(lambda: _trial_said(world, "The store is away. It is tried again."))
    world.reconciler.tick()
    assert world.state("t/1") == "CANCELLING"
    world.kind.collect_error = None
    world.kind.outputs = {"error_message": "Its model is damaged.", "warnings": ["It swapped."]}
    world.reconciler.tick()
    assert world.state("t/1") == "CANCELLING"  # the pause is not over
    world.clock.pass_s(3.0)
    world.until("t/1", "CANCELLED")
    job = world.job("t/1")
    assert job.error_message == "Stopped early: below the median."
    assert job.training_output == TrainingOutput(consumed_m_l_units=1.5)
    assert job.details and job.details.run_seconds == 36.0
    assert job.details.warnings == ["Old.", "It swapped.", "Its model is damaged."]
    said = _trial_log(world)
    for line in ("The store is away. It is tried again.", *job.details.warnings):
        assert said.count(line) == 1, said


@pytest.mark.parametrize(
    ("error", "passing_s"),
    [
        (FailedPrecondition("The bucket is gone.", "Make it again."), 0.0),
        (NotYet("The store is away.", "Its files are here."), 3601.0),
    ],
)
def test_a_stopped_trial_ends_though_nothing_of_it_can_be_had(
    world: World, error: EngineError, passing_s: float
) -> None:
    world.kind.live = {"training_output": TrainingOutput(completed_trial_count=3)}
    _stop_trial(world)
    world.kind.collect_error = error
    world.launcher.ends(Outcome.CANCELLED, ran_s=3600.0)
    if passing_s:
        wait_until(lambda: _trial_said(world, "The store is away. It is tried again."))
        world.clock.pass_s(passing_s)
    world.until("t/1", "CANCELLED")
    job = world.job("t/1")
    assert job.error_message == "Stopped early: below the median."
    assert job.details and job.details.warnings[-1] == str(error)
    assert job.training_output and job.training_output.completed_trial_count == 3
    assert job.training_output.consumed_m_l_units > 0.0
    assert _trial_log(world)[-2:] == [str(error), "Trial was stopped early."]


@pytest.mark.parametrize(
    ("message", "severity", "line"),
    [
        ("Stopped early: below the median.", "INFO", "Trial was stopped early."),
        ("The tuning job is over.", "WARNING", "Trial was cancelled."),
    ],
)
def test_the_end_of_a_stopped_trial_is_told_as_what_it_is(
    world: World, message: str, severity: str, line: str
) -> None:
    _stop_trial(world, message)
    world.launcher.ends(Outcome.CANCELLED, "The job was cancelled.")
    world.until("t/1", "CANCELLED")
    last = json.loads(_trial_lines(world)[-1])
    assert (last["severity"], last["message"]) == (severity, line)


def _stop_trial(world: World, message: str = "Stopped early: below the median.") -> None:
    """Bring a trial of a tuning job to RUNNING, and ask for its end."""
    spec = TrainingInput(python_module="trainer.task", region="local")
    job = Job(job_id="t/1", training_input=spec, create_time="2018-03-02T06:50:06Z", state="QUEUED")
    world.store.add_job(P, job, uid="t-1", parent="t")
    world.until_started("t/1")
    world.launcher.now(Phase.RUNNING)
    world.until("t/1", "RUNNING")
    world.reconciler.tick()  # takes what it has measured by now
    record = world.store.job(P, "t/1")
    assert world.store.move_job(record, JobState.CANCELLING, error_message=message)


def _trial_lines(world: World) -> list[str]:
    return (world.home / "jobs" / "t-1" / "service.log.jsonl").read_text().splitlines()


def _trial_log(world: World) -> list[str]:
    return [json.loads(line)["message"] for line in _trial_lines(world)]


def _trial_said(world: World, line: str) -> bool:
    world.reconciler.tick()
    return line in _trial_log(world)


def _said(world: World, job_id: str, line: str) -> bool:
    world.reconciler.tick()
    return line in world.lines(job_id)
