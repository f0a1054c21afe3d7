"""Batch prediction as the process that it is."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest
from sklearn.base import BaseEstimator

from mlengine.runtime import batch
from mlengine.runtime.batch_input import InputFileError, Row, read_rows
from mlengine.runtime.batch_output import BatchOutput
from mlengine.runtime.opening import Opened
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.routine import RoutineModel
from tests.fakes.records import write_records
from tests.waiting import wait_until

RESULTS = "prediction.results-00000-of-00001"
ERRORS = "prediction.errors-00000-of-00001"
STATS = "prediction.errors_stats-00000-of-00001"


def run(tmp_path: Path, artifact: Path, inputs: list[Path], **spec: Any) -> Any:
    plan = {"artifact": str(artifact), "framework": "", "signature_name": "",
            "inputs": [str(path) for path in inputs], "data_format": "JSON",
            "output_dir": str(tmp_path / "out"), "output_format": "JSON", "batch_size": 64,
            "progress": str(tmp_path / "progress.json"), **spec}  # fmt: skip
    (tmp_path / "spec.json").write_text(json.dumps(plan))
    return subprocess.run(
        [sys.executable, "-m", "mlengine.runtime.batch", str(tmp_path / "spec.json")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def lines(tmp_path: Path, name: str) -> list[Any]:
    return [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]


def test_every_row_gives_one_row_in_order_or_one_error(tmp_path: Path, iris_model: Path) -> None:
    from sklearn.datasets import load_iris

    features, _ = load_iris(return_X_y=True)
    expected = joblib.load(iris_model / "model.joblib").predict(features).tolist()
    rows = [json.dumps(row) for row in features.tolist()]
    rows[3] = "[1, 2, 3]"
    rows[77] = "not json"
    rows[140] = '[1, 2, 3, "x"]'
    rows.insert(50, "")  # a blank line is no row
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n".join(rows[:100]))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write("\r\n".join(rows[100:]) + "\n")
    done = run(tmp_path, iris_model, [tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"],
               input_names=["gs://d/a.jsonl", "gs://d/b.jsonl.gz"])  # fmt: skip
    assert done.returncode == 0, done.stderr
    bad = [3, 77, 140]
    assert lines(tmp_path, RESULTS) == [p for i, p in enumerate(expected) if i not in bad]
    errors = lines(tmp_path, ERRORS)
    assert [(e["index"], e["file"], e["line"]) for e in errors] == [
        (3, "gs://d/a.jsonl", 4), (77, "gs://d/a.jsonl", 79), (140, "gs://d/b.jsonl.gz", 42),
    ]  # fmt: skip
    assert "expected 4" in errors[0]["error"]
    assert "not valid JSON" in errors[1]["error"]
    stats = (tmp_path / "out" / STATS).read_text().splitlines()
    assert len(stats) == 3
    assert stats[0].startswith("('") and stats[0].endswith("', 1)")
    counts = json.loads((tmp_path / "progress.json").read_text())
    assert counts == {"prediction_count": 147, "error_count": 3}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([RESULTS, ERRORS, STATS])


def test_without_errors_the_statistics_are_there_and_empty(
    tmp_path: Path, iris_model: Path
) -> None:
    (tmp_path / "a.jsonl").write_text("[1, 2, 3, 4]\n")
    assert run(tmp_path, iris_model, [tmp_path / "a.jsonl"]).returncode == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([RESULTS, STATS])
    assert (tmp_path / "out" / STATS).read_text() == ""


@pytest.mark.parametrize("compressed", [False, True])
def test_records_are_instances_and_a_damaged_file_costs_its_rest(
    tmp_path: Path, iris_model: Path, compressed: bool
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write_records(whole, [b"[5.1, 3.5, 1.4, 0.2]"] * 5, compressed=compressed)
    write_records(broken, [b"[5.1, 3.5, 1.4, 0.2]"] * 5, compressed=compressed)
    broken.write_bytes(broken.read_bytes()[:-9])
    data_format = "TF_RECORD_GZIP" if compressed else "TF_RECORD"
    assert run(tmp_path, iris_model, [broken, whole], data_format=data_format).returncode == 0
    errors = lines(tmp_path, ERRORS)
    assert len(errors) == 1
    assert "the rest of the file was not read" in errors[0]["error"]
    assert lines(tmp_path, RESULTS) == [0] * (errors[0]["index"] + 5)


def test_a_model_that_cannot_be_loaded_ends_with_3_and_says_why_last(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(tmp_path, tmp_path / "empty", [])
    assert done.returncode == batch.LOAD_FAILED
    assert done.stderr.splitlines()[-1].startswith("Failed to load model: Could not find a model")
    assert not (tmp_path / "out").exists()


class Picky(BaseEstimator):  # type: ignore[misc]
    """Refuses any batch that holds a 13, as a native library might, and counts its calls."""

    calls = 0

    def predict(self, instances: list[Any]) -> list[Any]:
        self.calls += 1
        if 13 in instances:
            raise RuntimeError("unlucky")
        return [{"twice": 2 * value, "note": 'a, "b"'} for value in instances]


def test_one_bad_row_costs_one_row_and_few_calls() -> None:
    from mlengine.runtime.frameworks.sklearn import SklearnModel

    picky = Picky()
    rows = [Row(i, "f", i + 1, i) for i in range(64)]
    predictions = batch._predict(SklearnModel(picky), rows)
    assert [i for i, p in enumerate(predictions) if isinstance(p, PredictionError)] == [13]
    assert picky.calls == 1 + 2 * 6  # halved six times


class Editing:
    """A routine that works in the very objects that it is given."""

    def predict(self, instances: list[Any]) -> list[Any]:
        for one in instances:
            one["numbers"][0] *= 10
            one["answer"] = [one.pop("key"), *one["numbers"]]
        return [one["answer"] for one in instances]


def test_a_bad_row_beside_a_routine_that_edits_its_instances_costs_one_row() -> None:
    instances: list[dict[str, Any]] = [{"key": f"k{i}", "numbers": [i]} for i in range(8)]
    del instances[5]["key"]
    rows = [Row(i, "f", i + 1, instance) for i, instance in enumerate(instances)]
    predictions = batch._predict(RoutineModel(Editing(), "t.Editing"), rows)
    assert isinstance(predictions.pop(5), PredictionError)
    assert predictions == [[f"k{i}", 10 * i] for i in range(8) if i != 5]


class Length(RoutineModel):
    """Answers how long a text or record is."""

    def __init__(self) -> None:
        super().__init__(self, "t.Length")

    def predict(self, instances: list[Any], **kwargs: Any) -> list[Any]:
        return [len(instance) for instance in instances]


class LengthOfText:
    """Its direct way, which takes texts alone."""

    def read(self, body: bytes) -> Any:
        return json.loads(body)["instances"]

    def count(self, asked: Any) -> int:
        return len(asked)

    def answer(self, asked: Any) -> list[bytes | None]:
        return [json.dumps({"predictions": [len(one) for one in some]}).encode() for some in asked]


def test_a_record_is_asked_as_the_bytes_that_it_is() -> None:
    opened = Opened(Length(), LengthOfText(), {})
    rows = [Row(i, "f", i + 1, instance) for i, instance in enumerate([b"hello", "hi", b"\xff"])]
    assert batch._answers(opened, rows) == [5, 2, 1]


def _read(paths: list[Path]) -> Any:
    names = [f"gs://d/{path.name}" for path in paths]
    return read_rows(paths, names=names, data_format="JSON", raw_text=False)


def test_an_input_file_that_is_gone_is_no_error_row(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    rows = _read([tmp_path / "a", tmp_path / "b"])
    assert next(rows).instance == 1
    with pytest.raises(InputFileError, match=r"^The input file gs://d/b cannot be read \(No such"):
        next(rows)


def test_text_that_only_seems_compressed_is_one_error_row(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_text("1\n2\n")
    (tmp_path / "b").write_text("3\n")
    first, second = _read([tmp_path / "a.gz", tmp_path / "b"])
    assert "the rest of the file was not read: Not a gzipped file" in (first.error or "")
    assert second.instance == 3


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_whose_input_is_gone_ends_with_4_and_says_which(
    tmp_path: Path, iris_model: Path, resumed: bool
) -> None:
    (tmp_path / "a").write_text("[1, 2, 3, 4]\n")
    more: dict[str, Any] = {"shards_dir": str(tmp_path / "shards")} if resumed else {}
    done = run(tmp_path, iris_model, [tmp_path / "a", tmp_path / "gone"], batch_size=1,
               input_names=["gs://d/a", "gs://d/gone"], **more)  # fmt: skip
    assert done.returncode == batch.INPUT_FAILED, done.stderr
    told = json.loads((tmp_path / "progress.json").read_text())
    assert told.get("prediction_count", 0) == (0 if resumed else 1)
    assert told["load_error"] == done.stderr.splitlines()[-1]
    assert told["load_error"].startswith("The input file gs://d/gone cannot be read (No such file")
    assert told["load_error"].endswith("leave its input files as they are until it has ended.")
    assert str(tmp_path) not in told["load_error"]
    assert not (tmp_path / "out" / RESULTS).exists()


def _rows(count: int) -> list[Row]:
    return [Row(i, "f", i + 1, i) for i in range(count)]


def test_csv_has_a_header_file_and_quoted_values(tmp_path: Path) -> None:
    one, two, three = _rows(3)
    with BatchOutput(tmp_path, as_csv=True) as output:
        output.add(one, {"score": [0.5, 1], "name": 'a, "b"'})
        output.add(two, {"name": "c", "score": None})
        output.add(three, {"other": 1})
    header = (tmp_path / "prediction.results_header.csv").read_text()
    assert header == "score,name\n"
    with (tmp_path / f"{RESULTS}.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["[0.5,1]", 'a, "b"'], ["", "c"]]
    assert (output.prediction_count, output.error_count) == (2, 1)


def test_bare_predictions_have_one_column(tmp_path: Path) -> None:
    with BatchOutput(tmp_path, as_csv=True) as output:
        output.add(_rows(1)[0], 3)
    assert (tmp_path / "prediction.results_header.csv").read_text() == "prediction\n"
    assert (tmp_path / f"{RESULTS}.csv").read_text() == "3\n"


def test_a_prediction_of_nan_is_an_error_row(tmp_path: Path) -> None:
    with BatchOutput(tmp_path, as_csv=False) as output:
        output.add(_rows(1)[0], float("nan"))
    assert (output.prediction_count, output.error_count) == (0, 1)


def test_a_run_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), BatchOutput(tmp_path, as_csv=False) as output:
        output.add(_rows(1)[0], 3)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_statistics_of_endless_messages_are_bounded(tmp_path: Path) -> None:
    with BatchOutput(tmp_path, as_csv=False) as output:
        for row in _rows(3000):
            output.add_error(row, f"message {row.index}")
    stats = (tmp_path / STATS).read_text().splitlines()
    assert len(stats) == 1001
    assert stats[-1] == "('(other errors)', 2000)"
    assert len((tmp_path / ERRORS).read_text().splitlines()) == 3000


def _shards(tmp_path: Path, **more: Any) -> BatchOutput:
    return BatchOutput(
        tmp_path / "out", as_csv=False, shards=tmp_path / "shards", shard_rows=4, **more
    )


def _break_off(tmp_path: Path, rows: int) -> None:
    """Write rows in batches of two, every fifth as an error, and die."""
    with pytest.raises(KeyboardInterrupt), _shards(tmp_path, plan="a") as output:
        _fill(output, rows)
        raise KeyboardInterrupt


def _fill(output: BatchOutput, rows: int) -> None:
    for start in range(output.finished_rows, rows, 2):
        for row in _rows(rows)[start : start + 2]:
            if row.index % 5 == 4:
                output.add_error(row, "fifth")
            else:
                output.add(row, row.index)
        output.end_batch(min(2, rows - start))


@pytest.mark.parametrize("broken_at", [0, 2, 4, 10, 19])
def test_whole_shards_are_not_written_again_and_counts_add_up(
    tmp_path: Path, broken_at: int
) -> None:
    _break_off(tmp_path, broken_at)
    with _shards(tmp_path, plan="a") as output:
        assert output.finished_rows == broken_at // 4 * 4
        _fill(output, 23)
    assert lines(tmp_path, RESULTS) == [i for i in range(23) if i % 5 != 4]
    assert [e["index"] for e in lines(tmp_path, ERRORS)] == [4, 9, 14, 19]
    assert (output.prediction_count, output.error_count) == (19, 4)
    assert (tmp_path / "out" / STATS).read_text() == "('fifth', 4)\n"
    assert not (tmp_path / "shards").exists()


def test_shards_of_something_else_are_thrown_away(tmp_path: Path) -> None:
    _break_off(tmp_path, 10)
    with _shards(tmp_path, plan="b") as output:
        assert output.finished_rows == 0
        _fill(output, 3)
    assert lines(tmp_path, RESULTS) == [0, 1, 2]


def test_a_killed_run_goes_on_behind_its_last_whole_shard(tmp_path: Path, iris_model: Path) -> None:
    from sklearn.datasets import load_iris

    rows = load_iris().data.tolist() * 40
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.pkl").write_bytes((iris_model / "model.joblib").read_bytes())
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {"shards_dir": str(tmp_path / "shards"), "shard_rows": 64, "batch_size": 64}
    whole = run(tmp_path, model, [tmp_path / "rows.jsonl"], **spec)
    assert whole.returncode == 0, whole.stderr
    expected = (tmp_path / "out" / RESULTS).read_bytes()
    (tmp_path / "out" / RESULTS).unlink()
    (tmp_path / "progress.json").unlink()
    killed = subprocess.Popen(
        [sys.executable, "-m", "mlengine.runtime.batch", str(tmp_path / "spec.json")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    done = tmp_path / "shards" / "00002.json"
    wait_until(lambda: done.exists() or killed.poll() is not None, timeout_s=60)
    killed.kill()
    killed.wait()
    kept = len(list((tmp_path / "shards").glob("*.json")))  # 0 if it was done before the kill
    shutil.copytree(tmp_path / "shards", tmp_path / "copied")
    another = {**spec, "shards_dir": str(tmp_path / "copied"), "version": "another"}
    new = run(tmp_path, model, [tmp_path / "rows.jsonl"], **another)
    assert new.returncode == 0 and "were done before" not in new.stderr
    again = run(tmp_path, model, [tmp_path / "rows.jsonl"], **spec)
    assert again.returncode == 0, again.stderr
    assert (f"{kept * 64} rows were done before" in again.stderr) == (kept > 0)
    assert (tmp_path / "out" / RESULTS).read_bytes() == expected
    counts = json.loads((tmp_path / "progress.json").read_text())
    assert counts == {"prediction_count": len(rows), "error_count": 0}
