"""The engine of this machine, with real processes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mlengine.client import local
from mlengine.core.errors import FailedPrecondition, Unauthenticated, Unavailable
from mlengine.engine.home import Home, is_owned, read_engine_file
from mlengine.engine.settings import Settings
from mlengine.prediction.control import gateway_process
from mlengine.prediction.workers.launch import WorkerProcess
from mlengine.prediction.workers.record import WorkerSpec
from mlengine.runtime.processes import look, note
from tests.waiting import wait_until


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mlengine.toml").write_text("port = 0\n")
    yield Settings(home=home)
    if local.find(home):
        local.stop(Settings(home=home))


def test_commands_that_need_an_engine_at_once_start_one(settings: Settings) -> None:
    said: list[str] = []
    pids: list[int] = []

    def command() -> None:
        pids.append(local.connect(settings, say=said.append).status().pid)

    threads = [threading.Thread(target=command) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4 and len(set(pids)) == 1
    assert said == ["Starting the engine (mlengine up) ..."]
    assert os.getsid(pids[0]) == pids[0]
    log = settings.home / "logs" / local.LOG_NAME
    assert "is ready at http://127.0.0.1:" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600

    stopped = local.stop(settings)
    assert stopped.pid == pids[0] and stopped.status is not None
    assert not is_owned(settings.home) and read_engine_file(settings.home) is None
    with pytest.raises(FailedPrecondition, match="No engine runs"):
        local.stop(settings)


@pytest.mark.parametrize("only_workers", [False, True])
def test_what_an_engine_that_was_killed_left_is_stopped(
    settings: Settings, only_workers: bool
) -> None:
    pid = local.start(settings, say=lambda _text: None).pid
    run = settings.home / "run"
    gateway = gateway_process(run)
    assert gateway is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_owned(settings.home))
    with subprocess.Popen(["sleep", "60"]) as child:
        _note_worker(settings.home, child.pid)
        if only_workers:
            os.kill(gateway.pid, signal.SIGKILL)
            wait_until(lambda: gateway_process(run) is None)
        assert local.stop(settings) == local.Stopped(0, None)
        assert child.wait(30) == -signal.SIGTERM
    assert gateway_process(run) is None
    assert not is_owned(settings.home) and read_engine_file(settings.home) is None
    with pytest.raises(FailedPrecondition, match="There is nothing to stop"):
        local.stop(settings)


def _note_worker(home: Path, pid: int) -> None:
    """Make a process a worker of this home, as far as an engine can tell."""
    folder = home / "run" / "workers" / "w"
    folder.mkdir()
    spec = WorkerSpec(
        version_name="v", artifact="", framework="", socket=str(home / "w.sock"), max_body_bytes=1
    )
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    process = WorkerProcess(**note(pid, folder))
    (folder / "process.json").write_bytes(msgspec.json.encode(process))


def test_a_terminal_that_closes_ends_the_engine_in_order(settings: Settings) -> None:
    os.kill(local.start(settings, say=lambda _text: None).pid, signal.SIGHUP)
    wait_until(lambda: not is_owned(settings.home))
    assert gateway_process(settings.home / "run") is None
    assert read_engine_file(settings.home) is None


def test_an_engine_that_is_only_just_starting_is_left_alone(settings: Settings) -> None:
    starting = Home(settings.home)
    with pytest.raises(FailedPrecondition, match="it is starting or ending"):
        local.stop(settings)
    starting.close()


def test_without_leave_to_start_it_nothing_is_started(settings: Settings) -> None:
    with pytest.raises(FailedPrecondition, match="Start one with 'mlengine up'"):
        local.connect(settings, start=False)
    with pytest.raises(FailedPrecondition):
        local.status(settings)
    assert not (settings.home / "run").exists()


def test_an_engine_that_cannot_start_shows_the_end_of_its_log(settings: Settings) -> None:
    (settings.home / "engine.db").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(Unavailable) as caught:
        local.connect(settings, say=lambda _text: None)
    assert "The engine ended at once." in str(caught.value)
    assert str(settings.home / "logs" / local.LOG_NAME) in str(caught.value)
    assert "ERROR" in str(caught.value)


def test_of_the_log_only_what_this_start_wrote_is_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = settings.home / "logs" / local.LOG_NAME
    log.parent.mkdir()
    log.write_text("ERROR of an earlier start\n")
    for script, shown in (("print('of this one')", f"{log}:\n  of this one\n"), ("", "nothing")):
        monkeypatch.setattr(
            local, "daemon_argv", lambda *_flags, said=script: [sys.executable, "-c", said]
        )
        with pytest.raises(Unavailable) as caught:
            local.connect(settings, say=lambda _text: None)
        assert shown in str(caught.value) and "earlier" not in str(caught.value)


def test_a_copy_of_a_home_touches_no_process_of_the_original(settings: Settings) -> None:
    quiet = lambda _text: None  # noqa: E731
    running = local.start(settings, say=quiet)
    copy = dataclasses.replace(settings, home=settings.home.with_name("copy"))
    with subprocess.Popen(["sleep", "60"]) as child:
        _note_worker(settings.home, child.pid)
        subprocess.run(["cp", "-a", settings.home, copy.home], check=True)
        gateway = gateway_process(settings.home / "run")
        assert local.find(copy.home) is None
        with pytest.raises(FailedPrecondition, match="There is nothing to stop"):
            local.stop(copy)
        theirs = local.start(copy, say=quiet)
        assert theirs.url != running.url and theirs.pid != running.pid
        assert local.status(copy).home == str(copy.home)
        # By the port of the original, which is in the copy's notes.
        assert local.status(settings).home == str(settings.home)
        local.stop(copy)
        assert local.find(settings.home) == running
        after = gateway_process(settings.home / "run")
        assert after and gateway and after.pid == gateway.pid
        assert child.poll() is None
        child.kill()
    local.stop(settings)


def test_a_copy_whose_engine_only_starts_is_not_taken_for_the_original(settings: Settings) -> None:
    local.start(settings, say=lambda _text: None)
    copy = settings.home.with_name("copy")
    subprocess.run(["cp", "-a", settings.home, copy], check=True)
    starting = Home(copy)
    assert local.find(copy) is None
    with pytest.raises(FailedPrecondition, match="it is starting or ending"):
        local.stop(dataclasses.replace(settings, home=copy))
    starting.close()


@pytest.mark.parametrize("killed", [False, True])
def test_what_serves_a_home_that_was_moved_is_stopped_there(
    settings: Settings, killed: bool
) -> None:
    pid = local.start(settings, say=lambda _text: None).pid
    gateway = gateway_process(settings.home / "run")
    assert gateway is not None
    if killed:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_owned(settings.home))
    moved = dataclasses.replace(settings, home=settings.home.rename(settings.home.with_name("m")))
    assert local.stop(moved).pid == (0 if killed else pid)
    wait_until(lambda: look(gateway.pid) is None)
    assert not is_owned(moved.home)


@pytest.mark.parametrize("killed", [False, True])
def test_what_serves_a_home_that_was_moved_to_another_disk_is_stopped_there(
    settings: Settings, killed: bool
) -> None:
    pid = local.start(settings, say=lambda _text: None).pid
    gateway = gateway_process(settings.home / "run")
    assert gateway is not None
    moved = dataclasses.replace(settings, home=settings.home.with_name("m"))
    with subprocess.Popen(["sleep", "60"]) as child:
        _note_worker(settings.home, child.pid)
        if killed:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_owned(settings.home))
        subprocess.run(["cp", "-a", settings.home, moved.home], check=True)  # as `mv` does
        settings.home.rename(settings.home.with_name("kept"))
        if not killed:
            with pytest.raises(Unavailable, match=f"its engine ran: process {pid}"):
                local.connect(moved, say=lambda _text: None)
        assert local.stop(moved).pid == (0 if killed else pid)
        wait_until(lambda: look(gateway.pid) is None)
        assert child.wait(30) == -signal.SIGTERM
    with pytest.raises(FailedPrecondition, match="There is nothing to stop"):
        local.stop(moved)


def test_an_engine_of_before_is_found_and_stopped(settings: Settings) -> None:
    running = local.start(settings, say=lambda _text: None)
    path = settings.home / "run" / "engine.json"
    facts = json.loads(path.read_text())
    del facts["process"]
    path.write_text(json.dumps(facts))
    assert local.find(settings.home) == running
    assert local.stop(settings).pid == running.pid


def test_an_engine_that_does_not_say_where_it_is_is_not_waited_for_long(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Home(settings.home)
    monkeypatch.setattr(local, "_OTHERS_TIMEOUT_S", 0.1)
    with pytest.raises(Unavailable, match=r"Another engine has [^$]* already runs on"):
        local.connect(settings, say=lambda _text: None)
    silent.close()


def test_a_home_is_the_same_one_through_a_link(settings: Settings) -> None:
    link = dataclasses.replace(settings, home=settings.home.with_name("link"))
    link.home.symlink_to(settings.home)
    running = local.start(link, say=lambda _text: None)
    assert local.find(settings.home) == running
    os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: not is_owned(settings.home))
    gateway = gateway_process(settings.home / "run")
    assert gateway is not None
    assert local.start(settings, say=lambda _text: None).url == running.url
    after = gateway_process(settings.home / "run")
    assert after and after.pid == gateway.pid


def test_what_an_engine_that_died_left_behind_names_nobody(settings: Settings) -> None:
    run = settings.home / "run"
    run.mkdir()
    for pid in (2**22 + 1, os.getpid()):
        facts = {"pid": pid, "url": "http://127.0.0.1:9"}
        (run / "engine.json").write_text(json.dumps(facts))
        assert local.find(settings.home) is None


def test_a_home_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="Choose another with MLENGINE_HOME"):
        local.connect(Settings(home=tmp_path / "file" / "home"), say=lambda _text: None)


def test_the_token_of_this_home_goes_to_no_other_engine(settings: Settings) -> None:
    run = settings.home / "run"
    run.mkdir()
    (run / "token").write_text("secret\n")
    (run / "engine.json").write_text(json.dumps({"pid": 1, "url": "http://127.0.0.1:9"}))
    there = dataclasses.replace(settings, endpoint="http://elsewhere:9")
    with pytest.raises(Unauthenticated, match="Set MLENGINE_TOKEN"):
        local.connect(there)
    local.connect(dataclasses.replace(there, token="theirs"))
    local.connect(dataclasses.replace(settings, endpoint="http://127.0.0.1:9/"))


def test_an_empty_home_is_closed_before_anything_lies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "h"
    home.mkdir()
    home.chmod(0o775)
    monkeypatch.setattr(local, "_launch", lambda _home: local.Running(1, "http://127.0.0.1:9"))
    local.start(Settings(home=home), say=lambda _text: None)
    assert home.stat().st_mode & 0o777 == 0o700


def test_the_engine_that_is_stopped_is_asked_and_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Settings] = []
    monkeypatch.setattr(local, "status", asked.append)
    with subprocess.Popen(["sleep", "60"]) as child:
        monkeypatch.setattr(local, "find", lambda _home: local.Running(child.pid, "http://x"))
        local.stop(dataclasses.replace(settings, endpoint="http://far:1", token="theirs"))
        monkeypatch.undo()
    assert [(one.endpoint, one.token) for one in asked] == [("", "")]
