"""A replica's log on disk stays within its quota."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.runtime.logfile import LogFile, timestamp
from mlengine.runtime.logline import Line, Stream


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


PRINTED = [
    b"plain\n", b"10%\r100%\n", b"\xff\xe2\x82\n", b"\n", b"y" * 300 + b"\n", b"half",
    b"W0302 10:00:00.123456 7 ops.py:12] slow\n", b"x.py: error: bad: Warning: \n",
    b'{"severity":"ERROR","message":"m","step":3}\n', b"g" * 70_000,
    b'Traceback (most recent call last):\n  File "/w/t.py", line 1, in f\n', b"    f()\n",
    b"ValueError: bad\n",
]  # fmt: skip


READS = st.lists(st.lists(st.integers(0, len(PRINTED) - 1), max_size=60), max_size=12)


@settings(max_examples=40, deadline=None)
@given(READS, st.booleans())
def test_what_a_flood_leaves_is_what_was_printed(
    tmp_path_factory: Any, reads: list[list[int]], paused: bool
) -> None:
    """Head and tail are those of a log that dropped nothing, held for long or not."""
    folder, whole = tmp_path_factory.mktemp("log"), Stream()
    one, stream = log(folder, quota_bytes=65_536), Stream()
    data = [b"".join(PRINTED[number] for number in numbers) for numbers in reads]
    for read in data:
        one._pause_until_s = float("inf") if paused else 0.0
        one.take(stream, read)
    one.settle()
    one.write(stream.finish())
    one.close()
    expected = [(x.severity, x.message) for x in (*whole.feed(b"".join(data)), *whole.finish())]
    rows = [(r["severity"], r["message"]) for r in records(folder)]
    gaps = [n for n, (_severity, text) in enumerate(rows) if "dropped here" in text]
    with (folder / "t.log.jsonl").open() as file:
        head = sum(not ours(json.loads(row)["message"]) for row in file)
    kept = [row for row in rows if not ours(row[1])]
    tail = [row for row in rows[gaps[-1] :] if not ours(row[1])] if gaps else kept[head:]
    assert kept[:head] == expected[:head]
    assert tail == expected[len(expected) - len(tail) :]
    assert len(kept) + one.dropped >= len(expected)  # a dropped part may have held a note
    assert (stream.last_line, stream.last_exception) == (whole.last_line, whole.last_exception)


def ours(text: str) -> bool:
    return "lines were dropped here" in text or "this log were" in text or "half used" in text


def test_of_a_flood_the_newest_lines_are_held_and_the_gap_is_told(tmp_path: Path) -> None:
    one, stream = log(tmp_path, quota_bytes=65_536), Stream()
    one._pause_until_s = float("inf")
    data = b"".join(b"%d\n" % number for number in range(20_000))
    for start in range(0, len(data), 1000):
        one.take(stream, data[start : start + 1000])
    one.tend()
    assert records(tmp_path)[-1]["message"] != "19999"  # held: the pause is not over
    one._pause_until_s = 0.0
    one.tend()
    rows = records(tmp_path)
    assert rows[-1]["message"] == "19999"
    (gap,) = [n for n, row in enumerate(rows) if "lines were dropped here" in row["message"]]
    missing = int(rows[gap + 1]["message"]) - 1
    missing -= max(int(r["message"]) for r in rows[:gap] if r["message"].isdecimal())
    assert rows[gap]["message"].startswith(f"{missing:,} lines ")
    assert one.dropped == 20_000 - sum(row["message"].isdecimal() for row in rows)


def test_what_the_engine_says_comes_after_what_is_held(tmp_path: Path) -> None:
    one, stream = log(tmp_path, quota_bytes=8192), Stream()
    one.take(stream, b"x\n" * 5000)
    one._pause_until_s = float("inf")
    one.take(stream, b"the last\n")
    one.write([Line("INFO", "ours")])
    assert [r["message"] for r in records(tmp_path)[-2:]] == ["the last", "ours"]


def test_a_stream_whose_lines_were_dropped_still_tells_its_last_line(tmp_path: Path) -> None:
    one, quiet, loud = log(tmp_path, quota_bytes=8192), Stream(), Stream()
    one.take(loud, b"x\n" * 5000)
    one._pause_until_s = float("inf")
    one.take(quiet, b"out of cheese\n")
    one.take(loud, b"y\n" * 5000)
    assert (quiet.last_line, quiet.last_exception) == ("out of cheese", "")
