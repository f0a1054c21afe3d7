"""What a call has changed is done when the gateway decides by it, and not before."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import EngineError, FailedPrecondition, NotFound, Unavailable
from mlengine.core.keys import Key
from mlengine.core.resources import Bucket, Model, Version
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.engine.wiring import Wired, wire
from mlengine.models.deployment import Deployment
from mlengine.prediction.control import GatewayControl, gateway_process
from mlengine.prediction.routing import PredictTarget, Snapshot, find_version, read_snapshot
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


def _refusal(home: Path) -> EngineError:
    """Return what the gateway says to who asks for the version v1 of the model m."""
    asked = PredictTarget("projects/p/models/m", "projects/p/models/m/versions/v1")
    with pytest.raises(EngineError) as caught:
        find_version(asked, read_snapshot(home / "run" / "routing.json"))
    return caught.value


def test_models_and_versions_are_known_when_they_are_made(
    wired: Wired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deployment, "submit", lambda self, record: None)  # v1 stays CREATING
    home, engine = tmp_path / "home", wired.engine
    assert "model resource" in _refusal(home).problem
    engine.create_model("p", Model(name="m"))
    missing = _refusal(home)
    assert isinstance(missing, NotFound) and "version resource" in missing.problem
    engine.create_bucket(Bucket(name="mine"))
    engine.write_object("mine", "export/model.joblib", [b"model"])
    engine.create_version("p", "m", Version(name="v1", deployment_uri="gs://mine/export/"))
    early = _refusal(home)
    assert isinstance(early, FailedPrecondition) and "is CREATING, not READY" in early.problem
    engine.create_model("p", Model(name="gone"))
    engine.delete_model("p", "gone")
    known = read_snapshot(home / "run" / "routing.json").models
    assert set(known) == {"projects/p/models/m"}
