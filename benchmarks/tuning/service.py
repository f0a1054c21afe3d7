"""Studies as a service beside Optuna on its relational storage: trials that cost nothing.

Run ``python -m benchmarks.tuning.service``. Eight client processes share one study and do as many
trials as they can: ask for a random point of three parameters, tell a value. Ours talk HTTP to one
engine on its SQLite file; Optuna's open one SQLite file themselves, which is how several of its
processes share a study. Both keep their defaults and lie on the same disk; processes are up and
imported before the clock starts. Whoever acknowledges a trial here has it on the disk: the figure
beside it is how long one durable insert into a bare SQLite file takes in the same run.

The second figure is a report (`addMeasurement`) of one client over HTTP, in a study that has
10,000 trials. Where other work shares disk and cores, times say little; so there is also what both
cost the engine's process, in CPU time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.tuning.environments import NotInstalledError, python_of
from mlengine.client.http import HttpEngine
from mlengine.core.studies import (
    CompleteTrialRequest,
    Measurement,
    MetricValue,
    Study,
    SuggestTrialsRequest,
    Trial,
    TrialParameter,
)
from mlengine.core.wire import decode
from mlengine.engine.home import read_token
from mlengine.store import open_store

AT = ("default", "local", "bench")
LARGE = 10_000
TARGET_RATIO, TARGET_MS = 5.0, 5.0
NAMES = ("x", "y", "z")
CACHE = Path.home() / ".cache" / "mlengine-bench" / "tuning"


def main() -> int:
    """Measure, or be one of the clients that are measured; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--reports", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--client", nargs=3, metavar=("URL", "NAME", "TRIALS"))
    options = parser.parse_args()
    if options.client:
        return _client(*options.client)
    work = Path(tempfile.mkdtemp(prefix="mlengine-bench-"))
    try:
        figures = _measure(work, options.trials, options.clients, options.reports)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:44} {value:10.2f}")
    too_slow = figures.get("ratio", TARGET_RATIO) < TARGET_RATIO
    return int(too_slow or figures[f"report at trial {LARGE}, median (ms)"] > TARGET_MS)


