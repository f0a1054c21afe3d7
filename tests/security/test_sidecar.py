"""The helper that leads a job to the buckets leads nobody else there, and nowhere else."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.storage.sidecar.conftest import OFFLINE, RunningSidecar


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    found = RunningSidecar(tmp_path_factory.mktemp("sidecar"), {
        **OFFLINE, "MLENGINE_TOKEN": "canary-token",
        "MLENGINE_DATABASE": "sqlite:///canary.db", "AWS_SECRET_ACCESS_KEY": "canary-key",
    })  # fmt: skip
    found.buckets.write("gs://mine/secret.txt", [b"ours"])
    yield found
    found.close()
    assert "Traceback" not in found.errors.read_text()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """The helper of another job."""
    found = RunningSidecar(tmp_path_factory.mktemp("other"), OFFLINE)
    yield found
    found.close()


def get(sidecar: RunningSidecar, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def connect(sidecar: RunningSidecar, *lines: str) -> bytes:
    with socket.create_connection(("127.0.0.1", sidecar.port), 30) as connection:
        head = "\r\n".join(["CONNECT storage.googleapis.com:443 HTTP/1.1", *lines])
        connection.sendall(f"{head}\r\n\r\n".encode())
        return connection.recv(65536)


def basic(words: str) -> str:
    return f"Proxy-Authorization: Basic {base64.b64encode(words.encode()).decode()}"


def test_it_listens_on_loopback_alone(running: RunningSidecar) -> None:
    assert get(running, f"/{running.secret}/storage/v1/b")[0] == 200  # it runs
    found = [c for c in psutil.Process(running.process.pid).net_connections("inet")
             if c.status == psutil.CONN_LISTEN]  # fmt: skip
    assert [c.laddr.ip for c in found] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "path",
    [
        "/storage/v1/b", "/mine/secret.txt", "/download/storage/v1/b/mine/o/secret.txt?alt=media",
        "//storage/v1/b", "/wrong/storage/v1/b", "/{half}/storage/v1/b", "/{whole}x/storage/v1/b",
        "/{other}/storage/v1/b", "/?{whole}", "/{whole}",
    ],
)  # fmt: skip
def test_nobody_gets_in_without_the_secret(
    running: RunningSidecar, other: RunningSidecar, path: str
) -> None:
    whole = running.secret
    words = {"whole": whole, "half": whole[: len(whole) // 2], "other": other.secret}
    status, body = get(running, path.format(**words))
    assert status == 404
    assert b"ours" not in body
    assert b"mine" not in body


def test_nobody_uses_the_proxy_without_the_secret(
    running: RunningSidecar, other: RunningSidecar
) -> None:
    for lines in ([], [basic("job:")], [basic(f"job:{other.secret}")],
                  [basic(f"root:{running.secret}")], [basic(f"job:{running.secret[:-1]}")],
                  [f"Proxy-Authorization: Bearer {running.secret}"],
                  [f"Authorization: Basic {running.secret}"]):  # fmt: skip
        said = connect(running, *lines)
        assert said.startswith(b"HTTP/1.1 407 "), lines
        assert running.secret.encode() not in said
    assert connect(running, basic(f"job:{running.secret}")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "name",
    [
        "../other/x", "..%2f..%2fattempt%2fbuckets.json", "%2e%2e/%2e%2e/attempt/buckets.json",
        "..%5c..%5cx", "/etc/passwd", "%2fetc%2fpasswd", "a%00b", ".", "a//b", "link/buckets.json",
        "file-link",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["/mine/{}", "/storage/v1/b/mine/o/{}?alt=media"])
def test_nothing_but_objects_of_buckets_is_read(
    running: RunningSidecar, name: str, form: str
) -> None:
    root = running.folder.parent / "buckets" / "mine"
    for link, target in (("link", running.folder), ("file-link", running.folder / "buckets.json")):
        if not (root / link).is_symlink():
            (root / link).symlink_to(target)
    status, body = get(running, f"/{running.secret}{form.format(name)}")
    assert status in (400, 404), (status, body)
    assert b"root:" not in body
    assert running.secret.encode() not in body


@pytest.mark.parametrize("bucket", [".records", ".staging", "..", "%2e%2e", "not-there-1"])
def test_nothing_beside_the_buckets_is_a_bucket(running: RunningSidecar, bucket: str) -> None:
    status, body = get(running, f"/{running.secret}/storage/v1/b/{bucket}/o")
    assert status in (400, 404), (status, body)


def test_it_knows_nothing_of_the_engines_and_shows_nothing_of_its_own(
    running: RunningSidecar,
) -> None:
    get(running, f"/{running.secret}/storage/v1/b")
    process = psutil.Process(running.process.pid)
    environ = json.dumps(process.environ())
    assert "canary" not in environ
    # Command lines are readable by every user of the machine.
    assert running.secret not in " ".join(process.cmdline())
    assert running.secret not in environ
    assert not [f.path for f in process.open_files() if "engine.db" in f.path or "token" in f.path]
    assert running.secret not in running.errors.read_text()


def test_what_it_is_told_is_its_owners_to_read(running: RunningSidecar) -> None:
    told = running.folder / "buckets.json"
    assert told.stat().st_mode & 0o077 == 0
    run = running.folder.parent / "run"
    open_to_others = [
        path
        for path in (run, run / "certificates", run / "bin", *run.rglob("key.pem"))
        if path.stat().st_mode & 0o077 and path != run
    ]
    assert open_to_others == []


def test_a_job_that_floods_it_gets_answers_still(running: RunningSidecar) -> None:
    """Connections that say nothing hold nobody up."""
    idle = [socket.create_connection(("127.0.0.1", running.port), 30) for _ in range(200)]
    try:
        for connection in idle[::2]:
            connection.sendall(b"CONNECT ")
        assert get(running, f"/{running.secret}/mine/secret.txt") == (200, b"ours")
    finally:
        for connection in idle:
            connection.close()


def test_programs_of_replicas_find_no_way_to_the_store(running: RunningSidecar) -> None:
    told = json.loads((running.folder / "buckets.json").read_text())
    assert set(told) == {"secret", "root", "buckets", "certificate", "key"}
    assert Path(told["root"]).name == "buckets"
