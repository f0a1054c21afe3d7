"""Helpers of an attempt: started by a connection, restarted, gone with the attempt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.runtime import processes
from mlengine.training import logs
from mlengine.training.launchers import (
    AttemptSpec,
    ExitRecord,
    Outcome,
    Phase,
    ReplicaSpec,
    SidecarSpec,
)
from mlengine.training.launchers.process import ProcessLauncher
from tests.waiting import wait_until

# Answers each connection with its pid; a caller that sends "die" ends it.
HELPER = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
listener.setblocking(True)
while True:
    caller, _ = listener.accept()
    if caller.recv(3) == b"die":
        os._exit(1)
    caller.sendall(b"%d %d" % (os.getpid(), len(os.listdir("/proc/self/fd"))))
    caller.close()
"""
ASK = """
import os, socket, signal
def ask(word=b"who"):
    with socket.create_connection(("127.0.0.1", int(os.environ["HELPER_PORT"])), 20) as s:
        s.sendall(word)
        return s.recv(99).decode()
"""


def sidecar(*argv: str) -> SidecarSpec:
    words = list(argv) or [sys.executable, "-I", "-c", HELPER, "{fd}"]
    return SidecarSpec(
        argv=words, env={"ONLY": "this"}, variables={"HELPER_PORT": "{port}", "KEPT": "default"}
    )


class Attempt:
    def __init__(self, folder: Path) -> None:
        self.folder, self.dir, self.launcher = folder, folder / "1", ProcessLauncher()

    def start(self, code: str, *, helper: SidecarSpec | None = None, grace_s: float = 5) -> None:
        replica = ReplicaSpec(
            task="master-replica-0", role="master", index=0,
            argv=[sys.executable, "-I", "-u", "-c", ASK + code],
            env={"PATH": os.environ["PATH"], "KEPT": "own"}, cwd=str(self.folder),
        )  # fmt: skip
        self.launcher.start(self.dir, AttemptSpec(
            job="projects/p/jobs/j", attempt=1, replicas=[replica], grace_s=grace_s,
            sidecars=[helper or sidecar()],
        ))  # fmt: skip

    def end(self) -> ExitRecord:
        wait_until(lambda: self.launcher.poll(self.dir).phase is Phase.EXITED, 60)
        tag = json.loads((self.dir / "supervisor.lock").read_text())["tag"]
        assert processes.of_attempt(tag, {}) == []
        record = self.launcher.poll(self.dir).exit
        assert record is not None
        return record

    def lines(self) -> list[str]:
        entries, _cursor = logs.read(self.folder, task_name="master-replica-0")
        return [entry.message for entry in entries]


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    found = Attempt(tmp_path)
    yield found
    found.launcher.cancel(found.dir)
    wait_until(lambda: found.launcher.poll(found.dir).phase is not Phase.RUNNING, 60)


def test_a_helper_that_nobody_calls_is_never_started(attempt: Attempt) -> None:
    attempt.start("print('port', os.environ['HELPER_PORT'].isdigit(), os.environ['KEPT'])")
    assert attempt.end().outcome is Outcome.SUCCEEDED
    assert "port True own" in attempt.lines()
    assert not (attempt.dir / "sidecar-0.err").exists()


def test_one_helper_serves_all_and_inherits_one_socket_alone(attempt: Attempt) -> None:
    attempt.start("print('same', ask() == ask() == ask()); print('open', ask().split()[1])")
    assert attempt.end().outcome is Outcome.SUCCEEDED
    # Its own three, the socket, the connection, and the folder that it lists.
    assert {"same True", "open 6"} <= set(attempt.lines())


def test_a_helper_that_dies_is_started_again_and_fails_no_job(attempt: Attempt) -> None:
    attempt.start("first = ask()\nask(b'die')\nprint('another', ask() != first)")
    assert attempt.end().outcome is Outcome.SUCCEEDED
    assert "another True" in attempt.lines()


@pytest.mark.parametrize("argv", [["/no/such/program"], ["sh", "-c", "echo no disk >&2; exit 3"]])
def test_a_helper_that_never_gets_far_is_given_up(attempt: Attempt, argv: list[str]) -> None:
    attempt.start(
        "try: print('got', ask())\nexcept OSError as error: print('no', type(error).__name__)",
        helper=sidecar(*argv),
    )
    assert attempt.end().outcome is Outcome.SUCCEEDED
    said = "no disk" if argv[0] == "sh" else "FileNotFoundError"
    assert any("given up" in line and said in line for line in attempt.lines())
    assert any(line.startswith("no Connection") for line in attempt.lines())


def test_a_replica_in_its_grace_period_still_has_its_helper(attempt: Attempt) -> None:
    attempt.start(
        "def save(*_):\n  print('saved', bool(ask())); os._exit(0)\n"
        "signal.signal(signal.SIGTERM, save); ask(); print('ready')\n"
        "while True: signal.pause()"
    )
    wait_until(lambda: "ready" in attempt.lines())
    attempt.launcher.cancel(attempt.dir)
    assert attempt.end().outcome is Outcome.CANCELLED
    assert "saved True" in attempt.lines()


def test_a_helper_dies_with_a_supervisor_that_is_killed(attempt: Attempt) -> None:
    attempt.start("print('helper', ask().split()[0])\nsignal.pause()")
    wait_until(lambda: any(line.startswith("helper ") for line in attempt.lines()))
    pid = next(int(line.split()[1]) for line in attempt.lines() if line.startswith("helper "))
    os.kill(json.loads((attempt.dir / "supervisor.lock").read_text())["pid"], 9)
    wait_until(lambda: attempt.launcher.poll(attempt.dir).phase is Phase.LOST)
    attempt.launcher.sweep(attempt.dir)
    row = processes.look(pid)
    assert row is None or not row.alive


# Has a helper of this process, as an outpost does that got its keys with an order, and asks it.
ELSEWHERE = """
import ctypes, json, pathlib, selectors, socket, sys
from mlengine.runtime import envelope
from mlengine.runtime.sidecar import Sidecars, with_keys
plain = {"argv": ["helper", "{fd}"], "env": {}, "variables": {}}
taking = {"argv": [sys.executable, "-I", "-c", sys.argv[1], "{fd}", "{keys}"], "env": {},
          "variables": {"HELPER_PORT": "{port}"}}
with envelope.seal(b'{"KEY": "planted"}') as sealed:
    order = json.dumps(with_keys([plain, taking], sealed))
assert order.count("planted") == 1
assert with_keys([plain], None) == [plain]
helpers = Sidecars(json.loads(order)[1:], pathlib.Path(sys.argv[2]))
selector = selectors.DefaultSelector()
helpers.attach(selector, "tag", print)
with socket.create_connection(("127.0.0.1", int(helpers.variables["HELPER_PORT"])), 60) as caller:
    for key, _mask in selector.select(60):
        key.data.read(key.fd)
    print(caller.recv(99).decode(), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
helpers.end()
"""
TELLS = """
import socket, sys
with socket.socket(fileno=int(sys.argv[2])) as envelope:
    words = envelope.recv(65536, socket.MSG_PEEK)
listener = socket.socket(fileno=int(sys.argv[1]))
listener.setblocking(True)
listener.accept()[0].sendall(words)
"""


def test_keys_that_come_with_an_order_reach_the_helper_of_a_closed_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, TELLS, str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == '{"KEY": "planted"} 0\n'
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b""]
