"""Whether exit code 0 means that a job has done its work."""

from __future__ import annotations

import json
import math
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest

from mlengine.cli import training_flags
from mlengine.core.resources import Job, JobOptions, TrainingInput
from mlengine.runtime import attemptfiles
from mlengine.store import JobRecord
from mlengine.training import metrics, verdict
from mlengine.training.launchers import AttemptSpec, ExitRecord, Outcome, ReplicaExit, ReplicaSpec
from mlengine.training.neighbours import Neighbour
from mlengine.training.verdict import FINDINGS, Verdict, judge
from tests.unit.training.test_metrics import events

TASK = "master-replica-0"
TRACEBACK = "Traceback (most recent call last):\n  File 'x', line 1\nValueError: bad"


class World:
    def __init__(self, root: Path) -> None:
        self.job_dir, self.attempt_dir = root / "job", root / "1"
        self.job_dir.mkdir()
        self.attempt_dir.mkdir()
        self.now_s = self.job_dir.stat().st_ctime

    def say(self, *lines: str) -> None:
        with (self.attempt_dir / f"{TASK}.log.jsonl").open("a") as file:
            for line in "\n".join(lines).split("\n"):
                row = {"timestamp": "2099-03-02T06:50:06.5Z", "message": line}
                file.write(json.dumps(row) + "\n")

    def judge(
        self,
        *allow: str,
        tag: str | None = None,
        outcome: Outcome = Outcome.SUCCEEDED,
        job_dir: Path | None = None,
        others: Sequence[ReplicaExit] = (),
        beside: Sequence[Neighbour] = (),
        attempt: int = 1,
    ) -> Verdict:
        hyperparameters = None if tag is None else {"hyperparameterMetricTag": tag, "goal": "X"}
        job = Job(
            job_id="a",
            training_input=TrainingInput(hyperparameters=hyperparameters),
            options=JobOptions(allow=list(allow)),
        )
        record = JobRecord(seq=1, project="p", uid="u", job=job, attempt=attempt)
        exit_record = ExitRecord(
            outcome=outcome,
            replicas=[ReplicaExit(task=TASK, role="master", index=0, exit_code=0), *others],
            message="",
            started=self.now_s - 1,
            ended=self.now_s + 1,
        )
        job_dir = job_dir or self.job_dir
        attempt_dir = self.attempt_dir.parent / str(attempt)
        return judge(record, attempt_dir, job_dir, exit_record, sys.executable, beside)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def report_now(world: World, *rows: tuple[str, float, int]) -> None:
    path = world.attempt_dir / "hypertune" / "master-0.metrics"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        for tag, value, step in rows:
            row = {tag: str(value), "global_step": str(step), "timestamp": world.now_s + step}
            file.write(json.dumps(row) + "\n")


def events_now(world: World, run: str, *rows: tuple[str, float, int]) -> None:
    path = world.job_dir / run / "e.tfevents.1"
    events(path, *[(tag, value, step, world.now_s + step) for tag, value, step in rows])


def test_the_words_are_those_that_the_flag_takes() -> None:
    assert tuple(FINDINGS) == training_flags._FINDINGS


def test_a_job_with_no_model_and_no_metric_succeeds_and_costs_no_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "unloadable", None)
    world.say("trained", "done")
    assert world.judge() == Verdict("", [])


def test_a_finding_fails_the_job_with_its_name_and_how_to_accept_it(world: World) -> None:
    world.say(TRACEBACK)
    found = world.judge()
    assert found.failed.startswith("TRACEBACK_AT_EXIT: ")
    assert "ValueError: bad" in found.failed
    assert found.failed.endswith("'--allow traceback' accepts it.")


def test_what_is_allowed_is_a_warning(world: World) -> None:
    world.say(TRACEBACK)
    failed, (warning,) = world.judge("traceback", "export")
    assert failed == ""
    assert warning.startswith("TRACEBACK_AT_EXIT (allowed): ")
    assert world.judge("export").failed


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT])
def test_what_did_not_end_well_is_not_judged_again(world: World, outcome: Outcome) -> None:
    world.say(TRACEBACK)
    assert world.judge(outcome=outcome) == Verdict("", [])


