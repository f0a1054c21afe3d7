"""`mlengine jobs`, byte for byte on both streams."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from mlengine.core.errors import Unavailable
from mlengine.core.resources import (
    Job,
    LogEntry,
    PredictionInput,
    PredictionOutput,
    TrainingInput,
    TrainingOutput,
)
from mlengine.engine import LogPage
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run

ACTIVE = """\
Your job is still active. You may view the status of your job with the command

  $ mlengine jobs describe J

or continue streaming the logs with the command

  $ mlengine jobs stream-logs J
"""
SUBMIT_PREDICTION = [
    "jobs", "submit", "prediction", "J", "--input-paths=gs://b/in/*", "--data-format=text",
    "--output-path=gs://b/out",
]  # fmt: skip


@pytest.fixture
def jobs(engine: FakeEngine) -> FakeEngine:
    for number in (1, 2):
        engine.create_job("default", Job(job_id=f"census_{number}", labels={"owner": "alice"}))
    return engine


def say(engine: FakeEngine, message: str, **more: object) -> None:
    fields = {"severity": "INFO", "timestamp": "2019-03-27T17:54:27.5Z", "task_name": "service"}
    engine.say("default", "census_1", LogEntry(**{**fields, "message": message, **more}))


def test_an_empty_list_says_so_on_stderr(run: Run) -> None:
    assert run("jobs", "list") == (0, "", "Listed 0 items.\n")


def test_a_list_is_a_table_newest_first(run: Run, jobs: FakeEngine) -> None:
    assert run("jobs", "list") == (
        0,
        (
            "JOB_ID    STATUS  CREATED\n"
            "census_2  QUEUED  2018-03-02T06:50:06\n"
            "census_1  QUEUED  2018-03-02T06:50:06\n"
        ),
        "",
    )


def test_a_list_is_filtered_sorted_and_cut_here(run: Run, jobs: FakeEngine) -> None:
    assert run("jobs", "list", "--filter=jobId:census_1", "--format=value(jobId)").out == (
        "census_1\n"
    )
    assert run("jobs", "list", "--sort-by=jobId", "--format=value(jobId)").out == (
        "census_1\ncensus_2\n"
    )
    assert run("jobs", "list", "--limit=1", "--format=value(jobId)").out == "census_2\n"
    assert run("jobs", "list", "--uri", "--limit=1").out == (
        "http://engine.test:8470/v1/projects/default/jobs/census_2\n"
    )


def test_every_page_is_walked(run: Run, engine: FakeEngine) -> None:
    for number in range(250):
        engine.create_job("default", Job(job_id=f"j{number}"))
    assert run("jobs", "list", "--format=value(jobId)").out.count("\n") == 250
    assert run("jobs", "list", "--page-size=7", "--format=value(jobId)").out.count("\n") == 250


def test_describe_is_yaml_and_a_hint(run: Run, jobs: FakeEngine) -> None:
    done = run("jobs", "describe", "census_1")
    assert done.out == (
        "createTime: '2018-03-02T06:50:06Z'\n"
        f"etag: {jobs.get_job('default', 'census_1').etag}\n"
        "jobId: census_1\n"
        "labels:\n"
        "  owner: alice\n"
        "state: QUEUED\n"
    )
    assert done.err == "\nView logs with: mlengine jobs stream-logs census_1\n"


def test_a_summary_is_boxed_and_goes_before_format(run: Run, engine: FakeEngine) -> None:
    job = Job(
        job_id="t", training_input=TrainingInput(region="local", python_module="trainer.task")
    )
    engine.create_job("default", job)
    trial = {"trialId": "1", "finalMetric": {"objectiveValue": 0.5, "trainingStep": "10"},
             "hyperparameters": {"lr": "0.1", "depth": "3"}}  # fmt: skip
    engine.jobs["default", "t"].training_output = TrainingOutput(
        completed_trial_count=1, trials=[trial], consumed_m_l_units=0.25
    )
    done = run("jobs", "describe", "t", "--summarize", "--format=json")
    assert done.err == "WARNING: --format is ignored when --summarize is present\n"
    assert (
        done.out
        == """\
