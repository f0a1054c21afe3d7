"""The whole way of the census Keras trainer: twenty trials over REST, the best one deployed.

Run ``python -m benchmarks.tuning.census``. An engine on a fresh home gets

* a tuning job: the space of ``samples/census/hptuning.yaml``, submitted with one POST. Its trials
  learn from four fifths of UCI's training file and are judged by the other fifth;
* a training with the trainer's defaults and one with the best trial's values for each seed. Those
  learn from the whole training file and are judged by UCI's test file, which nobody has seen.

Then the model of every trial is loaded and asked, and the best one's goes through `mlengine
versions create --from-job`. It fails unless all of that works. ``--environments`` names a folder
of built runtimes to share, so that TensorFlow is not installed once more.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.training import Bench
from mlengine.core.resources import Bucket, Job, Model, TrainingInput
from mlengine.training.packaging import build_packages

CENSUS = Path(__file__).parents[2] / "samples" / "census"
BUCKET, TUNED = "census", "census_tuned"
RUNTIME = "2.21"
_EVERY = 5  # of so many training rows one judges trials instead

# Loads SavedModels one after the other, and asks each for the same people.
_ASK = """
import json, pathlib, sys
import tensorflow as tf
people = [json.loads(line) for line in open(sys.argv[1])]
for folder in sys.argv[2:]:
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    kinds = serve.structured_input_signature[1]
    columns = {n: tf.constant([p[n] for p in people], spec.dtype) for n, spec in kinds.items()}
    found = serve(**columns)["probability"].numpy().tolist()
    assert len(found) == len(people) and all(0 <= p <= 1 for p in found), folder
    print(folder, found, flush=True)
"""


def main() -> int:
    """Run it all; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--environments", type=Path, help="folder of built runtimes to share")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="mlengine-bench-"))
    if options.environments:
        (work / "home").mkdir(mode=0o700)
        (work / "home" / "environments").symlink_to(options.environments.resolve())
    os.environ["MLENGINE_MAX_RUNNING_JOBS"] = "2"
    bench = Bench(work)
    try:
        bench.start_engine()
        figures = _measure(bench, options.trials, options.seeds)
    finally:
        bench.close()
    for name, value in figures.items():
        print(f"{name:44} {value}")
    return 0


def _measure(bench: Bench, trials: int, seeds: Sequence[int]) -> dict[str, Any]:
    _upload(bench)
    began_s = time.monotonic()
    best = _tune(bench, trials)
    tuned_s = time.monotonic() - began_s
    flags = [f"--{name}={value}" for name, value in best["hyperparameters"].items()]
    _show(f"the best is trial {best['trialId']}: {' '.join(flags)}")
    usable = _ask_every_trial(bench)
    _show(f"{usable} models of {trials} were loaded and asked")
    answers = _deploy(bench)
    before = _judge(bench, "defaults", [], seeds)
    after = _judge(bench, "best", flags, seeds)
    gains = [new - old for new, old in zip(after, before, strict=True)]
    return {
        "tuning, wall (s)": f"{tuned_s:.0f}",
        "best trial": f"{best['trialId']}: {' '.join(flags)}",
        "its AUC on the validation rows": f"{best['finalMetric']['objectiveValue']:.4f}",
        "trials whose model answers": f"{usable} of {trials}",
        "v2 answers": json.dumps(answers),
        "held-out AUC, defaults": _spread(before),
        "held-out AUC, best trial's values": _spread(after),
        "gain, by seed": " ".join(f"{gain:+.4f}" for gain in gains),
    }


def _upload(bench: Bench) -> None:
    bench.engine.create_bucket(Bucket(name=BUCKET))
    files = {name: CENSUS / "data" / f"adult.{name}.csv.gz" for name in ("data", "test")}
    rows = gzip.decompress(files["data"].read_bytes()).splitlines(keepends=True)
    judging = rows[::_EVERY]
    learning = [row for i, row in enumerate(rows) if i % _EVERY]
    for name, some in {"train": learning, "validation": judging, "all": rows}.items():
        bench.engine.write_object(BUCKET, f"data/{name}.csv", [b"".join(some)])
    test = gzip.decompress(files["test"].read_bytes())
    bench.engine.write_object(BUCKET, "data/test.csv", [test])
    built = bench.work / "packages"
    built.mkdir()
    (archive,) = build_packages(CENSUS / "keras_trainer" / "trainer", built)
    bench.engine.write_object(BUCKET, "trainer.tar.gz", [archive.read_bytes()])


