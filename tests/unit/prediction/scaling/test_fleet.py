"""What the workers of a version hold, and how seldom the kernel is asked for it."""

from __future__ import annotations

import types
from typing import Any

import pytest

from mlengine.prediction.scaling import fleet as fleet_module
from mlengine.prediction.scaling.fleet import Fleet


class _Pool:
    """Two workers of one version, that are ready."""

    def adopt(self) -> None: ...

    def uids(self) -> list[str]:
        return ["v-0", "v-1"]

    def info(self, worker: str) -> Any:
        return types.SimpleNamespace(pid=int(worker[-1]))


def test_only_a_worker_that_grew_is_measured_again_within_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, rss, asked = [7.0], {0: 300, 1: 300}, []

    def pss(pid: int) -> int:
        asked.append(pid)
        return rss[pid] // 3

    monkeypatch.setattr(fleet_module, "time", types.SimpleNamespace(
        monotonic=lambda: now_s[0], time=lambda: 0.0,
    ))  # fmt: skip
    monkeypatch.setattr(fleet_module, "pss_bytes", pss)
    monkeypatch.setattr(fleet_module, "rss_bytes", lambda pid: rss[pid])
    fleet = Fleet(_Pool())  # type: ignore[arg-type]  # what it is asked for here
    fleet.adopt()
    assert (fleet.measure("v"), asked) == (200, [0, 1])
    assert (fleet.measure("v"), asked) == (200, [0, 1])
    rss[1] = 900
    assert (fleet.measure("v"), asked) == (400, [0, 1, 1])
    now_s[0] += 61.0
    assert (fleet.measure("v"), asked) == (400, [0, 1, 1, 0, 1])
