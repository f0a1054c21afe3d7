"""Who sleeps when memory is short."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.workers.memory import Sleeper, choose_sleepers, pss_bytes, rss_bytes

sleepers = st.lists(
    st.builds(Sleeper, st.text("abc", min_size=1), st.integers(1, 100), st.floats(0, 1000)),
    unique_by=lambda sleeper: sleeper.version,
)


@given(sleepers, st.integers(0, 300), st.integers(1, 100), st.integers(1, 300))
def test_the_longest_unused_go_and_no_more_of_them_than_must(
    found: list[Sleeper], busy: int, needed: int, cap: int
) -> None:
    used = busy + sum(sleeper.held_bytes for sleeper in found)
    chosen = choose_sleepers(found, used_bytes=used, needed_bytes=needed, cap_bytes=cap)
    order = sorted(found, key=lambda sleeper: (sleeper.last_use_s, sleeper.version))
    if chosen is None:
        assert busy + needed > cap and busy, "it would not fit, and somebody is awake"
        return
    assert chosen == [sleeper.version for sleeper in order[: len(chosen)]]
    left = used - sum(sleeper.held_bytes for sleeper in order[: len(chosen)])
    assert left + needed <= cap or left == 0
    if chosen:
        assert left + order[len(chosen) - 1].held_bytes + needed > cap


def test_a_process_is_measured_and_one_that_is_gone_holds_nothing() -> None:
    assert pss_bytes(os.getpid()) > 1 << 20
    assert pss_bytes(1 << 30) == rss_bytes(1 << 30) == 0
    assert rss_bytes(os.getpid()) > 1 << 20
