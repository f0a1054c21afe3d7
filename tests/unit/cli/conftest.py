"""Running a command line in this process, against an engine of dictionaries."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mlengine.cli.main import main
from tests.fakes.engine import FakeEngine


class Outcome(NamedTuple):
    """What a command did: its exit code and what it wrote."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run(
    engine: FakeEngine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Run]:
    """Give a function that runs one command line: words, then stdin as ``stdin=``."""
    monkeypatch.setenv("MLENGINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLENGINE_ENDPOINT", "http://engine.test:8470")
    for name in ("MLENGINE_PROJECT", "MLENGINE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def call(*words: str, stdin: str = "") -> Outcome:
        raw = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
        monkeypatch.setattr("sys.stdin", raw)
        code = main(list(words), connect=lambda _settings: engine)
        done = capsys.readouterr()
        return Outcome(code, done.out, done.err)

    yield call
    monkeypatch.undo()
    time.tzset()
