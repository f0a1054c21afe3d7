"""Processes die while predictions run: who is unharmed, who comes back, and nobody lies."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mlengine.prediction.control import ensure_gateway, gateway_process
from mlengine.prediction.routing import Limits, Route, Snapshot
from mlengine.prediction.workers.deathwatch import DeathWatch
from mlengine.prediction.workers.pool import WorkerHealth, WorkerPool
from tests.fakes.gateway import MODEL, PREDICT, VERSION, Door, head, open_door
from tests.waiting import wait_until

# Doubles each number after a few milliseconds; speaks the frame protocol and nothing else.
DOUBLING_WORKER = """
import json, os, select, socket, struct, sys
folder = sys.argv[1]
listener = socket.socket(fileno=0)  # the pool's, bound
listener.listen(64)
with open(folder + "/ready.new", "w") as out:
    json.dump({"pid": os.getpid(), "framework": "FAKE"}, out)
os.rename(folder + "/ready.new", folder + "/ready.json")
buffers = {}
while True:
    for ready in select.select([listener, *buffers], [], [])[0]:
        if ready is listener:
            buffers[listener.accept()[0]] = b""
            continue
        try:
            data = ready.recv(65536)
        except OSError:
            data = b""
        if not data:
            del buffers[ready]
            continue
        buffers[ready] += data
        while len(buffers[ready]) >= 10:
            length, number, kind = struct.unpack_from("<IIH", buffers[ready])
            if len(buffers[ready]) < 10 + length:
                break
            payload = buffers[ready][10:10 + length]
            buffers[ready] = buffers[ready][10 + length:]
            select.select([], [], [], 0.002)
            body = b"{}"
            if kind == 1:
                doubled = [2 * n for n in json.loads(payload)["instances"]]
                body = json.dumps({"predictions": doubled, "pid": os.getpid()}).encode()
            try:
                ready.sendall(struct.pack("<IIH", len(body), number, 200) + body)
            except OSError:
                del buffers[ready]
                break
