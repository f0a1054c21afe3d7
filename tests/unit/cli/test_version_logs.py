"""`mlengine versions logs`."""

from __future__ import annotations

import json

import pytest

from mlengine.core.predictions import WorkerLog
from mlengine.core.resources import Model, Version
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run

LOGS = ("versions", "logs", "v1", "--model", "curve")


@pytest.fixture
def logged(engine: FakeEngine) -> FakeEngine:
    engine.create_model("default", Model(name="curve"))
    engine.create_version("default", "curve", Version(name="v1", deployment_uri="gs://b/m"))
    engine.worker_logs = [
        WorkerLog(file="/home/logs/worker-a-0.log.1", lines=["Traceback", "KeyError: 'age'"]),
        WorkerLog(file="/home/logs/worker-a-0.log", lines=["loading", "\x1b[2Jready"]),
    ]
    return engine


def test_lines_are_on_stdout_and_the_files_they_are_of_on_stderr(
    run: Run, logged: FakeEngine
) -> None:
    assert run(*LOGS) == (
        0, "Traceback\nKeyError: 'age'\nloading\n\\x1b[2Jready\n",
        "==> /home/logs/worker-a-0.log.1\n==> /home/logs/worker-a-0.log\n",
    )  # fmt: skip
    assert run(*LOGS, "--limit", "1").out == "KeyError: 'age'\n\\x1b[2Jready\n"
    shown = json.loads(run(*LOGS, "--format", "json").out)
    assert [log["lines"][0] for log in shown["logs"]] == ["Traceback", "loading"]


def test_without_a_line_or_a_version_that_is_said(run: Run, logged: FakeEngine) -> None:
    logged.worker_logs = []
    said = "No worker of version [v1] has printed anything on this engine.\n"
    assert run(*LOGS) == (0, "", said)
    assert run("versions", "logs", "none", "--model", "curve").code == 1


def test_of_the_flags_of_lists_only_the_limit_means_something(run: Run, logged: FakeEngine) -> None:
    done = run(*LOGS, "--filter", "a:b")
    assert done.code == 2
    assert "unrecognized arguments: --filter" in done.err
    assert "Also: --limit --project" in run(*LOGS, "--help").out
    assert "--limit" not in run("versions", "describe", "--help").out
