"""No silent failure: what exits with 0 and still did not do its work is FAILED, and says why."""

from __future__ import annotations

from typing import Any

import pytest

from mlengine.core.resources import Job, JobOptions, TrainingInput
from tests.live.engines import LiveEngine, P

QUIET = "import sys\nprint('trained', sys.argv[1:])"

HANDLED_AND_RETURNED = """
import traceback
def main():
    raise ValueError("no column agee")
try:
    main()
except Exception:
    traceback.print_exc()
"""

HANDLED_AND_WENT_ON = """
import logging
try:
    raise OSError("no metadata server")
except OSError:
    logging.exception("not on Google's cloud")
print("epoch 1 loss: 0.5")
"""

NAN_BY_HYPERTUNE = """
import json, os, time
path = os.environ["CLOUD_ML_HP_METRIC_FILE"]
os.makedirs(os.path.dirname(path), exist_ok=True)
rows = [(1, "0.5"), (2, "nan")]
with open(path, "w") as file:
    for step, value in rows:
        file.write(json.dumps({"checkpoint_path": "", "global_step": str(step), "trial": "0",
                               "timestamp": time.time(), "loss": value}, sort_keys=True) + "\\n")
"""

EXPORT = """
import os, sys
job_dir = sys.argv[sys.argv.index("--job-dir") + 1]
def write(name, data):
    path = os.path.join(job_dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
"""

EMPTY_SAVED_MODEL = EXPORT + "write('export/exporter/1546300800/saved_model.pb', b'')"

HALF_A_PICKLE = (
    EXPORT + "import pickle\nwrite('model.joblib', pickle.dumps(list(range(10000)))[:5000])"
)

OF_MAIN = EXPORT + "import pickle\nclass Model: pass\nwrite('model.pkl', pickle.dumps(Model()))"

WHOLE = EXPORT + "import pickle\nwrite('model.pkl', pickle.dumps({'weights': [1.0]}))"


def _run(engine: LiveEngine, job_id: str, code: str, *allow: str, **fields: Any) -> Job:
    spec = TrainingInput(
        python_module="trainer.task",
        package_uris=[engine.upload_package(code)],
        region="local",
        **fields,
    )
    options = JobOptions(allow=list(allow)) if allow else None
    engine.client.create_job(P, Job(job_id=job_id, training_input=spec, options=options))
    return engine.ended(job_id)


@pytest.mark.parametrize(
    ("job_id", "code", "word", "name", "said"),
    [
        ("printed", HANDLED_AND_RETURNED, "traceback", "TRACEBACK_AT_EXIT", "no column agee"),
        ("nan", NAN_BY_HYPERTUNE, "non-finite", "NON_FINITE_OBJECTIVE", "loss (hypertune"),
        ("empty", EMPTY_SAVED_MODEL, "export", "BROKEN_EXPORT", "saved_model.pb is empty"),
        ("half", HALF_A_PICKLE, "export", "BROKEN_EXPORT", "model.joblib"),
        ("main", OF_MAIN, "export", "BROKEN_EXPORT", "model.pkl"),
    ],
)
def test_exit_0_is_not_enough(
    engine: LiveEngine, job_id: str, code: str, word: str, name: str, said: str
) -> None:
    fields = {"job_dir": f"gs://mine/verdicts/{job_id}"}
    job = _run(engine, f"verdict_{job_id}", code, **fields)
    assert job.state == "FAILED"
    assert job.error_message.startswith(f"{name}: ")
    assert said in job.error_message
    assert f"--allow {word}" in job.error_message
    assert job.training_output is not None
    allowed = _run(engine, f"verdict_{job_id}_allowed", code, word, **fields)
    assert (allowed.state, allowed.error_message) == ("SUCCEEDED", "")
    assert allowed.details is not None
    assert [w for w in allowed.details.warnings if w.startswith(name) and said in w]
    assert [line for line in engine.lines(allowed.job_id) if line.startswith(name)]


def test_a_handled_exception_a_whole_model_and_no_model_at_all_are_fine(
    engine: LiveEngine,
) -> None:
    for job_id, code in {"went_on": HANDLED_AND_WENT_ON, "whole": WHOLE, "quiet": QUIET}.items():
        job = _run(engine, f"verdict_{job_id}", code, job_dir=f"gs://mine/verdicts/{job_id}")
        assert (job.state, job.error_message) == ("SUCCEEDED", "")
        assert job.details is not None
        assert not job.details.warnings


def test_what_an_earlier_job_left_is_not_held_against_the_next(engine: LiveEngine) -> None:
    fields = {"job_dir": "gs://mine/verdicts/shared"}
    assert _run(engine, "verdict_before", EMPTY_SAVED_MODEL, **fields).state == "FAILED"
    after = _run(engine, "verdict_after", QUIET, **fields)
    assert (after.state, after.error_message) == ("SUCCEEDED", "")


def test_the_metrics_of_a_job_are_told_over_http(engine: LiveEngine) -> None:
    _run(engine, "verdict_metrics", NAN_BY_HYPERTUNE, "non-finite")
    (series,) = engine.client.job_metrics(P, "verdict_metrics", tag="loss")
    assert (series.tag, series.run, series.source) == ("loss", "master-replica-0", "hypertune")
    assert (series.steps, series.values) == ([1, 2], [0.5, "NaN"])
    assert engine.client.job_metrics(P, "verdict_metrics", tag="accuracy") == []
