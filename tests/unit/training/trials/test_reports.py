"""Why a trial could not read its flags, in the words of whatever parses them; and live looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlengine.core.resources import Job, TrainingInput
from mlengine.runtime import attemptfiles
from mlengine.runtime.report import report
from mlengine.store import JobRecord
from mlengine.training.launchers import ExitRecord, Outcome, ReplicaExit
from mlengine.training.trials.lifecycle import UNKNOWN_FLAG
from mlengine.training.trials.reports import TrialReports, unknown_flag

TASK = "master-replica-0"
NAMES = ("num-layers", "rate")


def child(*args: str) -> JobRecord:
    params = [{"parameterName": name, "type": "DOUBLE"} for name in NAMES]
    spec = TrainingInput(
        args=[*args, *(f"--{name}=3" for name in NAMES)],
        hyperparameters={"params": params, "hyperparameterMetricTag": "auc"},
    )
    job = Job(job_id="t/1", training_input=spec, state="RUNNING")
    return JobRecord(seq=2, project="p", uid="t-1", job=job, attempt=1, parent="t")


def say(attempt: Path, *lines: str) -> None:
    with (attempt / f"{TASK}.log.jsonl").open("a") as log:
        for line in lines:
            row = {"timestamp": "2099-01-01T00:00:00Z", "severity": "ERROR", "message": line}
            log.write(json.dumps(row) + "\n")


def exit_of(outcome: Outcome = Outcome.FAILED) -> ExitRecord:
    replica = ReplicaExit(task=TASK, role="master", index=0, exit_code=2)
    return ExitRecord(outcome=outcome, replicas=[replica], message="", started=0, ended=1)


SAID = {
    "argparse": ["usage: task.py [-h] [--num_layers N]",
                 "task.py: error: unrecognized arguments: --num-layers=3"],
    "click": ["Usage: task.py [OPTIONS]", "Error: No such option: --num-layers"],
    "click, which guesses": ["Error: No such option '--num-layers'. Did you mean --num_layers?"],
    "absl": ["FATAL Flags parsing error: Unknown command line flag 'num-layers'",
             "Pass --helpshort or --helpfull to see help on flags."],
    "getopt": ["getopt.GetoptError: option --num-layers not recognized"],
    "docopt": ["Unknown option: --num-layers"],
    "fire": ["ERROR: Unexpected argument: --num-layers"],
}  # fmt: skip


@pytest.mark.parametrize("parser", SAID)
def test_an_unknown_flag_is_named(tmp_path: Path, parser: str) -> None:
    say(tmp_path, "starting", *SAID[parser], "Module failed.")
    found = unknown_flag(child(), tmp_path, exit_of())
    assert found.startswith(f"{UNKNOWN_FLAG}The trainer does not know --num-layers.")
    assert SAID[parser][-1 if parser != "absl" else 0][:40] in found
    assert ("--num_layers" in found) == ("--num_layers" in " ".join(SAID[parser]))


def test_several_flags_are_named_in_their_order(tmp_path: Path) -> None:
    say(tmp_path, "error: unrecognized arguments: --num-layers=3 --rate=3")
    found = unknown_flag(child(), tmp_path, exit_of())
    assert "does not know --num-layers, --rate. " in found


@pytest.mark.parametrize(
    "lines",
    [
        ["ValueError: --num-layers is too deep"],
        ["error: unrecognized arguments: --data=3"],  # its user's own flag
        ["error: unrecognized arguments: --num-layers-more=3"],
        # Its user's own flag, misspelt, and what click proposes instead.
        ["Error: No such option: --rat Did you mean --rate?"],
        ["Error: No such option: --rat (Possible options: --data, --rate)"],
        ["Error: No such option '--rat'. Did you mean one of: '--data', '--rate'?"],
        ["error: argument --num-layers: invalid int value: '0.5'"],
        [],
    ],
)
def test_other_failures_are_no_unknown_flags(tmp_path: Path, lines: list[str]) -> None:
    say(tmp_path, *lines)
    assert unknown_flag(child("--data=3"), tmp_path, exit_of()) == ""


def test_only_who_failed_has_failed_for_it(tmp_path: Path) -> None:
    say(tmp_path, SAID["argparse"][1])
    assert unknown_flag(child(), tmp_path, exit_of(Outcome.SUCCEEDED)) == ""


def test_looks_are_apart_by_a_second_at_least(tmp_path: Path) -> None:
    now = [100.0]
    reports = TrialReports(lambda: now[0])
    assert reports.running(child(), tmp_path, lambda: None) is None  # it has not started
    attemptfiles.write_json(tmp_path / attemptfiles.STARTED, {"time": 10.0, "replicas": []})
    say(tmp_path, json.dumps({"metric": "auc", "value": 0.5, "step": 1}))
    first = reports.running(child(), tmp_path, lambda: None)
    assert first is not None
    assert first["finalMetric"] == {"trainingStep": "1", "objectiveValue": 0.5}
    assert first["hyperparameters"] == {"num-layers": "3", "rate": "3"}
    say(tmp_path, json.dumps({"metric": "auc", "value": 0.0, "step": 2}))
    now[0] += 0.5
    assert reports.running(child(), tmp_path, lambda: None) is None
    now[0] += 0.6
    second = reports.running(child(), tmp_path, lambda: None)
    assert second is not None
    assert second["finalMetric"]["objectiveValue"] == 0.0
    assert reports.ended(child(), tmp_path, None) == second


def _began(attempt_dir: Path, time_s: float) -> None:
    attempt_dir.mkdir()
    attemptfiles.write_json(attempt_dir / attemptfiles.STARTED, {"time": time_s, "replicas": []})


def _told(attempt_dir: Path, time_s: float, **values: float) -> None:
    """Report values of the objective; a step is the name without its first letter."""
    file = attempt_dir / "hypertune" / "master-0-1.metrics"
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as lines:
        for name, value in values.items():
            row = {"auc": str(value), "global_step": name[1:], "timestamp": time_s}
            lines.write(json.dumps(row) + "\n")


def _values(found: dict[str, Any] | None) -> dict[str, float]:
    metrics = found.get("allMetrics", []) if found else []
    return {f"s{m['trainingStep']}": m["objectiveValue"] for m in metrics}


def test_what_an_earlier_attempt_reported_stays_where_the_next_has_nothing_to_add(
    tmp_path: Path,
) -> None:
    now = [100.0]
    reports = TrialReports(lambda: now[0])
    _began(tmp_path / "1", 10.0)
    _told(tmp_path / "1", 11.0, s1=0.1, s2=0.2)
    first = reports.running(child(), tmp_path / "1", lambda: None)
    _told(tmp_path / "1", 12.0, s3=0.3)
    again = msgspec.structs.replace(child(), attempt=2)
    now[0] += 60.0
    second = reports.running(again, tmp_path / "2", lambda: None)
    _began(tmp_path / "2", 50.0)
    last = reports.ended(again, tmp_path / "2", None)
    assert [len(_values(found)) for found in (first, second, last)] == [2, 3, 3]
    assert TrialReports(lambda: now[0]).ended(again, tmp_path / "2", None) == last


@pytest.mark.parametrize(
    ("later", "values"),
    [
        ({"s3": 0.7, "s4": 0.8}, {"s1": 0.1, "s2": 0.2, "s3": 0.7, "s4": 0.8}),
        ({"s1": 0.7}, {"s1": 0.7}),
        ({"s9": 0.7}, {"s1": 0.1, "s2": 0.2, "s3": 0.3, "s9": 0.7}),
        ({"s0": 0.7}, {"s0": 0.7}),
    ],
    ids=["from a checkpoint", "anew", "behind", "without steps"],
)
def test_an_attempt_takes_the_place_of_what_lies_behind_its_first_step(
    tmp_path: Path, later: dict[str, float], values: dict[str, float]
) -> None:
    for number, told in enumerate(({"s1": 0.1, "s2": 0.2, "s3": 0.3}, later), 1):
        _began(tmp_path / str(number), number * 100.0)
        _told(tmp_path / str(number), number * 100.0 + 5, **told)
    again = msgspec.structs.replace(child(), attempt=2)
    assert _values(TrialReports().running(again, tmp_path / "2", lambda: None)) == values
    assert _values(TrialReports().ended(again, tmp_path / "2", None)) == values


def test_reports_without_a_step_that_hypertune_forgot_are_counted_at_the_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    reports = TrialReports(lambda: now[0])
    attemptfiles.write_json(tmp_path / attemptfiles.STARTED, {"time": 10.0, "replicas": []})
    file = tmp_path / "hypertune" / "master-0-1.metrics"
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(file))
    for number in range(150):
        report("auc", float(number))
        file.write_text("".join(file.read_text().splitlines(keepends=True)[-100:]))
        if number == 60:
            reports.running(child(), tmp_path, lambda: None)
            now[0] += 60.0
    found = reports.ended(child(), tmp_path, None)
    assert found["finalMetric"] == {"trainingStep": "149", "objectiveValue": 149.0}
    assert found["allMetrics"][0] == {"trainingStep": "0", "objectiveValue": 0.0}
    # An engine that came later knows only what the file still has.
    later = TrialReports(lambda: now[0]).ended(child(), tmp_path, None)
    assert later["finalMetric"] == {"trainingStep": "99", "objectiveValue": 149.0}