def test_an_evaluator_that_did_not_finish_is_a_warning(world: World) -> None:
    ends: list[dict[str, Any]] = [
        {"exit_code": 0},
        {"exit_code": 1, "last_error": "OSError: disk full"},
        {"signal": 15, "stopped": True},
    ]
    evaluators = [
        ReplicaExit(task=f"evaluator-replica-{i}", role="evaluator", index=i, **end)
        for i, end in enumerate(ends)
    ]
    worker = ReplicaExit(task="worker-replica-0", role="worker", index=0, signal=15, stopped=True)
    assert world.judge(others=[worker, *evaluators]) == Verdict(
        "",
        [
            "evaluator-replica-1 failed after the chief had succeeded: OSError: disk full.",
            "evaluator-replica-2 was stopped, some time after the chief had succeeded.",
        ],
    )


def test_several_findings_are_all_told(world: World) -> None:
    world.say("loss: nan", TRACEBACK)
    (world.job_dir / "model.pkl").write_bytes(b"")
    failed = world.judge().failed
    assert [name for name in FINDINGS.values() if name in failed] == [
        "TRACEBACK_AT_EXIT", "NON_FINITE_OBJECTIVE", "BROKEN_EXPORT",
    ]  # fmt: skip


# --- metrics ---


def test_a_loss_that_ends_as_nan_fails(world: World) -> None:
    events_now(world, "train", ("epoch_loss", 0.5, 1), ("epoch_loss", math.nan, 2))
    failed = world.judge().failed
    assert failed.startswith("NON_FINITE_OBJECTIVE: The last value of epoch_loss (tensorboard")
    assert "run train" in failed and "nan at step 2" in failed


def test_a_loss_that_recovered_is_fine_whatever_the_log_says(world: World) -> None:
    events_now(world, "train", ("loss", math.nan, 1), ("loss", 0.5, 2), ("grad/norm", math.inf, 2))
    world.say("restored; loss: nan")
    assert world.judge() == Verdict("", [])


def test_a_printed_loss_counts_when_no_loss_was_reported(world: World) -> None:
    world.say("epoch 9 - loss: nan")
    failed = world.judge().failed
    assert "The last loss that master-replica-0 printed is not finite: 'epoch 9" in failed


def test_an_earlier_job_s_nan_in_the_same_folder_is_not_this_one_s(world: World) -> None:
    events(world.job_dir / "e.tfevents.1", ("loss", math.nan, 1, world.now_s - 3600))
    assert world.judge() == Verdict("", [])


def test_only_the_objective_counts_when_there_is_one(world: World) -> None:
    events_now(world, "eval", ("accuracy", 0.5, 1), ("loss", math.nan, 1))
    failed, (warning,) = world.judge(tag="accuracy")
    assert failed == ""
    assert "The last value of loss (tensorboard, run eval) is nan at step 1." in warning
    assert warning.endswith("A trial is judged by its objective accuracy alone.")
    events_now(world, "eval", ("accuracy", math.inf, 1))
    assert "accuracy" in world.judge(tag="accuracy").failed


def test_an_objective_that_never_came_lists_what_did(world: World) -> None:
    events_now(world, "eval", *[(f"m{i:02}", 0.5, 1) for i in range(25)])
    failed = world.judge(tag="auc").failed
    assert failed.startswith("OBJECTIVE_NOT_REPORTED: The objective 'auc' was never reported.")
    assert "m00, m01, " in failed and "m19 and 5 more." in failed
    assert world.judge("objective", tag="auc").failed == ""


def test_an_objective_that_an_earlier_attempt_reported_is_there(world: World) -> None:
    for number, begun_s in ((1, world.now_s - 100), (2, world.now_s - 1)):
        folder = world.attempt_dir.parent / str(number)
        folder.mkdir(exist_ok=True)
        attemptfiles.write_json(folder / attemptfiles.STARTED, {"time": begun_s, "replicas": []})
    report_now(world, ("auc", 0.5, -50))
    assert world.judge(tag="auc", attempt=2).failed == ""
    assert world.judge(tag="accuracy", attempt=2).failed.startswith("OBJECTIVE_NOT_REPORTED")
    world.attempt_dir = world.attempt_dir.parent / "2"
    report_now(world, ("auc", math.nan, 1))  # the newest counts if it says anything
    assert world.judge(tag="auc", attempt=2).failed.startswith("NON_FINITE_OBJECTIVE")


