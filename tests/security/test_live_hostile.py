"""A hostile model beside a good one: it gets at nothing, harms nobody, and its version says why.

One engine; the good model is asked all the time, and has to answer every time.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlengine.core.resources import Model, Version, VersionOptions
from mlengine.runtime import landlock
from mlengine.runtime.limits import Limits
from tests.live.engines import BUCKET, LiveEngine, P, live_engine
from tests.security.villain import DEEDS, villain
from tests.security.wire import Reply, send
from tests.waiting import wait_until

MIB = 1 << 20
GRAPH = """
import sys
import tensorflow as tf

class Graph(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="path")])
    def read(self, path):
        return {"found": tf.io.read_file(path[0])[tf.newaxis]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="path")])
    def write(self, path):
        with tf.control_dependencies([tf.io.write_file(path[0], "villain was here")]):
            return {"done": tf.identity(path)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="size")])
    def tile(self, size):
        return {"sum": tf.reduce_sum(tf.tile([1.0], size))[tf.newaxis]}

graph = Graph()
tf.saved_model.save(graph, sys.argv[1], {"read": graph.read, "write": graph.write,
                                         "tile": graph.tile})
"""
MEMORY_BYTES = 400 * MIB
GRAPH_BYTES = 4096 * MIB
PREDICT_TIMEOUT_S = 20
CANARY = b"sings"


class Scene:
    """An engine with a good model, a villain under several names, and what it is after."""

    def __init__(self, engine: LiveEngine, good: bytes) -> None:
        self.engine = engine
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.canary = engine.home.parent / "canary"
        self.canary.write_bytes(CANARY)
        self.canary_before = self.canary.stat()
        assert engine.deploy(engine.upload_model("good", model__pkl=good), model_id="good").done
        self.token = engine.token
        run, home = engine.home / "run", engine.home
        gateway = json.loads((run / "gateway.json").read_text())["pid"]
        read = [run / "token", run / "routing.json", run, home, home / "engine.db", self.canary,
                home / "buckets", Path("/etc/shadow"), home.parent]  # fmt: skip
        assert all(path.exists() for path in read)
        read += [path for path in (Path.home() / ".ssh", home / "mlengine.toml") if path.exists()]
        self.wants = {
            "read": [str(path) for path in read],
            "write": [str(p) for p in (self.canary, run / "token", home / "new", "/tmp/new")],
            "pids": [engine.pid, gateway],
            "port": self.listener.getsockname()[1],
            "sockets": [str(path) for path in run.glob("*.sock")],
        }
        self.uri = engine.upload_model("villain", model__pkl=villain(**self.wants))  # type: ignore[arg-type]
        self.failures: list[str] = []
        self.asked = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_asking)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.listener.close()

    def deploy(self, model_id: str, *, uri: str = "", **options: int) -> str:
        """Deploy the villain, or another one, under a name; return the error of the operation."""
        self.engine.client.create_model(P, Model(name=model_id))
        made = Version(name="v1", deployment_uri=uri or self.uri,
                       options=VersionOptions(**options) if options else None)  # fmt: skip
        done = self.engine.done(self.engine.client.create_version(P, model_id, made))
        return str(done.error["message"]) if done.error else ""

    def ask(self, model_id: str, deed: str) -> Reply:
        return self.send(model_id, {"instances": [[DEEDS[deed]]]})

    def send(self, model_id: str, request: dict[str, Any]) -> Reply:
        body = json.dumps(request).encode()
        return send(self.engine, "POST", f"/v1/projects/{P}/models/{model_id}:predict", body)

    def answers(self, model_id: str) -> bool:
        return self.ask(model_id, "behave").json == {"predictions": [0.0]}

    def recovers(self, model_id: str) -> None:
        """Wait until it behaves again: its worker is started anew, on a machine that is busy."""
        wait_until(lambda: self.answers(model_id), 120)

    def message(self, model_id: str) -> str:
        version = self.engine.client.get_version(P, model_id, "v1")
        assert version.state == "READY"
        return version.error_message

    def _keep_asking(self) -> None:
        while not self._over.is_set():
            self.asked += 1
            reply = send(
                self.engine, "POST", f"/v1/projects/{P}/models/good:predict",
                b'{"instances": [[2.0]]}',
            )  # fmt: skip
            if reply.status != 200 or abs(reply.json["predictions"][0] - 4.0) > 1e-6:
                self.failures.append(reply.text)
            self._over.wait(0.02)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, line_model: bytes) -> Iterator[Scene]:
    if not landlock.version():
        pytest.skip("WORKERS NOT TESTED: this kernel has no Landlock")
    home = tmp_path_factory.mktemp("hostile") / "home"
    with live_engine(home, predict_timeout_s=str(PREDICT_TIMEOUT_S)) as engine:
        engine.make_bucket()
        scene = Scene(engine, line_model)
        try:
            yield scene
        finally:
            scene.close()


@pytest.fixture(autouse=True)
def unharmed(scene: Scene) -> Iterator[None]:
    yield
    assert scene.failures == []
    assert scene.engine.running and scene.engine.token == scene.token
    assert scene.canary.read_bytes() == CANARY
    now, before = scene.canary.stat(), scene.canary_before
    assert (now.st_mode, now.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    with pytest.raises(BlockingIOError):
        scene.listener.accept()


@pytest.fixture(scope="module")
def hung(scene: Scene) -> Iterator[tuple[float, list[Reply]]]:
    """A villain that is asked to hang; its process id, and the answer once it is there."""
    assert scene.deploy("silent") == ""
    pid = scene.ask("silent", "tell").json["predictions"][0]
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(scene.ask("silent", "hang")))
    thread.start()
    yield pid, replies
    thread.join()


@pytest.fixture(scope="module")
def villain_id(scene: Scene, hung: tuple[float, list[Reply]]) -> str:
    """The villain, deployed; another one hangs all the while."""
    assert scene.deploy("villain") == ""
    return "villain"


def test_it_gets_at_nothing_when_it_is_loaded_or_asked(scene: Scene, villain_id: str) -> None:
    reply = scene.ask(villain_id, "snoop")
    assert reply.json == {"predictions": [""]}


@pytest.mark.parametrize(("deed", "said"), [
    ("nan", "JSON"), ("miscount", "3 predictions for 1 instances"), ("fill", "File too large"),
])  # fmt: skip
def test_what_it_answers_wrongly_is_an_error_of_its_own(
    scene: Scene, villain_id: str, deed: str, said: str
) -> None:
    reply = scene.ask(villain_id, deed)
    assert 400 <= reply.status < 600 and said in reply.text
    assert scene.answers(villain_id)


def test_the_log_of_one_that_prints_without_end_is_cut(scene: Scene, villain_id: str) -> None:
    assert scene.ask(villain_id, "shout").json == {"predictions": [1]}
    logs = scene.engine.home / "logs"
    wait_until(lambda: all(p.stat().st_size <= 64 * MIB for p in logs.glob("worker-*.log*")))
    assert scene.answers(villain_id)


def alive(process: psutil.Process) -> bool:
    """Whether it can still do something: not gone, nor waiting for somebody to note its end."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_one_that_forks_is_held_to_a_number_and_leaves_nobody(
    scene: Scene, villain_id: str
) -> None:
    probe = Limits(0.0, 0, 16)
    probe.make("probe", scene.engine.home.parent.name)
    grouped = probe._pids_file is not None
    probe.close()
    if not grouped:
        pytest.skip("LIMITS NOT TESTED: there are no control groups for processes here")
    pid = int(scene.ask(villain_id, "tell").json["predictions"][0])
    reply = scene.ask(villain_id, "fork")
    assert reply.status in (200, 504)  # some machines fork slowly
    if reply.status == 200:
        assert 0 < reply.json["predictions"][0] < max(256, 64 * (os.cpu_count() or 1))
    children = psutil.Process(pid).children() if psutil.pid_exists(pid) else []
    scene.ask(villain_id, "exit")
    scene.recovers(villain_id)
    wait_until(lambda: not any(alive(child) for child in children))