"""


@pytest.fixture
def door() -> Iterator[Door]:
    with open_door() as opened:
        yield opened


class Load:
    """Connections that ask for ever, each with rows of its own, and note every answer."""

    def __init__(self, door: Door, connections: int) -> None:
        self.right = self.wrong = self.refused = self.reconnects = 0
        self.pids: set[int] = set()
        self._door = door
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(i,), daemon=True) for i in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request was never answered"

    def _ask(self, number: int) -> None:
        row = number * 1_000_000
        while not self._ended.is_set():
            try:
                with self._door.connect() as caller:
                    while not self._ended.is_set():
                        row += 1
                        body = json.dumps({"instances": [row]}).encode()
                        caller.send(head("POST", PREDICT, length=len(body)) + body)
                        self._note(row, caller.answer())
            except OSError:
                with self._lock:
                    self.reconnects += 1
                self._ended.wait(0.02)

    def _note(self, row: int, answer: object) -> None:
        with self._lock:
            if answer.status == 200:  # type: ignore[attr-defined]
                said = answer.json  # type: ignore[attr-defined]
                self.pids.add(said.get("pid", 0))
                if said["predictions"] in ([2 * row], [row]):
                    self.right += 1
                else:
                    self.wrong += 1
            elif answer.status == 503:  # type: ignore[attr-defined]
                assert answer.headers["retry-after"] == "1"  # type: ignore[attr-defined]
                self.refused += 1
            else:
                self.wrong += 1


def test_64_connections_each_get_their_own_answers(door: Door) -> None:
    load = Load(door, 64)
    wait_until(lambda: load.right > 5000, timeout_s=60)
    load.stop()
    assert (load.wrong, load.refused, load.reconnects) == (0, 0, 0)


def test_a_killed_worker_is_back_within_two_seconds_and_no_answer_is_wrong(door: Door) -> None:
    with tempfile.TemporaryDirectory(prefix="pool-") as folder:
        pool = _doubling_pool(Path(folder))
        pool.start_watching()
        try:
            pool.start(VERSION, "u1", Path(folder))
            first = pool.wait_ready("u1", 20).pid
            door.control.push(_with_socket(door, pool.socket("u1")))
            load = Load(door, 16)
            wait_until(lambda: load.right > 100)
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: len(load.pids) == 2, timeout_s=60)
            wait_until(lambda: load.right > 300)
            load.stop()
            assert pool.deaths("u1") == 1
            assert (load.wrong, load.reconnects) == (0, 0)
            assert load.refused <= 16  # at most what was in flight
        finally:
            pool.stop("u1")
            pool.close()


def test_a_killed_gateway_is_back_on_its_port_and_workers_stay(door: Door) -> None:
    pid, port = door.info.pid, door.info.port
    load = Load(door, 8)
    wait_until(lambda: load.right > 100)

    def keep() -> None:
        door.info = ensure_gateway(door.run_dir)

    watch = DeathWatch(lambda: [door.info.pid], keep, name="gateway-watch")
    try:
        before = load.right
        door.kill()
        wait_until(lambda: load.right > before + 20 and door.info.pid != pid, timeout_s=60)
        load.stop()
    finally:
        watch.close()
    assert door.info.port == port
    assert load.wrong == 0


def test_predictions_go_on_while_the_engine_is_away(door: Door) -> None:
    assert door.ask("GET", "/v1/jobs").status == 200
    door.backends.stop("engine")
    answer = door.ask("GET", "/v1/jobs")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json["error"]["status"] == "UNAVAILABLE"
    assert door.ask("POST", PREDICT, b'{"instances": [4]}').json == {"predictions": [4]}
    door.backends.start_engine()
    assert door.ask("GET", "/v1/jobs").status == 200


def test_a_prediction_waits_for_its_worker_to_come_back(door: Door) -> None:
    door.backends.stop("worker")
    with door.connect() as caller:
        body = b'{"instances": [5]}'
        caller.send(head("POST", PREDICT, length=len(body)) + body)
        wait_until(lambda: door.control.stats().get(VERSION, {}).get("load") == 1)
        door.backends.start_worker()
        assert caller.answer().json == {"predictions": [5]}


def test_without_a_worker_the_caller_is_told_to_come_back() -> None:
    with open_door(worker_wait_s=0.3) as door:
        door.backends.stop("worker")
        answer = door.ask("POST", PREDICT, b'{"instances": [5]}')
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        door.backends.start_worker()
        assert door.ask("POST", PREDICT, b'{"instances": [5]}').status == 200


def test_a_worker_that_dies_over_a_request_does_not_get_it_again(door: Door) -> None:
    answer = door.ask("POST", PREDICT, b"die")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "died" in answer.json["error"]["message"]
    assert door.ask("POST", PREDICT, b'{"instances": [6]}').json == {"predictions": [6]}


def test_a_worker_that_does_not_answer_is_given_up() -> None:
    with open_door(predict_timeout_s=0.3) as door:
        answer = door.ask("POST", PREDICT, b"slow")
        assert (answer.status, answer.json["error"]["status"]) == (504, "DEADLINE_EXCEEDED")
        assert door.ask("POST", PREDICT, b'{"instances": [6]}').status == 200


def test_a_worker_that_was_stopped_goes_on_and_gives_nobody_an_old_answer(door: Door) -> None:
    with tempfile.TemporaryDirectory(prefix="pool-") as folder:
        pool = _doubling_pool(Path(folder))
        try:
            pool.start(VERSION, "u4", Path(folder))
            pid = pool.wait_ready("u4", 20).pid
            usual = _with_socket(door, pool.socket("u4"))
            door.control.push(usual)
            assert door.ask("POST", PREDICT, b'{"instances": [1]}').json["predictions"] == [2]
            os.kill(pid, signal.SIGSTOP)
            impatient = Limits(predict_timeout_s=0.3)
            door.control.push(msgspec.structs.replace(usual, limits=impatient))
            for row in range(3):
                answer = door.ask("POST", PREDICT, json.dumps({"instances": [row]}).encode())
                assert answer.status == 504
            door.control.push(usual)
            os.kill(pid, signal.SIGCONT)
            load = Load(door, 4)
            wait_until(lambda: load.right > 20, timeout_s=60)
            load.stop()
            assert (load.wrong, load.refused, load.reconnects) == (0, 0, 0)
        finally:
            pool.stop("u4")


def test_a_new_default_version_loses_no_answer(door: Door) -> None:
    with tempfile.TemporaryDirectory(prefix="pool-") as folder:
        pool = _doubling_pool(Path(folder))
        try:
            pool.start(VERSION, "u2", Path(folder))
            pool.wait_ready("u2", 20)
            load = Load(door, 16)
            for turn in range(30):
                before = load.right
                other = turn % 2 == 0
                door.control.push(_with_socket(door, pool.socket("u2")) if other else door.snapshot)
                wait_until(lambda seen=before: load.right > seen + 20)
            load.stop()
            assert (load.wrong, load.refused, load.reconnects) == (0, 0, 0)
        finally:
            pool.stop("u2")


def test_a_caller_that_leaves_does_no_harm(door: Door) -> None:
    for path in (PREDICT, "/v1/upload"):
        for sent in (b"", b"x" * 50):
            with door.connect() as caller:
                caller.send(head("POST", path, length=100) + sent)
    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=4) + b"slow")
    with door.connect() as caller:
        caller.send(head("GET", "/big"))
        caller.socket.recv(1000)
    assert door.ask("POST", PREDICT, b'{"instances": [7]}').json == {"predictions": [7]}
    wait_until(lambda: door.ask("GET", "/v1/jobs").status == 200)


def test_a_gateway_is_adopted_by_the_next_engine_and_told_to_stop(door: Door) -> None:
    assert ensure_gateway(door.run_dir) == door.info
    assert ensure_gateway(door.run_dir, port=door.info.port) == door.info
    door.control.shutdown()
    assert gateway_process(door.run_dir) is None
    assert not (door.run_dir / "gateway.json").exists()


def test_a_shutdown_waits_for_answers_that_are_due(door: Door) -> None:
    door.backends.stop("worker")
    with door.connect() as caller:
        body = b'{"instances": [8]}'
        caller.send(head("POST", PREDICT, length=len(body)) + body)
        wait_until(lambda: door.control.stats().get(VERSION, {}).get("load") == 1)
        stopping = threading.Thread(target=door.control.shutdown)
        stopping.start()
        door.backends.start_worker()
        assert caller.answer().json == {"predictions": [8]}
        stopping.join(60)
    assert gateway_process(door.run_dir) is None


def test_a_port_that_is_taken_is_a_clear_error(door: Door, tmp_path: Path) -> None:
    from mlengine.core.errors import FailedPrecondition

    with pytest.raises(FailedPrecondition, match=f"Cannot listen on 127.0.0.1:{door.info.port}"):
        ensure_gateway(tmp_path, port=door.info.port)


def test_workers_outlive_a_pool_and_are_adopted(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pool-") as folder:
        script = Path(folder) / "doubling.py"
        script.write_text(DOUBLING_WORKER)

        def command(python: str, worker: Path) -> list[str]:
            return [python, str(script), str(worker)]

        first = WorkerPool(Path(folder), command=command)
        first.start(VERSION, "u3", Path(folder))
        pid = first.wait_ready("u3", 20).pid
        second = WorkerPool(Path(folder), command=command)
        assert second.adopt() == ["u3"]
        assert second.wait_ready("u3", 5).pid == pid
        second.start(VERSION, "u3", Path(folder))  # it serves that already
        assert second.wait_ready("u3", 5).pid == pid
        second.stop("u3")
        assert second.check("u3") is WorkerHealth.MISSING
        assert first.check("u3") is WorkerHealth.DEAD


def _doubling_pool(home: Path) -> WorkerPool:
    """Return a pool whose workers answer with twice the number that they are sent."""
    script = home / "doubling.py"
    script.write_text(DOUBLING_WORKER)
    return WorkerPool(
        home, command=lambda python, worker: [sys.executable, str(script), str(worker)]
    )


def _with_socket(door: Door, socket_path: str) -> Snapshot:
    routes = {VERSION: Route("READY", [socket_path])}
    return msgspec.structs.replace(door.snapshot, versions=routes, models={MODEL: VERSION})
