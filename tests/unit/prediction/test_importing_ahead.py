"""An engine that starts begins to import what its next caller will wait for, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlengine.core.resources import Version
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.engine.wiring import Wired, wire
from mlengine.prediction.scaling.fleet import Fleet
from mlengine.prediction.workers.pool import WorkerPool
from mlengine.store import VersionRecord

_NEWER, _OLDER = "2026-11-22T10:00:00Z", "2026-11-21T10:00:00Z"


def _record(uid: str, **fields: Any) -> VersionRecord:
    version = Version(name="v1", state="READY", deployment_uri="gs://b/m", **fields)
    return VersionRecord(
        seq=1, project="p", model_id=uid, version_id="v1", uid=uid, version=version
    )


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[Wired]:
    settings = Settings(home=tmp_path / "home")
    made = wire(settings, SharedFolder(settings))
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        ([], []),
        ([_record("a", create_time=_OLDER), _record("b", create_time=_NEWER)], ["b"]),
        (
            [_record("a", create_time=_OLDER, last_use_time=_NEWER),
             _record("b", create_time=_OLDER)],
            ["a"],
        ),
        # What a version brings with it is imported by nobody but its own workers.
        ([_record("a", create_time=_OLDER, prediction_class="m.P")], []),
        ([_record("a", create_time=_OLDER, python_version="2.7", runtime_version="2.15")], []),
        ([_record("a", create_time=_OLDER, python_version="2.7")], ["a"]),
        ([_record("a", create_time=_OLDER, python_version="2.7", prediction_class="m.P")], []),
        ([_record("awake", create_time=_OLDER)], []),
        ([_record("a", create_time=_OLDER, machine_type="a2-highgpu-1g")], []),  # started cold
    ],
)  # fmt: skip
def test_it_is_the_version_that_was_used_last(
    wired: Wired, records: list[VersionRecord], wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def expect(_pool: WorkerPool, artifact: Path, _framework: str = "", *, threads: int) -> None:
        assert threads == 1
        begun.append(artifact.parent.name)

    def count(_fleet: Fleet, uid: str) -> int:
        return uid == "awake"

    monkeypatch.setattr(WorkerPool, "expect", expect)
    monkeypatch.setattr(Fleet, "count", count)
    serving: Any = wired.serving
    monkeypatch.setattr(serving._store, "versions_in", lambda _states: records)
    serving._import_ahead()
    assert begun == wanted
