"""Starts each server with one model, says how to ask it, and stops it again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

__all__ = [
    "EMPTY", "MODELS", "PEERS", "Home", "Server", "cpu_s", "empty", "mlengine", "peer", "rss_bytes",
]  # fmt: skip

MODELS = ("logreg", "forest", "xgboost", "wide-and-deep", "cnn")
EMPTY = "empty server"
PEERS = ("fastapi", "fastapi-onnx", "mlserver", "torchserve", "bentoml")
_NO_ONNX = ("xgboost",)  # onnxmltools has no converter for this release
_HERE = Path(__file__).parent
_START_S = 180.0
_ALL_CORES = ("cnn",)  # for a call: it has too much arithmetic for one; peers likewise
# What gains by it is compiled.
_FLAGS = {"logreg": ("--compile=onnx",), "forest": ("--compile=onnx",),
          "xgboost": ("--compile=onnx",),
          "wide-and-deep": ("--compile=onnx",),
          "cnn": ("--compile=onnx", "--machine-type=mls1-c4-m2")}  # fmt: skip
_FRAMEWORKS = {"logreg": "SCIKIT_LEARN", "forest": "SCIKIT_LEARN", "xgboost": "XGBOOST",
               "wide-and-deep": "TENSORFLOW", "cnn": "TENSORFLOW"}  # fmt: skip

Write = Callable[[list[Any]], dict[str, Any]]
Read = Callable[[bytes], list[Any]]


class Server(NamedTuple):
    """A running server with one model.

    `start_s` is the time from the start of its process to its first answer.
    """

    name: str
    port: int
    path: str
    headers: Mapping[str, str]
    write: Write
    read: Read
    pids: Callable[[], list[int]]
    start_s: float

    def request(self, instances: list[Any]) -> bytes:
        """Return one whole HTTP request."""
        body = json.dumps(self.write(instances)).encode()
        lines = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/json",
                 **self.headers, "Content-Length": str(len(body))}  # fmt: skip
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body


def cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU time that live processes have used, in seconds."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def rss_bytes(pids: Sequence[int]) -> int:
    """Return the resident memory of live processes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_info().rss
    return total


# --- mlengine ---


