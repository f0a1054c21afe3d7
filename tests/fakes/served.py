"""Real workers behind a real gateway, without an engine: models as their callers meet them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlengine.core.access import token_digest
from mlengine.prediction.control import GatewayControl, ensure_gateway
from mlengine.prediction.gateway.info import GatewayInfo
from mlengine.prediction.routing import Limits, Route, Snapshot
from mlengine.runtime.compiled import FOLDER, is_numbers
from tests.fakes.gateway import TOKEN, Answer, Caller, head
from tests.waiting import wait_until

PROJECT = "default"


class Served:
    """A gateway, and one worker for each model directory; every version is ``v1``."""

    def __init__(
        self, run_dir: Path, models: Mapping[str, Path], *, max_body_bytes: int = 4_000_000,
        **gateway: Any,
    ) -> None:  # fmt: skip
        self.run_dir = run_dir
        self.control = GatewayControl(run_dir)
        self._max_body_bytes = max_body_bytes
        self.workers: list[subprocess.Popen[bytes]] = []
        self._sockets = {name: run_dir / f"w{i}.sock" for i, name in enumerate(models)}
        for name, directory in models.items():
            self._start(name, directory)
        for name in models:
            folder = self._folder(name)
            wait_until(
                lambda folder=folder: (
                    (folder / "ready.json").exists() or (folder / "failed.json").exists()
                ),
                timeout_s=120,
            )
            assert (folder / "ready.json").exists(), (folder / "failed.json").read_text()
        self.snapshot = Snapshot(
            generation=1, token_digest=token_digest(TOKEN), project=PROJECT,
            versions={
                f"projects/{PROJECT}/models/{name}/versions/v1":
                    Route("READY", [str(path)], desk=_desk(models[name]))
                for name, path in self._sockets.items()
            },
            models={
                f"projects/{PROJECT}/models/{name}":
                    f"projects/{PROJECT}/models/{name}/versions/v1"
                for name in models
            },
            limits=Limits(max_body_bytes=max_body_bytes),
        )  # fmt: skip
        self.control.save(self.snapshot)
        self.info: GatewayInfo = ensure_gateway(run_dir, **gateway)

    @property
    def port(self) -> int:
        return self.info.port

    def ask(
        self, method: str, path: str, body: bytes | dict[str, Any] = b"", **headers: str
    ) -> Answer:
        """One request on its own connection."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        with Caller(self.port) as caller:
            caller.send(head(method, path, length=len(data), **headers) + data)
            return caller.answer(of=method)

    def close(self) -> None:
        self.control.shutdown(timeout_s=3)
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(30)

    def _folder(self, name: str) -> Path:
        return self.run_dir / name

    def _start(self, name: str, directory: Path) -> None:
        folder = self._folder(name)
        folder.mkdir()
        spec = {"artifact": str(directory), "socket": str(self._sockets[name]),
                "max_body_bytes": self._max_body_bytes}  # fmt: skip
        (folder / "spec.json").write_text(json.dumps(spec))
        with open(folder / "log", "wb") as log:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "mlengine.runtime.worker", str(folder)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )
            )  # fmt: skip


def _desk(directory: Path) -> str:
    folder = directory / FOLDER
    is_there = folder.is_dir() and is_numbers([file.name for file in folder.iterdir()])
    return str(folder) if is_there else ""


@contextlib.contextmanager
def serve(models: Mapping[str, Path], **gateway: Any) -> Iterator[Served]:
    """Models served in a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="sv-") as folder:
        served = Served(Path(folder), models, **gateway)
        try:
            yield served
        finally:
            served.close()
