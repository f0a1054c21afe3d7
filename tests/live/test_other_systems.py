"""From macOS a person uses an engine on another machine; what needs Linux says so in one line.

macOS is played by `tests/fakes/darwin`: a Python without what only Linux has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import fakes
from tests.live.engines import BUCKET, LiveEngine

Completed = subprocess.CompletedProcess[str]
Mac = Callable[..., Completed]

DARWIN = Path(*fakes.__path__) / "darwin"
TRAINER = """\
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--job-dir")
parser.add_argument("--data")
args = parser.parse_args()
with open(args.data) as data:
    print("read", data.read())
"""


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    """Run a Python of macOS, in a folder with a trainer package; no engine runs at its home."""
    package = tmp_path / "trainer"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "task.py").write_text(TRAINER)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLENGINE_", "CLOUDSDK_"))}

    def run(*words: str, engine: LiveEngine | None = None, code: int = 0) -> Completed:
        there = {"MLENGINE_ENDPOINT": engine.url, "MLENGINE_TOKEN": engine.token} if engine else {}
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={**kept, **there, "PYTHONPATH": str(DARWIN), "MLENGINE_HOME": str(tmp_path / "h")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.mark.parametrize(
    ("words", "command", "what"),
    [
        (["models", "list"], "models.list", "The engine"),
        (["up", "--port=0"], "up", "The engine"),
        (
            ["local", "train", "--module-name=trainer.task", "--package-path=trainer"],
            "local.train",
            "'mlengine local train'",
        ),
    ],
    ids=["a command that would start an engine", "an engine", "a trainer here"],
)
def test_what_needs_linux_says_so(
    mac: Mac, tmp_path: Path, words: list[str], command: str, what: str
) -> None:
    done = mac("-m", "mlengine", *words, code=1)
    begin = f"ERROR: (mlengine.{command}) {what} runs on Linux only, and this is darwin. Run it in "
    assert done.stderr.startswith(begin) and done.stderr.count("\n") == 1
    assert done.stdout == "" and not (tmp_path / "h").exists()


def test_an_engine_on_another_machine_does_the_work(
    mac: Mac, engine: LiveEngine, tmp_path: Path
) -> None:
    def mlengine(*words: str, code: int = 0) -> Completed:
        return mac("-m", "mlengine", *words, engine=engine, code=code)

    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/rows.txt").write_text("five rows")
    assert "Copied 1 file" in mlengine("storage", "cp", "-r", "in", f"gs://{BUCKET}/in").stderr
    mlengine("storage", "cp", "-r", f"gs://{BUCKET}/in", "out")
    assert (tmp_path / "out/deep/rows.txt").read_text() == "five rows"

    followed = mlengine(
        "jobs", "submit", "training", "from_mac", "--module-name=trainer.task",
        "--package-path=trainer", f"--job-dir=gs://{BUCKET}/from_mac", "--stream-logs",
        "--", f"--data=gs://{BUCKET}/in/deep/rows.txt",
    )  # fmt: skip
    assert "read five rows" in followed.stderr
    assert "read five rows" in mlengine("jobs", "stream-logs", "from_mac").stdout
    assert "state: SUCCEEDED" in mlengine("jobs", "describe", "from_mac").stdout
    assert "Listed 0 items." in mlengine("studies", "list").stderr
    # Its folders are not this machine's, though it answers at 127.0.0.1.
    assert "is not on this machine" in mlengine("tensorboard", "from_mac", code=1).stderr


def test_a_deployed_model_is_asked(
    mac: Mac, engine: LiveEngine, tmp_path: Path, iris_model: bytes
) -> None:
    assert not engine.deploy(engine.upload_model("iris", model__pkl=iris_model)).error
    (tmp_path / "rows.jsonl").write_text("[5.1, 3.5, 1.4, 0.2]\n")
    words = ("-m", "mlengine", "predict", "--model=census", "--json-instances=rows.jsonl")
    assert mac(*words, engine=engine).stdout == "[0]\n"


def test_a_model_is_asked_without_an_engine(mac: Mac, tmp_path: Path, iris_model: bytes) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.pkl").write_bytes(iris_model)
    (tmp_path / "rows.jsonl").write_text("[5.1, 3.5, 1.4, 0.2]\n")
    words = ("local", "predict", "--model-dir=model", "--json-instances=rows.jsonl")
    assert mac("-m", "mlengine", *words).stdout == "[0]\n"


def test_a_trainer_that_reports_runs_as_a_plain_program(mac: Mac, tmp_path: Path) -> None:
    program = textwrap.dedent("""\
        import os
        os.environ["CLOUD_ML_HP_METRIC_FILE"] = "reports/metric.json"
        from mlengine.runtime import report, save_golden
        print(report("accuracy", 0.5))
    """)
    assert mac("-c", program).stdout == "True\n"
    assert '"accuracy": "0.5"' in (tmp_path / "reports/metric.json").read_text()


WINDOWS = """\
import sys
import mlengine.cli.main
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
sys.platform = "win32"
sys.exit(mlengine.cli.main.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [["models", "list"], ["local", "train", "--module-name", "a.b"]])
def test_windows_is_told_in_one_line_where_it_runs(tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS, *words], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "MLENGINE_HOME": str(tmp_path / "h")}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Run it in WSL 2" in done.stderr
    assert "Traceback" not in done.stderr and "defect" not in done.stderr
