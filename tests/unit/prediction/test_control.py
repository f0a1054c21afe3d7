"""The engine's side of a gateway, with processes that only look like one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.prediction.control import ensure_gateway


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
