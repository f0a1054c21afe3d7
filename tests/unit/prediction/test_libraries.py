"""What loads a version first is kept on its record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.resources import Model, Version, VersionDetails
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.engine.wiring import Wired, wire
from mlengine.models.surroundings import Surroundings, SurroundingsOf
from mlengine.prediction import call
from mlengine.prediction.scaling.fleet import Fleet

SKLEARN = VersionDetails(framework="SCIKIT_LEARN", library_version="1.5.2")


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[Wired]:
    settings = Settings(home=tmp_path / "home")
    made = wire(settings, SharedFolder(settings))
    yield made
    made.stop()


@pytest.mark.parametrize(("prediction_class", "kept"), [("", SKLEARN), ("m.P", None)])
def test_the_library_that_loaded_it_first_is_kept(
    wired: Wired, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prediction_class: str,
    kept: VersionDetails | None,
) -> None:  # fmt: skip
    serving: Any = wired.serving
    store = serving._store
    store.add_model("p", Model(name="m"))
    version = Version(name="v1", deployment_uri="gs://b/m", prediction_class=prediction_class)
    store.add_version("p", "m", version, uid="u")
    monkeypatch.setattr(SurroundingsOf, "prepare", lambda *_, **__: Surroundings())
    monkeypatch.setattr(Fleet, "sockets", lambda *_: ["socket"])
    monkeypatch.setattr(call, "ping", lambda *_: True)
    monkeypatch.setattr(serving, "publish", lambda: None)
    for library in ("1.5.2", "1.6.0"):
        monkeypatch.setattr(Fleet, "library", lambda *_, said=library: ("SCIKIT_LEARN", said))
        serving.load(store.version("p", "m", "v1"), tmp_path, cancelled=lambda: False)
        record = store.version("p", "m", "v1")
        assert record.version.details == kept
    assert serving._served(record, tmp_path).spec.library == (kept.library_version if kept else "")
