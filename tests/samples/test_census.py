"""The census sample does what its README says, run the way a user runs it: as a process."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

CENSUS = Path(__file__).resolve().parents[2] / "samples" / "census"
TRAIN, TEST = CENSUS / "data/adult.data.csv.gz", CENSUS / "data/adult.test.csv.gz"
SKLEARN, KERAS = CENSUS / "sklearn_trainer", CENSUS / "keras_trainer"
TORCH = CENSUS / "torch_trainer"

# What a serving process does: it has the libraries, and never heard of the trainer.
PREDICT_SKLEARN = """
import importlib.util, json, sys
assert importlib.util.find_spec("trainer") is None
import joblib
print(json.dumps(joblib.load(sys.argv[1]).predict(json.load(sys.stdin)).tolist()))
"""
PREDICT_KERAS = """
import importlib.util, json, sys
assert importlib.util.find_spec("trainer") is None
import tensorflow as tf
rows = json.load(sys.stdin)
answers = []
for directory in sys.argv[1:]:
    loaded = tf.saved_model.load(directory)  # owns the tables that the signature looks into
    serve = loaded.signatures["serving_default"]
    specs = serve.structured_input_signature[1]
    columns = {n: tf.constant([r[n] for r in rows], s.dtype) for n, s in specs.items()}
    answers.append({
        "inputs": {n: [s.dtype.name, s.shape.as_list()] for n, s in specs.items()},
        "label": [label.decode() for label in serve(**columns)["label"].numpy()],
        "probability": serve(**columns)["probability"].numpy().tolist(),
    })
print(json.dumps(answers))
"""


def command(package: Path, job_dir: Path, *flags: object, train: object = TRAIN) -> list[str]:
    files = train if isinstance(train, list) else [train]
    words = ["-m", "trainer.task", "--train-files", *files, "--eval-files", TEST]
    return [sys.executable, *map(str, [*words, *flags, "--job-dir", job_dir])]


def run(
    argv: Sequence[object], *, cwd: Path, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        input=stdin,
        env={**os.environ, **(env or {})},
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )


def train(package: Path, job_dir: Path, *flags: object, **options: Any) -> str:
    env = options.pop("env", None)
    done = run(command(package, job_dir, *flags, **options), cwd=package, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def predict(script: str, models: Sequence[Path], rows: object, *, cwd: Path) -> Any:
    done = run([sys.executable, "-c", script, *models], cwd=cwd, stdin=json.dumps(rows))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def metrics(job_dir: Path) -> dict[str, float]:
    parsed: dict[str, float] = json.loads((job_dir / "metrics.json").read_text())
    return parsed


def json_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def make_instances(*flags: object) -> list[str]:
    done = run([sys.executable, CENSUS / "make_instances.py", *flags, TEST], cwd=CENSUS)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def sklearn_job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A job directory of a full training that did not exist before, and what was printed."""
    job_dir = tmp_path_factory.mktemp("sklearn") / "made" / "on" / "demand"
    return job_dir, train(SKLEARN, job_dir, "--seed", 7)


@pytest.fixture(scope="module")
def keras_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    job_dir = tmp_path_factory.mktemp("keras") / "job"
    train(KERAS, job_dir, "--seed", 7)
    return job_dir


class TestData:
    def test_the_files_hold_the_rows_that_the_readme_counts(self) -> None:
        counts = [gzip.decompress(path.read_bytes()).count(b"\n") for path in (TRAIN, TEST)]
        assert counts == [32_561, 16_278]
        readme = (CENSUS / "data/README.md").read_text()
        assert all(f"{count:,}" in readme for count in counts)

    def test_the_trainers_carry_the_same_reader_and_report(self) -> None:
        for name in ("data.py", "report.py"):
            packages = (SKLEARN, KERAS, TORCH)
            copies = {(package / "trainer" / name).read_text() for package in packages}
            assert len(copies) == 1, name

    def test_the_instance_files_are_the_same_rows_of_the_test_file(self) -> None:
        every_row = [json.loads(line) for line in make_instances("--limit", 5)]
        every_object = [json.loads(line) for line in make_instances("--limit", 5, "--objects")]
        chosen = [0, 2, 3, 4]
        assert json_lines(CENSUS / "instances.jsonl") == [every_row[i] for i in chosen]
        assert json_lines(CENSUS / "instances_keras.jsonl") == [every_object[i] for i in chosen]