def _measure(work: Path, trials: int, clients: int, reports: int) -> dict[str, float]:
    figures = {"durable insert, bare SQLite (ms)": _floor(work / "floor.db") * 1e3}
    home = work / "home"
    _prefill(home)
    engine = subprocess.Popen(
        [sys.executable, "-m", "mlengine.daemon", "--home", str(home), "--port", "0"],
        stdout=subprocess.PIPE, stderr=(work / "engine.log").open("w"), text=True,
    )  # fmt: skip
    try:
        assert engine.stdout is not None
        assert "is ready at" in engine.stdout.readline()
        url = json.loads((home / "run" / "gateway.json").read_text())["url"]
        token = read_token(home)
        with HttpEngine(url, token) as http:
            http.create_study(*AT, _study())
            command = [sys.executable, "-m", "benchmarks.tuning.service", "--client", url]
            begun_s = _cpu_s(engine.pid)
            ours = _race([[*command, f"c{n}", str(trials // clients)] for n in range(clients)],
                         token)  # fmt: skip
            trial_s = (_cpu_s(engine.pid) - begun_s) / trials
            done = [trial.state for trial in http.list_trials(*AT)]
            assert done == ["COMPLETED"] * (trials // clients * clients), "books that do not add up"
            begun_s = _cpu_s(engine.pid)
            times = _reports(http, reports)
            report_s = (_cpu_s(engine.pid) - begun_s) / reports
    finally:
        engine.terminate()
        engine.wait()
    figures["mlengine (trials/s)"] = trials / ours
    figures[f"report at trial {LARGE}, median (ms)"] = times[len(times) // 2] * 1e3
    figures[f"report at trial {LARGE}, p95 (ms)"] = times[len(times) * 95 // 100] * 1e3
    figures["engine's CPU a trial (ms)"] = trial_s * 1e3
    figures["engine's CPU a report (ms)"] = report_s * 1e3
    try:
        theirs = _optuna(work / "optuna.db", trials, clients)
    except NotInstalledError as error:
        print(f"Optuna: {error}", file=sys.stderr)
        return figures
    figures["Optuna on SQLite (trials/s)"] = trials / theirs
    figures["ratio"] = theirs / ours
    return figures


def _cpu_s(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def _study() -> Study:
    spec: dict[str, Any] = {"type": "DOUBLE", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}
    config = {
        "metrics": [{"metric": "value", "goal": "MINIMIZE"}],
        "parameters": [{**spec, "parameter": name} for name in NAMES],
        "algorithm": "RANDOM_SEARCH",
    }
    return decode(Study, {"studyConfig": config}, at="study")


def _prefill(home: Path) -> None:
    """Make a home whose store has a study with many trials already."""
    home.mkdir(mode=0o700)
    store = open_store(f"sqlite:///{home / 'engine.db'}")
    made = _study()
    made.name = "large"
    store.add_study("default", "local", made, uid="large")
    for page in range(0, LARGE, 1000):
        fresh = [
            Trial(parameters=[TrialParameter(parameter=name, float_value=n / LARGE)
                              for name in NAMES])
            for n in range(page, page + 1000)
        ]  # fmt: skip
        study = store.study("default", "local", "large")
        store.hand_out(study, f"page{page}", 1000, fresh=fresh)
    store.close()


def _reports(http: HttpEngine, count: int) -> list[float]:
    times = []
    for step in range(count):
        point = Measurement(step_count=step, metrics=[MetricValue(metric="value", value=1.0)])
        begun = time.perf_counter()
        http.add_trial_measurement("default", "local", "large", str(LARGE), point)
        times.append(time.perf_counter() - begun)
    return sorted(times)


def _client(url: str, name: str, trials: str) -> int:
    """Do trials as one of several clients: says that it is ready, and begins when told to."""
    token = sys.stdin.readline().strip()
    with HttpEngine(url, token) as http:
        http.get_study(*AT)
        print("ready", flush=True)
        sys.stdin.readline()
        request = SuggestTrialsRequest(client_id=name, suggestion_count=1)
        for _trial in range(int(trials)):
            operation = http.suggest_trials(*AT, request)
            trial = (operation.response or {})["trials"][0]
            value = trial["parameters"][0]["floatValue"]
            final = Measurement(metrics=[MetricValue(metric="value", value=value)])
            number = trial["name"].rpartition("/")[2]
            http.complete_trial(*AT, number, CompleteTrialRequest(final_measurement=final))
    return 0


OPTUNA = """
import sys
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
sys.stdin.readline()
study = optuna.load_study(study_name="bench", storage=sys.argv[1],
                          sampler=optuna.samplers.RandomSampler())
print("ready", flush=True)
sys.stdin.readline()
study.optimize(lambda trial: [trial.suggest_float(name, 0, 1) for name in ("x", "y", "z")][0],
               n_trials=int(sys.argv[2]))
"""
OPTUNA_NEW = """
import sys
import optuna
optuna.create_study(study_name="bench", storage=sys.argv[1])
"""


def _optuna(path: Path, trials: int, clients: int) -> float:
    python = python_of("optuna", CACHE)
    storage = f"sqlite:///{path}"
    subprocess.run([python, "-c", OPTUNA_NEW, storage], check=True, capture_output=True)
    each = str(trials // clients)
    return _race([[python, "-c", OPTUNA, storage, each] for _client in range(clients)], "")


def _race(commands: Sequence[Sequence[str]], secret: str) -> float:
    """Start processes, let them go at once, and return how long the last one took, in seconds."""
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    for process in running:
        _say(process, secret)
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    begun = time.perf_counter()
    for process in running:
        _say(process, "go")
    codes = [process.wait() for process in running]
    taken = time.perf_counter() - begun
    assert codes == [0] * len(running)
    return taken


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _floor(path: Path, count: int = 200) -> float:
    """Return how long a durable insert into a bare SQLite file takes, in seconds."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=TRUNCATE", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE t (a TEXT)")
    times = sorted(
        _time(lambda: connection.execute("INSERT INTO t VALUES ('x')")) for _ in range(count)
    )
    connection.close()
    return times[count // 2]


def _time(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
