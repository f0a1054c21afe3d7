"""What a running engine shows to others: ports, files, and what its children are given.

A job runs and a version is READY while the looks are taken: an engine at rest hides little.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.live.engines import LiveEngine, P, live_engine
from tests.security.wire import send

# What a trainer can find out about the one who started it.
NOSY = """
    import json, os, pathlib, socket, sys

    def read(path):
        try:
            return pathlib.Path(path).read_bytes().decode(errors="replace")
        except OSError as error:
            return str(error)

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    fds = [n for n in os.listdir("/proc/self/fd")]
    print("NOSY " + json.dumps({
        "environ": dict(os.environ),
        "initial": read("/proc/self/environ"),
        "argv": read("/proc/self/cmdline"),
        "parent_environ": read(f"/proc/{os.getppid()}/environ"),
        "parent_argv": read(f"/proc/{os.getppid()}/cmdline"),
        "files": [os.readlink(f"/proc/self/fd/{n}") for n in fds
                  if int(n) > 2 and os.path.exists(f"/proc/self/fd/{n}")],
        "mask": oct(os.umask(0o077)),
    }), flush=True)
    pathlib.Path("made").write_text("x")
    pathlib.Path("made-too").mkdir()
    if "--stay" in sys.argv:
        listening.accept()
"""


@pytest.fixture(scope="module")
def busy(serving: LiveEngine) -> Iterator[LiveEngine]:
    """The engine with a READY version and a job that runs."""
    package = serving.upload_package(NOSY)
    serving.submit("nosy", package, "--stay", job_dir="gs://mine/jobs/nosy")
    serving.lines("nosy", until="NOSY")
    yield serving
    if not serving.job("nosy").end_time:
        serving.client.cancel_job(P, "nosy")
    serving.ended("nosy")


def _family(engine: LiveEngine) -> list[psutil.Process]:
    """All processes of an engine, children of children included."""
    home = str(engine.home)
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if any(home in word for word in process.cmdline()) and process.pid != os.getpid():
                for member in (process, *process.children(recursive=True)):
                    found[member.pid] = member
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def _said(engine: LiveEngine) -> list[dict[str, Any]]:
    page = engine.client.read_logs(P, "nosy", cursor="", wait_s=0)
    lines = [e.message for e in page.entries if e.message.startswith("NOSY ")]
    return [json.loads(line.removeprefix("NOSY ")) for line in lines]


# --- A2, A3: ports ---


def test_every_port_of_every_process_is_on_the_loopback_interface(busy: LiveEngine) -> None:
    family = _family(busy)
    assert len(family) >= 5  # engine, gateway, worker, supervisor, replica
    heard = [
        (process.pid, connection.laddr)
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    ]
    assert {address.ip for _pid, address in heard} <= {"127.0.0.1", "::1"}
    # The job listens on one of its own, and its supervisor on one that leads to the buckets
    # (tests/security/test_sidecar.py); of the engine's processes only the gateway does.
    urls = [f"http://{address.ip}:{address.port}" for _pid, address in heard]
    assert busy.url in urls
    assert len(urls) == 3


def test_an_address_for_others_needs_names_and_keeps_its_token(tmp_path: Path) -> None:
    """`--host 0.0.0.0` alone is refused; with names it is no more open than before."""
    home = tmp_path / "home"
    argv = [sys.executable, "-m", "mlengine.daemon", "--home", str(home), "--port", "0"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLENGINE_")}
    refused = subprocess.run(
        [*argv, "--host", "0.0.0.0"], env=clean, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 1
    assert "allowed_hosts" in refused.stderr
    assert "Traceback" not in refused.stderr
    with live_engine(home, host="0.0.0.0", allowed_hosts="ml.example") as engine:
        port = int(engine.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        for host, token, status in (
            ("ml.example", "", 401), ("ml.example", None, 200), ("evil.example", None, 403),
            ("0.0.0.0", None, 403), (f"ml.example:{port}", None, 200),
        ):  # fmt: skip
            assert send(engine, "GET", "/api/v1/status", token=token, Host=host).status == status
    assert len((home / "run" / "token").read_text().strip()) >= 43


# --- B12: files ---


def _open_to_others(home: Path) -> list[str]:
    """Everything below a home that somebody else may touch; links have no mode of their own."""
    made_by_the_test = ("sources", "daemon.log")
    found = []
    for folder, folders, files in os.walk(home):
        if Path(folder) == home:
            folders[:] = [name for name in folders if name not in made_by_the_test]
            files = [name for name in files if name not in made_by_the_test]
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            try:
                info = path.lstat()
            except FileNotFoundError:
                continue
            if not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o077:
                found.append(f"{stat.filemode(info.st_mode)} {path.relative_to(home)}")
    return found


def test_nothing_is_open_to_others_while_a_job_runs(busy: LiveEngine) -> None:
    assert _open_to_others(busy.home) == []


def test_nothing_is_open_to_others_when_the_job_has_ended(live: LiveEngine) -> None:
    package = live.upload_package(
        """
        import argparse, pathlib
        parser = argparse.ArgumentParser()
        parser.add_argument("--job-dir")
        folder = pathlib.Path(parser.parse_args().job_dir)
        (folder / "export").mkdir()
        (folder / "export" / "model.txt").write_text("model")
        """
    )
    live.submit("modes", package, job_dir="gs://mine/jobs/modes")
    assert live.ended("modes").state == "SUCCEEDED"
    assert _open_to_others(live.home) == []


def test_every_socket_is_its_owners_alone(busy: LiveEngine) -> None:
    sockets = [
        path
        for process in _family(busy)
        for connection in process.net_connections("unix")
        if (path := str(connection.laddr)).startswith("/")
    ]
    assert len(sockets) >= 4  # engine, gateway's control, notices, the worker
    for path in set(sockets):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600, path
        assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700, path


def test_a_home_that_others_could_read_is_closed_at_the_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for folder in (home, home / "run", home / "jobs", home / "buckets"):
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
    (home / "run" / "token").write_text("mle_" + "a" * 43)
    with live_engine(home):
        assert _open_to_others(home) == []


# --- E1: what children are given ---


def test_a_job_is_given_no_secret_of_the_engine(busy: LiveEngine) -> None:
    everything = _said(busy)
    assert everything
    for said in everything:
        text = json.dumps(said)
        assert busy.token not in text
        assert "engine.db" not in text
        assert "sqlite" not in text
        assert "MLENGINE_TOKEN" not in text
        assert "MLENGINE_DATABASE" not in text
        assert not [name for name in said["files"] if not name.startswith("socket:")], said["files"]
        assert said["mask"] == "0o77"


def test_no_secret_of_the_users_shell_reaches_a_job_or_a_model(tmp_path: Path) -> None:
    """Keys of clouds lie in the environment of many shells that start an engine."""
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "canary-aws", "GOOGLE_APPLICATION_CREDENTIALS": "/canary.json",
        "SSH_AUTH_SOCK": "/canary-agent", "GITHUB_TOKEN": "canary-github",
        "MLENGINE_TOKEN_FILE": "canary-file", "DATABASE_URL": "postgres://canary@db/x",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in secrets.items():
            patch.setenv(name, value)
        with live_engine(tmp_path / "home") as engine:
            engine.make_bucket()
            package = engine.upload_package(NOSY)
            engine.submit("shell", package)
            said = "\n".join(engine.lines("shell"))
            assert "NOSY" in said
            assert "canary" not in said


def test_a_worker_is_given_no_secret_and_no_open_file_of_the_engine(busy: LiveEngine) -> None:
    workers = [p for p in _family(busy) if "-m mlengine.runtime.worker" in " ".join(p.cmdline())]
    assert workers
    for worker in workers:
        shown = " ".join(worker.cmdline()) + Path(f"/proc/{worker.pid}/environ").read_text()
        assert busy.token not in shown
        assert "MLENGINE_" not in shown
        assert "engine.db" not in shown
        opened = [f.path for f in worker.open_files()]
        assert not [path for path in opened if "/run/token" in path or "engine.db" in path]


def test_no_process_shows_the_token_in_its_command_line_or_environment(busy: LiveEngine) -> None:
    """Command lines are readable by every user of the machine."""
    for process in _family(busy):
        for name in ("cmdline", "environ"):
            assert busy.token.encode() not in Path(f"/proc/{process.pid}/{name}").read_bytes()
