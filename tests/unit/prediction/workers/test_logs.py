"""What workers printed, read back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlengine.prediction.workers import logs
from mlengine.prediction.workers.logs import KnownLogs, worker_logs

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


LOGS = ("worker-{}-0.log", "worker-{}-0.log.1", "worker-{}-12.log", "environment-{}.log",
        "compiler-{}.log", "compiler-{}.log.1")  # fmt: skip


def _logged(folder: Path, *uids: str) -> None:
    for uid in uids:
        for name in LOGS:
            (folder / name.format(uid)).write_text("what a caller sent\n")


def _left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_logs_of_a_version_are_removed_and_no_others(tmp_path: Path) -> None:
    _logged(tmp_path, UID, "7f3ab")
    (tmp_path / "engine.log").touch()
    for _ in range(2):
        KnownLogs(tmp_path).remove(UID)
    assert _left(tmp_path) == {"engine.log"} | {name.format("7f3ab") for name in LOGS}


def test_logs_go_with_a_version_that_was_known_and_is_no_more(tmp_path: Path) -> None:
    """Nothing is concluded from one list of versions: it may be an older one's."""
    _logged(tmp_path, "stays", "goes", "unknown")
    known = KnownLogs(tmp_path)
    known.keep({"stays", "goes"})
    assert len(_left(tmp_path)) == 3 * len(LOGS)
    known.keep({"stays"})
    known.keep({"stays"})
    assert _left(tmp_path) == {name.format(uid) for name in LOGS for uid in ("stays", "unknown")}


def test_a_log_that_cannot_be_removed_is_named_and_hinders_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"worker-{UID}-0.log").mkdir()
    (tmp_path / f"worker-{UID}-1.log").touch()
    KnownLogs(tmp_path).remove(UID)
    assert _left(tmp_path) == {f"worker-{UID}-0.log"}
    assert f"worker-{UID}-0.log stays, its version is deleted: Is a directory" in caplog.text
