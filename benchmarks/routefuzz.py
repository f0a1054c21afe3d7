"""All routes against what their OpenAPI document promises: no answer from 500 on, no other form.

    python -m benchmarks.routefuzz [--examples 650] [--seed 1] [--workers 2]

Starts an engine with a model, a version, a job, a study, a bucket and a key, and lets Schemathesis
make requests of the engine's own document, `/api/v1/openapi.json`: right ones, and ones that break
it. Twice: with names as Schemathesis makes them up, and with those that exist, where all but what
deletes is asked, for requests that get past "not found". So many examples an operation; 650 are
more than 100,000 requests. Fails if any answer is 500 or above, is no JSON where JSON is promised,
or has another form than its schema.

Everything runs in a network of its own, with loopback and nothing else: a request may name any
bucket of the world, and must reach none. Schemathesis is installed below
``~/.cache/mlengine-bench/routefuzz`` at first; its libraries are not ours.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlengine.core.keys import Key
from mlengine.core.resources import Job, Model, TrainingInput, Version
from mlengine.core.studies import Study, StudyConfig
from mlengine.core.wire import decode
from tests.live.engines import LiveEngine, live_engine

__all__ = ["main"]

_PACKAGE = "schemathesis==4.32.5"
_PYTHON = "3.13"  # 3.11 cannot parse the source of strategies as deep as ours become
_CACHE = Path.home() / ".cache" / "mlengine-bench" / "routefuzz"
_CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance"
_INSIDE = "MLENGINE_ROUTEFUZZ_INSIDE"
_NAMES = {
    "project": "default", "model": "m", "version": "v1", "job": "j", "bucket": "mine",
    "location": "us-central1", "study": "s", "trial": "1", "object": "a/b.txt",
    "operation": "create_m_v1-1", "runtime": "1.15", "key": "k",
}  # fmt: skip
_PASSES: dict[str, dict[str, str]] = {"made-up": {}, "existing": _NAMES}
_STUDY = {"metrics": [{"goal": "MAXIMIZE", "metric": "x"}], "algorithm": "RANDOM_SEARCH",
          "parameters": [{"parameter": "p", "type": "DOUBLE",
                          "doubleValueSpec": {"minValue": 0, "maxValue": 1}}]}  # fmt: skip


def main() -> int:
    """Make the requests; return 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks.routefuzz")
    parser.add_argument("--examples", type=int, default=650, help="of an operation, in each pass")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--phases", default="examples,coverage,fuzzing")
    parser.add_argument("--names", nargs="+", choices=_PASSES, default=list(_PASSES))
    options = parser.parse_args()
    program = _program()
    if not os.environ.get(_INSIDE):
        again = ["ip link set lo up && exec \"$@\"", "sh", sys.executable, "-m",
                 "benchmarks.routefuzz", *sys.argv[1:]]  # fmt: skip
        return subprocess.call(
            ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", *again],
            env={**os.environ, _INSIDE: "1"},
        )
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="mlengine-bench-") as work:
        for which in options.names:
            wrong += _run(program, Path(work) / which, _PASSES[which], options)
    return 1 if wrong else 0


def _program() -> Path:
    """Return Schemathesis' command, installed if it is not there."""
    program = _CACHE / "bin" / "schemathesis"
    if not program.exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--python", _PYTHON, _CACHE], check=True)
        python = _CACHE / "bin" / "python"
        options = ["--quiet", "--python", str(python)]
        subprocess.run([uv, "pip", "install", *options, _PACKAGE], check=True)
    return program


def _run(program: Path, home: Path, names: dict[str, str], options: argparse.Namespace) -> int:
    """Make one pass; return how many answers were wrong."""
    with live_engine(home) as engine:
        _fill(engine)
        told = home / "schemathesis.toml"
        lines = [f"{name} = {json.dumps(value)}" for name, value in names.items()]
        told.write_text("\n".join(["[parameters]", *lines, ""]) if lines else "")
        argv = [
            str(program), "--config-file", str(told), "run", engine.url + "/api/v1/openapi.json",
            "-H", f"Authorization: Bearer {engine.token}", "--checks", _CHECKS,
            "--max-examples", str(options.examples), "--seed", str(options.seed),
            "--workers", str(options.workers), "--phases", options.phases,
            "--no-shrink", "--continue-on-failure", "--warnings", "off", "--no-color",
            "--generation-database", "none", "--suppress-health-check", "all",
            "--request-timeout", "600",
            "--report", "ndjson", "--report-ndjson-path", str(home / "events.ndjson"),
            *(["--exclude-method", "DELETE"] if names else []),
        ]  # fmt: skip
        said = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=home
        )
        alive = engine.running and engine.client.status() is not None
        print(said.stdout[-20_000:] if said.returncode else said.stdout[-1500:])
    statuses = _statuses(home / "events.ndjson")
    count = sum(statuses.values())
    bad = sum(n for status, n in statuses.items() if status >= 500)
    what = "names that exist" if names else "names made up"
    print(f"{what}, seed {options.seed}: {count} requests, {bad} answers from 500 on, "
          f"exit {said.returncode}, engine {'up' if alive else 'DOWN'}; "
          + ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items())))  # fmt: skip
    return bad + (said.returncode != 0) + (not alive)


def _statuses(events: Path) -> collections.Counter[int]:
    """Count the answers by their status."""
    found: collections.Counter[int] = collections.Counter()
    with events.open() as lines:
        for line in lines:
            found.update(_walk(json.loads(line)))
    return found


def _walk(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        status = value.get("status_code")
        if isinstance(status, int):
            yield status
        for item in value.values():
            yield from _walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item)


def _fill(engine: LiveEngine) -> None:
    """Make one of everything."""
    from sklearn.linear_model import LinearRegression

    engine.make_bucket()
    client = engine.client
    client.write_object("mine", "a/b.txt", [b"text"])
    model = pickle.dumps(LinearRegression().fit([[0.0, 1.0], [1.0, 0.0]], [0.0, 1.0]))
    uri = engine.upload_model("m", **{"model.pkl": model})
    client.create_model("default", Model(name="m"))
    config: dict[str, object] = {"sampledShapleyAttribution": {}}
    version = Version(name="v1", deployment_uri=uri, explanation_config=config)
    engine.done(client.create_version("default", "m", version))
    package = engine.upload_package("print('trained')")
    spec = TrainingInput(python_module="trainer.task", package_uris=[package], region="local")
    client.create_job("default", Job(job_id="j", training_input=spec))
    study = Study(study_config=decode(StudyConfig, _STUDY, at="study"))
    client.create_study("default", "us-central1", "s", study)
    client.create_key("default", Key(name="k", role="viewer"))


if __name__ == "__main__":
    sys.exit(main())
