"""A replica's log on disk stays within its quota."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.runtime.logfile import LogFile, timestamp
from mlengine.runtime.logline import Line


def records(folder: Path) -> list[dict[str, Any]]:
    def part(path: Path) -> int:
        middle = path.name.removeprefix("t.log").removesuffix("jsonl").strip(".")
        return int(middle or 0)

    files = sorted(folder.glob("t.log*.jsonl"), key=part)
    return [json.loads(row) for file in files for row in file.read_bytes().splitlines()]


def log(folder: Path, quota_bytes: int = 1 << 20) -> LogFile:
    return LogFile(folder, "t", trial="2", quota_bytes=quota_bytes)


def test_a_line_is_one_json_object(tmp_path: Path) -> None:
    one = log(tmp_path)
    one.write([Line("INFO", 'a "quoted" \x1b[31m é\ud800', {"step": 1})])
    one.close()
    (row,) = records(tmp_path)
    assert row["message"] == 'a "quoted" \x1b[31m é\ud800'
    assert (row["severity"], row["task_name"], row["trial_id"]) == ("INFO", "t", "2")
    assert (row["json_payload"], row["seq"]) == ({"step": 1}, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=400))
def test_head_and_tail_survive_any_flood(tmp_path_factory: Any, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("log")
    one = log(folder, quota_bytes=8192)
    for number, size in enumerate(sizes):
        one.write([Line("INFO", f"{number}:" + "x" * size)])
    one.close()
    rows = records(folder)
    numbers = [int(r["message"].split(":")[0]) for r in rows if r["severity"] == "INFO"]
    assert numbers[0] == 0 and numbers[-1] == len(sizes) - 1
    assert numbers == sorted(numbers)
    assert [r["seq"] for r in rows] == sorted({r["seq"] for r in rows})
    assert len(numbers) + one.dropped >= len(sizes)
    assert one.dropped == 0 or "dropped" in rows[-1]["message"]
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 8192 + 700


def test_a_full_disk_costs_lines_but_never_the_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    one = log(tmp_path)
    one.write([Line("INFO", "before")])
    real = os.write
    calls = iter([5])

    def full(descriptor: int, data: Any) -> int:
        room = next(calls, None)
        if room is None:
            raise OSError(28, "No space left on device")
        return real(descriptor, bytes(data)[:room])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        one.write([Line("INFO", "lost")])
    one.write([Line("INFO", "after")])
    one.close()
    messages = [r["message"] for r in records(tmp_path)]
    assert messages[:2] == ["before", "after"]
    assert messages[2].startswith("1 lines of this log were dropped")


def test_a_folder_that_is_gone_is_survived(tmp_path: Path) -> None:
    one = log(tmp_path / "gone")
    one.write([Line("INFO", "x")])
    one.close()
    assert one.dropped >= 1


def test_timestamps_have_microseconds() -> None:
    assert timestamp(1_000) == "1970-01-01T00:00:00.000001Z"