class TestSklearn:
    def test_it_is_right_about_86_in_100_people_it_has_not_seen(
        self, sklearn_job: tuple[Path, str]
    ) -> None:
        job_dir, _ = sklearn_job
        assert metrics(job_dir)["accuracy"] >= 0.86
        assert metrics(job_dir)["auc"] >= 0.92

    def test_accuracy_and_auc_are_each_a_line_of_the_log(
        self, sklearn_job: tuple[Path, str]
    ) -> None:
        job_dir, log = sklearn_job
        for name, value in metrics(job_dir).items():
            assert f"{name} = {value:.4f}" in log.splitlines()

    def test_the_export_needs_no_trainer_package_and_agrees_with_the_metrics(
        self, sklearn_job: tuple[Path, str], tmp_path: Path
    ) -> None:
        job_dir, _ = sklearn_job
        rows = [json.loads(line) for line in make_instances()]
        model = job_dir / "model/model.joblib"
        answers = predict(PREDICT_SKLEARN, [model], rows, cwd=tmp_path)
        labels = make_instances("--labels")
        right = sum(a == b for a, b in zip(answers, labels, strict=True))
        assert right / len(labels) == pytest.approx(metrics(job_dir)["accuracy"])

    def test_the_machine_operator_of_the_talks_earns_at_most_50k(
        self, sklearn_job: tuple[Path, str], tmp_path: Path
    ) -> None:
        rows = json_lines(CENSUS / "instances.jsonl")
        model = sklearn_job[0] / "model/model.joblib"
        assert predict(PREDICT_SKLEARN, [model], rows, cwd=tmp_path)[0] == "<=50K"

    def test_an_unseen_word_and_a_missing_number_still_get_an_answer(
        self, sklearn_job: tuple[Path, str], tmp_path: Path
    ) -> None:
        row = json_lines(CENSUS / "instances.jsonl")[0]
        rows = [[None, *row[1:]], [row[0], "Astronaut", *row[2:]], [row[0], None, *row[2:]]]
        model = sklearn_job[0] / "model/model.joblib"
        answers = predict(PREDICT_SKLEARN, [model], rows, cwd=tmp_path)
        assert set(answers) <= {"<=50K", ">50K"}
        assert len(answers) == len(rows)

    def test_the_same_seed_gives_the_same_metrics_and_predictions(self, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        for job_dir in (first, second):
            train(SKLEARN, job_dir, "--seed", 7, "--max-iter", 10)
        rows = [json.loads(line) for line in make_instances("--limit", 2000)]
        answers = [
            predict(PREDICT_SKLEARN, [job_dir / "model/model.joblib"], rows, cwd=tmp_path)
            for job_dir in (first, second)
        ]
        assert metrics(first) == metrics(second)
        assert answers[0] == answers[1]

    def test_plain_gzipped_and_split_files_train_the_same_model(self, tmp_path: Path) -> None:
        lines = gzip.decompress(TRAIN.read_bytes()).splitlines(keepends=True)
        whole, head, tail = (tmp_path / name for name in ("all.csv", "head.csv", "tail.csv"))
        whole.write_bytes(b"".join(lines))
        head.write_bytes(b"".join(lines[:10_000]))
        tail.write_bytes(b"".join(lines[10_000:]))
        sources: dict[str, object] = {"gz": TRAIN, "plain": whole, "split": [head, tail]}
        for name, source in sources.items():
            train(SKLEARN, tmp_path / name, "--max-iter", 10, train=source)
        assert metrics(tmp_path / "plain") == metrics(tmp_path / "gz")
        assert metrics(tmp_path / "split") == metrics(tmp_path / "gz")

    def test_ucis_own_spelling_of_the_test_file_is_read(self, tmp_path: Path) -> None:
        lines = gzip.decompress(TEST.read_bytes()).decode().splitlines()
        raw = tmp_path / "adult.test"
        raw.write_text("|1x3 Cross validator\n" + "".join(f"{line}.\n" for line in lines) + "\n")
        log = train(SKLEARN, tmp_path / "job", "--max-iter", 2, train=raw)
        assert f"training on {len(lines)} rows" in log

    def test_a_tuning_job_finds_the_accuracy_where_it_asked_for_it(self, tmp_path: Path) -> None:
        metric_file = tmp_path / "trial-3" / "output.metrics"
        env = {
            "CLOUD_ML_HP_METRIC_FILE": str(metric_file),
            "CLOUD_ML_HP_METRIC_TAG": "census_accuracy",
            "CLOUD_ML_TRIAL_ID": "3",
        }
        train(SKLEARN, tmp_path / "job", "--max-iter", 2, env=env)
        (record,) = json_lines(metric_file)
        assert isinstance(record.pop("timestamp"), float)
        assert record == {
            "census_accuracy": str(metrics(tmp_path / "job")["accuracy"]),
            "checkpoint_path": "",
            "global_step": "2",
            "trial": "3",
        }

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("39, Private, 77516, <=50K\n", "bad.csv:1: 4 values where a census row has 15"),
            ("39" + ", x" * 13 + ", <=50K\n", "fnlwgt is 'x', which is not a number"),
            ("\n1, x, 1, x, 1, x, x, x, x, x, 1, 1, 1, x, rich\n", "bad.csv:2: label 'rich'"),
            ("", "No census rows in "),
        ],
        ids=["too few values", "a word for a number", "no such label", "an empty file"],
    )
    def test_a_file_that_is_no_census_table_fails_by_name(
        self, tmp_path: Path, text: str, complaint: str
    ) -> None:
        bad = tmp_path / "bad.csv"
        bad.write_text(text)
        done = run(command(SKLEARN, tmp_path / "job", train=bad), cwd=SKLEARN)
        assert done.returncode == 1
        assert complaint in done.stderr.splitlines()[-1]
        assert not (tmp_path / "job").exists()


