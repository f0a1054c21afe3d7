"""What the machine and the settings make of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.engine import wiring
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.training.inventory import Inventory


@pytest.mark.parametrize(("wanted", "cores", "cpus", "allowed"), [
    (True, 2, 2.0, True), (True, 64, 64.0, True), (False, 2, 2.0, False),
    (True, 1, 1.0, False),  # one CPU
    (True, 64, 4.0, False), (True, 2, 1.5, False),  # a ration of the time of more
])  # fmt: skip
def test_gateway_and_workers_stay_awake_where_there_is_time_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool, cores: int, cpus: float,
    allowed: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(wiring, "probe", lambda **_: Inventory(cpus=cpus, memory_bytes=1 << 30))
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(cores)))
    settings = Settings(home=tmp_path / "home", stay_awake=wanted)
    wired = wiring.wire(settings, SharedFolder(settings))
    try:
        serving: Any = wired.serving
        assert serving._snapshot().may_stay_awake is allowed
    finally:
        wired.stop()


@pytest.mark.parametrize("name", ["tls_cert", "tls_key"])
def test_a_certificate_in_nobodys_home_is_refused_by_name(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path, **{name: "~nosuch/x.pem"})
    with pytest.raises(InvalidArgument, match=f"'{name}' is '~nosuch/x.pem'.*whole path"):
        wiring._doors(settings)
