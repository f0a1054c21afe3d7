"""What an engine's settings say of its workers reaches them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlengine.engine.settings import Settings
from mlengine.engine.shared import SharedFolder
from mlengine.engine.wiring import wire


def test_workers_that_are_started_again_are_held_to_the_time_of_the_settings(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home", load_timeout_s=7.0)
    made = wire(settings, SharedFolder(settings))
    serving: Any = made.serving
    assert serving._pool._load_timeout_s == 7.0
    made.stop()
