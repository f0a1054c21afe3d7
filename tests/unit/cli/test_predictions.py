"""`mlengine predictions list`, `export` and `label`."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from mlengine.cli import rowfiles
from mlengine.cli.commands import predictions as commands
from mlengine.core.predictions import LoggedPrediction
from mlengine.core.resources import Bucket, Model
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run


@pytest.fixture
def log(engine: FakeEngine) -> FakeEngine:
    engine.create_model("default", Model(name="shop"))
    engine.logged = [
        LoggedPrediction(
            prediction_id=f"0-v{1 + n % 2}--{n}", model="shop", model_version=f"v{1 + n % 2}",
            time=f"2026-11-2{n}T10:00:00.000Z", raw_data=f"[{n}]", raw_prediction=f'"{n}, yes"',
        )
        for n in range(5)
    ]  # fmt: skip
    return engine


def test_rows_of_all_pages_are_listed_with_what_became_of_them(run: Run, log: FakeEngine) -> None:
    assert run("predictions", "label", "0-v1--2", "sold") == (
        0, "", "Labelled 1 prediction.\n",
    )  # fmt: skip
    shown = json.loads(run("predictions", "list", "shop", "--format", "json").out)
    assert [row["predictionId"] for row in shown] == [row.prediction_id for row in log.logged]
    assert shown[2]["groundtruth"] == "sold"
    assert "groundtruth" not in shown[1]
    columns = "csv(predictionId,rawData,rawPrediction,groundtruth)"
    lines = run("predictions", "list", "shop", "--version", "v1", "--since", "2026-11-22",
                "--format", columns).out.splitlines()  # fmt: skip
    assert lines == [
        "prediction_id,raw_data,raw_prediction,groundtruth",
        '0-v1--2,[2],"""2, yes""",sold', '0-v1--4,[4],"""4, yes""",',
    ]  # fmt: skip
    assert "PREDICTION_ID" in run("predictions", "list", "shop").out


def test_a_later_label_replaces_and_says_so(run: Run, log: FakeEngine) -> None:
    run("predictions", "label", "0-v1--0", "yes")
    assert run("predictions", "label", "0-v1--0", "no").err.endswith(
        "1 of them had a label already; the new one counts.\n"
    )
    assert log.logged[0].groundtruth == "no"


@pytest.mark.parametrize("truth", ["-1.5", "-3", "-1e-05", "-.5"])
def test_the_truth_may_be_a_negative_number(run: Run, log: FakeEngine, truth: str) -> None:
    assert run("predictions", "label", "0-v1--0", truth).err == "Labelled 1 prediction.\n"
    assert log.logged[0].groundtruth == truth
    for words in (["0-v1--0", truth, "--fle=x"], ["0-v1--0", "-x"]):
        assert run("predictions", "label", *words).code == 2


def test_labels_come_from_a_file(run: Run, log: FakeEngine, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text('prediction_id,truth\n0-v1--0,"a, b"\n\n0-v2--1,c\n0-v1--0,last\n')
    assert run("predictions", "label", "--file", str(file)).err == "Labelled 2 predictions.\n"
    assert [row.groundtruth for row in log.logged[:2]] == ["last", "c"]


def test_a_spreadsheets_mark_at_the_begin_of_a_file_is_no_part_of_a_name(
    run: Run, log: FakeEngine, tmp_path: Path
) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("0-v1--0,a\n", encoding="utf-8-sig")
    assert run("predictions", "label", "--file", str(file)).code == 0
    file.write_text("prediction_id,truth\n0-v2--1,b\n", encoding="utf-8-sig")
    assert run("predictions", "label", "--file", str(file)).code == 0
    assert [row.groundtruth for row in log.logged[:2]] == ["a", "b"]


def test_what_was_written_before_a_bad_lot_is_said(
    run: Run, log: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_MOST_AT_ONCE", 2)
    file = tmp_path / "truth.csv"
    file.write_text("0-v1--0,a\n0-v2--1,b\n0-v1--2,c\n0-v9--9,d\n")
    done = run("predictions", "label", "--file", str(file))
    assert done.code == 1 and "0-v9--9" in done.err
    assert "Labelled the first 2 predictions, and none after them." in done.err
    assert [row.groundtruth for row in log.logged[:3]] == ["a", "b", None]


@pytest.mark.parametrize(("text", "problem"), [
    ("0-v1--0\n", "Line 1 of ["), ("", "names no predictions"), ("a,b,c\n", "has 3 columns"),
])  # fmt: skip
def test_a_file_that_says_nothing_is_refused(
    run: Run, log: FakeEngine, tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "truth.csv"
    file.write_text(text)
    done = run("predictions", "label", "--file", str(file))
    assert done.code == 1
    assert problem in done.err


def test_what_is_not_whole_is_a_usage_error(run: Run, log: FakeEngine) -> None:
    for words in ((), ("0-v1--0",), ("0-v1--0", "x", "--file", "f")):
        assert run("predictions", "label", *words).code == 2
    assert run("predictions", "label", "0-v9--9", "x").code == 1
    assert run("predictions", "label", "--file", "/nonexistent").code == 1


def test_rows_are_exported_as_lines_under_the_names_of_the_columns(
    run: Run, log: FakeEngine, tmp_path: Path
) -> None:
    run("predictions", "label", "0-v1--2", "sold")
    file = tmp_path / "rows.jsonl"
    file.write_text("an older one")
    done = run("predictions", "export", "shop", "--version", "v1", "--out", str(file))
    assert done.err == f"Exported 3 predictions to [{file}].\n"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["prediction_id"] for row in rows] == ["0-v1--0", "0-v1--2", "0-v1--4"]
    assert rows[1] == {
        "prediction_id": "0-v1--2", "model": "shop", "model_version": "v1",
        "time": "2026-11-22T10:00:00.000Z", "raw_data": "[2]", "raw_prediction": '"2, yes"',
        "groundtruth": "sold",
    }  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o600 and list(tmp_path.iterdir()) == [file]


def test_parquet_holds_the_same_with_a_time_that_is_one(
    run: Run, log: FakeEngine, tmp_path: Path
) -> None:
    duckdb = pytest.importorskip("duckdb")
    log.logged[0] = replace(log.logged[0], raw_data='ä"\x00' + "x" * (2 << 20), raw_prediction=None)
    folder = tmp_path / "a [1]*'s" / "model=x"  # which DuckDB could take for a value
    folder.mkdir(parents=True)
    file = folder / "rows.parquet"
    assert run("predictions", "export", "shop", "--out", str(file)).code == 0
    shutil.copy(file, tmp_path / "plain.parquet")
    with duckdb.connect() as reader:
        read = reader.read_parquet(str(tmp_path / "plain.parquet"))
        assert read.columns == [*LoggedPrediction.__struct_fields__]
        found = read.project("* REPLACE (epoch_ms(time) AS time)").fetchall()
    times = [int(moment.timestamp() * 1000) for moment in map(when, log.logged)]
    assert found == [
        (row.prediction_id, row.model, row.model_version, time,
         row.raw_data, row.raw_prediction, row.groundtruth)
        for row, time in zip(log.logged, times, strict=True)
    ]  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o600 and list(folder.iterdir()) == [file]
    log.logged = []
    done = run("predictions", "export", "shop", "--out", str(file))
    assert done.err == f"Exported 0 predictions to [{file}].\n"
    with duckdb.connect() as reader:
        shutil.copy(file, tmp_path / "none.parquet")
        assert reader.read_parquet(str(tmp_path / "none.parquet")).fetchall() == []


def test_an_export_goes_into_a_bucket(run: Run, log: FakeEngine) -> None:
    log.create_bucket(Bucket(name="learn"))
    done = run("predictions", "export", "shop", "--out", "gs://learn/a/rows.jsonl")
    assert done.err == "Exported 5 predictions to [gs://learn/a/rows.jsonl].\n"
    assert b"".join(log.read_object("learn", "a/rows.jsonl")).count(b"\n") == 5


@pytest.mark.parametrize(("out", "said"), [
    ("rows.csv", "use one of .parquet, .jsonl"), ("gs://learn/", "use one of .parquet, .jsonl"),
    ("rows.parquet", "pip install 'mlengine[parquet]'"),
    ("~nosuch/rows.jsonl", "--out is '~nosuch/rows.jsonl', and nothing says where '~nosuch' is."),
    ("nowhere/rows.jsonl", "Cannot write [nowhere/rows.jsonl]: No such file or directory."),
])  # fmt: skip
def test_an_export_that_cannot_be_written_says_why(
    run: Run, log: FakeEngine, out: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rowfiles, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    done = run("predictions", "export", "shop", "--out", out)
    assert done.code == 1 and said in done.err and list(tmp_path.iterdir()) == []


def when(row: LoggedPrediction) -> datetime.datetime:
    return datetime.datetime.fromisoformat(row.time)