def test_a_long_file_of_reports_is_judged_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_now(world, ("auc", 0.5, 1), *[("loss", 0.5, step) for step in range(50)])
    monkeypatch.setattr(metrics, "_PIECE_BYTES", 1000)
    assert world.judge(tag="auc").failed == ""
    report_now(world, ("loss", math.nan, 50))
    assert "The last value of loss (hypertune, master-replica-0) is nan" in world.judge().failed
    assert world.judge(tag="f1").failed.startswith("OBJECTIVE_NOT_REPORTED")


def test_a_log_that_lost_lines_with_metrics_is_warned_of(world: World) -> None:
    told = json.dumps({"metric": "loss", "value": 1, "step": 1})
    with (world.attempt_dir / f"{TASK}.log.jsonl").open("a") as file:
        row = {"timestamp": "2099-03-02T06:50:06.5Z", "message": told, "seq": 1000}
        file.write(json.dumps(row, separators=(",", ":")) + "\n")
    failed, (warning,) = world.judge()
    assert failed == ""
    assert warning.startswith(f"999 lines of the log of {TASK} were dropped")


@pytest.mark.parametrize(
    ("times", "said"),
    [((0.5,), "once"), ((0.5, 1.5), "2 times"), ((1.7e12, math.nan), "2 times")],
    ids=["a counter", "twice", "milliseconds"],
)
@pytest.mark.parametrize("tag", ["epoch_acc", "epoch_accuracy"])
def test_an_objective_that_was_dated_wrongly_is_said_to_be_there(
    world: World, tag: str, times: tuple[float, ...], said: str
) -> None:
    rows = [("epoch_accuracy", 0.5, step, time_s) for step, time_s in enumerate(times)]
    events(world.job_dir / "e.tfevents.1", *rows)
    failed = world.judge(tag=tag).failed
    assert f"The objective {tag!r} was never reported. Reported were: no metrics." in failed
    assert f" 'epoch_accuracy' was there {said}, but dated before the trial's start" in failed
    assert "was there" not in world.judge(tag="auc").failed


def test_an_objective_under_its_other_name_is_taken_with_a_warning(world: World) -> None:
    events_now(world, "eval", ("epoch_accuracy", 0.5, 1))
    failed, (warning,) = world.judge(tag="epoch_acc")
    assert failed == ""
    assert "epoch_accuracy" in warning


def test_the_default_objective_is_hypertune_s(world: World) -> None:
    assert "'training/hptuning/metric' was never" in world.judge(tag="").failed


def test_metrics_that_were_not_read_whole_are_not_judged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    events_now(world, "train", ("loss", math.nan, 1))
    whole = verdict.read_metrics

    def cut(*args: Any, **named: Any) -> Any:
        return whole(*args, **named)._replace(incomplete=True)

    monkeypatch.setattr(verdict, "read_metrics", cut)
    failed, (warning,) = world.judge(tag="auc")
    assert failed == ""
    assert "too large" in warning


# --- exports ---


def test_an_export_that_does_not_load_names_its_place(world: World) -> None:
    path = world.job_dir / "export" / "model.joblib"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(list(range(100)))[:50])
    failed = world.judge().failed
    assert failed.startswith("BROKEN_EXPORT: export/model.joblib in the job directory: ")
    assert world.judge("export").failed == ""


def test_a_doubtful_export_is_a_warning(world: World) -> None:
    (world.job_dir / "vocabulary.pkl").write_bytes(b"cnowhere\nThing\n.")
    failed, (warning,) = world.judge()
    assert failed == ""
    assert warning.startswith("The export vocabulary.pkl may not load: ModuleNotFoundError")


# --- a job directory that is not its own ---

B_EVERYWHERE = Neighbour("the job b", PurePosixPath())
B_BELOW = Neighbour("the job b", PurePosixPath("b"))
MAYBE_B_S = "It may be of the job b, which writes there too and has not ended."


