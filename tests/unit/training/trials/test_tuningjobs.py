"""Tuning jobs over a real store and the real reconciler; launcher, trainer and clock are played."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlengine.core.errors import FailedPrecondition, InvalidArgument, Unavailable
from mlengine.core.resources import Job, JobOptions, Scheduling, TrainingInput, TrainingOutput
from mlengine.core.states import JobState, StudyState, TrialState
from mlengine.core.studies import Measurement
from mlengine.runtime import attemptfiles
from mlengine.store import JobRecord, TrialRecord
from mlengine.training.admission import Demand
from mlengine.training.capacity import Capacity
from mlengine.training.jobs import folder_of
from mlengine.training.launchers import ExitRecord, Outcome, Phase
from mlengine.training.reconciler import JobReconciler
from mlengine.training.retrying import Retrying
from mlengine.training.trials import tuningjobs
from mlengine.training.trials.books import TuningBooks
from mlengine.training.trials.children import base_input, trial_output
from mlengine.training.trials.lifecycle import UNKNOWN_FLAG
from mlengine.training.trials.tuningjobs import TuningJobs
from mlengine.tuning.problem import Goal, Problem, Tried
from mlengine.tuning.search import How, Suggestion
from mlengine.tuning.stopping import Curve, Verdict
from tests.unit.training.test_reconciler import P, PlayedKind, World
from tests.waiting import wait_until

PARAMETERS = [{"parameterName": "x", "type": "DOUBLE", "minValue": 0, "maxValue": 1}]

CATEGORY = {"parameterName": "x", "type": "CATEGORICAL", "categoricalValues": ["a", "b"]}


class Measuring(PlayedKind):
    """Measures what a test says, by trial."""

    def __init__(self) -> None:
        super().__init__()
        self.points: dict[str, list[tuple[int, float]]] = {}
        self.wrong: dict[str, str] = {}
        self.cut: set[str] = set()

    def collect(
        self, record: JobRecord, attempt_dir: Path, exit_record: ExitRecord
    ) -> dict[str, Any]:
        output = TrainingOutput(consumed_m_l_units=1.5, trials=[self._measured(record)])
        return {"training_output": output, "error_message": self.wrong.get(record.job_id, "")}

    def progress(self, record: JobRecord, attempt_dir: Path) -> dict[str, Any]:
        return {"training_output": TrainingOutput(trials=[self._measured(record)])}

    def _measured(self, record: JobRecord) -> dict[str, Any]:
        points = self.points.get(record.job_id, [])
        return trial_output(record, points, cut=record.job_id in self.cut)


class Study(World):
    """A world with an advisor that counts upwards: 0.01, 0.02, …"""

    def __init__(self, home: Path) -> None:
        self.asked: list[int] = []
        self.seen: list[Sequence[Tried]] = []
        self.most = 10_000
        self.trouble: Exception | None = None
        super().__init__(home, max_running=4)
        self.kind = Measuring()
        self.jobs._kinds = {"training": self.kind}
        self.restart()

    def advise(
        self, search: str, problem: Problem, history: Sequence[Tried], count: int
    ) -> list[Suggestion]:
        if self.trouble:
            raise self.trouble
        self.asked.append(count)
        self.seen.append(history)
        first = max((t.number for t in history), default=0) + 1
        last = min(first + count - 1, self.most)
        return [
            Suggestion(point={"x": n / 100}, how=How.MODEL, mean=0.5, spread=0.1)
            for n in range(first, last + 1)
        ]

    def engine(self) -> JobReconciler:
        self.capacity = Capacity(
            self.inventory, self.max_running,
            demand_of=lambda job: Demand(),
            folder_of=partial(folder_of, self.home / "jobs"),
        )  # fmt: skip
        return JobReconciler(
            self.store, self.launcher, {"training": self.kind}, self.home / "jobs",
            clock=self.clock, capacity=self.capacity,
            retrying=Retrying(self.clock, max_retries=self.max_retries, backoff_s=10.0),
            tuning=TuningJobs(
                self.store, self.home / "jobs", clock=self.clock, advise=self.advise
            ),
        )  # fmt: skip

    def tune(self, job_id: str = "t", options: JobOptions | None = None, **asked: Any) -> None:
        given = {"hyperparameterMetricTag": "auc", "params": PARAMETERS, **asked}
        spec = TrainingInput(
            python_module="trainer.task", region="local", args=["--data", "d"],
            job_dir="gs://b/t/", hyperparameters=given,
            scheduling=Scheduling(max_wait_time="1800s", max_running_time="7200s", priority=7),
        )  # fmt: skip
        job = Job(job_id=job_id, training_input=spec, labels={"who": "me"}, options=options)
        self.jobs.create(P, job)

    def turn(self, until: Any) -> None:
        """Tick until something is so."""

        def ticked() -> bool:
            self.reconciler.tick()
            return bool(until())

        wait_until(ticked, 60)

    def children(self, job_id: str = "t") -> dict[str, JobRecord]:
        return {c.job_id: c for c in self.store.children(self.store.job(P, job_id))}

    def trials(self, job_id: str = "t") -> list[TrialRecord]:
        study = self.store.study_of(self.store.job(P, job_id).uid)
        return list(self.store.trials(study)) if study else []

    def running(self, *child_ids: str) -> None:
        """Let children be RUNNING."""
        self.turn(lambda: set(child_ids) <= set(self.kind.prepared))
        for child_id in child_ids:
            self.turn(lambda c=child_id: self.launcher.specs.get(self.attempt_dir(c)))
            self.launcher.now(Phase.RUNNING, attempt_dir=self.attempt_dir(child_id))
        states = {JobState.RUNNING}
        self.turn(lambda: {self.store.job(P, c).state for c in child_ids} <= states)

    def ends(self, child_id: str, value: float | None = None, *, wrong: str = "") -> None:
        """Let a child end; with a value it has measured that."""
        if value is not None:
            self.kind.points[child_id] = [*self.kind.points.get(child_id, []), (9, value)]
        if wrong:
            self.kind.wrong[child_id] = wrong
        outcome = Outcome.FAILED if wrong else Outcome.SUCCEEDED
        self.exit(child_id, outcome, message=wrong)
        self.turn(lambda: self.store.job(P, child_id).state.terminal)

    def exit(self, child_id: str, outcome: Outcome, *, message: str = "") -> None:
        folder = self.attempt_dir(child_id)
        self.launcher.ends(outcome, message, ran_s=10.0, attempt_dir=folder)

    def lines(self, job_id: str = "t") -> list[str]:
        found, _cursor, _over = self.jobs.read_logs(P, job_id, cursor="", task_name="", wait_s=0)
        return [entry.message for entry in found if not entry.trial_id]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Study]:
    world = Study(tmp_path)
    yield world
    world.kind.gate.set()
    world.reconciler.close()
    world.jobs.close()
    world.store.close()


def test_each_trial_is_a_job_with_flags_and_a_folder_of_its_own(world: Study) -> None:
    world.tune(maxTrials=3, maxParallelTrials=2)
    world.turn(lambda: len(world.children()) == 2)
    first, second = world.children().values()
    assert (first.job_id, second.job_id) == ("t/1", "t/2")
    assert first.parent == world.store.job(P, "t").uid
    spec = first.job.training_input
    assert spec is not None
    assert spec.args == ["--data", "d", "--x=0.01"]
    assert spec.job_dir == "gs://b/t/1"
    assert spec.scheduling == Scheduling(max_running_time="7200s", priority=7)
    assert first.job.labels == {"who": "me"}
    told = base_input(first)
    assert (told.args, told.job_dir) == (["--data", "d"], "gs://b/t")
    assert [r.job_id for r in world.store.jobs(P)] == ["t"]  # nobody sees them
    assert [t.state for t in world.trials()] == [TrialState.ACTIVE] * 2
    assert "Trial 1 tries x=0.01 (model, 0.5 ± 0.1 expected)." in world.lines()


def test_a_life(world: Study) -> None:
    world.tune(maxTrials=3, maxParallelTrials=2, goal="MINIMIZE")
    world.running("t/1", "t/2")
    assert world.state("t") == "RUNNING"
    world.ends("t/1", 0.5)
    world.turn(lambda: "t/3" in world.children())
    assert world.seen[-1][0] == Tried(number=1, point={"x": 0.01}, values=(0.5,))
    assert world.seen[-1][1].pending
    live = world.jobs.view(world.store.job(P, "t"))
    assert live.training_output is not None
    assert live.details is not None
    assert live.training_output.completed_trial_count == 1
    assert [t["trialId"] for t in live.training_output.trials] == ["1", "2", "3"]
    assert live.details.remaining_seconds == 10.0  # two more at one time, each like the first
    world.ends("t/2", 0.25)
    world.running("t/3")
    world.ends("t/3", 0.75)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    job = world.job("t")
    assert job.training_output is not None
    output = job.training_output
    assert output.completed_trial_count == 3
    assert output.is_hyperparameter_tuning_job
    assert output.hyperparameter_metric_tag == "auc"
    assert output.consumed_m_l_units == 4.5
    assert [t["trialId"] for t in output.trials] == ["2", "1", "3"]  # best first
    assert output.trials[0]["hyperparameters"] == {"x": "0.02"}
    assert output.trials[0]["finalMetric"] == {"trainingStep": "9", "objectiveValue": 0.25}
    assert job.start_time
    assert job.end_time
    assert [t.state for t in world.trials()] == [TrialState.COMPLETED] * 3
    finals = [t.trial.final_measurement.metrics[0].value for t in world.trials()  # type: ignore[union-attr]
              ]  # fmt: skip
    assert finals == [0.5, 0.25, 0.75]
    study = world.store.study_of(world.store.job(P, "t").uid)
    assert study is not None
    assert study.state is StudyState.INACTIVE
    assert sum(world.asked) == 3
    told = [line for line in world.lines() if "will take about" in line]
    assert told == [
        "The other 2 trials, 2 at a time, will take about 10 s and cost about 0.00 USD."
    ]
    assert world.lines()[-1] == "Job completed successfully."


def test_the_rest_is_no_more_than_the_space_has(world: Study) -> None:
    discrete = {"parameterName": "x", "type": "DISCRETE",
                "discreteValues": [n / 100 for n in range(1, 5)]}  # fmt: skip
    world.tune(maxTrials=50, params=[discrete])
    world.running("t/1")
    world.ends("t/1", 0.5)
    world.running("t/2")
    told = [line for line in world.lines() if "will take about" in line]
    assert told == ["The other 3 trials will take about 30 s and cost about 0.00 USD."]
    view = world.jobs.view(world.store.job(P, "t"))
    assert view.details is not None and view.details.remaining_seconds == 30.0
    world.most = 2  # nothing more is advised: the job is over
    world.ends("t/2", 0.5)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    world.most = 4
    world.tune("u", maxTrials=50, params=[discrete], resumePreviousJobId="t")
    world.running("u/3")
    world.ends("u/3", 0.5)
    world.turn(lambda: "u/4" in world.children("u"))
    told = [line for line in world.lines("u") if "will take about" in line]
    assert told == ["The other trial will take about 10 s and cost about 0.00 USD."]


def test_what_running_trials_have_consumed_counts_already(world: Study) -> None:
    world.tune(maxTrials=3, maxParallelTrials=2)
    world.running("t/1", "t/2")
    world.ends("t/1", 0.5)
    folder = world.attempt_dir("t/2")
    folder.mkdir(parents=True, exist_ok=True)
    started = world.clock.now().timestamp()
    (folder / "started.json").write_text(json.dumps({"time": started}))
    world.clock.pass_s(1800.0)
    output = world.jobs.view(world.store.job(P, "t")).training_output
    assert output is not None
    assert output.consumed_m_l_units == 1.5 + 0.5


def test_a_job_that_succeeded_warns_of_the_trials_that_did_not(world: Study) -> None:
    world.tune(maxTrials=3, maxParallelTrials=3)
    world.running("t/1", "t/2", "t/3")
    world.ends("t/1", 0.5)
    world.ends("t/2", wrong="exit status 2 in t/2")
    world.ends("t/3", wrong="exit status 2 in t/3")
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    job = world.job("t")
    assert job.details is not None
    assert job.details.warnings == ["2 trials failed (2-3): exit status 2 in t/2"]
    assert job.error_message == ""


def test_a_job_warns_of_trials_whose_last_value_was_not_reached(world: Study) -> None:
    world.tune(maxTrials=1)
    world.running("t/1")
    world.kind.cut.add("t/1")
    world.ends("t/1", 0.5)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    job = world.job("t")
    assert job.details is not None and job.training_output is not None
    (warning,) = job.details.warnings
    assert warning.startswith("The event files of trial 1 are too large to be read to their end")
    assert "cut" not in job.training_output.trials[0]


def test_a_tuning_job_takes_no_place_on_the_machine(world: Study) -> None:
    world.max_running = 1
    world.restart()
    world.tune(maxTrials=2, maxParallelTrials=2)
    world.running("t/1")
    assert world.children()["t/2"].state is JobState.QUEUED
    world.ends("t/1", 0.5)
    world.running("t/2")


def test_measurements_come_while_it_runs_and_each_once(world: Study) -> None:
    world.tune(maxTrials=1)
    world.running("t/1")
    for upto in (1, 3):
        world.kind.points["t/1"] = [(n, n / 10) for n in range(1, upto + 1)]
        world.turn(lambda n=upto: _steps(world) == list(range(1, n + 1)))
    world.restart()  # another engine goes on where this one was
    world.kind.points["t/1"] = [(n, n / 10) for n in range(1, 6)]
    world.turn(lambda: _steps(world) == [1, 2, 3, 4, 5])
    world.ends("t/1")
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    assert _steps(world) == [1, 2, 3, 4, 5]


def test_what_another_engine_measured_meanwhile_is_not_measured_again(world: Study) -> None:
    world.tune(maxTrials=1)
    world.running("t/1")
    tuning = world.reconciler._tuning
    world.kind.points["t/1"] = [(1, 0.1), (2, 0.2)]
    world.turn(lambda: _steps(world) == [1, 2])
    before = dict(tuning._measured)
    world.kind.points["t/1"].append((3, 0.3))
    world.turn(lambda: _steps(world) == [1, 2, 3])
    tuning._measured = before  # as if another engine had led while the third came
    world.kind.points["t/1"].append((4, 0.4))
    world.turn(lambda: 4 in _steps(world))
    assert _steps(world) == [1, 2, 3, 4]


def test_an_attempt_that_begins_again_takes_the_place_of_what_the_last_one_measured(
    world: Study,
) -> None:
    world.tune(maxTrials=1)
    world.running("t/1")
    world.kind.points["t/1"] = [(1, 0.1), (2, 0.2), (3, 0.3)]
    world.turn(lambda: _steps(world) == [1, 2, 3])
    world.kind.points["t/1"] = [(1, 0.5)]
    world.turn(lambda: _steps(world) == [1])
    world.kind.points["t/1"] = [(1, 0.5), (2, 0.6)]
    world.turn(lambda: _steps(world) == [1, 2])
    world.kind.points["t/1"] = [(3, 0.7)]  # from a checkpoint: what came before it stays
    world.turn(lambda: _steps(world) == [1, 2, 3])
    assert [m.metrics[0].value for m in _measurements(world)] == [0.5, 0.6, 0.7]


def test_a_trial_that_cannot_be_measured_keeps_its_job_from_nothing(
    world: Study, caplog: pytest.LogCaptureFixture
) -> None:
    world.tune(maxTrials=2, maxParallelTrials=2)
    world.running("t/1", "t/2")
    world.kind.points["t/1"] = [(10**20, 0.1)]  # no database has such a step
    world.kind.points["t/2"] = [(1, 0.2)]
    world.turn(lambda: 1 in _steps(world, trial=2))
    world.turn(lambda: True)
    assert caplog.text.count("measuring trial 1") == 1
    world.jobs.cancel(P, "t")
    world.turn(lambda: world.state("t/1") == world.state("t/2") == "CANCELLING")
    world.exit("t/1", Outcome.CANCELLED)
    world.exit("t/2", Outcome.CANCELLED)
    world.turn(lambda: world.state("t") == "CANCELLED")


def test_an_error_of_one_trial_s_own_keeps_no_other_from_being_measured(
    world: Study, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measure = TuningBooks.measure

    def measured(books: TuningBooks, trial: TrialRecord, *given: Any, **more: Any) -> None:
        if trial.number == 1:
            raise FailedPrecondition("No such trial.", "Do without.")
        measure(books, trial, *given, **more)

    monkeypatch.setattr(TuningBooks, "measure", measured)
    world.tune(maxTrials=2, maxParallelTrials=2)
    world.running("t/1", "t/2")
    world.kind.points |= {"t/1": [(1, 0.1)], "t/2": [(1, 0.2)]}
    world.turn(lambda: _steps(world, trial=2) == [1])
    assert "No such trial." in caplog.text


def test_measurements_say_how_long_the_trial_had_run(world: Study) -> None:
    world.clock.jump_s(100 * 365 * 86400)  # the store has a clock of its own, which says today
    world.tune(maxTrials=1)
    world.running("t/1")
    world.kind.points["t/1"] = [(1, 0.1)]
    world.turn(lambda: _steps(world) == [1])
    world.ends("t/1", 0.5)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    final = world.trials()[0].trial.final_measurement
    assert final is not None
    assert _seconds(final) >= _seconds(_measurements(world)[0]) > 0


def _seconds(measurement: Measurement) -> float:
    return float(measurement.elapsed_time.removesuffix("s"))


def _measurements(world: Study, trial: int = 1) -> list[Measurement]:
    study = world.store.study_of(world.store.job(P, "t").uid)
    assert study is not None
    return world.store.measurements(study).get(trial, [])


def _steps(world: Study, trial: int = 1) -> list[int]:
    return [m.step_count for m in _measurements(world, trial)]


@pytest.mark.parametrize("rule", ["", "median", "asha"])
def test_a_hopeless_trial_is_stopped_and_its_last_value_counts(world: Study, rule: str) -> None:
    chosen = JobOptions(trial_early_stopping=rule)
    world.tune(maxTrials=4, enableTrialEarlyStopping=not rule, options=chosen)
    _good_trials(world)
    world.running("t/4")
    world.kind.points["t/4"] = [(n, 0.1 + n / 1000) for n in range(8)]
    attempt = world.attempt_dir("t/4")
    world.turn(lambda: attempt in world.launcher.cancelled)
    assert world.trials()[3].state is TrialState.STOPPING
    world.kind.points["t/4"].append((8, 0.125))  # said while it was ending
    world.exit("t/4", Outcome.CANCELLED)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    output = world.job("t").training_output
    assert output is not None
    (stopped,) = [t for t in output.trials if t.get("isTrialStoppedEarly")]
    assert (stopped["trialId"], stopped["state"]) == ("4", "SUCCEEDED")
    assert stopped["finalMetric"]["objectiveValue"] == 0.125
    assert "errorMessage" not in stopped
    assert output.completed_trial_count == 4
    assert not world.trials()[3].trial.trial_infeasible
    (asked,) = (line for line in world.lines() if "is asked to stop early: " in line)
    assert asked.startswith("Trial 4 ")
    assert _child_message(world, "t/4") == f"Stopped early: {asked.partition(': ')[2]}"
    assert any(line.startswith("Trial 4 was stopped early after ") for line in world.lines())


def test_what_was_decided_before_an_engine_died_is_done_by_the_next(
    world: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tune(maxTrials=4, enableTrialEarlyStopping=True)
    _good_trials(world)
    world.running("t/4")
    monkeypatch.setattr(TuningJobs, "_stop_early", lambda *_: False)
    world.kind.points["t/4"] = [(n, 0.1) for n in range(3)]
    world.turn(lambda: world.trials()[3].state is TrialState.STOPPING)
    monkeypatch.undo()
    world.restart()
    world.turn(lambda: world.attempt_dir("t/4") in world.launcher.cancelled)
    message = _child_message(world, "t/4")
    assert message == "Stopped early: it would hardly become the best."


@pytest.mark.parametrize("decided", [False, True])
def test_a_trial_whose_attempt_is_over_is_not_stopped_early(
    world: Study, monkeypatch: pytest.MonkeyPatch, decided: bool
) -> None:
    """Its exit is on disk, and its record says so only once its outputs are collected."""
    world.tune(maxTrials=4, enableTrialEarlyStopping=True)
    _good_trials(world)
    world.running("t/4")
    over = world.attempt_dir("t/4") / attemptfiles.EXIT
    if decided:
        move = world.store.move_trial

        def ends_meanwhile(trial: TrialRecord, to: TrialState, **changes: Any) -> Any:
            over.write_text("{}")
            return move(trial, to, **changes)

        monkeypatch.setattr(world.store, "move_trial", ends_meanwhile)
    else:
        over.write_text("{}")
    world.kind.points["t/4"] = [(n, 0.1) for n in range(3)]
    world.turn(lambda: _steps(world, 4) == [0, 1, 2])
    for _turn in range(3):
        world.reconciler.tick()
    assert world.trials()[3].state is (TrialState.STOPPING if decided else TrialState.ACTIVE)
    assert world.children()["t/4"].state is JobState.RUNNING
    world.ends("t/4")
    _is_no_early_end(world)
    assert not any("stop early" in line for line in world.lines())


def test_a_trial_that_ended_well_before_it_heard_of_its_stop_has_run_out(world: Study) -> None:
    world.tune(maxTrials=4, enableTrialEarlyStopping=True)
    _good_trials(world)
    world.running("t/4")
    world.kind.points["t/4"] = [(n, 0.1) for n in range(3)]
    world.turn(lambda: world.attempt_dir("t/4") in world.launcher.cancelled)
    world.exit("t/4", Outcome.SUCCEEDED)
    _is_no_early_end(world)
    log = (world.home / "jobs" / world.children()["t/4"].uid / "service.log.jsonl").read_text()
    assert "Trial completed successfully." in log
    assert "stopped early" not in log


def test_a_trial_that_ended_by_itself_is_judged_by_what_it_made(world: Study) -> None:
    world.tune(maxTrials=4, enableTrialEarlyStopping=True)
    _good_trials(world)
    world.running("t/4")
    world.kind.points["t/4"] = [(n, 0.1) for n in range(3)]
    world.kind.wrong["t/4"] = "Its model is damaged."
    world.turn(lambda: world.attempt_dir("t/4") in world.launcher.cancelled)
    world.exit("t/4", Outcome.SUCCEEDED)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    assert world.trials()[3].trial.infeasible_reason == "Its model is damaged."
    (warning,) = world.job("t").details.warnings  # type: ignore[union-attr]
    assert warning == "1 trial was stopped (4): Its model is damaged."


def _good_trials(world: Study) -> None:
    """Let three trials run out, after readings at the steps 0 to 9."""
    for number in (1, 2, 3):
        world.running(f"t/{number}")
        world.kind.points[f"t/{number}"] = [(n, 0.5 + n / 100) for n in range(9)]
        world.ends(f"t/{number}", 0.9)


def _child_message(world: Study, child_id: str) -> str:
    return world.children()[child_id].job.error_message


def _is_no_early_end(world: Study) -> None:
    """The job succeeds, and record and log say of its last trial that it ran out."""
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    output = world.job("t").training_output
    assert output is not None
    assert output.completed_trial_count == 4
    (last,) = (trial for trial in output.trials if trial["trialId"] == "4")
    assert last["state"] == "SUCCEEDED"
    assert last["finalMetric"] == {"trainingStep": "2", "objectiveValue": 0.1}
    assert not {"isTrialStoppedEarly", "errorMessage"} & last.keys()
    assert not world.trials()[3].trial.trial_infeasible
    assert any(line.startswith("Trial 4 succeeded after ") for line in world.lines())


def test_a_trial_is_judged_when_there_is_news_and_not_at_every_turn(
    world: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    class Lenient:
        def judge(self, goal: Goal, trial: Curve, others: Sequence[Curve]) -> Verdict:
            judged.append(trial.readings[-1].step)
            return Verdict(stop=False, why="")

    monkeypatch.setattr(tuningjobs, "open_policy", lambda name: Lenient())
    world.tune(maxTrials=1, enableTrialEarlyStopping=True)
    world.running("t/1")
    for step in (1, 2):
        world.kind.points["t/1"] = [(n, n / 10) for n in range(1, step + 1)]
        world.turn(lambda n=step: n in judged)
        for _turn in range(3):
            world.reconciler.tick()
    assert judged == [1, 2]


def test_a_rule_that_there_is_not_or_that_has_no_trials_to_stop_is_refused(world: Study) -> None:
    with pytest.raises(InvalidArgument, match=r"no early stopping rule 'luck'.* decay-curve, asha"):
        world.tune(options=JobOptions(trial_early_stopping="luck"))
    spec = TrainingInput(python_module="trainer.task", region="local")
    job = Job(job_id="j", training_input=spec, options=JobOptions(trial_early_stopping="asha"))
    with pytest.raises(InvalidArgument, match="this job has none"):
        world.jobs.create(P, job)


def test_an_unknown_flag_ends_it_with_the_first_trial(world: Study) -> None:
    world.tune(maxTrials=9, maxParallelTrials=2)
    world.running("t/1", "t/2")
    world.ends("t/1", wrong=f"{UNKNOWN_FLAG}The trainer does not know --x.")
    other = world.attempt_dir("t/2")
    world.turn(lambda: other in world.launcher.cancelled)
    world.exit("t/2", Outcome.CANCELLED)
    world.turn(lambda: world.state("t") == "FAILED")
    assert "does not know --x" in world.job("t").error_message
    assert len(world.trials()) == 2
    reasons = [t.trial.infeasible_reason for t in world.trials()]
    assert reasons[0].startswith(UNKNOWN_FLAG)
    assert reasons[1].startswith("WITHDRAWN")


def test_cancel_stops_every_trial_at_once(world: Study) -> None:
    world.max_running = 2
    world.restart()
    world.tune(maxTrials=9, maxParallelTrials=3)
    world.running("t/1", "t/2")
    assert world.children()["t/3"].state is JobState.QUEUED
    world.jobs.cancel(P, "t")
    attempts = [world.attempt_dir(c) for c in ("t/1", "t/2")]
    world.turn(lambda: set(attempts) <= set(world.launcher.cancelled))
    for child in ("t/1", "t/2"):
        world.exit(child, Outcome.CANCELLED)
    world.turn(lambda: world.state("t") == "CANCELLED")
    assert {c.state for c in world.children().values()} == {JobState.CANCELLED}
    assert {t.state for t in world.trials()} == {TrialState.COMPLETED}
    assert world.job("t").error_message == (
        "The job was cancelled by its user.\n3 trials were stopped (1-3): The tuning job is over."
    )
    asked = len(world.asked)
    world.reconciler.tick()
    assert len(world.asked) == asked


def test_a_space_that_is_tried_out_ends_the_job(world: Study) -> None:
    world.most = 1
    world.tune(maxTrials=5, maxParallelTrials=2)
    world.running("t/1")
    world.ends("t/1", 0.5)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    assert len(world.trials()) == 1


def test_an_advisor_that_fails_is_asked_again(world: Study) -> None:
    world.trouble = Unavailable("The store is away.", "Wait.")
    world.tune(maxTrials=1)
    world.turn(lambda: world.store.study_of(world.store.job(P, "t").uid))
    world.trouble = None
    world.turn(lambda: world.children())


def test_a_question_that_makes_no_sense_fails_the_job(world: Study) -> None:
    world.trouble = InvalidArgument("The bound is no number.", "Use another.")
    world.tune(maxTrials=1)
    world.turn(lambda: world.state("t") == "FAILED")
    assert world.job("t").error_message.startswith("The bound is no number.")


def test_a_job_that_waits_too_long_is_cancelled(world: Study) -> None:
    world.max_running = 0
    world.restart()
    world.tune(maxTrials=2)
    world.turn(lambda: world.children())
    world.clock.pass_s(1801)
    world.turn(lambda: world.state("t") == "CANCELLED")
    assert "maxWaitTime of 1800 s" in world.job("t").error_message


def test_a_job_that_runs_too_long_is_cancelled(world: Study) -> None:
    world.tune(maxTrials=2)
    world.running("t/1")
    world.reconciler.tick()
    world.clock.pass_s(7201)
    attempt = world.attempt_dir("t/1")
    world.turn(lambda: attempt in world.launcher.cancelled)
    world.exit("t/1", Outcome.CANCELLED)
    world.turn(lambda: world.state("t") == "CANCELLED")
    assert "maxRunningTime of 7200 s" in world.job("t").error_message


def test_a_study_goes_on_in_another_job(world: Study) -> None:
    world.tune(maxTrials=2, maxParallelTrials=2)
    world.running("t/1", "t/2")
    world.ends("t/1", 0.5)
    world.jobs.cancel(P, "t")
    world.turn(lambda: world.attempt_dir("t/2") in world.launcher.cancelled)
    world.exit("t/2", Outcome.CANCELLED)
    world.turn(lambda: world.state("t") == "CANCELLED")
    world.tune("u", maxTrials=1, resumePreviousJobId="t")
    world.turn(lambda: world.children("u"))
    assert list(world.children("u")) == ["u/3"]  # numbers go on
    # What the first job learned is known; what it called off is nothing.
    assert [(t.number, t.values) for t in world.seen[-1]] == [(1, (0.5,))]
    world.running("u/3")
    world.ends("u/3", 0.75)
    world.turn(lambda: world.state("u") == "SUCCEEDED")
    output = world.job("u").training_output
    assert output is not None
    assert [t["trialId"] for t in output.trials] == ["3"]


def test_a_study_goes_on_in_another_space(world: Study) -> None:
    """What an earlier trainer was given counts as tried there; what is beyond says little."""
    world.tune(maxTrials=2, maxParallelTrials=2)  # at 0.01 and 0.02, with --data=d
    world.running("t/1", "t/2")
    world.ends("t/1", 0.5)
    world.ends("t/2", 0.625)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    near = {**PARAMETERS[0], "minValue": 0.015, "maxValue": 0.1}
    data = {"parameterName": "data", "type": "CATEGORICAL", "categoricalValues": ["d", "e"]}
    world.tune("u", maxTrials=1, resumePreviousJobId="t", params=[near, data])
    world.turn(lambda: world.children("u"))
    first, second = world.seen[-1]
    assert first.point == {"x": 0.01, "data": "d"}
    assert first.values is not None
    assert first.values[0] < 0.625  # beyond the bounds, it is no best
    assert first.noise[0] > 0
    assert second == Tried(number=2, point={"x": 0.02, "data": "d"}, values=(0.625,))


def test_two_jobs_that_continue_one_keep_their_spaces_apart(world: Study) -> None:
    world.tune(maxTrials=1)
    world.running("t/1")
    world.ends("t/1", 0.5)
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    world.tune("u", maxTrials=3, resumePreviousJobId="t")  # at 0.02, 0.03 and 0.04
    for child, value in (("u/2", 0.875), ("u/3", 0.25)):
        world.running(child)
        world.ends(child, value)
    world.running("u/4")
    near = {**PARAMETERS[0], "minValue": 0.025, "maxValue": 0.125}
    world.tune("v", maxTrials=1, resumePreviousJobId="t", params=[near])
    world.turn(lambda: world.children("v"))
    _first, second, *others = world.seen[-1]
    assert second.number == 2
    assert second.noise[0] > 0  # beyond the bounds of this job: it is none of its own
    assert others == [
        Tried(number=3, point={"x": 0.03}, values=(0.25,)), Tried(number=4, point={"x": 0.04})
    ]  # fmt: skip


def test_a_search_that_cannot_work_here_is_refused(
    world: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'mlengine\[tune\]'") as caught:
        world.tune()
    assert caught.value.field == "training_input.hyperparameters.algorithm"
    world.tune(algorithm="RANDOM_SEARCH")
    world.turn(lambda: world.children())


@pytest.mark.parametrize(
    ("slip", "attribute", "word"),
    [
        ({"type": "double"}, "type", "'double' is no type of a parameter.*DOUBLE, INTEGER"),
        ({"type": "FLOAT"}, "type", "'FLOAT' is no type of a parameter"),
        ({"type": ""}, "type", "'' is no type of a parameter"),
        ({"type": "INTEGER", "minValue": "NaN"}, "min_value", "nan is no bound"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused_by_name_before_anything_reads_it(
    world: Study, slip: dict[str, Any], attribute: str, word: str
) -> None:
    with pytest.raises(InvalidArgument, match=word) as caught:
        world.tune(params=[{**PARAMETERS[0], **slip}])
    assert caught.value.field == f"training_input.hyperparameters.params[0].{attribute}"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"resumePreviousJobId": "none"}, "none"),
        ({"resumePreviousJobId": "plain"}, "no tuning job"),
        ({"resumePreviousJobId": "t"}, "still"),
        ({"resumePreviousJobId": "old", "goal": "MINIMIZE"}, "is MAXIMIZE, not MINIMIZE"),
        ({"resumePreviousJobId": "old", "hyperparameterMetricTag": "f1"}, "is auc, not f1"),
        ({"resumePreviousJobId": "old", "params": [{**PARAMETERS[0], "parameterName": "y"}]},
         "tuned x, of which there is none here"),
        ({"resumePreviousJobId": "old", "params": [CATEGORY]}, "'x' was DOUBLE"),
    ],
)  # fmt: skip
def test_only_what_looks_for_the_same_can_go_on(
    world: Study, changes: dict[str, Any], word: str
) -> None:
    world.submit("plain")
    world.tune("old")
    world.jobs.cancel(P, "old")
    world.turn(lambda: world.state("old") == "CANCELLED")
    world.tune()
    with pytest.raises(InvalidArgument, match=word) as caught:
        world.tune("new", **changes)
    assert caught.value.field.startswith("training_input.hyperparameters.")


def test_an_engine_that_died_anywhere_is_followed_by_one_that_does_the_rest(world: Study) -> None:
    world.tune(maxTrials=4, maxParallelTrials=2)
    for number in range(1, 5):
        world.restart()
        world.running(f"t/{number}")
        world.restart()
        world.ends(f"t/{number}", number / 10)
        world.restart()
    world.turn(lambda: world.state("t") == "SUCCEEDED")
    assert [t.number for t in world.trials()] == [1, 2, 3, 4]
    assert list(world.children()) == ["t/1", "t/2", "t/3", "t/4"]
    tries = [line for line in world.lines() if " tries " in line]
    assert len(tries) == len(set(tries)) == 4


def test_adding_a_child_twice_is_harmless(world: Study) -> None:
    world.tune(maxTrials=1)
    world.turn(lambda: world.children())
    tuning = world.reconciler._tuning
    seen = tuning._read(world.store.job(P, "t"))
    tuning._begin(msgspec.structs.replace(seen, children={}), 1)
    assert list(world.children()) == ["t/1"]


def test_closing_gives_the_suggestion_at_hand_up(world: Study) -> None:
    gate, asked = threading.Event(), threading.Event()
    advise = world.advise

    def slow(*args: Any) -> list[Suggestion]:
        asked.set()
        assert gate.wait(60)
        return advise(*args)

    tuning = world.reconciler._tuning
    tuning._advise, tuning._stop_advice = slow, gate.set
    world.tune(maxTrials=1)
    world.turn(asked.is_set)
    world.reconciler.close()
    assert world.trials() == []
    world.reconciler = world.engine()
    world.turn(lambda: world.children())
