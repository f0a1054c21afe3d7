"""What every `Launcher` promises, kept by those of one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlengine.training.launchers import Launcher
from mlengine.training.launchers.process import ProcessLauncher
from tests.conformance.launchers.contract import *  # noqa: F403 - the tests
from tests.conformance.launchers.contract import shell
from tests.fakes.warm import WarmLauncher

LAUNCHERS = ("process", "process, warm")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], WarmLauncher]]:
    """Make launchers whose zygote is ready."""
    made: list[WarmLauncher] = []

    def another() -> WarmLauncher:
        launcher = WarmLauncher(tmp_path_factory.mktemp("run"))
        launcher.heat(shell("true", cwd=Path("/")))
        made.append(launcher)
        return launcher

    yield another
    assert sum(launcher.interpreters.claimed for launcher in made) > 0
    for launcher in made:
        launcher.close()


@pytest.fixture(params=LAUNCHERS)
def make(request: pytest.FixtureRequest) -> Callable[[], Launcher]:
    if request.param == "process":
        return ProcessLauncher
    factory: Callable[[], Launcher] = request.getfixturevalue("warm")
    return factory
