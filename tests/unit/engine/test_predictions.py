"""What times a reader of a request log may name."""

from __future__ import annotations

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.engine.predictions import _moment


@pytest.mark.parametrize(("since", "meant"), [
    ("", ""), ("0999-01-01", ""), ("0001-01-01T00:00:00Z", ""), ("1969-12-31", ""),
    ("1970-01-01", "1970-01-01T00:00:00.000Z"), ("2026-11-21", "2026-11-21T00:00:00.000Z"),
    ("2026-11-21T01:30:00.0019+02:00", "2026-11-20T23:30:00.001Z"),
    ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999Z"),
])  # fmt: skip
def test_a_time_is_compared_as_rows_write_it(since: str, meant: str) -> None:
    assert _moment(since) == meant


@pytest.mark.parametrize("since", ["yesterday", "9999-12-31T23:59:59-14:00", "2026-13-01"])
def test_what_is_no_time_of_any_row_is_refused(since: str) -> None:
    with pytest.raises(InvalidArgument, match="is no time"):
        _moment(since)
