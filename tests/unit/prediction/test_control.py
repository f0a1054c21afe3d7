"""The engine's side of a gateway, with processes that only look like one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.prediction.control import GatewayControl, ensure_gateway, gateway_process
from mlengine.prediction.gateway.info import GATEWAY_FILE
from mlengine.runtime.processes import look
from tests.waiting import wait_until


def _named(*words: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-S", "-c", "input()", *words]
    return subprocess.Popen(argv, stdin=subprocess.PIPE)


def test_a_gateway_that_was_never_noted_ends_before_the_next_begins(tmp_path: Path) -> None:
    module, mine = "mlengine.prediction.gateway.process", str(tmp_path)
    stray = _named("-m", module, mine, "--port", "1")
    others = [_named("du", mine), _named("-m", module, f"{mine}-2")]
    try:
        with pytest.raises(FailedPrecondition, match="did not start"):  # the next one, `false`
            ensure_gateway(tmp_path, python="false")
        assert stray.wait(60) == -signal.SIGKILL
        assert [other.poll() for other in others] == [None, None]
    finally:
        for process in (stray, *others):
            process.kill()
            process.communicate()


def test_a_copy_of_a_run_folder_has_a_gateway_of_its_own(tmp_path: Path) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    original.mkdir()
    theirs = ensure_gateway(original)
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("*.sock"))
    try:
        assert gateway_process(copy) is None
        GatewayControl(copy).shutdown()
        mine = ensure_gateway(copy)
        assert mine.pid != theirs.pid and mine.port != theirs.port
        GatewayControl(copy).shutdown()
        assert gateway_process(original) is not None
        assert ensure_gateway(original) == theirs
    finally:
        for folder in (original, copy):
            GatewayControl(folder).shutdown()


def test_the_gateway_of_a_run_folder_on_another_disk_is_replaced(tmp_path: Path) -> None:
    before, moved = tmp_path / "a", tmp_path / "b"
    before.mkdir()
    old = ensure_gateway(before)
    shutil.copytree(before, moved, ignore=shutil.ignore_patterns("*.sock"))  # as `mv` does
    shutil.rmtree(before)
    try:
        new = ensure_gateway(moved, port=old.port)
        assert (new.pid != old.pid, new.port) == (True, old.port)
        wait_until(lambda: look(old.pid) is None)
    finally:
        GatewayControl(moved).shutdown()


def test_a_gateway_of_before_is_replaced(tmp_path: Path) -> None:
    old = ensure_gateway(tmp_path)
    said = json.loads((tmp_path / GATEWAY_FILE).read_bytes())
    for name in ("boot_id", "device", "inode", "place", "run_dir"):
        del said[name]
    (tmp_path / GATEWAY_FILE).write_text(json.dumps(said))
    process = gateway_process(tmp_path)
    assert process is not None and process.pid == old.pid
    try:
        new = ensure_gateway(tmp_path, port=old.port)
        assert (new.pid != old.pid, new.port) == (True, old.port)
    finally:
        GatewayControl(tmp_path).shutdown()


@pytest.mark.parametrize("name", ["short", "long" * 20])
def test_the_gateway_of_a_run_folder_that_was_moved_is_replaced(tmp_path: Path, name: str) -> None:
    before = tmp_path / name
    before.mkdir()
    old = ensure_gateway(before)
    moved = before.rename(tmp_path / f"{name}-2")
    try:
        new = ensure_gateway(moved)
        assert (new.pid != old.pid, new.port) == (True, old.port)
        wait_until(lambda: look(old.pid) is None)
        assert GatewayControl(moved).stats() == {}
        assert ensure_gateway(moved) == new
        assert not before.exists()
    finally:
        GatewayControl(moved).shutdown()