class Home(NamedTuple):
    """An engine's home with the models deployed; `mlengine` starts the engine."""

    folder: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "MLENGINE_HOME": str(self.folder), "PYTHONPATH": ""}

    def command(self, *words: str) -> str:
        """Run one `mlengine` command."""
        argv = [sys.executable, "-m", "mlengine", *words]
        done = subprocess.run(argv, env=self.environment(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"mlengine {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def processes(self) -> list[int]:
        """Return all processes of this home: engine, gateway, workers."""
        mark, found = os.fsencode(self.folder), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                    if mark in told and int(entry.name) != os.getpid():
                        found.append(int(entry.name))
        return found

    def up(self) -> subprocess.Popen[bytes]:
        """Start the engine; it has answered a question when this returns."""
        child = self.start()
        self.wait(child)
        return child

    def start(self) -> subprocess.Popen[bytes]:
        """Start the engine."""
        argv = [sys.executable, "-m", "mlengine", "up", "--port", "0"]
        log = open(self.folder / "bench.log", "ab")  # noqa: SIM115
        return subprocess.Popen(argv, env=self.environment(), stdout=log, stderr=log)

    def wait(self, child: subprocess.Popen[bytes]) -> None:
        """Return once the engine has answered a question."""
        _wait(self._answers, child)

    def down(self, child: subprocess.Popen[bytes]) -> None:
        """Stop the engine, its gateway and its workers."""
        child.send_signal(signal.SIGTERM)
        child.wait(60)

    def deploy(self, name: str, folder: Path, *options: str, model: str = "") -> None:
        """Create a model with one version, by the name of the benchmark's or another."""
        model = model or name.replace("-", "_")
        self.command("models", "create", model, "--regions", "us-central1")
        self.command("versions", "create", "v1", "--model", model, "--origin", str(folder),
                     "--framework", _FRAMEWORKS[name], *_FLAGS.get(name, ()), *options)  # fmt: skip

    def port(self) -> int:
        """Return that of the gateway; 0: it has none yet."""
        try:
            return int(json.loads((self.folder / "run" / "gateway.json").read_bytes())["port"])
        except (OSError, ValueError, KeyError):
            return 0

    def _answers(self) -> bool:
        try:
            token = (self.folder / "run" / "token").read_text().strip()
            status = f"http://127.0.0.1:{self.port()}/api/v1/status"
            headers = {"Authorization": f"Bearer {token}"}
            request = urllib.request.Request(status, headers=headers)
            urllib.request.urlopen(request, timeout=5).close()  # the engine's, not the gateway's
        except (OSError, ValueError):
            return False
        return True


@contextlib.contextmanager
def mlengine(
    name: str, home: Home, probe: list[Any], *, label: str = "mlengine"
) -> Iterator[Server]:
    """Start the engine of a home, and stop it at the end."""
    begin_s = time.monotonic()
    child = home.start()
    try:
        _wait(lambda: home.port() > 0, child)
        port = home.port()
        token = (home.folder / "run" / "token").read_text().strip()
        model = name.replace("-", "_")
        server = Server(
            label, port, f"/v1/projects/default/models/{model}:predict",
            {"Authorization": f"Bearer {token}"}, _instances, _predictions, home.processes, 0.0,
        )  # fmt: skip
        _first_answer(server, probe, child)
        start_s = time.monotonic() - begin_s
        home.wait(child)
        yield server._replace(start_s=start_s)
    finally:
        home.down(child)


# --- peers ---


@contextlib.contextmanager
def empty(program: Path) -> Iterator[Server]:
    """Start the server that does nothing."""
    child = subprocess.Popen([str(program)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        yield Server(EMPTY, port, "/", {}, _instances, _predictions, lambda: [child.pid], 0.0)
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def peer(
    label: str, name: str, models: Path, python: str, scratch: Path, probe: list[Any]
) -> Iterator[Server | None]:
    """Start a peer with a model; None where it cannot have this model."""
    if label == "fastapi-onnx" and name in _NO_ONNX:
        yield None
        return
    kind = label.partition("-")[0]
    port = _free_port()
    environment = {
        **os.environ, "PYTHONPATH": str(_HERE / "peers"), "BENCH_MODEL": name,
        "BENCH_FOLDER": str(models), "BENCH_PEERS": str(_HERE / "peers"),
        "OMP_NUM_THREADS": str(os.cpu_count() if name in _ALL_CORES else 1),
        "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "",
        "BENTOML_HOME": str(scratch / "bentoml"), "BENTOML_DO_NOT_TRACK": "True",
    }  # fmt: skip
    scratch.mkdir(parents=True, exist_ok=True)
    argv, path, write, read = _COMMANDS[kind](label, name, models, python, port, scratch)
    begin_s = time.monotonic()
    with open(scratch / "log", "ab") as log:
        child = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, cwd=scratch,
                                 start_new_session=True)  # fmt: skip
    try:
        server = Server(label, port, path, {}, write, read, lambda: _tree(child.pid), 0.0)
        _first_answer(server, probe, child)
        yield server._replace(start_s=time.monotonic() - begin_s)
    finally:
        _end(child)


_Command = tuple[list[str], str, Write, Read]


def _fastapi(label: str, name: str, models: Path, python: str, port: int, _: Path) -> _Command:
    argv = [python, str(_HERE / "peers" / "run_fastapi.py"), name, str(models), str(port)]
    return argv + ["onnx"] * label.endswith("onnx"), "/predict", _instances, _predictions


def _bentoml(_label: str, _name: str, _models: Path, python: str, port: int, _: Path) -> _Command:
    argv = [python, "-m", "bentoml", "serve", "run_bentoml:Predictor", "--host", "127.0.0.1",
            "--port", str(port), "--working-dir", str(_HERE / "peers")]  # fmt: skip
    return argv, "/predict", _instances, lambda body: json.loads(body)


def _mlserver(
    _label: str, name: str, _models: Path, python: str, port: int, scratch: Path
) -> _Command:
    settings = {"http_port": port, "grpc_port": _free_port(), "metrics_port": _free_port(),
                "host": "127.0.0.1", "parallel_workers": 1, "use_structured_logging": False,
                "kafka_enabled": False, "debug": False}  # fmt: skip
    model = {"name": "m", "implementation": "run_mlserver.Predictor", "max_batch_size": 256,
             "max_batch_time": 0.001}  # fmt: skip
    (scratch / "settings.json").write_text(json.dumps(settings))
    (scratch / "model-settings.json").write_text(json.dumps(model))
    start = "import sys; from mlserver.cli import main; sys.argv=['mlserver','start',%r]; main()"
    argv = [python, "-c", start % str(scratch)]
    return argv, "/v2/models/m/infer", lambda rows: _v2(name, rows), _v2_predictions


def _torchserve(
    _label: str, _name: str, _models: Path, python: str, port: int, scratch: Path
) -> _Command:
    store = scratch / "store"
    store.mkdir(exist_ok=True)
    binaries = Path(python).parent
    archive = [str(binaries / "torch-model-archiver"), "--model-name", "m", "--version", "1.0",
               "--handler", str(_HERE / "peers" / "run_torchserve.py"),
               "--export-path", str(store), "--force"]  # fmt: skip
    subprocess.run(archive, check=True, capture_output=True)
    batch = {"m": {"1.0": {"defaultVersion": True, "marName": "m.mar", "minWorkers": 1,
                           "maxWorkers": 1, "batchSize": 64, "maxBatchDelay": 1,
                           "responseTimeout": 60}}}  # fmt: skip
    (scratch / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\n"
        f"management_address=http://127.0.0.1:{_free_port()}\n"
        f"metrics_address=http://127.0.0.1:{_free_port()}\n"
        "disable_token_authorization=true\nenable_envvars_config=false\njob_queue_size=1000\n"
        f"model_store={store}\nload_models=m.mar\nmodels={json.dumps(batch)}\n"
    )
    quiet = '<Configuration><Loggers><Root level="error"/></Loggers></Configuration>'
    (scratch / "log4j2.xml").write_text(quiet)  # as delivered it writes nine lines a request
    os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    argv = [str(binaries / "torchserve"), "--start", "--foreground", "--ncs", "--model-store",
            str(store), "--ts-config", str(scratch / "config.properties"),
            "--log-config", str(scratch / "log4j2.xml")]  # fmt: skip
    return argv, "/predictions/m", _instances, _predictions


_COMMANDS = {"fastapi": _fastapi, "bentoml": _bentoml, "mlserver": _mlserver,
             "torchserve": _torchserve}  # fmt: skip


def _instances(rows: list[Any]) -> dict[str, Any]:
    return {"instances": rows}


def _predictions(body: bytes) -> list[Any]:
    found: list[Any] = json.loads(body)["predictions"]
    return found


def _v2(name: str, rows: list[Any]) -> dict[str, Any]:
    """Write MLServer's own protocol."""
    if name == "cnn":
        texts = [row["b64"] for row in rows]
        return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(rows), 1],
                            "data": texts, "parameters": {"content_type": "str"}}]}  # fmt: skip
    if name == "wide-and-deep":
        tables = {key: [row[key] for row in rows] for key in ("deep", "wide")}
    else:
        tables = {"rows": rows}
    return {"inputs": [{"name": key, "datatype": "FP64", "shape": [len(table), len(table[0])],
                        "data": [value for row in table for value in row]}
                       for key, table in tables.items()]}  # fmt: skip


def _v2_predictions(body: bytes) -> list[Any]:
    return [json.loads(text) for text in json.loads(body)["outputs"][0]["data"]]


# --- processes ---


def _first_answer(server: Server, probe: list[Any], child: subprocess.Popen[bytes]) -> None:
    body = json.dumps(server.write(probe)).encode()
    url = f"http://127.0.0.1:{server.port}{server.path}"
    headers = {"Content-Type": "application/json", **server.headers}

    def answers() -> bool:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60):
                return True
        except OSError:
            return False

    _wait(answers, child)


def _wait(ready: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + _START_S
    while not ready():
        if child.poll() is not None or time.monotonic() > until_s:
            raise RuntimeError(f"It did not start: exit status {child.poll()}.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.02)


def _tree(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def _end(child: subprocess.Popen[bytes]) -> None:
    processes = [psutil.Process(pid) for pid in _tree(child.pid)]
    child.terminate()
    _gone, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
