"""Tuning jobs on a real engine: real trainers, whose trials are real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import NotFound
from mlengine.core.resources import Job, LogEntry
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.waiting import wait_until

X = {"parameterName": "x", "type": "DOUBLE", "minValue": 0.0, "maxValue": 1.0}

# scikit-learn, cloudml-hypertune and the talk's own spelling of flags.
IRIS = """
    import argparse, json, os, pickle
    import hypertune
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir", required=True)
    parser.add_argument("--scale-factor", type=float, required=True)
    parser.add_argument("--max_iter", type=int, default=1)
    args = parser.parse_args()

    model = LogisticRegression(C=args.scale_factor, max_iter=args.max_iter)
    data, target = load_iris(return_X_y=True)
    accuracy = cross_val_score(model, data, target, cv=3).mean()
    hypertune.HyperTune().report_hyperparameter_tuning_metric(
        hyperparameter_metric_tag="accuracy", metric_value=accuracy, global_step=1000)
    task = json.loads(os.environ["TF_CONFIG"])["task"]
    assert task["trial"] == os.environ["CLOUD_ML_TRIAL_ID"] == os.path.basename(args.job_dir)
    os.makedirs(args.job_dir + "/model")
    with open(args.job_dir + "/model/model.pkl", "wb") as file:
        pickle.dump(model.fit(data, target), file)
    print("tried", args.scale_factor, flush=True)
"""

# Each trial tells its objective in another way.
TELLING = """
    import argparse, json, math, os, struct, sys
    from pathlib import Path

    from mlengine.runtime import report
    from mlengine.runtime.records import masked_crc

    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir", type=Path)
    parser.add_argument("--how")
    args = parser.parse_args()

    def framed(record):
        length = struct.pack("<Q", len(record))
        return (length + struct.pack("<I", masked_crc(length))
                + record + struct.pack("<I", masked_crc(record)))

    def event(step, value, *, v2):
        number = struct.pack("<f", value)
        tag = b"val/loss"
        scalar = b"\\x15" + number
        if v2:  # a tensor of the plugin "scalars"
            tensor = b"\\x08\\x01\\x12\\x00\\x22\\x04" + number
            plugin = b"\\x0a\\x09\\x0a\\x07scalars"
            scalar = (b"\\x42" + bytes([len(tensor)]) + tensor
                      + b"\\x4a" + bytes([len(plugin)]) + plugin)
        one = b"\\x0a" + bytes([len(tag)]) + tag + scalar
        summary = b"\\x0a" + bytes([len(one)]) + one
        import time
        return (b"\\x09" + struct.pack("<d", time.time()) + b"\\x10" + bytes([step])
                + b"\\x2a" + bytes([len(summary)]) + summary)

    for_step = {1: 0.5, 2: 0.25, 3: math.nan}
    if args.how == "report":
        for step, value in for_step.items():
            assert report("val/loss", value, step)
    elif args.how == "print":
        for step, value in for_step.items():
            print(json.dumps({"metric": "val/loss", "value": value, "step": step}))
    elif args.how == "never":
        report("train/loss", 0.5)
        report("speed", 12)
    else:
        folder = args.job_dir / "logs" / "validation"
        folder.mkdir(parents=True)
        events = [framed(event(s, v, v2=args.how == "v2")) for s, v in for_step.items()]
        (folder / "events.out.tfevents.1").write_bytes(b"".join(events))
"""

FLAGLESS = """
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir")
    parser.add_argument("--scale_factor", type=float)
    parser.parse_args()
"""

# A curve that a test lets go on, step by step; the higher x the better.
CURVE = """
    import argparse, os, threading
    from pathlib import Path
    from mlengine.runtime import report

    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir", type=Path)
    parser.add_argument("--x", type=float)
    parser.add_argument("--until", type=Path)
    args = parser.parse_args()
    good = os.environ["CLOUD_ML_TRIAL_ID"] in ("1", "2", "3")
    for step in range(1, 21 if good else 11):
        report("auc", (0.8 if good else 0.1) + step / 100, step)
    print("reported", flush=True)
    while not good and not args.until.exists():
        threading.Event().wait(0.05)
"""

CLUSTER = """
    import argparse, json, os, sys, threading
    from pathlib import Path
    from mlengine.runtime import report
    parser = argparse.ArgumentParser()
    parser.add_argument("--job-dir")
    parser.add_argument("--x", type=float)
    args = parser.parse_args()
    config = json.loads(os.environ["TF_CONFIG"])
    task = config["task"]
    print(task["type"], task["trial"], sorted(config["cluster"]), config["job"]["job_dir"],
          os.path.basename(args.job_dir), os.environ["CLOUD_ML_JOB_ID"])
    done = Path(args.job_dir) / "worker"
    if task["type"] == "chief":
        report("auc", args.x)
        while not done.exists():  # a worker is stopped when its chief ends
            threading.Event().wait(0.05)
    else:
        sys.stdout.flush()
        done.touch()
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    """Room for four trials at one time, whatever the machine has."""
    home = tmp_path_factory.mktemp("tuning") / "home"
    with live_engine(home, max_running_jobs="4") as engine:
        engine.make_bucket()
        yield engine


