"""A real engine in a process of its own, for tests; every fixture checks what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.client.http import HttpEngine
from mlengine.core.resources import (
    Bucket,
    Job,
    Model,
    Operation,
    TrainingInput,
    Version,
    VersionOptions,
)
from mlengine.engine.home import read_token
from tests.fakes.archives import wheel
from tests.waiting import wait_until

P = "default"
BUCKET = "mine"


# Before a program: it, and what it starts, may no more than any user, also where root runs tests.
_GIVE_UP_RIGHTS = """\
import ctypes, os, sys
for right in range(64):
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""
WITHOUT_RIGHTS = (sys.executable, "-I", "-c", _GIVE_UP_RIGHTS)


class LiveEngine:
    """An engine on a home folder; it may be killed and started again.

    Args:
        prefix: Words before its command.
    """

    def __init__(
        self, home: Path, *,
        environ: Mapping[str, str] | None = None, prefix: Sequence[str] = (), **settings: str,
    ) -> None:  # fmt: skip
        self.home, self._prefix = home, prefix
        dropped = ("MLENGINE_", "CLOUDSDK_")
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(dropped)},
            **(environ or {}),
            "MLENGINE_GRACE_S": "1",
            **{f"MLENGINE_{name.upper()}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[str] | None = None
        self.client: HttpEngine

    def start(self) -> LiveEngine:
        """Start and return once it says that it is ready."""
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        """Start, and wait for nothing; `wait_ready` is to follow, or `kill`."""
        self.home.mkdir(exist_ok=True, mode=0o700)
        argv = [sys.executable, "-m", "mlengine.daemon", "--home", str(self.home), "--port", "0"]
        with (self.home / "daemon.log").open("a") as log:
            self._process = subprocess.Popen(
                [*self._prefix, *argv],
                env=self._environ, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip

    def wait_ready(self) -> LiveEngine:
        """Return once an engine that was launched says that it is ready."""
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "is ready at" in line, line + (self.home / "daemon.log").read_text()[-3000:]
        self.client = HttpEngine(self.url, read_token(self.home))
        return self

    @property
    def url(self) -> str:
        """URL of the gateway, which outlives the engine."""
        facts: dict[str, Any] = json.loads((self.home / "run" / "gateway.json").read_text())
        return str(facts["url"])

    @property
    def token(self) -> str:
        return read_token(self.home)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End the engine process as the kernel would, with no warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def stop(self) -> int:
        """End the engine as `mlengine down` does; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def processes(self) -> list[str]:
        """Return the command lines of all processes that belong to this home."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if any(str(self.home) in word for word in words):
                        found.append(" ".join(words))
        return found

    # --- what most tests need ---

    def make_bucket(self) -> None:
        self.client.create_bucket(Bucket(name=BUCKET))

    def upload_package(self, code: str, *, name: str = "trainer") -> str:
        """Upload a package whose `task` module is this code; return its URI.

        A wheel: a source distribution, which the command line makes, is built by setuptools first.
        """
        source = self.home / "sources" / f"{len(list(self.home.glob('sources/*')))}"
        files = {"task.py": textwrap.dedent(code)}
        archive = wheel(source, name=name, version="0.0.0", files=files)
        target = f"packages/{source.name}/{archive.name}"
        self.client.write_object(BUCKET, target, [archive.read_bytes()])
        return f"gs://{BUCKET}/{target}"

    def submit(self, job_id: str, package: str, *args: str, **fields: Any) -> Job:
        spec = TrainingInput(
            python_module=fields.pop("python_module", "trainer.task"),
            package_uris=[package],
            region="local",
            args=list(args),
            **fields,
        )
        return self.client.create_job(P, Job(job_id=job_id, training_input=spec))

    def job(self, job_id: str) -> Job:
        return self.client.get_job(P, job_id)

    def ended(self, job_id: str, *, timeout_s: float = 60) -> Job:
        """Wait for a job's end, by its log; return the job."""
        self.lines(job_id)
        wait_until(lambda: self.job(job_id).end_time, timeout_s)
        return self.job(job_id)

    def lines(self, job_id: str, *, until: str = "") -> list[str]:
        """Return a job's log lines up to its end, or up to the first that holds `until`."""
        found: list[str] = []
        cursor = ""
        while True:
            page = self.client.read_logs(P, job_id, cursor=cursor, wait_s=10)
            found += [entry.message for entry in page.entries]
            if page.finished or (until and any(until in line for line in found)):
                return found
            cursor = page.cursor

    def upload_model(self, prefix: str, **files: bytes) -> str:
        for name, data in files.items():
            self.client.write_object(BUCKET, f"{prefix}/{name.replace('__', '.')}", [data])
        return f"gs://{BUCKET}/{prefix}"

    def deploy(
        self, uri: str, version_id: str = "v1", *, model_id: str = "census",
        options: VersionOptions | None = None,
    ) -> Operation:  # fmt: skip
        """Create a version (and its model) and wait for the operation's end."""
        if not any(m.name.endswith(f"/{model_id}") for m in self.client.list_models(P).items):
            self.client.create_model(P, Model(name=model_id))
        version = Version(name=version_id, deployment_uri=uri, options=options)
        return self.done(self.client.create_version(P, model_id, version))

    def done(self, operation: Operation) -> Operation:
        operation_id = operation.name.rpartition("/")[2]
        wait_until(lambda: self.client.get_operation(P, operation_id).done, 90)
        return self.client.get_operation(P, operation_id)


@contextlib.contextmanager
def live_engine(
    home: Path, *,
    environ: Mapping[str, str] | None = None, prefix: Sequence[str] = (), **settings: str,
) -> Iterator[LiveEngine]:  # fmt: skip
    """Run an engine; afterwards nothing of it may be left running."""
    engine = LiveEngine(home, environ=environ, prefix=prefix, **settings)
    engine.start()
    try:
        yield engine
    finally:
        if not engine.running:
            engine.start()
        assert engine.stop() == 0
        wait_until(lambda: not engine.processes(), 60)