@pytest.mark.parametrize(
    ("name", "beside", "fails"),
    [
        ("model.pkl", B_EVERYWHERE, False),
        ("b/model.pkl", B_BELOW, False),
        ("model.pkl", B_BELOW, True),
    ],
)
def test_what_another_job_may_be_writing_is_a_warning(
    world: World, name: str, beside: Neighbour, fails: bool
) -> None:
    path = world.job_dir / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(list(range(100)))[:50])
    failed, warnings = world.judge(beside=[beside])
    if fails:
        assert failed.startswith("BROKEN_EXPORT") and not warnings
    else:
        assert failed == ""
        assert warnings[0].startswith(f"{name} in the job directory: ")
        assert warnings[0].endswith(MAYBE_B_S)


def test_a_loss_that_another_job_may_have_lost_is_a_warning(world: World) -> None:
    events_now(world, "b", ("loss", math.nan, 1))
    failed, (warning,) = world.judge(beside=[B_BELOW])
    assert failed == ""
    assert warning == (f"The last value of loss (tensorboard, run b) is nan at step 1. {MAYBE_B_S}")
    events_now(world, "c", ("loss", math.nan, 1))
    assert "run c" in world.judge(beside=[B_BELOW]).failed


def test_what_was_printed_is_nobody_else_s(world: World) -> None:
    world.say("loss: nan")
    assert "NON_FINITE" in world.judge(beside=[B_EVERYWHERE]).failed


class _Reads:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> object:
        return exec, (self.code,)


def test_an_export_is_loaded_with_the_chief_s_environment_but_not_its_cluster(
    world: World, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    code = f"import json, os; open({str(seen)!r}, 'w').write(json.dumps(dict(os.environ)))"
    (world.job_dir / "model.pkl").write_bytes(pickle.dumps(_Reads(code)))
    env = {"KERAS_BACKEND": "jax", "TF_CONFIG": "{}", "RANK": "0"}
    chief = ReplicaSpec(task=TASK, role="master", index=0, argv=["python"], env=env, cwd="/")
    spec = AttemptSpec(job="projects/p/jobs/a", attempt=1, replicas=[chief])
    attemptfiles.write_json(world.attempt_dir / attemptfiles.SPEC, msgspec.to_builtins(spec))
    assert world.judge() == Verdict("", [])
    environ = json.loads(seen.read_text())
    assert environ["KERAS_BACKEND"] == "jax"
    assert not {"TF_CONFIG", "RANK", "HOME", "PYTEST_CURRENT_TEST"} & set(environ)


def test_what_is_not_finite_of_an_objective_was_not_reported(world: World) -> None:
    events_now(world, "eval", ("auc", 0.5, 1), ("auc", math.nan, 2))
    failed, (warning,) = world.judge(tag="auc")
    assert failed == ""
    assert "The last value of the objective auc is nan at step 2" in warning


def test_a_trial_that_printed_a_lost_loss_is_warned_of(world: World) -> None:
    events_now(world, "eval", ("accuracy", 0.5, 1))
    world.say("epoch 9 - loss: nan - accuracy: 0.5")
    failed, (warning,) = world.judge(tag="accuracy")
    assert failed == ""
    assert "printed is not finite: 'epoch 9 - loss: nan" in warning


def test_the_last_finite_value_of_an_objective_counts(world: World) -> None:
    rows = (("loss", 0.9, 1), ("loss", 0.8, 2), ("loss", math.nan, 3), ("loss", math.nan, 4))
    events_now(world, "eval", *rows)
    failed, (warning,) = world.judge(tag="loss")
    assert failed == ""
    assert "nan at step 4: it counts as not reported, and the last finite one is" in warning
    assert world.judge().failed.startswith("NON_FINITE_OBJECTIVE: The last value of loss")


def test_an_objective_that_was_never_finite_fails(world: World) -> None:
    events_now(world, "eval", ("auc", math.nan, 1), ("auc", math.inf, 2))
    failed = world.judge(tag="auc").failed
    assert failed.startswith("NON_FINITE_OBJECTIVE: The objective 'auc' was never reported as a")
    assert world.judge("non-finite", tag="auc").failed == ""
