"""Which signals end an engine while it starts, which tests/faults shows; where its audit goes."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine import daemon

AUDIT = logging.getLogger("mlengine.audit")
_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in _HEARD}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", _HEARD)
def test_an_engine_that_starts_hears_that_it_is_to_end(signum: signal.Signals) -> None:
    wish = daemon._Wish()
    assert not wish.spoken
    signal.raise_signal(signum)
    assert wish.spoken


def test_only_a_person_asks_twice() -> None:
    wish = daemon._Wish()
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)  # the shell's, then the kernel's
    assert wish.spoken
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)


def test_under_nohup_a_closed_terminal_means_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wish = daemon._Wish()
    signal.raise_signal(signal.SIGHUP)
    assert not wish.spoken


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(AUDIT, "handlers", [])
    monkeypatch.setattr(AUDIT, "level", logging.INFO)
    yield tmp_path / "engine.log"
    for handler in AUDIT.handlers:
        handler.close()


def test_of_an_engine_at_a_terminal_the_audit_is_in_its_log_too(log: Path) -> None:
    daemon._keep_audit(log)
    AUDIT.info("anna: ml.projects.jobs.create")
    log.rename(log.with_suffix(".1"))
    AUDIT.info("anna: ml.projects.jobs.cancel")
    assert (
        log.with_suffix(".1")
        .read_text()
        .endswith("INFO mlengine.audit anna: ml.projects.jobs.create\n")
    )
    assert log.read_text().endswith("INFO mlengine.audit anna: ml.projects.jobs.cancel\n")


def test_a_log_that_cannot_be_opened_breaks_no_change(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = log.parent / "logs"
    folder.mkdir()
    daemon._keep_audit(folder / "engine.log")
    shutil.rmtree(folder)
    AUDIT.info("anna: ml.buckets.create")
    AUDIT.info("anna: ml.buckets.delete")
    assert f"No such file or directory: '{folder}/engine.log'" in capsys.readouterr().err
    folder.mkdir()
    AUDIT.info("anna: ml.jobs.create")
    assert (folder / "engine.log").read_text().endswith("anna: ml.jobs.create\n")


def test_of_one_whose_log_it_writes_anyway_it_is_there_once(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.touch()
    monkeypatch.setattr(os, "fstat", lambda _stderr: log.stat())
    daemon._keep_audit(log)
    assert AUDIT.handlers == []
