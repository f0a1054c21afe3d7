"""`mlengine local train`: the trainer has the terminal, and its exit code is the command's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TASK = """\
import json, os, sys
print(sys.argv[1:], os.getcwd(), json.loads(os.environ["TF_CONFIG"])["environment"])
sys.exit(7 if "--fail" in sys.argv else 0)
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code" / "trainer").mkdir(parents=True)
    (tmp_path / "code" / "trainer" / "__init__.py").touch()
    (tmp_path / "code" / "trainer" / "task.py").write_text(TASK)
    return tmp_path / "code"


def train(code: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "mlengine", "local", "train", "--module-name=trainer.task", *words],
        cwd=code,
        env={**os.environ, "PATH": path, "MLENGINE_HOME": str(code / "home")},
        capture_output=True,
        text=True,
    )


def test_the_trainer_gets_its_arguments_and_then_the_job_dir(code: Path) -> None:
    done = train(code, "--package-path=trainer/", "--job-dir=out", "--", "--a", "$(id)")
    shown = f"['--a', '$(id)', '--job-dir', 'out'] {code} cloud\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


def test_a_bucket_of_this_home_becomes_its_folder(code: Path) -> None:
    (code / "home" / "buckets" / "data").mkdir(parents=True)
    done = train(code, "--package-path=trainer", "--job-dir=gs://data/out")
    assert f"'--job-dir', '{code}/home/buckets/data/out'" in done.stdout


def test_arguments_with_gs_reach_the_trainer_as_in_a_job(code: Path) -> None:
    (code / "home" / "buckets" / "data").mkdir(parents=True)
    words = (
        "--files=gs://data/a.csv,gs://else/b",
        "gs://data/*.cs?",
        "gs://data/",
        "say gs://data/x",
    )
    done = train(code, "--package-path=trainer", "--", *words)
    data = f"{code}/home/buckets/data"
    said = [f"--files={data}/a.csv,gs://else/b", f"{data}/*.cs?", f"{data}/", "say gs://data/x"]
    assert done.stdout.startswith(str(said))


TAKES_APART = """\
import os, sys
bucket, name = sys.argv[-1].replace("gs://", "").split("/", 1)
print(bucket, name, os.listdir(os.environ["MLENGINE_JOB_DIR"]))
"""


def test_a_trainer_that_takes_uris_apart_gets_them_as_in_a_job(code: Path) -> None:
    (code / "home" / "buckets" / "data").mkdir(parents=True)
    (code / "trainer" / "task.py").write_text(TAKES_APART)
    done = train(code, "--package-path=trainer", "--job-dir=gs://data/u1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "data u1 []\n", "")


def test_a_file_to_write_in_a_bucket_finds_its_folder(code: Path) -> None:
    (code / "home" / "buckets" / "data").mkdir(parents=True)
    (code / "trainer" / "task.py").write_text("import sys; open(sys.argv[1], 'w').write('model')")
    done = train(code, "--package-path=trainer", "--", "gs://data/new/deep/model.txt")
    assert (done.returncode, done.stderr) == (0, "")
    assert (code / "home" / "buckets" / "data" / "new" / "deep" / "model.txt").read_text()


ASKS = """\
import os, subprocess, sys, urllib.request
url = os.environ["STORAGE_EMULATOR_HOST"] + "/storage/v1/b/data/o/x.txt?alt=media"
print(urllib.request.urlopen(url).read().decode(), flush=True)
print(subprocess.run(["gsutil", "cat", "gs://data/x.txt"], capture_output=True, text=True).stdout)
"""


@pytest.mark.parametrize("distributed", [False, True])
def test_the_trainers_own_programs_reach_the_buckets_as_in_a_job(
    code: Path, distributed: bool
) -> None:
    (code / "home" / "buckets" / "data").mkdir(parents=True)
    (code / "home" / "buckets" / "data" / "x.txt").write_text("from the bucket")
    (code / "trainer" / "task.py").write_text(ASKS)
    flags = ["--distributed", "--worker-count=0", "--parameter-server-count=0"]
    done = train(code, "--package-path=trainer", *(flags if distributed else []))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == ["from the bucket", "from the bucket", ""]


def test_who_says_where_the_buckets_are_is_believed(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code / "home" / "buckets" / "data").mkdir(parents=True)
    (code / "trainer" / "task.py").write_text(
        "import os; print(os.environ['STORAGE_EMULATOR_HOST'], 'CURL_CA_BUNDLE' in os.environ)"
    )
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://mine:1")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    assert train(code, "--package-path=trainer").stdout == "http://mine:1 False\n"


def test_the_job_dir_is_there_when_the_trainer_starts(code: Path) -> None:
    (code / "trainer" / "task.py").write_text("import os, sys; print(os.listdir(sys.argv[-1]))")
    assert train(code, "--package-path=trainer", "--job-dir=new/out").stdout == "[]\n"
    assert (code / "new" / "out").is_dir()
    assert train(code, "--package-path=trainer", "--job-dir=gs://else/x").returncode == 1
    assert not (code / "gs:").exists()


def test_a_flag_of_the_trainer_in_front_of_the_dashes_is_told_its_place(code: Path) -> None:
    done = train(code, "--package-path=trainer", "--epochs", "3")
    assert done.returncode == 2
    assert "--epochs (flags of the trainer itself go behind --)" in done.stderr


def test_the_exit_code_is_the_trainers(code: Path) -> None:
    assert train(code, "--package-path=trainer", "--", "--fail").returncode == 7


def test_counts_without_distributed_are_warned_about(code: Path) -> None:
    done = train(code, "--package-path=trainer", "--worker-count=3")
    assert done.returncode == 0 and done.stderr == (
        "WARNING: --worker-count is ignored if --distributed is not provided.\n"
        "Did you mean to run distributed training?\n"
    )


def test_a_module_that_is_not_there_is_an_error_of_the_command(code: Path) -> None:
    done = train(code, "--package-path=nowhere")
    assert done.returncode == 1 and done.stderr.startswith("ERROR: (mlengine.local.train) ")
