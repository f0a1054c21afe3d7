"""What importing costs, asked of fresh interpreters; by modules, because times are noisy."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import SOURCE

HEAVY = {
    "sqlalchemy", "alembic", "starlette", "uvicorn", "anyio", "numpy", "fsspec", "uvloop",
    "httptools", "pandas", "sklearn", "tensorflow", "keras", "xgboost", "onnxruntime", "joblib",
    "setuptools", "yaml", "packaging", "asyncio",
}  # fmt: skip
# What each of these needs to do its work, beside the standard library and mlengine itself.
ALLOWED = {
    "mlengine": set(),
    "mlengine.runtime.supervisor": set(),
    "mlengine.runtime.gang": set(),
    "mlengine.core.access": set(),
    "mlengine.core.errors": set(),
    "mlengine.core.names": set(),
    "mlengine.core.resources": {"msgspec", "typing_extensions"},
    "mlengine.core.wire": {"msgspec", "typing_extensions"},
    "mlengine.engine": {"msgspec", "typing_extensions"},
    "mlengine.client.http": {"msgspec", "typing_extensions"},
    "mlengine.cli.main": {"click"},
}
MAX_IMPORT_MS = 50


def _loaded(code: str, *flags: str) -> set[str]:
    """Return the modules that a fresh interpreter has after running some code."""
    code = (
        f"import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def _import_ms(module: str) -> float:
    """Return the median of several cumulative import times, in milliseconds."""
    times = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", f"import {module}"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        (line,) = (row for row in done.stderr.splitlines() if row.split("|")[-1].strip() == module)
        times.append(int(line.split("|")[1]) / 1000)
    return statistics.median(times)


@pytest.mark.parametrize("module", ALLOWED)
def test_an_import_brings_only_what_it_needs(module: str) -> None:
    loaded = _loaded(f"import {module}")
    tops = {name.partition(".")[0] for name in loaded}
    foreign = tops - set(sys.stdlib_module_names) - {"mlengine"}
    assert foreign <= ALLOWED[module], foreign - ALLOWED[module]
    assert not tops & HEAVY


def test_importing_mlengine_is_free() -> None:
    assert _loaded("import mlengine") == {"mlengine", "__future__"}
    assert _import_ms("mlengine") < MAX_IMPORT_MS


@pytest.mark.parametrize("words", [["--help"], ["version"], ["jobs", "submit", "--help"]])
def test_help_and_version_load_neither_the_store_nor_a_server(words: list[str]) -> None:
    run = (
        "from mlengine.cli.main import main\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({words!r})"
    )
    # `version` answers in YAML, as gcloud does.
    assert not {name.partition(".")[0] for name in _loaded(run)} & (HEAVY - {"yaml"})


def test_the_supervisor_runs_on_the_standard_library_alone(tmp_path: Path) -> None:
    """As it is started: isolated and without site-packages, so nothing else can be imported."""
    (tmp_path / "spec.json").write_text(json.dumps({
        "job": "projects/p/jobs/j", "attempt": 1, "notify": "", "grace_s": 1,
        "log_quota_bytes": 1_000_000, "replicas": [{
            "task": "master-replica-0", "role": "master", "index": 0,
            "argv": [sys.executable, "-I", "-S", "-c", "print('hello')"],
            "cwd": str(tmp_path), "env": {},
        }],
    }))  # fmt: skip
    supervisor = SOURCE / "runtime" / "supervisor.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", supervisor, tmp_path], capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads((tmp_path / "exit.json").read_text())["outcome"] == "succeeded"
    assert "hello" in (tmp_path / "master-replica-0.log.jsonl").read_text()


def test_a_worker_loads_no_part_of_the_engine() -> None:
    """Also not by accident: a model runs in the same process and could use it."""
    loaded = _loaded("import mlengine.runtime.worker, mlengine.runtime.batch")
    rooms = {name.split(".")[1] for name in loaded if name.startswith("mlengine.")}
    assert rooms == {"runtime"}
    assert not {name.partition(".")[0] for name in loaded} & (HEAVY - {"asyncio"})