+----------------------------------------+
|              Job Overview              |
+--------+----------------------+--------+
| JOB_ID |      CREATE_TIME     |  STATE |
+--------+----------------------+--------+
| t      | 2018-03-02T06:50:06Z | QUEUED |
+--------+----------------------+--------+
+------------------------+
| Training Input Summary |
+--------+---------------+
| REGION | PYTHON_MODULE |
+--------+---------------+
| local  | trainer.task  |
+--------+---------------+
+-------------------------+
| Training Output Summary |
+--------+----------------+
| TRIALS |    ML_UNITS    |
+--------+----------------+
| 1      | 0.25           |
+--------+----------------+
+--------------------------------------------------+
|              Training Output Trials              |
+-------+-----------------+------+-----------------+
| TRIAL | OBJECTIVE_VALUE | STEP | HYPERPARAMETERS |
+-------+-----------------+------+-----------------+
| 1     | 0.5             | 10   | depth: 3        |
|       |                 |      | lr: 0.1         |
+-------+-----------------+------+-----------------+
"""
    )


def test_a_summary_of_a_prediction_names_model_and_counts(run: Run, engine: FakeEngine) -> None:
    spec = PredictionInput(model_name="projects/default/models/m", output_path="gs://b/o")
    engine.create_job("default", Job(job_id="p", prediction_input=spec))
    engine.jobs["default", "p"].prediction_output = PredictionOutput(prediction_count=7)
    shown = run("jobs", "describe", "p", "--summarize").out
    assert "Predict Input Summary" in shown and "| m     | gs://b/o      |" in shown
    assert "Predict Output Summary" in shown and "| 7                      |" in shown


def test_cancel_says_nothing(run: Run, jobs: FakeEngine) -> None:
    assert run("jobs", "cancel", "census_1") == (0, "", "")
    assert jobs.get_job("default", "census_1").state == "CANCELLED"


def test_labels_are_updated_or_nothing_is_done(run: Run, jobs: FakeEngine) -> None:
    assert run("jobs", "update", "census_1") == (0, "", "No update to perform.\n")
    assert run("jobs", "update", "census_1", "--update-labels=a=b", "--remove-labels=owner") == (
        0, "", "Updated ml engine job [census_1].\n"
    )  # fmt: skip
    assert jobs.get_job("default", "census_1").labels == {"a": "b"}
    assert run("jobs", "update", "census_1", "--clear-labels").code == 0
    assert jobs.get_job("default", "census_1").labels == {}
    both = run("jobs", "update", "census_1", "--clear-labels", "--remove-labels=a")
    assert both.code == 2


def test_logs_are_five_columns_with_tabs(run: Run, jobs: FakeEngine) -> None:
    say(jobs, "Validating job requirements...")
    say(jobs, "two\nlines\n", severity="ERROR", task_name="master-replica-0", trial_id="3")
    say(jobs, "", severity="", task_name="")
    jobs.cancel_job("default", "census_1")
    assert run("jobs", "stream-logs", "census_1") == (
        0,
        (
            "INFO\t2019-03-27 17:54:27 +0000\tservice\t\tValidating job requirements...\n"
            "ERROR\t2019-03-27 17:54:27 +0000\tmaster-replica-0\t3\ttwo\n"
            "ERROR\t2019-03-27 17:54:27 +0000\tmaster-replica-0\t3\tlines\n"
            "DEFAULT\t2019-03-27 17:54:27 +0000\tunknown_task\t\t\n"
        ),
        "",
    )
    one = run("jobs", "stream-logs", "census_1", "--task-name=master-replica-0").out
    assert one.count("\n") == 2


def test_log_times_are_local(run: Run, jobs: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    say(jobs, "hello")
    jobs.cancel_job("default", "census_1")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    assert "\t2019-03-27 18:54:27 +0100\t" in run("jobs", "stream-logs", "census_1").out


def test_a_log_cannot_steer_the_terminal(run: Run, jobs: FakeEngine) -> None:
    say(jobs, "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202egnirts")
    jobs.cancel_job("default", "census_1")
    shown = run("jobs", "stream-logs", "census_1").out
    assert shown.endswith("\\x1b[2J\\x1b]0;owned\\x07 \\x9b31m \\u202egnirts\n")


def test_json_logs_have_the_payload(run: Run, jobs: FakeEngine) -> None:
    payload = {"message": "m", "levelname": "INFO", "lineno": 3}
    say(jobs, "a\nb", json_payload=payload)
    jobs.cancel_job("default", "census_1")
    shown = run("jobs", "stream-logs", "census_1", "--format=json", "--allow-multiline-logs").out
    (record,) = json.loads(shown)
    assert record["message"] == "a\nb" and record["json"] == {"lineno": 3}


def test_the_log_of_a_running_job_is_followed_to_its_end(run: Run, jobs: FakeEngine) -> None:
    def train() -> None:
        say(jobs, "one")
        say(jobs, "two")
        jobs.jobs["default", "census_1"].state = "SUCCEEDED"
        say(jobs, "end")

    trainer = threading.Timer(0.05, train)
    trainer.start()
    shown = run("jobs", "stream-logs", "census_1").out
    trainer.join()
    assert [line.split("\t")[-1] for line in shown.splitlines()] == ["one", "two", "end"]


def test_an_engine_that_is_away_for_a_moment_does_not_end_the_log(
    run: Run, jobs: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlengine.cli.logs._ENGINE_AWAY_S", 0.001)
    say(jobs, "still here")
    jobs.cancel_job("default", "census_1")
    away = iter(["read_logs", "read_logs"])

    def before(verb: str) -> None:
        if verb == next(away, None):
            raise Unavailable("No engine answers.")

    jobs.before = before
    done = run("jobs", "stream-logs", "census_1")
    assert done.out.endswith("still here\n") and done.err.count("does not answer") == 1


def test_what_the_engine_warns_of_is_said_at_submit(run: Run, engine: FakeEngine) -> None:
    engine.warnings = ["There is no runtime '1.8'.", "It is over-committed."]
    done = run(*SUBMIT_PREDICTION, "--model=m")
    assert done.err == (
        "Job [J] submitted successfully.\nWARNING: There is no runtime '1.8'.\n"
        "WARNING: It is over-committed.\n" + ACTIVE
    )
    engine.jobs.clear()
    quiet = run("--verbosity=error", *SUBMIT_PREDICTION, "--model=m")
    assert quiet.err == "Job [J] submitted successfully.\n" + ACTIVE


def test_a_prediction_job_names_its_model_one_way(run: Run, engine: FakeEngine) -> None:
    done = run(*SUBMIT_PREDICTION, "--model=m", "--version=v1", "--labels=a=b", "--batch-size=8")
    assert done == (
        0, "jobId: J\nstate: QUEUED\n", "Job [J] submitted successfully.\n" + ACTIVE
    )  # fmt: skip
    spec = engine.get_job("default", "J").prediction_input
    assert spec is not None
    assert spec.version_name == "projects/default/models/m/versions/v1"
    assert (spec.model_name, spec.data_format, spec.batch_size) == ("", "JSON", 8)


@pytest.mark.parametrize(
    "flags", [[], ["--model=m", "--model-dir=gs://b/m"], ["--model-dir=gs://b/m", "--version=v"]]
)
def test_a_prediction_job_without_one_model_is_a_usage_error(run: Run, flags: list[str]) -> None:
    assert run(*SUBMIT_PREDICTION, *flags).code == 2


def test_an_engines_error_has_its_status_and_details(run: Run) -> None:
    assert run("jobs", "describe", "nope") == (
        1,
        "",
        (
            "ERROR: (mlengine.jobs.describe) NOT_FOUND: Field: name Error: The job 'nope' was not "
            "found. List the jobs.\n"
            "- '@type': type.googleapis.com/google.rpc.BadRequest\n"
            "  fieldViolations:\n"
            "  - description: The job 'nope' was not found. List the jobs.\n"
            "    field: name\n"
        ),
    )


def test_a_submitted_job_that_fails_is_exit_code_one(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    def before(verb: str) -> None:
        if verb == "read_logs":
            job = engine.jobs["default", "J"]
            job.state, job.error_message = "FAILED", "The replica master 0 exited."

    engine.before = before
    done = run(*SUBMIT_PREDICTION, "--model=m", "--stream-logs")
    assert (done.code, done.out) == (1, "jobId: J\nstate: FAILED\n")
    assert "The replica master 0 exited." in done.err
    assert "still active" not in done.err


@pytest.mark.parametrize(("words", "setting", "seconds"), [
    ((*SUBMIT_PREDICTION, "--model=m", "--stream-logs"), "7", 7.0),
    (("jobs", "stream-logs", "census_1"), "7", 7.0),
    (("jobs", "stream-logs", "census_1", "--polling-interval=7"), "9", 7.0),
    (("jobs", "stream-logs", "census_1"), "0", 30.0),
])  # fmt: skip
def test_a_look_at_the_log_waits_as_long_as_is_set(
    run: Run, jobs: FakeEngine, monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], setting: str, seconds: float,
) -> None:  # fmt: skip
    waits: list[float] = []

    def read(*_job: str, wait_s: float, **_given: str) -> LogPage:
        waits.append(wait_s)
        return LogPage([], "1", finished=True)

    monkeypatch.setattr(jobs, "read_logs", read)
    monkeypatch.setenv("MLENGINE_POLLING_INTERVAL_S", setting)
    run(*words)
    assert waits == [seconds]


def test_ctrl_c_leaves_the_job_running(run: Run, engine: FakeEngine) -> None:
    def before(verb: str) -> None:
        if verb == "read_logs":
            raise KeyboardInterrupt

    engine.before = before
    done = run(*SUBMIT_PREDICTION, "--model=m", "--stream-logs")
    assert done.err == ("Job [J] submitted successfully.\nReceived keyboard interrupt.\n" + ACTIVE)
    # What stands behind `&&` is not to run as if the job had succeeded.
    assert (done.code, engine.get_job("default", "J").state) == (1, "QUEUED")