def tune(engine: LiveEngine, job_id: str, package: str, *args: str, **asked: Any) -> Job:
    """Submit a tuning job whose folder is the bucket's of its name."""
    fields = {name: asked.pop(name) for name in list(asked) if "_" in name}
    hyperparameters = {"hyperparameterMetricTag": "auc", "params": [X], **asked}
    job_dir = f"gs://{BUCKET}/{job_id}"
    return engine.submit(
        job_id, package, *args, job_dir=job_dir, hyperparameters=hyperparameters, **fields
    )


def entries(engine: LiveEngine, job_id: str) -> list[LogEntry]:
    found: list[LogEntry] = []
    cursor = ""
    while True:
        page = engine.client.read_logs(P, job_id, cursor=cursor, wait_s=10)
        found += page.entries
        if page.finished:
            return found
        cursor = page.cursor


def test_a_trainer_is_tuned_and_its_best_model_answers(engine: LiveEngine) -> None:
    pytest.importorskip("sklearn")
    params = [
        {"parameterName": "scale-factor", "type": "DOUBLE", "minValue": 1e-4, "maxValue": 1.0,
         "scaleType": "UNIT_LOG_SCALE"},
        {"parameterName": "max_iter", "type": "DISCRETE", "discreteValues": [200, 400]},
    ]  # fmt: skip
    submitted = tune(
        engine, "iris", engine.upload_package(IRIS), "--max_iter", "7",
        hyperparameterMetricTag="accuracy", params=params, maxTrials=3, maxParallelTrials=2,
    )  # fmt: skip
    assert submitted.state == "QUEUED"
    log = entries(engine, "iris")
    job = engine.ended("iris")
    assert job.state == "SUCCEEDED", job.error_message
    output = job.training_output
    assert output is not None
    assert output.completed_trial_count == 3
    assert output.is_hyperparameter_tuning_job
    assert output.hyperparameter_metric_tag == "accuracy"
    assert output.consumed_m_l_units > 0
    assert sorted(trial["trialId"] for trial in output.trials) == list("123")
    values = [trial["finalMetric"]["objectiveValue"] for trial in output.trials]
    assert values == sorted(values, reverse=True)
    assert values[0] >= 0.8  # of iris by some scale factors: by chance alone, a third
    for trial in output.trials:
        assert trial["finalMetric"]["trainingStep"] == "1000"
        assert trial["hyperparameters"]["max_iter"] in ("200", "400")
        assert float(trial["hyperparameters"]["scale-factor"]) <= 1.0
    tried = {e.trial_id: e.message for e in log if e.message.startswith("tried ")}
    flags = {t["trialId"]: t["hyperparameters"]["scale-factor"] for t in output.trials}
    assert tried == {number: f"tried {float(flag)}" for number, flag in flags.items()}
    assert any("will take about" in e.message and not e.trial_id for e in log)
    # The job is one; its trials are nobody's to list or name.
    assert [j.job_id for j in engine.client.list_jobs(P).items if "iris" in j.job_id] == ["iris"]
    with pytest.raises(NotFound):
        engine.client.get_job(P, "iris_1")
    best = output.trials[0]["trialId"]
    operation = engine.deploy(f"gs://{BUCKET}/iris/{best}/model", model_id="iris")
    assert operation.error is None, operation.error
    reply = engine.client.predict(P, "iris", "v1", b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}')
    assert json.loads(reply.body) == {"predictions": [0]}


