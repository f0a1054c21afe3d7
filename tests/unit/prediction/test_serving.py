"""What an engine's settings say of its workers reaches them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlengine.core.resources import Model, Version
from mlengine.core.states import VersionState
from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.engine.wiring import wire
from mlengine.store import Store, VersionRecord, open_store


def test_workers_that_are_started_again_are_held_to_the_time_of_the_settings(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home", load_timeout_s=7.0)
    made = wire(settings, SharedFolder(settings))
    serving: Any = made.serving
    assert serving._pool._load_timeout_s == 7.0
    made.stop()


def _deleting(store: Store, record: VersionRecord) -> VersionRecord:
    failed = store.move_version(record, VersionState.FAILED)
    assert failed
    deleting = store.move_version(failed, VersionState.DELETING)
    assert deleting
    return deleting


def test_what_a_version_printed_goes_when_it_is_deleted_and_not_before(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    made = wire(settings, SharedFolder(settings))
    store = open_store(settings.database_url)
    store.add_model("p", Model(name="m"))
    record = store.add_version("p", "m", Version(name="v1"), uid="u")
    log = settings.home / "logs" / "worker-u-0.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("what a caller sent")
    made.serving.unload(record)
    assert log.exists(), "it failed, or another engine goes on with it"
    made.serving.unload(_deleting(store, record))
    assert not log.exists()
    store.close()
    made.stop()


def test_what_a_version_printed_goes_when_another_engine_deleted_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    made = wire(settings, SharedFolder(settings))
    serving: Any = made.serving
    store = open_store(settings.database_url)
    store.add_model("p", Model(name="m"))
    record = store.add_version("p", "m", Version(name="v1"), uid="u")
    logs = settings.home / "logs"
    logs.mkdir(exist_ok=True)
    for uid in ("u", "unknown"):  # the second one's record may be in newer records than these
        (logs / f"worker-{uid}-0.log").touch()
    serving._stop_strays()
    assert len([*logs.glob("worker-*")]) == 2
    assert store.remove_version(_deleting(store, record))
    serving._stop_strays()
    assert [*logs.glob("worker-*")] == [logs / "worker-unknown-0.log"]
    store.close()
    made.stop()