def _submit(
    bench: Bench, job_id: str, learn: str, judge: str, *words: str,
    hyperparameters: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    data = f"gs://{BUCKET}/data"
    spec = TrainingInput(
        region="local",
        runtime_version=RUNTIME,
        python_module="trainer.task",
        package_uris=[f"gs://{BUCKET}/trainer.tar.gz"],
        job_dir=f"gs://{BUCKET}/{job_id}",
        args=["--threads", "1", "--train-files", f"{data}/{learn}.csv",
              "--eval-files", f"{data}/{judge}.csv", *words],
        hyperparameters=dict(hyperparameters) if hyperparameters else None,
    )  # fmt: skip
    bench.engine.create_job("default", Job(job_id=job_id, training_input=spec))


def _tune(bench: Bench, trials: int) -> dict[str, Any]:
    """Run the tuning job; return its best trial."""
    config = yaml.safe_load((CENSUS / "hptuning.yaml").read_text())
    asked = config["trainingInput"]["hyperparameters"] | {"maxTrials": trials}
    _submit(bench, TUNED, "train", "validation", hyperparameters=asked)
    _end(bench, TUNED)
    output = bench.engine.get_job("default", TUNED).training_output
    assert output is not None
    assert output.completed_trial_count == len(output.trials) == trials, output.trials
    for trial in output.trials:
        value = trial["finalMetric"]["objectiveValue"]
        _show(f"trial {trial['trialId']}: {value:.4f} {json.dumps(trial['hyperparameters'])}")
    best: dict[str, Any] = output.trials[0]
    return best


def _judge(bench: Bench, name: str, flags: Sequence[str], seeds: Sequence[int]) -> list[float]:
    """Train once for each seed; return the AUCs on the rows that nobody has seen."""
    jobs = {seed: f"{name}_{seed}" for seed in seeds}
    for seed, job_id in jobs.items():
        _submit(bench, job_id, "all", "test", "--seed", str(seed), *flags)
    found = []
    for seed, job_id in jobs.items():
        _end(bench, job_id)
        metrics = json.loads(b"".join(bench.engine.read_object(BUCKET, f"{job_id}/metrics.json")))
        _show(f"{name}, seed {seed}: {metrics}")
        found.append(float(metrics["auc"]))
    return found


def _end(bench: Bench, job_id: str) -> None:
    state = bench.wait(job_id)
    job = bench.engine.get_job("default", job_id)
    assert state == "SUCCEEDED", f"{job_id}: {state}: {job.error_message}"


def _ask_every_trial(bench: Bench) -> int:
    """Load what every trial exported; return how many answer."""
    root = bench.work / "home" / "buckets" / BUCKET / TUNED
    folders = [str(trial / "model") for trial in root.iterdir() if trial.name.isdigit()]
    people = str(CENSUS / "instances_keras.jsonl")
    asked = [sys.executable, "-c", _ASK, people, *folders]
    done = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True)
    return len(done.stdout.splitlines())


def _deploy(bench: Bench) -> Any:
    """Deploy the best trial's model by the command that users type; return what it answers."""
    bench.engine.create_model("default", Model(name="census"))
    bench.run("versions", "create", "v2", "--model", "census", "--from-job", TUNED)
    people = (CENSUS / "instances_keras.jsonl").read_text().splitlines()
    body = {"instances": [json.loads(line) for line in people]}
    reply = bench.engine.predict("default", "census", "", json.dumps(body).encode())
    found = json.loads(reply.body)["predictions"]
    assert {answer["label"] for answer in found} <= {"<=50K", ">50K"}, found
    return [answer["label"] for answer in found]


def _spread(values: Sequence[float]) -> str:
    each = " ".join(f"{value:.4f}" for value in values)
    return f"{statistics.mean(values):.4f} (seeds: {each})"


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
