"""`mlengine predictions list` and `label`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlengine.cli.commands import predictions as commands
from mlengine.core.predictions import LoggedPrediction
from mlengine.core.resources import Model
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
        0, "", "Labelled 1 predictions.\n",
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
