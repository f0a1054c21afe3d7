"""A change of a right is done when the gateway decides by it, and not before."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import Unavailable
from mlengine.core.keys import Key
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.engine.wiring import Wired, wire
from mlengine.prediction.control import GatewayControl, gateway_process
from mlengine.prediction.routing import Snapshot, read_snapshot
from tests.waiting import wait_until


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[Wired]:
    """An engine with a real gateway, whose records nobody but the test looks at."""
    settings = Settings(home=tmp_path / "home", port=0)
    made = wire(settings, SharedFolder(settings))
    made.serving.start()
    yield made
    made.stop()


def _grants(home: Path) -> list[str]:
    return [grant.key for grant in read_snapshot(home / "run" / "routing.json").grants.values()]


def test_a_right_that_the_gateway_did_not_hear_of_is_no_success(
    wired: Wired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    wired.engine.create_key("p", Key(name="app", models=["m"]))
    assert _grants(home) == ["projects/p/keys/app"]
    with monkeypatch.context() as patched:

        def hang(control: GatewayControl, snapshot: Snapshot, *, save: bool = True) -> int:
            raise Unavailable("The gateway does not answer: timed out.")

        patched.setattr(GatewayControl, "push", hang)
        with pytest.raises(Unavailable, match="goes by what it knew before"):
            wired.engine.revoke_key("p", "app")
        assert wired.engine.get_key("p", "app").revoke_time
    assert wired.engine.revoke_key("p", "app").revoke_time  # the same command once more
    assert _grants(home) == []


def test_a_gateway_that_died_is_replaced_by_one_that_knows(wired: Wired, tmp_path: Path) -> None:
    wired.engine.create_key("p", Key(name="app", models=["m"]))
    before = wired.serving.gateway_pid
    os.kill(before, signal.SIGKILL)
    # A kill is no death yet: one that dies in the middle of this is one that does not answer.
    wait_until(lambda: (p := gateway_process(tmp_path / "home" / "run")) is None or p.pid != before)
    assert wired.engine.revoke_key("p", "app").revoke_time
    assert _grants(tmp_path / "home") == []


def test_an_engine_that_was_not_started_tells_its_first_gateway(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", port=0)
    made = wire(settings, SharedFolder(settings))
    made.engine.create_key("p", Key(name="app", models=["m"]))
    made.serving.start()
    assert _grants(tmp_path / "home") == ["projects/p/keys/app"]
    made.stop()
