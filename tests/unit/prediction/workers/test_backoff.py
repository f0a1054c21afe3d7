"""A worker that keeps dying stays down longer and longer, but not for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.workers.backoff import (
    Deaths,
    is_healthy,
    is_loop,
    next_deaths,
    restart_delay_s,
)


@given(st.integers(0, 1000))
def test_delays_never_shrink_and_never_pass_a_minute(count: int) -> None:
    here, after = restart_delay_s(Deaths(count)), restart_delay_s(Deaths(count + 1))
    assert 0 <= here <= after <= 60


def test_the_first_death_is_mended_at_once() -> None:
    assert restart_delay_s(next_deaths(Deaths(), now_s=5.0, ready_s=1.0)) == 0


def test_deaths_soon_after_it_was_ready_add_up() -> None:
    deaths = Deaths()
    for second in range(5):
        deaths = next_deaths(deaths, now_s=second + 1.0, ready_s=float(second))
    assert deaths == Deaths(5, 5.0)


def test_a_minute_of_life_begins_the_count_anew() -> None:
    assert next_deaths(Deaths(9, 10.0), now_s=80.0, ready_s=20.0) == Deaths(1, 80.0)


def test_to_load_a_model_for_long_is_no_life() -> None:
    assert next_deaths(Deaths(2, 10.0), now_s=900.0, ready_s=None) == Deaths(3, 900.0)
    assert is_loop(Deaths(3, 10.0), now_s=900.0, ready_s=None)
    assert not is_healthy(now_s=900.0, ready_s=None)
