"""Which signals end an engine while it starts; who is answered when it ends; where its audit goes.

That the signals end it, tests/faults shows.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from mlengine import daemon
from mlengine.client.http import HttpEngine
from mlengine.core.errors import Unavailable
from mlengine.core.resources import Bucket, Job, Model
from mlengine.engine.settings import Settings
from mlengine.rest import listener
from mlengine.rest.permits import NoKeys
from tests.fakes.asgi import TOKEN
from tests.fakes.engine import FakeEngine

T = TypeVar("T")

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


class _Ending:
    """An engine that is served until a call is held, and is to end then."""

    def __init__(self, folder: Path) -> None:
        self.engine = FakeEngine()
        self.let_go = threading.Event()
        self._socket = folder / "engine.sock"

    def answer(
        self, call: Callable[[HttpEngine], T], *, held: str, till: threading.Event, nth: int = 1
    ) -> T:
        """Make a call, whose nth step of that name is held; return what comes of it."""
        wish, is_held, steps = daemon._Wish(), threading.Event(), itertools.count(1)

        def hold(step: str) -> None:
            if step == held and next(steps) == nth:
                is_held.set()
                till.wait(60)

        def end() -> None:
            is_held.wait(60)
            signal.raise_signal(signal.SIGTERM)

        def on_ready(_facts: object) -> None:
            answers.append(threads.submit(call, HttpEngine(f"unix:{self._socket}", TOKEN)))
            threads.submit(end)

        home: Any = SimpleNamespace(publish=on_ready)
        serving = SimpleNamespace(engine_socket=self._socket, endpoint="http://here")
        wired: Any = SimpleNamespace(
            engine=self.engine, access=NoKeys(), serving=serving, let_go=self.let_go.set
        )
        answers: list[Future[T]] = []
        self.engine.before = hold
        with ThreadPoolExecutor(2) as threads:
            daemon._serve(Settings(), TOKEN, wired, home, wish)
            till.set()  # whoever is held still could not be answered any more
        return answers[0].result()


@pytest.fixture
def ending(tmp_path: Path) -> _Ending:
    return _Ending(tmp_path)


def test_who_waits_when_the_engine_ends_is_answered(ending: _Ending) -> None:
    ending.engine.create_job("p", Job(job_id="a"))
    page = ending.answer(
        lambda client: client.read_logs("p", "a"), held="read_logs", till=ending.let_go
    )
    assert (page.entries, page.finished) == ([], False)


def test_what_is_not_done_in_time_when_the_engine_ends_may_be_tried_again(
    ending: _Ending, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "_PATIENCE_S", 0)
    ending.engine.create_model("p", Model(name="m"))
    with pytest.raises(Unavailable, match="The engine ended before this was done"):
        ending.answer(
            lambda client: client.delete_model("p", "m"),
            held="delete_model", till=threading.Event(),
        )  # fmt: skip
    assert not [record for record in caplog.records if record.exc_info]


def test_a_download_that_is_under_way_when_the_engine_ends_is_seen_to_be_cut(
    ending: _Ending, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "_PATIENCE_S", 0)
    ending.engine.create_bucket(Bucket(name="data"))
    ending.engine.write_object("data", "x", [b"x" * 100_000])
    with pytest.raises(Unavailable, match="broke off"):
        ending.answer(
            lambda client: b"".join(client.read_object("data", "x")),
            held="read_object piece", nth=2, till=threading.Event(),
        )  # fmt: skip
    assert "cut off, as the engine ends: GET '/api/v1/buckets/data/content/x'" in caplog.text
    assert not [record for record in caplog.records if record.exc_info]
