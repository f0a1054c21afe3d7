"""When the home is taken, damaged or locked: a clear word, and no engine that starts empty."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.chaos import Predicting, ask, counting_trainer, multiplier, predict
from tests.live.engines import LiveEngine, P, live_engine
from tests.waiting import wait_until

pytest.importorskip("sklearn")

_LOCKED_S = 10.0


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    with live_engine(tmp_path_factory.mktemp("refusals") / "home") as engine:
        engine.make_bucket()
        engine.deploy(engine.upload_model("m", model__pkl=multiplier(3)), model_id="m")
        yield engine


def try_to_start(home: Path) -> subprocess.CompletedProcess[str]:
    """Try to start an engine that is expected to refuse."""
    argv = [sys.executable, "-m", "mlengine.daemon", "--home", str(home), "--port", "0"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MLENGINE_")}
    return subprocess.run(
        argv, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def refused(refusal: subprocess.CompletedProcess[str], *words: str, any_word: bool = False) -> None:
    """Check that it ended with status 1 and one line that holds the words, or one of them."""
    assert refusal.returncode == 1, refusal.stderr
    assert refusal.stderr.count("ERROR: (mlengine.up)") == 1, refusal.stderr
    assert "Traceback" not in refusal.stderr
    assert refusal.stdout == ""
    holds = [word in refusal.stderr for word in words]
    assert any(holds) if any_word else all(holds), refusal.stderr


def test_a_second_engine_is_refused_and_the_first_is_unharmed(engine: LiveEngine) -> None:
    before = (engine.home / "run" / "engine.json").read_bytes()
    with Predicting(engine, factor=3) as asked:
        for _again in range(3):
            refused(try_to_start(engine.home), "already runs", engine.url, "mlengine down")
    assert asked.count > 10
    assert (engine.home / "run" / "engine.json").read_bytes() == before
    engine.submit("after_refusal", engine.upload_package("print('yes')"))
    assert engine.ended("after_refusal").state == "SUCCEEDED"


def test_a_database_that_another_process_locks_is_unavailable_and_kills_nothing(
    engine: LiveEngine,
) -> None:
    engine.submit("during", engine.upload_package(counting_trainer(40, 0.3)))
    engine.lines("during", until="line 1")
    calls = 0
    begun_s = time.monotonic()
    with contextlib.closing(sqlite3.connect(engine.home / "engine.db", timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        until_s = time.monotonic() + _LOCKED_S
        with Predicting(engine, factor=3) as asked:
            while time.monotonic() < until_s:
                found = ask(engine, "POST", f"/v1/projects/{P}/models", b'{"name": "new"}')
                assert found.status == 503
                assert found.answer["error"]["status"] == "UNAVAILABLE"
                assert ask(engine, "GET", f"/v1/projects/{P}/jobs").status == 200
                calls += 1
        other.rollback()
    print(f"{calls} calls were told 503 in {time.monotonic() - begun_s:.1f} s")
    assert calls >= 1
    assert asked.count > 10
    wait_until(lambda: engine.client.list_jobs(P).items, 60)
    assert engine.ended("during").state == "SUCCEEDED"
    lines = [line for line in engine.lines("during") if line.startswith("line ")]
    assert lines == [f"line {n}" for n in range(40)]
    assert engine.running


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(b"no database at all, but long enough" * 100), "damaged"),
        (lambda path: _scribble(path, 4096, 3 * 4096), "damaged"),
    ],
    ids=["emptied", "overwritten", "pages torn"],
)
def test_a_damaged_database_is_refused_with_the_way_back(
    tmp_path: Path, damage: object, word: str
) -> None:
    home = tmp_path / "home"
    with live_engine(home) as engine:
        engine.make_bucket()
    kept = (home / "engine.db").read_bytes()
    assert callable(damage)
    damage(home / "engine.db")
    spoilt = (home / "engine.db").read_bytes()
    refused(try_to_start(home), word, str(home / "engine.db"), "backup", ".recover")
    assert (home / "engine.db").read_bytes() == spoilt
    assert not (home / "run" / "engine.json").exists()
    (home / "engine.db").write_bytes(kept)
    with live_engine(home) as engine:  # the way back works
        assert [b.name for b in engine.client.list_buckets()] == ["mine"]


def _scribble(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * length)


def test_an_empty_database_costs_no_model(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with live_engine(home) as engine:
        engine.make_bucket()
        engine.deploy(engine.upload_model("m", model__pkl=multiplier(3)), model_id="m")
    settings = home / "mlengine.toml"
    settings.write_text(f'database = "sqlite:///{tmp_path}/typo.db"\n')
    refused(try_to_start(home), "typo.db is empty", "mlengine.store.copy", "set 'database' back")
    settings.unlink()
    with live_engine(home) as engine:
        assert predict(engine, 5).answer == {"predictions": [15]}


def test_a_home_that_cannot_be_written_isrefused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    refusal = try_to_start(tmp_path / "home")
    refused(refusal, str(tmp_path / "home"))


STOPPED_MEANWHILE = """
import os, sys
from mlengine import daemon
from mlengine.rest import app
build = app.build_app
def build_and_hear(*args, **kwargs):
    os.kill(os.getpid(), int(os.environ['WISH']))
    return build(*args, **kwargs)
app.build_app = build_and_hear
sys.exit(daemon.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_an_engine_that_is_stopped_while_it_starts_leaves_nothing(
    tmp_path: Path, signum: signal.Signals
) -> None:
    home = tmp_path / "home"
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MLENGINE_")}
    environ["WISH"] = str(int(signum))
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_MEANWHILE, "--home", str(home), "--port", "0"],
        env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # it never was ready
    assert (home / "logs" / "gateway.log").exists()  # but had a gateway by then
    wait_until(lambda: not LiveEngine(home).processes())
