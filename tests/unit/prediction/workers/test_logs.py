"""What workers printed, read back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlengine.prediction.workers import logs
from mlengine.prediction.workers.logs import worker_logs

UID = "7f3a"


def _write(folder: Path, name: str, text: str, *, at_s: int) -> None:
    (folder / name).write_bytes(text.encode())
    os.utime(folder / name, (at_s, at_s))


def test_the_last_lines_of_each_log_of_the_version_the_oldest_log_first(tmp_path: Path) -> None:
    _write(tmp_path, f"worker-{UID}-0.log", "one\ntwo\n\nthree", at_s=3)
    _write(tmp_path, f"worker-{UID}-0.log.1", "died\n", at_s=1)
    _write(tmp_path, f"worker-{UID}-1.log", "a\nb\n", at_s=2)
    _write(tmp_path, f"worker-{UID}-2.log", "", at_s=4)
    _write(tmp_path, "worker-7f3ab-0.log", "another version's\n", at_s=5)
    (tmp_path / f"worker-{UID}-3.log").symlink_to(tmp_path / "gone")
    found = worker_logs(tmp_path, UID, lines=2)
    assert [(Path(log.file).name, log.lines) for log in found] == [
        (f"worker-{UID}-0.log.1", ["died"]),
        (f"worker-{UID}-1.log", ["a", "b"]),
        (f"worker-{UID}-0.log", ["", "three"]),
    ]
    assert worker_logs(tmp_path / "none", UID, lines=2) == []


def test_what_came_before_is_first_where_the_clock_cannot_tell(tmp_path: Path) -> None:
    for name in (f"worker-{UID}-0.log", f"worker-{UID}-0.log.1"):
        _write(tmp_path, name, "line\n", at_s=1)
    found = worker_logs(tmp_path, UID, lines=1)
    assert [Path(log.file).suffix for log in found] == [".1", ".log"]


def test_of_a_long_log_only_the_end_is_read_and_no_half_line_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MOST_BYTES", 64)
    monkeypatch.setattr(logs, "_LEAST_BYTES", 16)
    _write(tmp_path, f"worker-{UID}-0.log", "x" * 100 + "\nlast\n", at_s=1)
    assert worker_logs(tmp_path, UID, lines=9)[0].lines == ["last"]
    _write(tmp_path, f"worker-{UID}-0.log", "x" * 100, at_s=1)
    assert worker_logs(tmp_path, UID, lines=9)[0].lines == ["x" * 64]


def test_bytes_that_are_no_text_do_not_hide_the_rest(tmp_path: Path) -> None:
    (tmp_path / f"worker-{UID}-0.log").write_bytes(b"\xff\xfe\nfine\n")
    assert worker_logs(tmp_path, UID, lines=9)[0].lines == ["\ufffd\ufffd", "fine"]
