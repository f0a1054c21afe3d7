"""Batch prediction jobs through a real engine."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import EngineError
from mlengine.core.resources import Bucket, Job, PredictionInput
from tests.fakes.records import write_records
from tests.live.engines import LiveEngine, P

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.9, 3.0, 4.2, 1.5]]
CLASSES = [0, 2, 1]


@pytest.fixture(scope="module")
def iris(engine: LiveEngine, iris_model: bytes) -> LiveEngine:
    uri = engine.upload_model("batch/model", model__pkl=iris_model)
    assert engine.deploy(uri, "v1", model_id="iris").error is None
    return engine


def _run(engine: LiveEngine, job_id: str, inputs: list[str], **fields: Any) -> Job:
    spec = PredictionInput(
        input_paths=inputs,
        output_path=f"gs://mine/out/{job_id}",
        data_format=fields.pop("data_format", "TEXT"),
        region="local",
        **fields,
    )
    engine.client.create_job(P, Job(job_id=job_id, prediction_input=spec))
    return engine.ended(job_id)


def _output(engine: LiveEngine, job_id: str, name: str) -> str:
    return b"".join(engine.client.read_object("mine", f"out/{job_id}/{name}")).decode()


def _lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


RESULTS = "prediction.results-00000-of-00001"


def test_order_is_kept_and_a_bad_row_is_one_error_row(iris: LiveEngine) -> None:
    rows: list[Any] = [ROWS[i % 3] for i in range(500)]
    rows[137] = ["not", "a", "row"]
    iris.client.write_object("mine", "in/rows.jsonl", [_lines(rows)])
    job = _run(
        iris, "one_bad", ["gs://mine/in/rows.jsonl"], model_name="projects/default/models/iris"
    )
    assert job.state == "SUCCEEDED"
    assert job.prediction_output is not None
    assert (job.prediction_output.prediction_count, job.prediction_output.error_count) == (499, 1)
    answers = [json.loads(line) for line in _output(iris, "one_bad", RESULTS).splitlines()]
    assert answers == [CLASSES[i % 3] for i in range(500) if i != 137]
    stats = _output(iris, "one_bad", "prediction.errors_stats-00000-of-00001")
    assert len(stats.splitlines()) == 1
    errors = [
        json.loads(line)
        for line in _output(iris, "one_bad", "prediction.errors-00000-of-00001").splitlines()
    ]
    assert [e["index"] for e in errors] == [137]
    assert errors[0]["file"] == "gs://mine/in/rows.jsonl"


def test_patterns_gzip_a_version_name_and_csv(iris: LiveEngine) -> None:
    iris.client.write_object("mine", "in/gz/a.jsonl", [_lines(ROWS[:1])])
    iris.client.write_object("mine", "in/gz/b.jsonl.gz", [gzip.compress(_lines(ROWS[1:]))])
    job = _run(
        iris, "csv_out", ["gs://mine/in/gz/*", "gs://mine/in/gz/a.jsonl"],
        version_name="projects/default/models/iris/versions/v1", output_data_format="CSV",
        data_format="JSON", batch_size=2,
    )  # fmt: skip
    assert job.state == "SUCCEEDED", job.error_message
    assert job.prediction_output is not None
    assert job.prediction_output.prediction_count == 3
    assert _output(iris, "csv_out", RESULTS + ".csv").split() == ["0", "2", "1"]
    assert _output(iris, "csv_out", "prediction.results_header.csv").strip()


def test_a_model_directory_needs_no_version(iris: LiveEngine) -> None:
    iris.client.write_object("mine", "in/uri.jsonl", [_lines(ROWS)])
    job = _run(iris, "from_uri", ["gs://mine/in/uri.jsonl"], uri="gs://mine/batch/model/")
    assert job.state == "SUCCEEDED", job.error_message
    assert _output(iris, "from_uri", RESULTS).split() == ["0", "2", "1"]


def test_inputs_of_a_bucket_that_is_no_folder_are_fetched(iris: LiveEngine, tmp_path: Path) -> None:
    iris.client.create_bucket(Bucket(name="memo", backing="memory://memo"))
    iris.client.write_object("memo", "rows.jsonl", [_lines(ROWS)])
    job = _run(
        iris, "elsewhere", ["gs://memo/rows.jsonl"], model_name="projects/default/models/iris"
    )
    assert job.state == "SUCCEEDED", job.error_message
    assert _output(iris, "elsewhere", RESULTS).split() == ["0", "2", "1"]


def test_a_model_that_does_not_load_fails_the_job_and_writes_nothing(iris: LiveEngine) -> None:
    bad = iris.upload_model("batch/bad", model__pkl=b"\x80\x04corrupt")
    iris.client.write_object("mine", "in/bad.jsonl", [_lines(ROWS)])
    job = _run(iris, "bad_model", ["gs://mine/in/bad.jsonl"], uri=bad)
    assert job.state == "FAILED"
    assert "Failed to load model" in job.error_message
    assert iris.client.list_objects("mine", prefix="out/bad_model").items == []


def test_a_cancelled_batch_shows_no_output(iris: LiveEngine) -> None:
    iris.client.write_object("mine", "in/many.jsonl", [_lines(ROWS * 200_000)])
    spec = PredictionInput(
        model_name="projects/default/models/iris", input_paths=["gs://mine/in/many.jsonl"],
        output_path="gs://mine/out/cancelled", data_format="JSON", region="local",
    )  # fmt: skip
    iris.client.create_job(P, Job(job_id="cancelled", prediction_input=spec))
    iris.lines("cancelled", until="predictions,")
    iris.client.cancel_job(P, "cancelled")
    assert iris.ended("cancelled").state == "CANCELLED"
    assert iris.client.list_objects("mine", prefix="out/cancelled").items == []


def test_a_tensorflow_model_reads_tfrecords_and_names_its_outputs(engine: LiveEngine) -> None:
    tf = pytest.importorskip("tensorflow")

    class Half(tf.Module):  # type: ignore[misc, name-defined]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="line")])
        def serve(self, line: Any) -> dict[str, Any]:
            return {"half": tf.strings.to_number(line) / 2, "raw_bytes": line}

    folder = engine.home / "half"
    module = Half()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    for path in folder.rglob("*"):
        if path.is_file():
            name = f"tf/model/{path.relative_to(folder)}"
            engine.client.write_object("mine", name, [path.read_bytes()])
    records = engine.home / "numbers.tfrecord"
    write_records(records, [b"1", b"x", b"3"])
    engine.client.write_object("mine", "tf/in/numbers.tfrecord", [records.read_bytes()])
    job = _run(engine, "tf_batch", ["gs://mine/tf/in/*"], uri="gs://mine/tf/model",
               data_format="TF_RECORD")  # fmt: skip
    assert job.state == "SUCCEEDED", job.error_message
    assert [json.loads(line) for line in _output(engine, "tf_batch", RESULTS).splitlines()] == [
        {"half": 0.5, "raw_bytes": {"b64": "MQ=="}},
        {"half": 1.5, "raw_bytes": {"b64": "Mw=="}},
    ]


@pytest.mark.parametrize("pattern", ["gs://mine/nothing/*", "gs://nope/x", "/etc/passwd"])
def test_inputs_that_are_not_there_are_named(iris: LiveEngine, pattern: str) -> None:
    with pytest.raises(EngineError) as caught:
        _run(iris, "noinput", [pattern], model_name="projects/default/models/iris")
    assert pattern.rpartition("/")[0].removesuffix("/*") in str(caught.value)
