"""The whole loop on real data, by the same commands that anybody would type.

A census trainer package runs locally, then as a managed job; its export becomes a model version; a
REST call says whether somebody earns more than 50k; a batch job answers for a whole file. Ends with
a non-zero status on the first thing that is not as it should be, and leaves nothing running.
"""

from __future__ import annotations

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent.parent
CENSUS = ROOT / "samples" / "census"
PACKAGE = CENSUS / "sklearn_trainer" / "trainer"
TRAIN, TEST = CENSUS / "data" / "adult.data.csv.gz", CENSUS / "data" / "adult.test.csv.gz"
BUCKET = "gs://census-demo"
MIN_ACCURACY = 0.86
COLUMNS = 14
NUMBERS = {0, 2, 4, 10, 11, 12}
SETTINGS = ("MLENGINE_", "CLOUDSDK_")  # of the user's own engine: another project, another port


class DemoError(Exception):
    """Something was not as it should be."""


class Demo:
    """Runs commands in a home folder of its own and shows what a user would see.

    Args:
        home: An empty folder.
        variables: More of the environment that the commands, and so their engine, run in.
        backing: Where the bytes of the demo's bucket lie; empty: a folder of the home.
    """

    def __init__(
        self,
        home: Path,
        *,
        variables: Mapping[str, str] = MappingProxyType({}),
        backing: str = "",
    ) -> None:
        bin_folder = Path(sys.executable).parent
        self._home = home
        self._backing = backing
        self._env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)},
            "MLENGINE_HOME": str(home / "engine"),
            "MLENGINE_PORT": "0",
            # As an activated environment: `local train` runs the `python` that is on the PATH.
            "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
            **variables,
        }
        self._mlengine = bin_folder / "mlengine"

    def say(self, text: str) -> None:
        """Print a heading."""
        print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)

    def run(self, *words: str, show: bool = True) -> str:
        """Run one mlengine command; return its stdout."""
        if show:
            print("$ mlengine " + shlex.join(w.replace(f"{ROOT}/", "") for w in words), flush=True)
        done = subprocess.run(
            [self._mlengine, *words], env=self._env, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if done.stdout and show:
            print(done.stdout, end="", flush=True)
        if done.returncode:
            raise DemoError(f"'mlengine {shlex.join(words)}' ended with {done.returncode}.")
        return done.stdout

    def train_locally(self) -> None:
        self.say("1. The trainer package, run here as a plain program")
        out = self._home / "local"
        self.run(
            "local", "train", "--module-name", "trainer.task", "--package-path", str(PACKAGE),
            "--job-dir", str(out), "--", "--train-files", str(TRAIN), "--eval-files", str(TEST),
        )  # fmt: skip
        self._check_accuracy("the local run", json.loads((out / "metrics.json").read_text()))

    def train_as_job(self) -> None:
        self.say("2. The same package as a managed job, on data in a bucket")
        backing = ["--backing", self._backing] if self._backing else []
        self.run("storage", "buckets", "create", BUCKET, *backing)
        self.run("storage", "cp", str(TRAIN), str(TEST), f"{BUCKET}/data/")
        self.run(
            "jobs", "submit", "training", "census_1", "--package-path", str(PACKAGE),
            "--module-name", "trainer.task", "--job-dir", f"{BUCKET}/census_1",
            "--region", "local", "--stream-logs", "--",
            "--train-files", f"{BUCKET}/data/{TRAIN.name}",
            "--eval-files", f"{BUCKET}/data/{TEST.name}",
        )  # fmt: skip
        metrics = self.run("storage", "cat", f"{BUCKET}/census_1/metrics.json", show=False)
        self._check_accuracy("the job", json.loads(metrics))

    def deploy(self) -> None:
        self.say("3. What it exported becomes a version of a model")
        self.run("models", "create", "census", "--regions", "us-central1")
        self.run(
            "versions", "create", "v1", "--model", "census",
            "--origin", f"{BUCKET}/census_1/model", "--framework", "scikit-learn",
        )  # fmt: skip
        self.run("versions", "list", "--model", "census")

    def predict(self) -> None:
        self.say("4. Does a 25-year-old machine operator earn more than 50k?")
        instances = CENSUS / "instances.jsonl"
        self.run("predict", "--model", "census", "--json-instances", str(instances))
        row = json.loads(instances.read_text().splitlines()[0])
        url = self.run("status", "--format", "value(endpoint)", show=False).strip()
        token = self.run("auth", "print-access-token", show=False).strip()
        path = "/v1/projects/default/models/census:predict"
        body = json.dumps({"instances": [row]})
        print(f"$ curl -H 'Authorization: Bearer ...' {url}{path} -d '{body}'")
        request = urllib.request.Request(
            url + path,
            data=body.encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        answer = _answer(request)
        print(json.dumps(answer))
        if answer != {"predictions": ["<=50K"]}:
            raise DemoError(f"The machine operator should be <=50K; the answer was {answer}.")

    def predict_batch(self) -> None:
        self.say("5. The whole test file as a batch job")
        rows, labels = _read_rows(TEST)
        instances = self._home / "test.jsonl"
        instances.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.run("storage", "cp", str(instances), f"{BUCKET}/batch/test.jsonl")
        self.run(
            "jobs", "submit", "prediction", "census_batch_1", "--model", "census",
            "--input-paths", f"{BUCKET}/batch/test.jsonl", "--output-path", f"{BUCKET}/batch/out",
            "--data-format", "text", "--region", "local",
        )  # fmt: skip
        self.run("jobs", "stream-logs", "census_batch_1")
        self.run("jobs", "describe", "census_batch_1")
        text = self.run(
            "storage", "cat", f"{BUCKET}/batch/out/prediction.results-00000-of-00001", show=False
        )
        answers = [json.loads(line) for line in text.splitlines()]
        if len(answers) != len(labels):
            raise DemoError(f"{len(answers)} answers for {len(labels)} rows.")
        right = sum(a == b for a, b in zip(answers, labels, strict=True))
        accuracy = right / len(labels)
        print(f"accuracy over {len(labels)} people: {accuracy:.4f}")
        self._check_accuracy("the batch", {"accuracy": accuracy})

    def stop(self) -> None:
        """Leave nothing running, also after a failure."""
        subprocess.run(
            [self._mlengine, "down"], env=self._env, cwd=ROOT, capture_output=True, check=False
        )

    def _check_accuracy(self, what: str, metrics: dict[str, float]) -> None:
        if not metrics["accuracy"] >= MIN_ACCURACY:
            raise DemoError(f"The accuracy of {what} is {metrics['accuracy']}: < {MIN_ACCURACY}.")


def _answer(request: urllib.request.Request) -> object:
    """Ask this machine's engine: through no proxy, which cannot reach it and would see the token.

    Raises:
        DemoError: There is no answer, or it is a refusal.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as reply:
            answer: object = json.load(reply)
    except OSError as error:  # urllib's own, HTTP statuses among them, or a timeout
        raise DemoError(f"The request to {request.full_url} failed: {error}.") from error
    return answer


def _read_rows(path: Path) -> tuple[list[list[object]], list[str]]:
    rows: list[list[object]] = []
    labels = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            cells = [cell.strip() for cell in line.split(",")]
            if len(cells) == COLUMNS + 1:
                rows.append([float(c) if i in NUMBERS else c for i, c in enumerate(cells[:-1])])
                labels.append(cells[-1].rstrip("."))
    return rows, labels


def run(demo: Demo, home: Path) -> int:
    """Run all steps, and stop whatever was started; return the exit status."""
    started_s = time.monotonic()
    try:
        for step in (
            demo.train_locally, demo.train_as_job, demo.deploy, demo.predict, demo.predict_batch,
        ):  # fmt: skip
            step()
    except DemoError as error:
        print(f"\nThe demo FAILED: {error}", file=sys.stderr)
        log = home / "engine" / "logs" / "engine.log"
        if log.exists():
            print(f"Last lines of the engine's log:\n{log.read_text()[-3000:]}", file=sys.stderr)
        return 1
    finally:
        demo.stop()
    print(f"\nDone in {time.monotonic() - started_s:.0f} s. Nothing is left running. What next:")
    return 0


def main() -> int:
    """Run the demo in a folder that is removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="mlengine-demo-"))
    try:
        if run(Demo(home), home):
            return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print("""
  source .venv/bin/activate       # then `mlengine` is a command of yours
  mlengine up                     # an engine of your own, in ~/.mlengine
  cat docs/first-job.md           # your own trainer package as a job
  cat docs/migrate.md             # you come from gcloud ml-engine""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
