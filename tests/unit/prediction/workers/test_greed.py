"""Who takes more CPUs than its own counts for less at once, and for as much again after a while."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.workers.greed import Greed

STEPS = st.lists(st.tuples(st.floats(0.001, 20.0), st.floats(0.0, 1.0)), max_size=30)


@given(st.integers(1, 64), STEPS, st.floats(0.0, 0.01))
def test_who_keeps_to_its_own_is_never_greedy(
    cpus: int, steps: list[tuple[float, float]], begun_s: float
) -> None:
    """Also where the kernel counts in hundredths, and somebody looks twice within a moment."""
    greed, now_s, used_s = Greed(cpus), 0.0, begun_s
    for pause_s, share in steps:
        now_s, used_s = now_s + pause_s, used_s + pause_s * share * cpus
        assert not greed.look(math.floor(used_s * 100) / 100, now_s)


@given(st.integers(1, 64), STEPS)
def test_it_is_forgotten_ten_seconds_after_the_last_time(
    cpus: int, steps: list[tuple[float, float]]
) -> None:
    greed, now_s, used_s = Greed(cpus), 0.0, 0.0
    greed.look(used_s, now_s)
    now_s, used_s, seen_s = 1.0, 2.0 * cpus, 1.0
    assert greed.look(used_s, now_s)
    for pause_s, share in steps:
        now_s, used_s = now_s + pause_s, used_s + pause_s * share * cpus
        seen_s = now_s if now_s - seen_s >= 0.2 else seen_s  # sooner nobody looks again
        assert greed.look(used_s, now_s) == (seen_s < 11.0)


def test_the_first_look_and_one_at_the_same_moment_say_nothing() -> None:
    greed = Greed(1)
    assert not greed.look(1e6, 5.0)
    assert not greed.look(2e6, 5.0)
    assert greed.look(3e6, 6.0)


def test_a_count_that_went_back_is_not_greed() -> None:
    greed = Greed(1)
    greed.look(9.0, 0.0)
    assert not greed.look(2.0, 0.5)  # a child that had used 7 s has ended
    assert not greed.look(9.4, 1.0)  # its parent tells of it
    assert greed.look(11.4, 1.5)