def test_every_way_to_tell_the_objective_counts_and_nan_does_not(engine: LiveEngine) -> None:
    how = {"parameterName": "how", "type": "CATEGORICAL",
           "categoricalValues": ["report", "print", "v1", "v2", "never"]}  # fmt: skip
    tune(
        engine, "told", engine.upload_package(TELLING), goal="MINIMIZE", params=[how],
        hyperparameterMetricTag="val/loss", algorithm="GRID_SEARCH", maxTrials=9,
        maxParallelTrials=4,
    )  # fmt: skip
    job = engine.ended("told", timeout_s=120)
    assert job.state == "SUCCEEDED", job.error_message
    assert job.training_output is not None
    by_how = {t["hyperparameters"]["how"]: t for t in job.training_output.trials}
    assert len(by_how) == len(job.training_output.trials) == 5  # there is no other point
    silent = by_how.pop("never")
    told_by = {s.run.partition("/")[0]: s.source for s in engine.client.job_metrics(P, "told")}
    number = {how: trial["trialId"] for how, trial in by_how.items()}
    assert told_by[number["report"]] == "hypertune"
    assert told_by[number["print"]] == "log"
    assert told_by[number["v1"]] == told_by[number["v2"]] == "tensorboard"
    for told in by_how.values():
        assert told["finalMetric"] == {"trainingStep": "2", "objectiveValue": 0.25}, told
        assert [m["objectiveValue"] for m in told["allMetrics"]] == [0.5, 0.25]
    assert silent["state"] == "FAILED"
    assert "finalMetric" not in silent
    assert "Reported were: speed, train/loss." in silent["errorMessage"]
    assert job.training_output.trials[-1] == silent
    said = [e for e in entries(engine, "told") if "'val/loss' was never reported" in e.message]
    # The trial's own end is an error; that the job warns of it at its end is not.
    assert {e.severity for e in said} == {"ERROR", "WARNING"}
    assert job.details is not None and "never reported" in job.details.warnings[-1]


def test_a_flag_that_the_trainer_does_not_know_costs_one_trial(engine: LiveEngine) -> None:
    factor = {**X, "parameterName": "scale-factor"}
    tune(engine, "flagless", engine.upload_package(FLAGLESS), params=[factor], maxTrials=30)
    job = engine.ended("flagless")
    assert job.state == "FAILED"
    assert "The trainer does not know --scale-factor" in job.error_message
    assert "--scale_factor" in job.error_message  # which it does know
    assert "unrecognized arguments" in job.error_message
    assert job.training_output is not None
    assert [t["trialId"] for t in job.training_output.trials] == ["1"]


def test_a_hopeless_trial_is_stopped_early_and_cleanly(engine: LiveEngine, tmp_path: Path) -> None:
    tune(
        engine, "early", engine.upload_package(CURVE), f"--until={tmp_path / 'never'}",
        maxTrials=4, enableTrialEarlyStopping=True,
    )  # fmt: skip
    job = engine.ended("early", timeout_s=120)
    assert job.state == "SUCCEEDED", job.error_message
    assert job.training_output is not None
    last = job.training_output.trials[-1]
    assert last["trialId"] == "4"
    assert last["isTrialStoppedEarly"]
    assert last["state"] == "SUCCEEDED"
    assert last["finalMetric"]["trainingStep"] == "10"
    assert job.training_output.completed_trial_count == 4


def test_cancel_stops_all_trials(engine: LiveEngine, tmp_path: Path) -> None:
    never = f"--until={tmp_path / 'never'}"
    package = engine.upload_package(CURVE)
    tune(engine, "gone", package, never, maxTrials=8, maxParallelTrials=4)
    wait_until(lambda: len(_running(engine, "gone")) >= 1, 120)
    engine.client.cancel_job(P, "gone")
    job = engine.ended("gone")
    assert job.state == "CANCELLED"
    assert job.training_output is not None
    assert {t["state"] for t in job.training_output.trials} <= {"SUCCEEDED", "CANCELLED"}
    marks = ("runtime/supervisor.py", "trainer.task")
    wait_until(lambda: not [w for w in engine.processes() if any(mark in w for mark in marks)])
    tune(engine, "back", package, never, maxTrials=1, resumePreviousJobId="gone")
    wait_until(lambda: _running(engine, "back"), 120)
    (trial,) = _running(engine, "back")
    assert int(trial["trialId"]) > max(int(t["trialId"]) for t in job.training_output.trials)
    engine.client.cancel_job(P, "back")
    assert engine.ended("back").state == "CANCELLED"


def test_each_trial_may_be_a_whole_cluster(engine: LiveEngine) -> None:
    tune(
        engine, "wide", engine.upload_package(CLUSTER), maxTrials=2, algorithm="RANDOM_SEARCH",
        scale_tier="CUSTOM", master_type="n1-standard-4", worker_type="n1-standard-4",
        worker_count=1,
    )  # fmt: skip
    log = entries(engine, "wide")
    assert engine.ended("wide").state == "SUCCEEDED"
    said = sorted((e.trial_id, e.task_name, e.message) for e in log if "['chief'" in e.message)
    assert said == [
        (n, task, f"{role} {n} ['chief', 'worker'] gs://{BUCKET}/wide {n} wide")
        for n in "12"
        for task, role in (("master-replica-0", "chief"), ("worker-replica-0", "worker"))
    ]


def _running(engine: LiveEngine, job_id: str) -> list[dict[str, Any]]:
    output = engine.job(job_id).training_output
    return [t for t in output.trials if t["state"] == "RUNNING"] if output else []
