"""A real sidecar on a real port, as a replica finds it; and the variables that lead there."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from mlengine.training.access import BucketAccess
from tests.fakes.bucket_table import BucketTableFake

BUCKET = "mine"
# What is not ours is asked of the real host: tests ask a port at which nobody is.
OFFLINE = {
    "PATH": os.environ["PATH"], "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1",
}  # fmt: skip


class RunningSidecar:
    """What an engine and a supervisor do for an attempt, without the two."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        root = folder / "buckets"
        self.buckets = Buckets(BucketTableFake(), root)
        self.buckets.create(Bucket(name=BUCKET))
        self.folder = folder / "attempt"
        self.folder.mkdir()
        access = BucketAccess(self.buckets, root, folder / "run", environ)
        prepared = access.prepare(self.folder, project="census")
        (spec,) = prepared.sidecars
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            argv = [word.replace("{fd}", str(listener.fileno())) for word in spec.argv]
            self.errors = folder / "sidecar.err"
            with self.errors.open("wb") as errors:
                self.process = subprocess.Popen(
                    argv, env=spec.env, stderr=errors, pass_fds=[listener.fileno()]
                )
        given = {k: v.replace("{port}", str(self.port)) for k, v in spec.variables.items()}
        plain = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self.env = {**prepared.apply(plain), **given}

    @property
    def secret(self) -> str:
        return self.env["STORAGE_EMULATOR_HOST"].rpartition("/")[2]

    def run(self, python: str, code: str, *, timeout_s: float = 240, **env: str) -> str:
        """Run a program as a replica would; return what it printed."""
        done = subprocess.run(
            [python, "-c", code], env={**self.env, **env}, cwd=self.folder, capture_output=True,
            text=True, timeout=timeout_s,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    def read(self, name: str) -> bytes:
        with self.buckets.open_read(f"gs://{BUCKET}/{name}") as file:
            return file.read()

    def names(self, prefix: str = "") -> list[str]:
        return [info.name for info in self.buckets.objects(BUCKET, prefix=prefix)]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One for a module; its tests use names of their own."""
    running = RunningSidecar(tmp_path_factory.mktemp("sidecar"), OFFLINE)
    yield running
    running.close()
    assert "Traceback" not in running.errors.read_text()
