from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.clock import SystemClock, parse_duration_s, rfc3339


def test_the_wall_clock_is_utc_and_the_other_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == datetime.timedelta(0)
    moments = [clock.monotonic_s() for _ in range(100)]
    assert moments == sorted(moments)


@given(st.datetimes(datetime.datetime(1970, 1, 1), timezones=st.timezones()))
def test_a_moment_is_written_in_utc_to_the_second(moment: datetime.datetime) -> None:
    read = datetime.datetime.fromisoformat(rfc3339(moment))
    assert read == moment.astimezone(datetime.UTC).replace(microsecond=0)


@given(st.integers(0, 10**9), st.integers(0, 9))
def test_a_duration_reads_as_it_is_written(nanos: int, digits: int) -> None:
    number = nanos / 10**9
    assert parse_duration_s(f"{number:.{digits}f}s") == float(f"{number:.{digits}f}")


@pytest.mark.parametrize(
    "text", ["", "s", "1", ".5s", "-1s", "+1s", "1e3s", "1 s", "1ss", "٣s", "infs", "1.0123456789s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_s(text)