@pytest.mark.parametrize("package", [SKLEARN, KERAS], ids=lambda path: path.name)
def test_the_package_builds_a_source_distribution(package: Path, tmp_path: Path) -> None:
    copy = copytree(package, tmp_path / "copy")
    done = run([sys.executable, "setup.py", "-q", "sdist"], cwd=copy)
    assert done.returncode == 0, done.stderr
    (archive,) = (copy / "dist").iterdir()
    with tarfile.open(archive) as packed:
        names = {Path(name).relative_to(Path(name).parts[0]) for name in packed.getnames()}
    modules = {path.relative_to(copy) for path in (copy / "trainer").glob("*.py")}
    assert modules
    assert modules <= names


class TestKeras:
    def test_it_is_right_about_85_in_100_people_it_has_not_seen(self, keras_job: Path) -> None:
        assert metrics(keras_job)["accuracy"] >= 0.85
        assert metrics(keras_job)["auc"] >= 0.90

    def test_the_signature_takes_raw_columns_and_answers_label_and_probability(
        self, keras_job: Path, tmp_path: Path
    ) -> None:
        people = json_lines(CENSUS / "instances_keras.jsonl")
        (answer,) = predict(PREDICT_KERAS, [keras_job / "model"], people, cwd=tmp_path)
        numeric = {name for name, value in people[0].items() if isinstance(value, int)}
        assert answer["inputs"] == {
            name: ["float32" if name in numeric else "string", [None]] for name in people[0]
        }
        assert answer["label"][0] == "<=50K"
        assert answer["label"] == [">50K" if p > 0.5 else "<=50K" for p in answer["probability"]]

    def test_spaces_around_words_change_nothing_and_unknowns_get_an_answer(
        self, keras_job: Path, tmp_path: Path
    ) -> None:
        person = json_lines(CENSUS / "instances_keras.jsonl")[0]
        spaced = {k: f" {v} " if isinstance(v, str) else v for k, v in person.items()}
        stranger = {k: "new" if isinstance(v, str) else float("nan") for k, v in person.items()}
        people = [person, spaced, stranger]
        (answer,) = predict(PREDICT_KERAS, [keras_job / "model"], people, cwd=tmp_path)
        plain, with_spaces, unknown = answer["probability"]
        assert with_spaces == pytest.approx(plain, rel=1e-5)
        assert 0 < unknown < 1

    def test_the_same_seed_gives_the_same_metrics_and_predictions(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorflow")
        some = tmp_path / "some.csv"
        some.write_bytes(b"".join(gzip.decompress(TRAIN.read_bytes()).splitlines(True)[:2000]))
        jobs = [tmp_path / "first", tmp_path / "second"]
        for job_dir in jobs:
            train(KERAS, job_dir, "--num-epochs", 2, "--seed", 7, train=some)
        people = [json.loads(line) for line in make_instances("--limit", 500, "--objects")]
        first, second = predict(
            PREDICT_KERAS, [job_dir / "model" for job_dir in jobs], people, cwd=tmp_path
        )
        assert metrics(jobs[0]) == metrics(jobs[1])
        assert first == second
