"""Whose worker failed is told the same, whichever way the prediction went."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlengine.core.errors import EngineError
from mlengine.prediction.call import ping, predict_once
from mlengine.prediction.gateway import faults
from mlengine.prediction.gateway.hearsay import MAX_ANSWER_BYTES
from mlengine.prediction.gateway.upload import Upload
from mlengine.prediction.gateway.workers import WorkerLink
from mlengine.prediction.routing import PredictTarget
from mlengine.runtime.frames import PREDICT, frame_head

VERSION = "projects/p/models/m/versions/v1"
BODY = b'{"instances": [1]}'
TOO_LONG = frame_head(1, 200, MAX_ANSWER_BYTES + 1)


def over_a_shared_link(said: bytes) -> EngineError:
    """What a prediction is told whose worker says this and hangs up."""
    failed: list[EngineError] = []
    link = WorkerLink("s", version=VERSION, timeout_s=1, wait_s=1, loop=cast("Any", None))
    link._connect = lambda **_: None  # type: ignore[method-assign]
    link._loop = SimpleNamespace(call_soon=lambda work: work())  # type: ignore[assignment]
    link.connection_made(cast("Any", SimpleNamespace(
        set_write_buffer_limits=lambda high: None, write=lambda data: None
    )))  # fmt: skip
    link.submit(cast("Any", SimpleNamespace(
        body=BODY, kind=PREDICT, gone=False, failed=failed.append
    )))  # fmt: skip
    if said:
        link.data_received(said)
    else:
        link.connection_lost(None)
    assert link.counts.as_stats() and link.errors == 1
    return failed[0]


def over_an_upload(said: bytes) -> EngineError:
    failed: list[EngineError] = []
    exchange = SimpleNamespace(
        connection=SimpleNamespace(
            release=lambda _reason: None, server=SimpleNamespace(logs=SimpleNamespace(found={}))
        ),
        fail=lambda error, is_counted: failed.append(error),
    )
    upload = Upload(cast("Any", exchange), PredictTarget("m", ""), None, len(BODY))
    upload._version = VERSION
    upload._prelude = cast("Any", SimpleNamespace(version=VERSION))
    if said:
        upload.data_received(said)
    else:
        upload.connection_lost(None)
    return failed[0]


@contextlib.contextmanager
def worker_that_says(said: bytes, folder: Path) -> Iterator[Path]:
    """Listens; says the same to everybody, once it was asked, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    talk, _address = listening.accept()
                    with talk:
                        talk.recv(1000)
                        talk.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        yield folder / "s"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def past_a_gateway(said: bytes, folder: Path) -> EngineError:
    with worker_that_says(said, folder) as door:
        assert not ping(door, 30)
        with pytest.raises(EngineError) as told:
            predict_once(door, BODY, 30)
    return told.value


@pytest.mark.parametrize(("said", "status"), [(TOO_LONG, 500), (b"", 503)], ids=["long", "dead"])
def test_a_fault_has_one_status_and_one_text(said: bytes, status: int, tmp_path: Path) -> None:
    link, upload = over_a_shared_link(said), over_an_upload(said)
    call = past_a_gateway(said, tmp_path)
    assert [error.http_status for error in (link, upload, call)] == [status] * 3
    assert str(link) == str(upload) == str(call).replace("worker", f"worker of '{VERSION}'", 1)
    assert link.retryable == (status == 503), "to ask again for what is too long helps nobody"


def test_an_answer_that_is_too_long_says_how_long() -> None:
    said = str(faults.answer_too_long(VERSION, MAX_ANSWER_BYTES + 1))
    assert f"{MAX_ANSWER_BYTES + 1} bytes" in said and f"is {MAX_ANSWER_BYTES}." in said


def test_a_worker_that_is_away_is_said_with_and_without_its_name(tmp_path: Path) -> None:
    assert f"of '{VERSION}'" in str(faults.no_worker(VERSION))
    with pytest.raises(EngineError, match="No worker is up at the moment: No such file"):
        predict_once(tmp_path / "none", BODY, 1)
