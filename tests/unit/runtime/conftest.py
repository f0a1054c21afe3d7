"""A small trained model and a worker process, for the tests of this room."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest

from mlengine.runtime.callframe import split_call
from mlengine.runtime.frames import PREDICT, FrameReader, pack
from tests.waiting import wait_until

IRIS_ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="session")
def iris_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a LogisticRegression over the irises; `IRIS_ROW` is class 0."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("iris")
    joblib.dump(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)),
                folder / "model.joblib")  # fmt: skip
    return folder


class WorkerProcess:
    """A worker under test; every way out of the test kills it."""

    def __init__(self, folder: Path, artifact: Path, **spec: Any) -> None:
        self.folder = folder
        self.socket_path = folder / "socket"
        plan = {"artifact": str(artifact), "framework": "", "socket": str(self.socket_path),
                "version_name": "projects/p/models/m/versions/v",
                "max_body_bytes": 1_572_864, **spec}  # fmt: skip
        (folder / "spec.json").write_text(json.dumps(plan))
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlengine.runtime.worker", str(folder)],
            stdout=subprocess.DEVNULL, stderr=self.log,
            env={**os.environ, "MLENGINE_TOKEN": "secret", "PYTHONPATH": str(artifact)},
        )  # fmt: skip

    def wait_ready(self) -> dict[str, Any]:
        ready = self.folder / "ready.json"
        wait_until(lambda: ready.exists() or self.process.poll() is not None, timeout_s=60)
        assert ready.exists(), (self.folder / "log").read_text()
        loaded: dict[str, Any] = json.loads(ready.read_text())
        return loaded

    def wait_failed(self) -> dict[str, Any]:
        assert self.process.wait(60) == 3
        failed: dict[str, Any] = json.loads((self.folder / "failed.json").read_text())
        return failed

    def connect(self) -> Connection:
        return Connection(self.socket_path)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)
        self.log.close()


class Connection:
    """A client of a worker: blocking, one stream."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self._reader = FrameReader(max_payload_bytes=1 << 30)
        self._frames: list[Any] = []

    def send(self, body: bytes, *, request_id: int = 1, kind: int = PREDICT) -> None:
        self.socket.sendall(pack(request_id, kind, body))

    def receive(self) -> tuple[int, int, Any]:
        """Return request id, status, and the parsed body of the next answer."""
        frame = self._next()
        return frame.id, frame.kind, json.loads(frame.payload)

    def receive_call(self) -> tuple[int, bytes]:
        """Return status and body of the next answer, which is one to a call."""
        frame = self._next()
        return frame.kind, bytes(split_call(frame.payload)[1])

    def _next(self) -> Any:
        while not self._frames:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the worker hung up")
            self._frames += self._reader.feed(data)
        return self._frames.pop(0)

    def ask(self, body: Any, **kwargs: Any) -> tuple[int, Any]:
        self.send(body if isinstance(body, bytes) else json.dumps(body).encode(), **kwargs)
        _, status, answer = self.receive()
        return status, answer


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(artifact: Path, **spec: Any) -> WorkerProcess:
        folder = tmp_path / f"worker-{len(started)}"
        folder.mkdir()
        started.append(WorkerProcess(folder, artifact, **spec))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
