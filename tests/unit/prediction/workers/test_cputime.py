"""Which share of the time somebody has used."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.workers import cputime
from mlengine.prediction.workers.cputime import CpuTimes, Shares


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 1e6)), min_size=1))
def test_a_share_is_of_the_time_between_two_looks(looks: list[tuple[float, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        now_s, before_s = 1000.0, None
        patch.setattr(cputime, "time", SimpleNamespace(monotonic=lambda: now_s))
        shares = Shares()
        for pause_s, used_s in looks:
            now_s += pause_s
            share = shares.share("a", used_s)
            if before_s is None or used_s < before_s:  # who begins anew owes nothing
                assert share == 0
            else:
                assert share == pytest.approx((used_s - before_s) / pause_s, rel=1e-3)
            before_s = used_s
            assert shares.share(now_s, used_s) == 0  # somebody else, for the first time


def test_a_process_that_computes_uses_its_cpu() -> None:
    times = CpuTimes()
    assert times.share(os.getpid()) == 0
    until_s = time.process_time() + 0.05
    while time.process_time() < until_s:
        pass
    assert 0 < times.share(os.getpid()) < (os.cpu_count() or 1) + 1
    assert times.share(2**22 + 1) == 0  # there is no such process
