"""What an attempt's files say, in words."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.attemptfiles import failure_text

FAILED: dict[str, Any] = {
    "role": "master", "index": 0, "exit_code": 2, "signal": None, "oom": False, "last_error": "",
}  # fmt: skip


def test_both_ends_of_a_long_last_line_are_told() -> None:
    line = f"task.py: error: unrecognized arguments: {'z' * 100_000} --y=1"
    text = failure_text(FAILED, last_line=line)
    assert "Its last line: task.py: error: unrecognized arguments: zzz" in text
    assert text.endswith("zzz --y=1")
    assert len(text) < 700


@given(st.text(min_size=1, max_size=500).filter(lambda line: line == line.strip()))
def test_a_last_line_of_common_length_is_told_whole(line: str) -> None:
    assert failure_text(FAILED, last_line=line).endswith(f"Its last line: {line}")
