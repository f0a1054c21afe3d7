from __future__ import annotations

from datetime import timedelta

import pytest

from mlengine.cli.spans import read_span


@pytest.mark.parametrize(("text", "seconds"), [
    ("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400), ("2w", 1209600), ("0s", 0),
    ("1036800s", 1036800),
])  # fmt: skip
def test_a_span_is_a_number_and_its_unit(text: str, seconds: int) -> None:
    assert read_span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "1y", "-1d", "1.5h", "٣d", "9999999999s", " 1d"])
def test_what_is_none_is_left_to_the_caller(text: str) -> None:
    assert read_span(text) is None
