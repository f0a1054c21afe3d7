"""Every framework by the commands of a person: a folder here, a version there, the same answers."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.engines import LiveEngine
from tests.live.terminal import mlengine

CENSUS = Path(__file__).parents[2] / "samples" / "census"
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


def _iris() -> Any:
    return pytest.importorskip("sklearn.datasets").load_iris(return_X_y=True)


def _classifier() -> Any:
    data, kinds = _iris()
    return (
        pytest.importorskip("sklearn.linear_model")
        .LogisticRegression(max_iter=500)
        .fit(data, kinds)
    )


def _save_sklearn(folder: Path) -> None:
    pytest.importorskip("joblib").dump(_classifier(), folder / "model.joblib")


def _save_booster(name: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        xgboost = pytest.importorskip("xgboost")
        data, kinds = _iris()
        matrix = xgboost.DMatrix(data, (kinds == 0).astype(int))
        booster = xgboost.train({"objective": "binary:logistic"}, matrix, 5)
        if name == "model.bst":  # the name that old trainers give to the binary form
            (folder / name).write_bytes(booster.save_raw("ubj"))
        else:
            booster.save_model(folder / name)

    return save


def _save_onnx(folder: Path) -> None:
    numpy = pytest.importorskip("numpy")
    sample = numpy.asarray(FLOWERS[:1], numpy.float32)
    model = pytest.importorskip("skl2onnx").to_onnx(
        _classifier(), sample, options={"zipmap": False}
    )
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _save_keras(folder: Path) -> None:
    keras = pytest.importorskip("keras")
    total = keras.layers.Dense(1, name="total", kernel_initializer="ones", use_bias=False)
    keras.Sequential([keras.Input((4,), name="flower"), total]).save(folder / "model.keras")


SIMPLE: dict[str, tuple[Callable[[Path], None], list[Any]]] = {
    "scikit-learn": (_save_sklearn, [0, 2]),
    "xgboost bst": (_save_booster("model.bst"), [0.854, 0.078]),
    "xgboost json": (_save_booster("model.json"), [0.854, 0.078]),
    "xgboost ubj": (_save_booster("model.ubj"), [0.854, 0.078]),
    "onnx": (_save_onnx, [0, 2]),
    "keras": (_save_keras, [10.2, 17.2]),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_a_model_answers_the_same_here_and_deployed(
    engine: LiveEngine, name: str, tmp_path: Path
) -> None:
    save, expected = SIMPLE[name]
    framework, _space, version = name.partition(" ")
    (tmp_path / "model").mkdir()
    save(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(f"{row}\n" for row in FLOWERS))
    (tmp_path / "body.json").write_text(json.dumps({"instances": FLOWERS}))
    model = framework.replace("-", "_")
    rows = ("--json-instances", "rows.jsonl", "--format", "json")

    if not version or version == "bst":
        mlengine(engine, "models", "create", model, cwd=tmp_path)
    mlengine(
        engine, "versions", "create", version or "v1", "--model", model, "--origin", "model",
        "--framework", framework, "--staging-bucket", "gs://mine", cwd=tmp_path,
    )  # fmt: skip
    asked = ("predict", "--model", model, "--version", version or "v1")
    deployed = json.loads(mlengine(engine, *asked, *rows, cwd=tmp_path).stdout)
    if framework == "scikit-learn":
        whole = ("--json-request", "body.json", "--format", "json")
        assert json.loads(mlengine(engine, *asked, *whole, cwd=tmp_path).stdout) == deployed
    if version in ("", "bst") and framework != "keras":  # the text below goes through TensorFlow
        here = mlengine(
            engine, "local", "predict", "--model-dir", "model", "--framework", framework, *rows,
            cwd=tmp_path,
        )  # fmt: skip
        assert json.loads(here.stdout) == deployed
    answers = [_first(row) for row in deployed["predictions"]]
    assert answers == pytest.approx(expected, abs=0.001)


def test_a_network_is_explained_by_its_gradients(engine: LiveEngine, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    _save_keras(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text(f"{FLOWERS[0]}\n")
    mlengine(engine, "models", "create", "gradients", cwd=tmp_path)
    mlengine(
        engine, "versions", "create", "v1", "--model", "gradients", "--origin", "model",
        "--staging-bucket", "gs://mine", "--explanation-method", "integrated-gradients",
        "--num-integral-steps", "5", cwd=tmp_path,
    )  # fmt: skip
    asked = ("explain", "--model", "gradients", "--json-instances", "rows.jsonl")
    answer = json.loads(mlengine(engine, *asked, cwd=tmp_path).stdout)
    ((one,),) = (each["attributions_by_label"] for each in answer["explanations"])
    assert one["attributions"]["flower"] == pytest.approx(FLOWERS[0], abs=1e-4)  # all weights are 1
    assert (one["output_name"], one["baseline_score"]) == ("total", 0.0)
    drawn = mlengine(engine, *asked, "--chart", cwd=tmp_path).stdout
    assert drawn.splitlines()[0] == "Instance 0: total 0 is 10.2, and 0 at the baseline (+10.2)"
    assert drawn.splitlines()[1].split()[:2] == ["flower[0]", "+5.1"]


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("keras", "compiled: plain numbers, "),
        ("xgboost ubj", "compiled: Booster in plain numbers, "),
    ],
)
def test_a_compiled_version_answers_and_explains_as_the_original_would(
    engine: LiveEngine, name: str, way: str, tmp_path: Path
) -> None:
    pytest.importorskip("tf2onnx")
    save, expected = SIMPLE[name]
    (tmp_path / "model").mkdir()
    save(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(f"{row}\n" for row in FLOWERS))
    model = f"compiled_{name.partition(' ')[0]}"
    mlengine(engine, "models", "create", model, cwd=tmp_path)
    mlengine(
        engine, "versions", "create", "v1", "--model", model, "--origin", "model",
        "--staging-bucket", "gs://mine", "--compile", "onnx",
        "--explanation-method", "sampled-shapley", "--num-paths", "4", cwd=tmp_path, timeout_s=600,
    )  # fmt: skip
    logs = [path.read_text() for path in (engine.home / "logs").glob("worker-*.log")]
    assert any(f"Answers are given this way: {way}" in log for log in logs)

    asked = ("--model", model, "--json-instances", "rows.jsonl")
    answers = mlengine(engine, "predict", *asked, "--format", "json", cwd=tmp_path)
    found = [_first(row) for row in json.loads(answers.stdout)["predictions"]]
    assert found == pytest.approx(expected, abs=0.001)
    told = json.loads(mlengine(engine, "explain", *asked, cwd=tmp_path).stdout)["explanations"]
    for each, prediction in zip(told, expected, strict=True):
        (one,) = each["attributions_by_label"]
        (shares,) = one["attributions"].values()
        assert one["baseline_score"] + sum(shares) == pytest.approx(prediction, abs=0.001)

    refused = mlengine(
        engine, "versions", "create", "v2", "--model", model, "--origin", "model",
        "--staging-bucket", "gs://mine", "--compile", "onnx",
        "--explanation-method", "integrated-gradients", cwd=tmp_path, code=1,
    )  # fmt: skip
    assert "which a compiled version does without" in refused.stderr


def _first(answer: Any) -> Any:
    """Take the label or number out of an answer with named outputs."""
    while isinstance(answer, dict | list):
        answer = next(iter(answer.values())) if isinstance(answer, dict) else answer[0]
    return answer


def test_lines_of_text_go_to_the_signature_that_is_named(
    engine: LiveEngine, tmp_path: Path
) -> None:
    tf = pytest.importorskip("tensorflow")

    class Text(tf.Module):  # type: ignore[misc, name-defined]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="line")])
        def length(self, line: Any) -> dict[str, Any]:
            return {"length": tf.strings.length(line)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="line")])
        def upper(self, line: Any) -> dict[str, Any]:
            return {"upper": tf.strings.upper(line)}

    text = Text()
    signatures = {"serving_default": text.length, "loud": text.upper}
    tf.saved_model.save(text, str(tmp_path / "model"), signatures=signatures)
    (tmp_path / "lines.txt").write_text("hello\nworld, wide\n")
    lines = ("--text-instances", "lines.txt")
    mlengine(engine, "models", "create", "text", cwd=tmp_path)
    mlengine(
        engine, "versions", "create", "v1", "--model", "text", "--origin", "model",
        "--staging-bucket", "gs://mine", cwd=tmp_path,
    )  # fmt: skip
    asked = ("predict", "--model", "text", *lines)
    assert mlengine(engine, *asked, cwd=tmp_path).stdout == "LENGTH\n5\n11\n"
    loud = ("--signature-name", "loud")
    said = "UPPER\nHELLO\nWORLD, WIDE\n"
    assert mlengine(engine, *asked, *loud, cwd=tmp_path).stdout == said
    here = mlengine(engine, "local", "predict", "--model-dir", "model", *lines, *loud, cwd=tmp_path)
    # On some processors TensorFlow greets before it has read how little it is to say.
    greetings = ("WARNING: All log messages before absl", "I0000 ")
    ours = [line for line in here.stderr.splitlines() if not line.startswith(greetings)]
    assert (here.stdout, ours) == (said, [])
    refused = mlengine(engine, *asked, "--signature-name", "soft", cwd=tmp_path, code=1)
    assert "The model has: loud, serving_default." in refused.stderr


def test_the_keras_sample_goes_from_package_to_answers(engine: LiveEngine, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    for name in ("data", "test"):
        with gzip.open(CENSUS / "data" / f"adult.{name}.csv.gz", "rt") as rows:
            some = "".join(itertools.islice(rows, 500))
        engine.client.write_object("mine", f"census/{name}.csv", [some.encode()])
    mlengine(
        engine, "jobs", "submit", "training", "keras_1", "--module-name", "trainer.task",
        "--package-path", str(CENSUS / "keras_trainer" / "trainer"), "--job-dir", "gs://mine/keras_1",
        "--stream-logs", "--", "--train-files", "gs://mine/census/data.csv",
        "--eval-files", "gs://mine/census/test.csv", "--num-epochs", "1", cwd=tmp_path,
    )  # fmt: skip
    assert any(line.startswith("accuracy = 0.") for line in engine.lines("keras_1"))
    mlengine(engine, "models", "create", "people", cwd=tmp_path)
    mlengine(
        engine, "versions", "create", "v1", "--model", "people",
        "--origin", "gs://mine/keras_1/model", cwd=tmp_path,
    )  # fmt: skip
    people = str(CENSUS / "instances_keras.jsonl")
    table = mlengine(
        engine, "predict", "--model", "people", "--json-instances", people, cwd=tmp_path
    )
    heading, *answers = table.stdout.splitlines()
    assert heading.split() == ["LABEL", "PROBABILITY"]
    for label, probability in map(str.split, answers):
        assert label == (">50K" if float(probability) > 0.5 else "<=50K")
    assert len(answers) == 4
