"""A quota lets through what it says, never more, and forgets nothing that it must remember."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import Unauthenticated
from mlengine.prediction.gateway.quota import Bucket, QuotaExceeded, Quotas
from mlengine.prediction.routing import Grant

NOON = 20_000 * 86_400.0 + 43_200.0
steps = st.lists(st.floats(0, 10, allow_nan=False), max_size=60)


class Clock:
    def __init__(self) -> None:
        self.now, self.wall = 0.0, NOON

    def quotas(self) -> Quotas:
        return Quotas(lambda: self.now, wall_s=lambda: self.wall)

    def pass_s(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


def told(lines: bytes) -> dict[str, int]:
    pairs = (line.split(b": ") for line in lines.split(b"\r\n") if line)
    return {key.decode().removeprefix("x-ratelimit-"): int(value) for key, value in pairs}


@given(st.floats(0.01, 100), st.integers(1, 50), steps)
def test_no_window_lets_more_through_than_its_length_and_the_burst_allow(
    rate: float, size: int, pauses: list[float]
) -> None:
    bucket, now, passed = Bucket(rate=rate, size=float(size), now_s=0.0), 0.0, [0.0][:0]
    for pause in pauses:
        now += pause
        while bucket.take(now):
            passed.append(now)
        assert 0.0 <= bucket.held < 1.0
        assert bucket.take(now + bucket.wait_s() + 1e-6), "what it says of the wait is true"
        now += bucket.wait_s() + 1e-6
        passed.append(now)
    for at, begin in enumerate(passed):
        for end in range(at, len(passed)):
            length = passed[end] - begin
            assert end - at + 1 <= size + length * rate * (1 + 1e-6) + 1e-3


@given(st.floats(0.01, 100), st.integers(1, 50), st.lists(st.floats(-10, 10), max_size=40))
def test_a_clock_that_goes_back_brings_nothing(rate: float, size: int, pauses: list[float]) -> None:
    bucket, now, latest, taken = Bucket(rate=rate, size=float(size), now_s=0.0), 0.0, 0.0, 0
    for pause in pauses:
        now += pause
        latest = max(latest, now)
        taken += bucket.take(now)
        assert taken <= size + latest * rate + 1e-3


@given(
    st.builds(
        Grant, key=st.just("k"), requests_per_second=st.sampled_from([0.0, 0.3, 7.0, 1e6]),
        burst=st.sampled_from([0, 1, 9, 50]), daily_quota=st.sampled_from([0, 5, 9, 60, 10**9]),
        expires=st.sampled_from([0.0, NOON + 20]),
    ),
    st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.7, 30.0]), st.integers(1, 12)), max_size=12),
)  # fmt: skip
def test_many_of_a_turn_take_what_each_would_have_taken(
    grant: Grant, turns: list[tuple[float, int]]
) -> None:
    clock = Clock()
    one_by_one, together = clock.quotas(), clock.quotas()
    for pause_s, count in turns:
        clock.pass_s(pause_s)
        lines = []
        for _ in range(count):
            try:
                lines.append(one_by_one.take(grant))
            except (QuotaExceeded, Unauthenticated):
                break
        assert together.take_many(grant, count) == lines
        one_by_one.refused.clear()
        assert not any(together.refused.values())
        assert together.taken() == one_by_one.taken()


def test_the_answers_say_what_is_left_and_when_to_come_again() -> None:
    clock = Clock()
    quotas, grant = clock.quotas(), Grant(key="k", requests_per_second=2.0, burst=3)
    assert [told(quotas.take(grant))["remaining"] for _ in range(3)] == [2, 1, 0]
    with pytest.raises(QuotaExceeded, match="2 predictions a second") as refused:
        quotas.take(grant)
    assert told(refused.value.lines) == {"limit": 3, "remaining": 0, "reset": 2}
    assert (refused.value.wait_s, refused.value.subject) == (1, "key:k")
    assert quotas.refused == {"k": 1}
    clock.now = 0.5
    assert told(quotas.take(grant)) == {"limit": 3, "remaining": 0, "reset": 2}


def test_a_day_is_utcs_and_what_is_refused_takes_nothing() -> None:
    clock = Clock()
    quotas, grant = clock.quotas(), Grant(key="k", requests_per_second=1.0, burst=2, daily_quota=3)
    assert told(quotas.take(grant)) == {"limit": 2, "remaining": 1, "reset": 1}
    assert told(quotas.take(grant))["remaining"] == 0
    with pytest.raises(QuotaExceeded, match="a second"):
        quotas.take(grant)
    clock.now = 10.0
    assert told(quotas.take(grant)) == {"limit": 3, "remaining": 0, "reset": 43_200}
    for _ in range(2):
        with pytest.raises(QuotaExceeded, match="3 predictions a day") as refused:
            quotas.take(grant)
    assert refused.value.wait_s == 43_200
    clock.pass_s(43_199.0)
    with pytest.raises(QuotaExceeded):
        quotas.take(grant)
    clock.pass_s(1.0)
    quotas.take(grant)


def test_the_days_count_outlives_the_gateway_and_only_the_day() -> None:
    clock = Clock()
    quotas, grant = clock.quotas(), Grant(key="k", daily_quota=10)
    assert quotas.taken() is None
    for _ in range(4):
        quotas.take(grant)
    saved = quotas.taken()
    assert saved is not None
    assert quotas.taken() is None
    again = clock.quotas()
    again.restore(saved)
    again.take(Grant(key="other", daily_quota=5))
    kept = again.taken()
    assert kept is not None and kept["used"] == {"k": 4, "other": 1}, "k has not come yet"
    assert told(again.take(grant))["remaining"] == 5
    clock.wall += 86_400.0
    tomorrow = clock.quotas()
    tomorrow.restore(saved)
    assert told(tomorrow.take(grant))["remaining"] == 9


def test_a_clock_that_is_set_back_over_midnight_renews_nothing() -> None:
    clock = Clock()
    clock.wall += 43_201.0  # a second after midnight
    quotas, grant = clock.quotas(), Grant(key="k", daily_quota=1)
    quotas.take(grant)
    saved = quotas.taken()
    assert saved is not None
    clock.now += 1.0
    clock.wall -= 2.0
    again = clock.quotas()
    again.restore(saved)
    for one in (quotas, again):
        with pytest.raises(QuotaExceeded) as refused:
            one.take(grant)
        assert refused.value.wait_s == 86_401
    clock.pass_s(2.0)  # the same midnight once more
    for one in (quotas, again):
        with pytest.raises(QuotaExceeded):
            one.take(grant)
    clock.pass_s(86_400.0)
    for one in (quotas, again):
        one.take(grant)


def test_a_clock_that_was_days_ahead_does_not_close_the_days_until_then() -> None:
    clock = Clock()
    clock.wall += 30 * 86_400.0
    quotas, grant = clock.quotas(), Grant(key="k", daily_quota=1)
    quotas.take(grant)
    clock.now += 1.0
    clock.wall = NOON
    quotas.take(grant)
    with pytest.raises(QuotaExceeded, match="1 predictions a day") as refused:
        quotas.take(grant)
    assert refused.value.wait_s == 43_200, "what is taken counts, for the day that it is"


def test_a_key_without_a_quota_is_told_nothing_and_counts_nothing() -> None:
    quotas = Clock().quotas()
    assert quotas.take(Grant(key="k")) == b""
    assert quotas.taken() is None


def test_a_changed_quota_does_not_give_back_what_was_taken() -> None:
    clock = Clock()
    quotas = clock.quotas()
    for _ in range(5):
        quotas.take(Grant(key="k", requests_per_second=0.001, burst=5, daily_quota=6))
    more = Grant(key="k", requests_per_second=0.001, burst=50, daily_quota=6)
    with pytest.raises(QuotaExceeded, match="a second"):
        quotas.take(more)
    none = Grant(key="k", daily_quota=6)
    quotas.take(none)
    with pytest.raises(QuotaExceeded, match="a day"):
        quotas.take(none)


@pytest.mark.parametrize(("grant", "first"), [
    (Grant(key="k", requests_per_second=0.5), 1),
    (Grant(key="k", requests_per_second=7.0), 7),
    (Grant(key="k", requests_per_second=7.0, burst=2), 2),
])  # fmt: skip
def test_a_burst_that_is_not_named_is_one_seconds_worth(grant: Grant, first: int) -> None:
    quotas = Clock().quotas()
    passed = 0
    while True:
        try:
            quotas.take(grant)
        except QuotaExceeded as refused:
            assert refused.wait_s == max(math.ceil(1 / grant.requests_per_second), 1)
            break
        passed += 1
    assert passed == first


def test_an_expired_key_takes_nothing() -> None:
    clock = Clock()
    quotas = clock.quotas()
    grant = Grant(key="k", daily_quota=2, expires=NOON + 1)
    quotas.take(grant)
    clock.pass_s(1.0)
    with pytest.raises(Unauthenticated, match="has expired"):
        quotas.take(grant)
    saved: Any = quotas.taken()
    assert saved["used"] == {"k": 1}


def test_keys_that_come_in_one_turn_take_from_their_own() -> None:
    quotas = Clock().quotas()
    rated = Grant(key="rated", requests_per_second=1.0, burst=3)
    daily, free = Grant(key="daily", daily_quota=2), Grant(key="free")
    left = [told(quotas.take(grant)).get("remaining")
            for grant in (rated, daily, free, rated, daily, rated, free)]  # fmt: skip
    assert left == [2, 1, None, 1, 0, 0, None]
    for grant in (rated, daily, rated):
        with pytest.raises(QuotaExceeded):
            quotas.take(grant)
    more = Grant(key="daily", daily_quota=3)
    assert told(quotas.take(more)) == {"limit": 3, "remaining": 0, "reset": 43_200}
