"""What a job reported: three sources, one list of series."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.resources import MetricSeries
from mlengine.training import metrics, printed
from mlengine.training.curves import Series
from mlengine.training.eventfiles import Budget, Scalar
from mlengine.training.hypertune import ReportLines
from mlengine.training.metrics import Metrics, Reading, aliases, read_metrics, resources, with_tag
from tests.fakes.records import framed
from tests.unit.training.test_eventfiles import event, simple


def events(path: Path, *rows: tuple[str, float, int, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(framed(event(simple(t, v), step=s, time_s=at)) for t, v, s, at in rows)
    )


def report(path: Path, *rows: dict[str, Any], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + end for row in rows))


def said(path: Path, *messages: str, payload: dict[str, Any] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for message in messages:
            row: dict[str, Any] = {"timestamp": "2018-03-02T06:50:06.5Z", "message": message}
            file.write(json.dumps(row | ({"json_payload": payload} if payload else {})) + "\n")


def job_metrics(job_dir: Path | None, attempt_dirs: list[Path]) -> list[MetricSeries]:
    return resources(read_metrics(job_dir, attempt_dirs))


def test_a_job_that_reported_nothing_has_no_metrics(tmp_path: Path) -> None:
    assert job_metrics(None, []) == []
    assert job_metrics(tmp_path / "none", [tmp_path / "1"]) == []


def test_a_series_is_a_tag_of_a_run_by_step(tmp_path: Path) -> None:
    events(tmp_path / "eval" / "e.tfevents.1", ("loss", 0.5, 20, 3.0), ("loss", 0.75, 10, 2.0))
    events(tmp_path / "e.tfevents.1", ("loss", 1.0, 1, 1.0))
    root, run = job_metrics(tmp_path, [])
    assert (root.run, root.tag, root.source, root.steps) == (".", "loss", "tensorboard", [1])
    assert (run.run, run.steps, run.values, run.times) == ("eval", [10, 20], [0.75, 0.5], [2, 3])


def test_a_step_that_ran_again_after_a_restart_counts_once(tmp_path: Path) -> None:
    events(tmp_path / "e.tfevents.1", ("loss", 1.0, 1, 1.0), ("loss", 0.9, 2, 2.0))
    events(tmp_path / "e.tfevents.2", ("loss", 0.8, 2, 5.0), ("loss", 0.7, 3, 6.0))
    (series,) = job_metrics(tmp_path, [])
    assert series.steps == [1, 2, 3]
    assert series.values == pytest.approx([1.0, 0.8, 0.7])


def test_a_trainer_that_gives_no_steps_keeps_all_its_values(tmp_path: Path) -> None:
    rows = [{"loss": str(n), "global_step": "0", "timestamp": float(n)} for n in (3, 1, 2)]
    report(tmp_path / "hypertune" / "master-0.metrics", *rows)
    (series,) = job_metrics(None, [tmp_path])
    assert (series.steps, series.values) == ([0, 0, 0], [1.0, 2.0, 3.0])


def test_values_that_json_cannot_carry_are_words(tmp_path: Path) -> None:
    values = (math.nan, math.inf, -math.inf)
    events(tmp_path / "e.tfevents", *[("loss", v, i, 1.0) for i, v in enumerate(values)])
    assert job_metrics(tmp_path, [])[0].values == ["NaN", "Infinity", "-Infinity"]


def test_what_is_too_large_is_said(tmp_path: Path) -> None:
    events(tmp_path / "e.tfevents", *[("loss", 1.0, i, 1.0) for i in range(10)])
    assert not read_metrics(tmp_path, []).incomplete
    found = read_metrics(tmp_path, [], budget=Budget(records=4))
    assert found.incomplete and found.series[0].last.step == 3
    (series,) = resources(found)
    assert series.points == 4 and "too large to be read at once" in series.notes[0]


def test_the_next_look_reads_on_what_was_too_large(tmp_path: Path) -> None:
    events(tmp_path / "e.tfevents", *[("loss", 1.0, i, 1.0) for i in range(10)])
    reading = Reading()
    assert reading.look(tmp_path, [], Budget(records=4)).series[0].last.step == 3
    found = reading.look(tmp_path, [])
    assert not found.incomplete
    assert [p.step for p in found.series[0].points] == list(range(10))


def test_what_is_older_than_the_attempt_is_left_out(tmp_path: Path) -> None:
    events(tmp_path / "e.tfevents", ("loss", 1.0, 1, 10.0), ("loss", 2.0, 2, 20.0))
    found = read_metrics(tmp_path, [], since_s=15.0)
    assert [s.last.step for s in found.series] == [2]
    assert found.misdated == {"loss": 1}
    future_s = (tmp_path / "e.tfevents").stat().st_mtime + 5
    assert read_metrics(tmp_path, [], since_s=future_s) == Metrics([], False, {})


# --- hypertune ---


def test_reports_of_every_replica_and_trial_are_runs_of_their_own(tmp_path: Path) -> None:
    row = {"checkpoint_path": "", "global_step": "1000", "accuracy": "0.98",
           "timestamp": 1525851440.5, "trial": "2"}  # fmt: skip
    for name in ("master-0", "worker-1", "master-0-2"):
        report(tmp_path / "hypertune" / f"{name}.metrics", row)
    report(tmp_path / "hypertune" / "notes.txt", row)
    found = job_metrics(None, [tmp_path])
    assert [s.run for s in found] == [
        "master-replica-0", "master-replica-0/2", "worker-replica-1",
    ]  # fmt: skip
    assert {(s.tag, s.source, s.steps[0], s.values[0]) for s in found} == {
        ("accuracy", "hypertune", 1000, 0.98)
    }


def test_the_real_library_s_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hypertune = pytest.importorskip("hypertune")
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(tmp_path / "hypertune" / "master-0.metrics"))
    tuner = hypertune.HyperTune()
    for step in range(150):
        tuner.report_hyperparameter_tuning_metric("", 1.0 / (step + 1), global_step=step)
    (series,) = job_metrics(None, [tmp_path])
    assert series.tag == "training/hptuning/metric"
    assert (series.steps[0], series.steps[-1], len(series.steps)) == (50, 149, 100)


def test_half_a_line_and_other_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m"
    good = json.dumps({"loss": "0.5", "global_step": "3", "timestamp": 2.0})
    lines = [good, good, "[1]", '{"loss": "much"}', '{"loss": {}}', '{"global_step": "1e999"}',
             '{"loss": "1", "global_step": "x"}', '{"loss": "1", "global_step": "1e20"}',
             r'{"\udcff": "1"}', good[:20]]  # fmt: skip
    path.write_text("\n".join(lines))
    assert ReportLines(path).read() == [Scalar("loss", 3, 0.5, 2.0)]
    assert ReportLines(tmp_path / "none").read() == []


@given(st.binary(max_size=300))
def test_no_bytes_of_a_report_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.metrics"
    path.write_bytes(data)
    assert isinstance(ReportLines(path).read(), list)


def _report(step: int) -> str:
    return json.dumps({"loss": "0.5", "global_step": str(step), "timestamp": 1.0 + step}) + "\n"


def _reports(folder: Path, steps: range) -> None:
    path = folder / "hypertune" / "master-0.metrics"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(map(_report, steps)))


def test_a_long_file_of_reports_is_read_whole_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_PIECE_BYTES", 4 * len(_report(1)) + 5)
    _reports(tmp_path, range(1, 10))
    (series,) = job_metrics(None, [tmp_path])
    assert (series.steps, series.points, series.notes) == (list(range(1, 10)), 9, [])


def test_a_file_of_reports_that_is_too_long_for_a_look_is_said_and_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_PIECE_BYTES", 4 * len(_report(1)) + 5)
    monkeypatch.setattr(metrics, "_MOST_PIECES", 2)
    _reports(tmp_path, range(1, 10))
    reading = Reading()
    (series,) = resources(reading.look(None, [tmp_path]))
    assert series.points == 8 and "too large to be read at once" in series.notes[0]
    (series,) = resources(reading.look(None, [tmp_path]))
    assert (series.points, series.notes) == (9, [])


def test_a_file_of_reports_that_was_written_anew_is_all_there_is(tmp_path: Path) -> None:
    _reports(tmp_path, range(1, 5))
    reading = Reading()
    reading.look(None, [tmp_path])
    _reports(tmp_path, range(3, 9))  # as cloudml-hypertune does: it keeps its last hundred
    (series,) = resources(reading.look(None, [tmp_path]))
    assert series.steps == [3, 4, 5, 6, 7, 8]


def test_reports_are_read_on_in_pieces_while_their_file_only_grows(tmp_path: Path) -> None:
    path = tmp_path / "m"
    lines = ReportLines(path, size_bytes=2 * len(_report(1)) + 5)
    assert lines.read() == []
    path.write_text("".join(map(_report, range(1, 6))) + _report(6)[:9])
    steps = []
    for more in (True, True, False, False):
        steps.append([s.step for s in lines.read()])
        assert lines.has_more is more
    assert steps == [[1, 2], [3, 4], [5], []]
    with path.open("a") as file:
        file.write(_report(6)[9:])
    assert [s.step for s in lines.read()] == [6]
    path.write_text("".join(map(_report, range(7, 13))))  # as the library does: as long as before
    assert [s.step for s in lines.read()] == [7, 8]


def test_what_is_no_line_of_reports_ends_too(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text("x" * 250 + "\n" + _report(1))
    lines = ReportLines(path, size_bytes=100)
    found = lines.read()
    while lines.has_more:
        found += lines.read()
    assert [s.step for s in found] == [1]


# --- printed lines ---


def test_printed_metric_lines_are_a_source(tmp_path: Path) -> None:
    log = tmp_path / "1" / "worker-replica-0.log.jsonl"
    said(log, '{"metric": "loss", "value": 0.5, "step": 1}', "epoch 2", '{"metric": "loss"}')
    said(log, '{"metric": "loss", "value": NaN, "step": 2}', '{"metric": 3, "value": 1}')
    said(log, "progress", payload={"metric": "acc", "value": "0.9", "step": 7})
    said(log, r'{"metric": "\udcff", "value": 1}')
    said(log, *(f'{{"metric": "m", "value": 1, "step": {n}}}' for n in (2**63, -(2**63) - 1)))
    said(log, '{"metric": "flag", "value": true}', '"metric"', '{"metric": "x", "value": []}')
    accuracy, loss = job_metrics(None, [tmp_path / "1"])
    assert (loss.run, loss.source, loss.steps) == ("worker-replica-0", "log", [1, 2])
    assert loss.values == [0.5, "NaN"]
    assert (accuracy.tag, accuracy.values, accuracy.steps) == ("acc", [0.9], [7])
    assert loss.times == [1519973406.5, 1519973406.5]


def test_what_was_printed_at_once_keeps_its_order(tmp_path: Path) -> None:
    log = tmp_path / "master-replica-0.log.jsonl"
    values = [0.9, 0.5, 0.1, *range(300), 0.5]
    said(log, *(json.dumps({"metric": "m", "value": value}) for value in values))
    (series,) = job_metrics(None, [tmp_path])
    assert series.values == values


@pytest.mark.parametrize(("values", "last"), [([3, 2, 1, math.nan], math.nan), ([math.nan, 1], 1)])
def test_the_last_of_what_was_printed_at_once_is_the_last(
    tmp_path: Path, values: list[float], last: float
) -> None:
    said(tmp_path / "master-replica-0.log.jsonl",
         *(json.dumps({"metric": "loss", "value": value}) for value in values))  # fmt: skip
    (series,) = read_metrics(None, [tmp_path]).series
    assert series.last.value == pytest.approx(last, nan_ok=True)


def test_the_parts_of_a_log_are_read_in_their_order(tmp_path: Path) -> None:
    for part in range(12):
        path = tmp_path / f"master-replica-0.log{f'.{part}' if part else ''}.jsonl"
        said(path, json.dumps({"metric": "m", "value": part}))
    (series,) = job_metrics(None, [tmp_path])
    assert series.values == list(range(12))


def test_attempts_continue_one_series(tmp_path: Path) -> None:
    for attempt, steps in ((1, (1, 2)), (2, (2, 3))):
        lines = [json.dumps({"metric": "loss", "value": attempt, "step": s}) for s in steps]
        said(tmp_path / str(attempt) / "master-replica-0.log.jsonl", *lines)
    (series,) = job_metrics(None, [tmp_path / "1", tmp_path / "2"])
    assert series.steps == [1, 2, 3]


def _printed(folder: Path, *steps: int, part: int = 0) -> None:
    """Print a metric at each step; its step is the number of its line, too."""
    path = folder / f"master-replica-0.log{f'.{part}' if part else ''}.jsonl"
    with path.open("a") as file:
        for step in steps:
            told = {"metric": "m", "value": step, "step": step}
            row = {"timestamp": "2018-03-02T06:50:06.5Z", "message": json.dumps(told), "seq": step}
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


def test_what_a_log_dropped_is_said(tmp_path: Path) -> None:
    _printed(tmp_path, 1, 2, 3)
    _printed(tmp_path, 4, 5, part=1)
    reading = Reading()
    assert resources(reading.look(None, [tmp_path]))[0].notes == []
    (tmp_path / "master-replica-0.log.1.jsonl").unlink()
    _printed(tmp_path, 6, 7, part=2)
    found = reading.look(None, [tmp_path])
    assert found.dropped == {"master-replica-0": 2}
    (series,) = resources(found)
    assert series.steps == [1, 2, 3, 6, 7]
    assert series.notes[0].startswith("2 lines of the log were dropped")


def test_of_a_log_that_grows_each_line_is_taken_apart_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bytes] = []
    whole = printed.LogLines._scalar

    def counted(lines: printed.LogLines, line: bytes) -> Scalar | None:
        taken.append(line)
        return whole(lines, line)

    monkeypatch.setattr(printed.LogLines, "_scalar", counted)
    reading = Reading()
    for steps in ((1, 2), (), (3,)):
        _printed(tmp_path, *steps)
        said(tmp_path / "master-replica-0.log.jsonl", "epoch 1")
        (series,) = reading.look(None, [tmp_path]).series
    assert [p.step for p in series.points] == [1, 2, 3]
    assert len(taken) == 3


# --- tags ---


@pytest.mark.parametrize(
    ("tag", "other"),
    [
        ("acc", "accuracy"), ("epoch_acc", "epoch_accuracy"), ("val_accuracy", "val_acc"),
        ("epoch_val_acc", "epoch_val_accuracy"), ("metrics/accuracy", "metrics/acc"),
        ("accuracy_1", "acc_1"),
    ],
)  # fmt: skip
def test_accuracy_is_found_by_its_other_name(tag: str, other: str) -> None:
    assert aliases(tag) == [other]
    assert aliases(other) == [tag]
    mine, theirs = Series(tag, ".", "log", []), Series(other, ".", "log", [])
    assert with_tag([theirs], tag) == [theirs]
    assert with_tag([theirs, mine], tag) == [mine]


@pytest.mark.parametrize("tag", ["loss", "vacc", "accurate", "accuracy/baseline", "accumulator"])
def test_other_tags_have_one_name(tag: str) -> None:
    assert aliases(tag) == []
    assert with_tag([Series("other", ".", "log", [])], tag) == []
