"""Sockets lie in the run folder if their paths fit, else in a private folder of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.prediction.sockets import socket_dir


@pytest.fixture
def long_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / ("long" * 30) / "run"


def test_a_short_run_folder_holds_its_sockets() -> None:
    assert socket_dir(Path("/tmp")) == Path("/tmp")


def test_a_long_one_gets_the_same_private_folder_each_time(long_run: Path) -> None:
    first = socket_dir(long_run)
    assert first == socket_dir(long_run)
    assert first.stat().st_mode & 0o777 == 0o700
    assert first != socket_dir(long_run.with_name("other"))


def test_a_folder_that_others_may_enter_is_not_used(long_run: Path) -> None:
    folder = socket_dir(long_run)
    folder.chmod(0o755)
    with pytest.raises(FailedPrecondition, match="this user alone"):
        socket_dir(long_run)


def test_a_link_is_not_used(long_run: Path, tmp_path: Path) -> None:
    folder = socket_dir(long_run)
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FailedPrecondition, match="this user alone"):
        socket_dir(long_run)


def test_names_fit_an_address(long_run: Path) -> None:
    longest = f"w-{'u' * 40}.sock"
    parent = Path(os.sep) / ("r" * 40)
    assert len(os.fsencode(parent / longest)) < 100
