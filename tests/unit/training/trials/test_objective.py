"""Which of the things that a trial reported is its objective, read live and afterwards alike."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.report import report
from mlengine.training import hypertune
from mlengine.training.eventfiles import Budget, Scalar
from mlengine.training.metrics import Series
from mlengine.training.trials import objective
from mlengine.training.trials.objective import MAX_POINTS, LiveObjective, chosen, thinned
from tests.fakes.records import framed
from tests.unit.training.test_eventfiles import event, simple


def say(attempt: Path, *values: float, tag: str = "auc", step: int = 0) -> None:
    """Have the trainer print a line for each value."""
    attempt.mkdir(exist_ok=True, parents=True)
    with (attempt / "master-replica-0.log.jsonl").open("a") as log:
        for number, value in enumerate(values, step):
            message = json.dumps({"metric": tag, "value": value, "step": number})
            line = {"timestamp": "2030-01-01T00:00:00Z", "severity": "INFO", "message": message}
            log.write(json.dumps(line) + "\n")


def series(source: str, run: str, *values: float, tag: str = "auc", time_s: float = 1.0) -> Series:
    return Series(tag, run, source, [Scalar(tag, n, v, time_s) for n, v in enumerate(values)])


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ([series("tensorboard", ".", 0.1), series("hypertune", "master-replica-0", 0.2)], [0.2]),
        ([series("tensorboard", ".", 0.1), series("log", "master-replica-0", 0.3)], [0.3]),
        ([series("tensorboard", "train", 0.9), series("tensorboard", "validation", 0.5)], [0.5]),
        ([series("tensorboard", "b", 0.9), series("tensorboard", "a", 0.5, time_s=2)], [0.5]),
        ([series("log", "worker-replica-0", 0.9), series("log", "master-replica-0", 0.5)], [0.5]),
        ([series("log", "m", 0.9, float("nan"), 0.5, float("inf"))], [0.9, 0.5]),
        ([series("log", "m", float("nan")), series("tensorboard", ".", 0.4)], [0.4]),
        ([series("log", "m", 0.4, tag="other")], []),
        ([], []),
    ],
    ids=lambda value: str(value) if isinstance(value, list) and len(value) < 3 else None,
)
def test_one_series_counts(given: list[Series], values: list[float]) -> None:
    assert [value for _step, value in chosen(given, "auc")] == values
    assert [value for _step, value in chosen(given[::-1], "auc")] == values


def test_reports_without_steps_are_counted() -> None:
    told = [Scalar("auc", 0, value, float(at)) for at, value in enumerate([0.3, math.nan, 0.5])]
    found = [Series("auc", "master-replica-0", "hypertune", told)]
    assert chosen(found, "auc") == [(0, 0.3), (1, 0.5)]
    assert chosen([found[0]._replace(points=told[:1])], "auc") == [(0, 0.3)]


def test_keras_other_name_of_accuracy_counts() -> None:
    found = chosen([series("tensorboard", "validation", 0.5, tag="epoch_accuracy")], "epoch_acc")
    assert found == [(0, 0.5)]


def test_many_points_are_thinned_and_the_last_stays() -> None:
    points = [(n, float(n)) for n in range(1234)]
    found = thinned(points)
    assert (len(found), found[0], found[-1]) == (MAX_POINTS, points[0], points[-1])


def test_a_look_reads_on_and_agrees_with_reading_it_all(tmp_path: Path) -> None:
    attempt = tmp_path / "1"
    live = LiveObjective("auc", since_s=0.0)
    assert live.look(None, attempt) == []
    say(attempt, 0.1, 0.2)
    assert live.look(None, attempt) == [(0, 0.1), (1, 0.2)]
    with (attempt / "master-replica-0.log.jsonl").open("a") as log:
        log.write('{"timestamp": "2030-01-01T00:00:00Z", "mess')  # still being written
    assert live.look(None, attempt) == [(0, 0.1), (1, 0.2)]
    assert live.last_look(None, attempt) == [(0, 0.1), (1, 0.2)]
    assert LiveObjective("auc", since_s=0.0).last_look(None, attempt) == [(0, 0.1), (1, 0.2)]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from((0.1, 0.5, 0.9)))),
       st.lists(st.integers(0, 6)), st.booleans())  # fmt: skip
def test_printed_reports_read_in_pieces_are_those_read_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[tuple[int, float]],
    pieces: list[int],
    has_steps: bool,
) -> None:
    attempt = tmp_path_factory.mktemp("attempt")
    live = LiveObjective("auc", since_s=0.0)
    rest = list(told)
    for size in (*pieces, len(told)):
        for step, value in rest[:size]:
            say(attempt, value, step=step if has_steps else 0)
        rest = rest[size:]
        live.look(None, attempt)
    found = live.last_look(None, attempt)
    assert found == live.last_look(None, attempt)  # nothing counts twice
    assert found == LiveObjective("auc", since_s=0.0).last_look(None, attempt)
    if has_steps and any(step for step, _value in told):
        assert found == sorted(dict(told).items())
    else:
        assert found == list(enumerate(value for _step, value in told))


def test_hypertunes_reports_without_steps_are_read_again_and_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(tmp_path / "hypertune/master-0-1.metrics"))
    live = LiveObjective("auc", since_s=0.0)
    for value in (0.5, 0.5, 0.1):
        report("auc", value)
        live.look(None, tmp_path)
    assert live.last_look(None, tmp_path) == [(0, 0.5), (1, 0.5), (2, 0.1)]


def test_events_and_printed_lines_are_no_one_series(tmp_path: Path) -> None:
    job_dir, attempt = tmp_path / "job", tmp_path / "1"
    job_dir.mkdir()
    event_file = job_dir / "events.out.tfevents.1"
    event_file.write_bytes(framed(event(simple("auc", 0.25), step=9, time_s=3e9)))
    say(attempt, 0.5)
    live = LiveObjective("auc", since_s=0.0)
    assert live.look(job_dir, attempt) == live.last_look(job_dir, attempt) == [(0, 0.5)]


def test_lines_of_a_part_that_was_dropped_count_in_their_place(tmp_path: Path) -> None:
    live = LiveObjective("auc", since_s=0.0)
    head = tmp_path / "master-replica-0.log.jsonl"
    for part in range(1, 4):
        say(tmp_path, float(part))
        head.rename(tmp_path / f"master-replica-0.log.{part}.jsonl")
        live.look(None, tmp_path)
        (tmp_path / f"master-replica-0.log.{part - 1}.jsonl").unlink(missing_ok=True)
    assert live.last_look(None, tmp_path) == [(0, 1.0), (1, 2.0), (2, 3.0)]


def test_what_is_dated_in_no_seconds_is_not_reported(tmp_path: Path) -> None:
    path = tmp_path / "hypertune" / "master-0.metrics"
    path.parent.mkdir()
    row = {"auc": "0.5", "global_step": "1", "timestamp": 1.9e12}
    path.write_text(json.dumps(row) + "\n")
    live = LiveObjective("auc", since_s=1.0)
    assert live.look(None, tmp_path) == live.last_look(None, tmp_path) == []


def test_hypertunes_last_hundred_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "hypertune" / "master-0-1.metrics"
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(file))
    live = LiveObjective("auc", since_s=0.0)
    report("auc", 0.5, 1)
    assert live.look(None, tmp_path) == [(1, 0.5)]
    file.unlink()  # the library writes its newest reports only, over the older
    report("auc", 0.6, 2)
    assert live.look(None, tmp_path) == [(1, 0.5), (2, 0.6)]


def test_of_more_reports_than_are_read_at_once_the_last_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(tmp_path / "hypertune/master-0-1.metrics"))
    monkeypatch.setattr(hypertune, "_MAX_BYTES", 1000)
    for step in range(50):
        report("auc", step / 100, step)
    live = LiveObjective("auc", since_s=0.0)
    live.look(None, tmp_path)
    assert live.last_look(None, tmp_path) == [(n, n / 100) for n in range(50)]


def test_event_files_that_the_trainer_removed_count_no_more(tmp_path: Path) -> None:
    job_dir, attempt = tmp_path / "job", tmp_path / "1"
    job_dir.mkdir()
    attempt.mkdir()
    live = LiveObjective("auc", since_s=0.0)
    for fold, step in enumerate((30, 20)):
        file = job_dir / f"events.out.tfevents.{fold}"
        file.write_bytes(framed(event(simple("auc", 0.5 + fold), step=step, time_s=1.0)))
        live.look(job_dir, attempt)
        assert live.last_look(job_dir, attempt) == [(step, 0.5 + fold)]
        assert live.last_look(None, attempt) == [(step, 0.5 + fold)]  # its bucket is away
        file.unlink()


def _many(job_dir: Path, count: int) -> None:
    job_dir.mkdir(exist_ok=True)
    events = [framed(event(simple("auc", n / 128), step=n, time_s=3e9)) for n in range(count)]
    (job_dir / "events.out.tfevents.1").write_bytes(b"".join(events))


def test_event_files_too_large_to_be_read_anew_are_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = objective.read_metrics

    def bounded(*args: Any, **named: Any) -> Any:
        return whole(*args, **named, budget=Budget(records=20))

    monkeypatch.setattr(objective, "read_metrics", bounded)
    monkeypatch.setattr(objective, "_LOOK_RECORDS", 10)
    _many(tmp_path / "job", 64)
    live = LiveObjective("auc", since_s=0.0)
    assert len(live.look(tmp_path / "job", tmp_path)) == 10
    assert live.last_look(tmp_path / "job", tmp_path) == [(n, n / 128) for n in range(64)]
    assert not live.incomplete
    monkeypatch.setattr(objective, "_LAST_LOOKS", 3)
    late = LiveObjective("auc", since_s=0.0)
    assert late.last_look(tmp_path / "job", tmp_path)[-1] == (29, 29 / 128)
    assert late.incomplete
    say(tmp_path, 0.5)
    assert late.last_look(tmp_path / "job", tmp_path) == [(0, 0.5)]
    assert not late.incomplete, "what was printed counts, and is read whole"


def test_a_report_that_is_no_number_is_kept_by_no_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(tmp_path / "hypertune/master-0-1.metrics"))
    live = LiveObjective("auc", since_s=0.0)
    for value in (0.5, math.nan, 0.6):
        report("auc", value)
        found = live.look(None, tmp_path)
    assert found == live.last_look(None, tmp_path) == [(0, 0.5), (1, 0.6)]
    assert sum(map(len, live._found.values())) == 2


def test_what_an_earlier_job_left_is_not_this_ones(tmp_path: Path) -> None:
    say(tmp_path, 0.1)
    live = LiveObjective("auc", since_s=4e9)
    assert live.look(None, tmp_path) == live.last_look(None, tmp_path) == []
