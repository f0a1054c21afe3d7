"""Gateways that are begun before they are wanted: who takes them, and which of them end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlengine.core.access import token_digest
from mlengine.core.errors import FailedPrecondition
from mlengine.prediction.control import GatewayControl, ensure_gateway, gateway_process
from mlengine.prediction.gateway import ahead
from mlengine.prediction.gateway.doors import Doors
from mlengine.prediction.gateway.info import GATEWAY_FILE
from mlengine.prediction.routing import Route, Snapshot
from mlengine.prediction.workers.launch import find_by_words
from mlengine.runtime.processes import look
from tests.fakes.gateway import TOKEN, VERSION, Caller, head
from tests.waiting import wait_until

_ENGINE = """
import sys
from pathlib import Path
from mlengine.prediction.gateway import ahead
ahead.begin(Path(sys.argv[1]), Path(sys.argv[2]))
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Make run folders; whatever was begun for them has ended afterwards."""
    made = []

    def make(name: str = "a") -> Path:
        made.append(tmp_path / name / "run")
        made[-1].mkdir(parents=True)
        return made[-1]

    yield make
    for run_dir in made:
        GatewayControl(run_dir).shutdown()
        if (child := ahead.take(run_dir, ["--no-such-flag"])) is not None:
            child.wait(60)
        for process in find_by_words(str(run_dir)):
            os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def home(make_home: Callable[[str], Path]) -> Path:
    return make_home("a")


def log_of(run_dir: Path) -> Path:
    return run_dir.parent / "logs" / "gateway.log"


def begin(run_dir: Path) -> int:
    """Begin a gateway; return its pid."""
    ahead.begin(run_dir, log_of(run_dir))
    return ahead._begun[run_dir].pid


def gateways(run_dir: Path) -> set[int]:
    return {process.pid for process in find_by_words(ahead.MODULE, str(run_dir))}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def has_numpy(pid: int) -> bool:
    return "_multiarray_umath" in Path(f"/proc/{pid}/maps").read_text()


# --- taken ---


def test_the_one_that_was_begun_is_the_one_that_listens(home: Path) -> None:
    pytest.importorskip("grpc")
    pid = begin(home)
    assert gateways(home) == {pid}
    assert not (home / GATEWAY_FILE).exists()
    port, doors = free_port(), Doors(grpc_port=0)
    info = ensure_gateway(home, host="localhost", port=port, log=log_of(home), doors=doors)
    assert (info.pid, info.host, info.port, info.doors) == (pid, "localhost", port, doors)
    assert info.grpc_port > 0
    assert gateways(home) == {pid}
    with Caller(port) as caller:
        caller.send(head("GET", "/healthz"))
        assert caller.answer().json == {"status": "ok"}
    socket.create_connection(("127.0.0.1", info.grpc_port), timeout=60).close()
    assert ensure_gateway(home, host="localhost", port=port, doors=doors) == info


def test_it_begins_with_the_routes_of_when_it_is_taken(home: Path) -> None:
    control = GatewayControl(home)
    control.save(Snapshot(generation=1, token_digest=token_digest("old")))
    begin(home)
    control.save(Snapshot(generation=2, token_digest=token_digest(TOKEN)))
    info = ensure_gateway(home)
    with Caller(info.port) as caller:
        caller.send(head("GET", "/metrics"))
        assert b"mlengine_gateway_snapshot_generation 2\n" in caller.answer().body


def test_it_takes_the_port_of_the_last_one(home: Path) -> None:
    last = ensure_gateway(home)
    os.kill(last.pid, signal.SIGKILL)
    wait_until(lambda: gateway_process(home) is None)
    pid = begin(home)
    info = ensure_gateway(home)
    assert (info.pid, info.port) == (pid, last.port)


def test_one_that_cannot_listen_says_why(home: Path) -> None:
    pid = begin(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FailedPrecondition, match=f"Cannot listen on 127.0.0.1:{port}"):
            ensure_gateway(home, port=port, log=log_of(home))
    wait_until(lambda: look(pid) is None)
    assert ensure_gateway(home, log=log_of(home)).pid != pid


def test_it_ends_as_any_gateway_does(home: Path) -> None:
    pid = begin(home)
    ensure_gateway(home)
    GatewayControl(home).shutdown()
    wait_until(lambda: look(pid) is None)
    assert not (home / GATEWAY_FILE).exists()


def test_it_lives_on_when_its_engine_ends_after_it_was_taken(home: Path) -> None:
    code = "import sys\nfrom mlengine.prediction.control import ensure_gateway\n" + _ENGINE.replace(
        'print("begun"', "print(ensure_gateway(Path(sys.argv[1])).pid"
    )
    with _engine(home, code) as engine:
        assert engine.stdout is not None
        pid = int(engine.stdout.readline())
        engine.kill()
    process = gateway_process(home)
    assert process is not None and process.pid == pid
    assert ensure_gateway(home).pid == pid


# --- not taken ---


def _engine(run_dir: Path, code: str = _ENGINE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(run_dir), str(log_of(run_dir))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_by_itself_when_its_engine_dies(home: Path, signum: signal.Signals) -> None:
    with _engine(home) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"begun\n"
        (pid,) = gateways(home) - {engine.pid}
        engine.send_signal(signum)
        assert engine.wait(60) == -signum
    wait_until(lambda: (row := look(pid)) is None or not row.alive)
    assert log_of(home).read_bytes() == b""
    assert not (home / GATEWAY_FILE).exists()


def test_none_is_begun_beside_one_that_lives(home: Path) -> None:
    info = ensure_gateway(home)
    ahead.begin(home, log_of(home))
    assert gateways(home) == {info.pid}
    assert ahead.take(home, []) is None
    assert ensure_gateway(home) == info


@pytest.mark.parametrize("noted", ["", "{", "[]", "null", '{"pid": 1}', '{"pid": 1, "started": 1}'])
def test_one_is_begun_where_nobody_can_tell_of_another(home: Path, noted: str) -> None:
    (home / GATEWAY_FILE).write_text(noted)
    pid = begin(home)
    assert ensure_gateway(home).pid == pid


def test_one_that_died_meanwhile_is_replaced(home: Path) -> None:
    pid = begin(home)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: (row := look(pid)) is None or not row.alive)
    info = ensure_gateway(home)
    assert info.pid != pid
    assert gateways(home) == {info.pid}


def test_one_that_hears_nothing_is_replaced(home: Path) -> None:
    script = "exec <&-; echo closed; exec sleep 600"
    deaf = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == b"closed\n"
        ahead._begun[home] = deaf
        info = ensure_gateway(home)
        assert deaf.wait(60) == -signal.SIGKILL
    assert gateways(home) == {info.pid}


def test_strays_end_and_the_one_that_was_begun_does_not(home: Path) -> None:
    argv = [sys.executable, "-S", "-c", "input()", "-m", ahead.MODULE, str(home), "--port", "1"]
    stray = subprocess.Popen(argv, stdin=subprocess.PIPE)
    try:
        pid = begin(home)
        assert ensure_gateway(home).pid == pid
        assert stray.wait(60) == -signal.SIGKILL
    finally:
        stray.kill()
        stray.communicate()


def test_one_that_another_engine_has_begun_is_a_stray(home: Path) -> None:
    """Of an engine that hangs, say, and whose home was taken from it."""
    with _engine(home) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"begun\n"
        (theirs,) = gateways(home) - {engine.pid}
        pid = begin(home)
        assert ensure_gateway(home).pid == pid
        wait_until(lambda: (row := look(theirs)) is None or not row.alive)
        engine.kill()


def test_another_interpreter_is_not_one_that_was_begun(home: Path) -> None:
    pid = begin(home)
    with pytest.raises(FailedPrecondition, match="did not start"):
        ensure_gateway(home, python="false")
    assert gateways(home) == set()
    assert ensure_gateway(home).pid != pid


def test_homes_have_each_their_own(make_home: Callable[[str], Path]) -> None:
    one, two, three = (make_home(name) for name in ("one", "two", "three"))
    pids = {home: begin(home) for home in (one, two, three)}
    assert len(set(pids.values())) == 3
    for home in (two, one, three):
        assert ensure_gateway(home).pid == pids[home]
    assert {home: gateways(home) for home in pids} == {home: {pid} for home, pid in pids.items()}


# --- what it knows and leaves behind ---


def test_its_log_is_its_owners_alone(home: Path) -> None:
    before = os.umask(0)
    try:
        begin(home)
    finally:
        os.umask(before)
    log = log_of(home)
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700
    port = ensure_gateway(home, log=log).port
    wait_until(lambda: f"listening on 127.0.0.1:{port}" in log.read_text())


def test_a_log_that_cannot_be_opened_keeps_no_engine_from_its_start(home: Path) -> None:
    log_of(home).parent.write_text("no folder")
    ahead.begin(home, log_of(home))
    assert ahead.take(home, []) is None
    assert gateways(home) == set()


def _save(run_dir: Path, desk: str) -> None:
    GatewayControl(run_dir).save(Snapshot(versions={VERSION: Route("READY", ["/s"], desk=desk)}))


def test_whether_the_last_gateway_had_a_desk(home: Path) -> None:
    assert not ahead.had_desk(home)
    _save(home, "")
    assert not ahead.had_desk(home)
    _save(home, "/a/folder")
    assert ahead.had_desk(home)


@pytest.mark.parametrize("desk", ["/a/folder", ""])
def test_numpy_is_imported_ahead_where_it_will_be_needed(home: Path, desk: str) -> None:
    _save(home, desk)
    pid = begin(home)
    if desk:
        wait_until(lambda: has_numpy(pid))
    assert ensure_gateway(home).pid == pid
    assert has_numpy(pid) == bool(desk)


def test_one_that_dies_of_what_it_is_told_is_replaced(home: Path) -> None:
    dies = ["sh", "-c", "read line; exit 1"]
    ahead._begun[home] = subprocess.Popen(dies, stdin=subprocess.PIPE)
    info = ensure_gateway(home, log=log_of(home))
    assert gateways(home) == {info.pid}


def test_why_neither_starts_is_told(home: Path) -> None:
    begin(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(FailedPrecondition, match="Cannot listen on"):
            ensure_gateway(home, port=taken.getsockname()[1], log=log_of(home))
    assert not gateways(home)
