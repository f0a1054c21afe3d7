"""Mistakes of a user, end to end: each is a clear error, and nothing is half created."""

from __future__ import annotations

import json
import pickle
import urllib.error
import urllib.request
from typing import Any

import pytest

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument, NotFound
from mlengine.core.resources import Job, PredictionInput, Scheduling, TrainingInput
from tests.live.engines import LiveEngine, P


def _post(engine: LiveEngine, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        engine.url + path,
        data=body,
        headers={"Authorization": f"Bearer {engine.token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


# --- jobs ---


def test_a_trainer_that_raises_is_quoted_with_file_and_line(engine: LiveEngine) -> None:
    package = engine.upload_package("def main():\n    raise ValueError('no column agee')\n\nmain()")
    engine.submit("raises", package)
    job = engine.ended("raises")
    assert job.state == "FAILED"
    assert job.error_message.startswith("The replica master 0 exited with a non-zero status of 1.")
    assert "ValueError: no column agee" in job.error_message
    assert "task.py:2" in job.error_message


def test_an_unknown_module_is_named(engine: LiveEngine) -> None:
    engine.submit("nomodule", engine.upload_package(""), python_module="trainer.tsk")
    job = engine.ended("nomodule")
    assert job.state == "FAILED"
    assert "trainer.tsk" in job.error_message


def test_a_killed_trainer_names_the_signal(engine: LiveEngine) -> None:
    package = engine.upload_package("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    engine.submit("segv", package)
    job = engine.ended("segv")
    assert job.state == "FAILED"
    assert "SIGSEGV" in job.error_message


def test_a_package_that_does_not_install_shows_the_installers_last_lines(
    engine: LiveEngine,
) -> None:
    package = engine.upload_package("")
    archive = b"this is no archive"
    engine.client.write_object("mine", "packages/broken/trainer-0.0.0.tar.gz", [archive])
    engine.submit("noinstall", "gs://mine/packages/broken/trainer-0.0.0.tar.gz")
    job = engine.ended("noinstall")
    assert job.state == "FAILED"
    assert "trainer-0.0.0.tar.gz" in job.error_message
    assert not job.start_time
    engine.submit("after_it", package)
    assert engine.ended("after_it").state == "SUCCEEDED"


def test_arguments_arrive_verbatim(engine: LiveEngine) -> None:
    package = engine.upload_package("import sys, json\nprint(json.dumps(sys.argv[1:]))")
    hostile = ["$(touch x)", "; rm -rf /", "a\nb", "-rf", "--", "naïve", "", "`id`", "%s", "\\"]
    engine.submit("verbatim", package, *hostile)
    assert json.dumps(hostile) in engine.lines("verbatim")


def test_a_trainer_sees_no_secret_and_no_open_file(engine: LiveEngine) -> None:
    package = engine.upload_package(
        """
        import os
        print("env", sorted(os.environ))
        print("values", list(os.environ.values()))
        print("fds", sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1])
        """
    )
    engine.submit("secrets", package)
    said = "\n".join(engine.lines("secrets"))
    assert engine.token not in said
    assert "MLENGINE_TOKEN" not in said
    assert "fds [0, 1, 2]" in said


def test_gs_paths_arrive_as_real_paths_and_the_job_dir_is_there(engine: LiveEngine) -> None:
    engine.client.write_object("mine", "data/rows.csv", [b"1,2\n"])
    package = engine.upload_package(
        """
        import argparse, pathlib
        parser = argparse.ArgumentParser()
        parser.add_argument("--train-files")
        parser.add_argument("--job-dir")
        args = parser.parse_args()
        print("read", pathlib.Path(args.train_files).read_text().strip())
        (pathlib.Path(args.job_dir) / "model.txt").write_text("model")
        """
    )
    engine.submit("paths", package, "--train-files=gs://mine/data/rows.csv",
                  job_dir="gs://mine/jobs/paths")  # fmt: skip
    assert "read 1,2" in engine.lines("paths")
    assert engine.ended("paths").state == "SUCCEEDED"
    assert b"".join(engine.client.read_object("mine", "jobs/paths/model.txt")) == b"model"


def test_a_time_limit_is_kept(engine: LiveEngine) -> None:
    package = engine.upload_package("import time\ntime.sleep(600)")
    engine.submit("toolong", package, scheduling=Scheduling(max_running_time="0.5s"))
    job = engine.ended("toolong")
    assert job.state == "CANCELLED"
    assert "0.5" in job.error_message


def test_nothing_of_a_cancelled_job_is_left(engine: LiveEngine) -> None:
    """Also not a grandchild in a session of its own that ignores SIGTERM."""
    package = engine.upload_package(
        """
        import os, signal, subprocess, sys, time
        code = "import signal, time; signal.signal(15, signal.SIG_IGN)"
        code += "; print('deep', flush=True); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code, "canary-of-cancel"], start_new_session=True)
        time.sleep(600)
        """
    )
    engine.submit("stubborn", package)
    engine.lines("stubborn", until="deep")
    engine.client.cancel_job(P, "stubborn")
    assert engine.ended("stubborn").state == "CANCELLED"
    assert not [p for p in _all_processes() if "canary-of-cancel" in p]


def _all_processes() -> list[str]:
    from pathlib import Path

    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return found


BAD_JOBS: dict[str, tuple[TrainingInput | PredictionInput, str, type[EngineError]]] = {
    "a package that is not there": (
        TrainingInput(
            python_module="t.task", package_uris=["gs://mine/nope.tar.gz"], region="local"
        ),
        "training_input.package_uris[0]",
        InvalidArgument,
    ),
    "a package in an unknown bucket": (
        TrainingInput(
            python_module="t.task", package_uris=["gs://nope/x.tar.gz"], region="local"
        ),
        "training_input.package_uris[0]",
        InvalidArgument,
    ),
    "a package outside": (
        TrainingInput(
            python_module="t.task", package_uris=["gs://mine/../x.tar.gz"], region="local"
        ),
        "training_input.package_uris[0]",
        InvalidArgument,
    ),
    "batch without a model": (
        PredictionInput(
            data_format="JSON", input_paths=["gs://mine/x"], output_path="gs://mine/o",
            region="local",
        ),
        "prediction_input",
        InvalidArgument,
    ),
    "batch with a model that is not there": (
        PredictionInput(
            model_name="projects/default/models/nope", data_format="JSON",
            input_paths=["gs://mine/packages/**"], output_path="gs://mine/o", region="local",
        ),
        "name",
        NotFound,
    ),
    "batch without a match": (
        PredictionInput(
            uri="gs://mine/m", data_format="JSON", input_paths=["gs://mine/none*"],
            output_path="gs://mine/o", region="local",
        ),
        "prediction_input.input_paths",
        EngineError,  # type: ignore[type-abstract]
    ),
    "batch that reads CSV": (
        PredictionInput(
            uri="gs://mine/m", data_format="CSV", input_paths=["gs://mine/x"],
            output_path="gs://mine/o", region="local",
        ),
        "prediction_input.data_format",
        InvalidArgument,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "kind"), BAD_JOBS.values(), ids=BAD_JOBS.keys())
def test_a_job_that_can_never_run_is_not_created(
    engine: LiveEngine,
    spec: TrainingInput | PredictionInput,
    field: str,
    kind: type[EngineError],
) -> None:
    engine.upload_package("")
    job = Job(job_id="never")
    if isinstance(spec, TrainingInput):
        job.training_input = spec
    else:
        job.prediction_input = spec
    with pytest.raises(kind) as caught:
        engine.client.create_job(P, job)
    assert caught.value.field == field or field in str(caught.value)
    with pytest.raises(NotFound):
        engine.job("never")


# --- models ---


def test_models_that_cannot_be_served(engine: LiveEngine, iris_model: bytes) -> None:
    corrupt = engine.deploy(engine.upload_model("m/corrupt", model__pkl=iris_model[:300]), "v1")
    assert corrupt.error is not None
    assert "Bad model detected with error" in corrupt.error["message"]
    assert "Failed to load model" in corrupt.error["message"]
    stranger = pickle.dumps({"not": "a model"})
    other = engine.deploy(engine.upload_model("m/dict", model__pkl=stranger), "v2")
    assert other.error is not None
    assert "Invalid model type detected" in other.error["message"]
    assert engine.client.get_version(P, "census", "v2").state == "FAILED"
    both = engine.upload_model("m/two", model__pkl=iris_model, model__joblib=iris_model)
    with pytest.raises(FailedPrecondition, match="Multiple model files are found"):
        engine.deploy(both, "v3")
    with pytest.raises(FailedPrecondition, match="Could not find a model file"):
        engine.deploy(engine.upload_model("m/none", readme__txt=b"hello"), "v4")
    status, answer = _post(
        engine, "/v1/projects/default/models/census:predict", b'{"instances": [[1]]}'
    )
    assert (status, answer["error"]["status"]) == (400, "FAILED_PRECONDITION")
    assert len(engine.client.list_versions(P, "census").items) == 2


def test_a_hostile_pickle_reaches_nothing_of_the_engine(engine: LiveEngine) -> None:
    canary = engine.home / "canary"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            code = (
                "import os\n"
                f"open({str(canary)!r}, 'w').write(repr(sorted(os.environ)) + str(os.getppid()))"
            )
            return (exec, (code,))

    evil = engine.deploy(engine.upload_model("m/evil", model__pkl=pickle.dumps(Evil())), "e1",
                         model_id="evil")  # fmt: skip
    assert evil.error is not None
    # A model is a program: it ran, in a process that may write nowhere but in its own folder.
    assert "Permission denied" in evil.error["message"]
    assert not canary.exists()
    assert engine.client.status().pid == engine.pid


PREDICT = "/v1/projects/default/models/iris_bad:predict"
BAD_REQUESTS: dict[str, tuple[bytes, int, str]] = {
    "too few numbers": (b'{"instances": [[1, 2]]}', 400, "expected 4"),
    "a word for a number": (b'{"instances": [["a", 2, 3, 4]]}', 400, "Invalid inputs"),
    "an object for a row": (b'{"instances": [{"x": 1}]}', 400, "Invalid inputs"),
    "ragged rows": (b'{"instances": [[1, 2, 3, 4], [1]]}', 400, "Invalid inputs"),
    "NaN": (b'{"instances": [[NaN, 2, 3, 4]]}', 400, "JSON"),
    "no JSON": (b"instances", 400, "JSON"),
    "no instances": (b'{"rows": []}', 400, "instances"),
    "instances that are no list": (b'{"instances": 3}', 400, "list"),
    "a key twice": (b'{"instances": [], "instances": []}', 400, "instances"),
    "an unknown keyword": (b'{"instances": [[1,2,3,4]], "probabilities": true}', 400, "sklearn"),
    "10 MB": (b'{"instances": "' + b"x" * 10_000_000 + b'"}', 400, "1572864"),
}


@pytest.fixture(scope="module")
def iris(engine: LiveEngine, iris_model: bytes) -> LiveEngine:
    uri = engine.upload_model("m/iris", model__pkl=iris_model)
    assert engine.deploy(uri, "v1", model_id="iris_bad").error is None
    return engine


@pytest.mark.parametrize(("body", "code", "text"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_bad_request_says_why_and_the_next_good_one_is_right(
    iris: LiveEngine, body: bytes, code: int, text: str
) -> None:
    status, answer = _post(iris, PREDICT, body)
    assert status == code
    assert text in answer["error"]["message"]
    assert str(iris.home) not in answer["error"]["message"]
    assert _post(iris, PREDICT, b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}') == (
        200,
        {"predictions": [0]},
    )


def test_an_unknown_field_is_named_with_its_neighbour(engine: LiveEngine) -> None:
    body = b'{"jobId": "x", "trainingInput": {"pythonModul": "a"}}'
    status, answer = _post(engine, "/v1/projects/default/jobs", body)
    assert status == 400
    assert answer["error"]["message"].startswith(
        "Invalid JSON payload received. Unknown name \"pythonModul\" at 'job.training_input': "
        "Cannot find field."
    )
    assert "pythonModule" in answer["error"]["message"]


def test_an_unknown_bucket_is_named(engine: LiveEngine) -> None:
    with pytest.raises(NotFound, match="nope"):
        engine.client.list_objects("nope")
    with pytest.raises((NotFound, InvalidArgument), match="nope"):
        engine.submit("nobucket", engine.upload_package(""), job_dir="gs://nope/x")