def test_what_it_lays_in_the_engines_way_is_stepped_over(scene: Scene, villain_id: str) -> None:
    assert scene.ask(villain_id, "booby-trap").status == 503
    scene.recovers(villain_id)


def test_a_graph_that_reads_and_writes_files_gets_at_its_own_only(
    scene: Scene, tmp_path: Path
) -> None:
    """A SavedModel is a program too, whoever wrote the code that runs it."""
    pytest.importorskip("tensorflow")
    saved = tmp_path / "graph"
    # In a process of its own: nothing else here imports TensorFlow.
    subprocess.run([sys.executable, "-c", GRAPH, str(saved)], check=True, capture_output=True)
    for path in (p for p in saved.rglob("*") if p.is_file()):
        name = f"graph/{path.relative_to(saved).as_posix()}"
        scene.engine.client.write_object(BUCKET, name, [path.read_bytes()])
    uri = f"gs://{BUCKET}/graph"
    assert scene.deploy("graph", uri=uri, memory_bytes=GRAPH_BYTES) == ""

    def ask(signature: str, value: Any) -> Reply:
        return scene.send("graph", {"signature_name": signature, "instances": [value]})

    assert "root:" in ask("read", "/proc/self/../../etc/passwd").text  # what anybody may
    assert ask("write", "scratch.txt").status == 200
    assert "villain" in ask("read", "scratch.txt").text
    for path in scene.wants["read"]:
        reply = ask("read", path)
        assert reply.status == 400 and "Permission denied" in reply.text, (path, reply.text)
        assert scene.token not in reply.text
    for path in scene.wants["write"]:
        assert ask("write", path).status == 400, path
    assert ask("tile", 10**13).status >= 400
    wait_until(lambda: ask("tile", 3).json == {"predictions": [{"sum": 3.0}]}, 120)


def test_one_that_dies_again_and_again_is_marked(scene: Scene) -> None:
    assert scene.deploy("mortal", memory_bytes=MEMORY_BYTES) == ""
    for deed in ("exit", "hog", "crash"):
        assert scene.ask("mortal", deed).status >= 500
        scene.recovers("mortal")
    wait_until(lambda: scene.message("mortal"))
    said = scene.message("mortal")
    assert said.startswith("Its worker dies again and again: its process was ended by SIGSEGV.")
    assert said.endswith(" See what it printed with 'mlengine versions logs v1 --model mortal'.")
    assert "last lines" not in said  # viewers read this, and it may have printed its requests


def test_one_that_takes_too_much_memory_to_load_fails_with_the_reason(scene: Scene) -> None:
    model = villain(**scene.wants, hog_at_load=True)  # type: ignore[arg-type]
    uri = scene.engine.upload_model("hog", model__pkl=model)
    said = scene.deploy("hog", uri=uri, memory_bytes=MEMORY_BYTES)
    assert "emory" in said, said
    assert scene.engine.client.get_version(P, "hog", "v1").state == "FAILED"


def test_one_that_never_answers_is_ended_and_started_again(
    scene: Scene, hung: tuple[float, list[Reply]]
) -> None:
    pid, replies = hung
    wait_until(lambda: replies)
    assert replies[0].status == 504
    scene.recovers("silent")
    assert scene.ask("silent", "tell").json["predictions"][0] != pid
    assert scene.asked > 10
