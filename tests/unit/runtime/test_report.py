"""`report` writes what `hypertune` readers read, and never disturbs a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlengine.runtime.report import report
from mlengine.training.hypertune import ReportLines


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "hypertune" / "master-0-3.metrics"
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(path))
    monkeypatch.setenv("CLOUD_ML_TRIAL_ID", "3")
    return path


def test_reports_are_read_as_those_of_hypertune(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report("auc", 0.5, step=1)
    assert report("auc", 0.75, 2)
    found = ReportLines(file).read()
    assert [(s.tag, s.step, s.value) for s in found] == [("auc", 1, 0.5), ("auc", 2, 0.75)]
    assert b'"trial": "3"' in file.read_bytes()
    assert capfd.readouterr() == ("", "")


def test_without_a_name_it_is_the_objective(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_TAG", "f1")
    assert report("", 1)
    assert [s.tag for s in ReportLines(file).read()] == ["f1"]


def test_outside_of_a_job_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUD_ML_HP_METRIC_FILE", raising=False)
    assert not report("auc", 0.5)


def test_a_file_that_cannot_be_written_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(tmp_path / "file" / "below"))
    assert not report("auc", 0.5)
