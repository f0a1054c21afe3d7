"""`mlengine predict` and `local predict`: what is sent, and how answers look."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.cli.predictions import show_answer
from mlengine.engine import PredictReply
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run

ANSWERS = {
    "rows of objects are a table": (
        {"predictions": [{"dense_4": [0.68], "a": 1}, {"dense_4": [0.2], "a": 2}]},
        "A  DENSE_4\n1  [0.68]\n2  [0.2]\n",
    ),
    "one column is the recorded one": (
        {"predictions": [{"dense_4": [0.68]}]}, "DENSE_4\n[0.68]\n"
    ),
    "numbers are one line": ({"predictions": [0.0913, 0.4006]}, "[0.0913, 0.4006]\n"),
    "booleans are as recorded": ({"predictions": [False]}, "[False]\n"),
    "xgboost's digits are all there": (
        {"predictions": [0.09139516949653625]}, "[0.09139516949653625]\n"
    ),
    "no prediction is nothing": ({"predictions": []}, ""),
    "an error is JSON": ({"error": "Prediction failed"}, '{\n  "error": "Prediction failed"\n}\n'),
    "a key may be any text": ({"predictions": [{"a b(": "x\ny"}]}, "A B(\nx\\ny\n"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "text"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_shown_by_its_first_prediction(answer: Any, text: str) -> None:
    assert show_answer(json.dumps(answer).encode(), None) == text


JSON = st.recursive(
    st.none() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_any_answer_can_be_shown(answer: Any) -> None:
    for body in (answer, {"predictions": answer}, {"predictions": [answer]}):
        assert "\x1b" not in show_answer(json.dumps(body).encode(), None)


@pytest.fixture
def asked(engine: FakeEngine) -> list[Any]:
    """What the model was asked; it answers with the instances."""
    found: list[Any] = []

    def predict(project: str, model: str, version: str, body: bytes) -> PredictReply:
        request = json.loads(body)
        found.append((project, model, version, request))
        answer = {"predictions": request["instances"]}
        return PredictReply(200, json.dumps(answer).encode())

    engine.predict = predict  # type: ignore[method-assign]
    return found


def test_json_lines_are_sent_as_they_are(run: Run, asked: list[Any]) -> None:
    text = '\ufeff{"age": 25}\r\n{"age": 38}\n'
    done = run("predict", "--model=m", "--version=v", "--json-instances=-",
               "--signature-name=s", stdin=text)  # fmt: skip
    assert done == (0, "AGE\n25\n38\n", "")
    request = {"instances": [{"age": 25}, {"age": 38}], "signature_name": "s"}
    assert asked == [("default", "m", "v", request)]


def test_text_lines_are_strings(run: Run, asked: list[Any]) -> None:
    assert run("predict", "--model=m", "--text-instances=-", stdin="1,2\n3\n").out == (
        "['1,2', '3']\n"
    )


def test_of_a_request_only_the_instances_are_used(run: Run, asked: list[Any]) -> None:
    done = run("predict", "--model=m", "--json-request=-", stdin='{"instances": [[1]], "x": 2}')
    assert done.err == "WARNING: Of the request only its instances are sent, not 'x'.\n"
    assert asked[0][3] == {"instances": [[1]]}
    many = json.dumps({"instances": list(range(500))})
    assert run("predict", "--model=m", "--json-request=-", stdin=many).code == 0


BAD = {
    "an empty line": ("--json-instances=-", "1\n\n2\n", "Empty line is not allowed in the inst"),
    "too many lines": ("--text-instances=-", "x\n" * 101, "no more than 100 instances"),
    "no line": ("--json-instances=-", "", "No valid instance was found"),
    "broken JSON": ("--json-instances=-", "1\n{\n", "Line 2 is not JSON"),
    "NaN": ("--json-instances=-", "NaN\n", "NaN is not allowed"),
    "no instances": ("--json-request=-", "{}", 'Invalid JSON request: missing "instances" attrib'),
    "instances that are no list": (
        "--json-request=-", '{"instances": 1}', '"instances" must be a list'
    ),
    "a file that is not there": ("--json-request=/nowhere", "", "Unable to read file [/nowhere]"),
    "nesting without end": ("--json-instances=-", "[" * 100_000, "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize(("flag", "text", "message"), BAD.values(), ids=BAD)
def test_bad_instances_are_found_before_anything_is_sent(
    run: Run, asked: list[Any], flag: str, text: str, message: str
) -> None:
    done = run("predict", "--model=m", flag, stdin=text)
    assert done.code == 1 and not done.out and not asked
    assert done.err.startswith("ERROR: (mlengine.predict) ") and message in done.err


def test_exactly_one_file_is_needed(run: Run) -> None:
    assert run("predict", "--model=m").code == 2
    assert run("predict", "--model=m", "--json-instances=-", "--text-instances=-").code == 2


def test_a_refused_prediction_shows_the_whole_answer(run: Run) -> None:
    assert run("predict", "--model=m", "--json-instances=-", stdin="1\n") == (
        1,
        "",
        (
            "ERROR: (mlengine.predict) HTTP request failed. Response: "
            '{"error":{"code":404,"status":"NOT_FOUND"}}\n'
        ),
    )


def test_format_goes_before_the_shape(run: Run, asked: list[Any]) -> None:
    done = run("predict", "--model=m", "--json-instances=-", "--format=json", stdin="1\n2\n")
    assert json.loads(done.out) == {"predictions": [1, 2]}
    done = run("predict", "--model=m", "--json-instances=-", "--format=value(a)", stdin='{"a":1}\n')
    assert done.out == "1\n"


@pytest.mark.parametrize(
    ("form", "text"),
    [("value(predictions[0].k[0])", "1\n"), ("value(predictions[].k)", "1;2\n"),
     ("csv[no-heading](predictions[1].k)", "2\n"), ("value(k)", "1\n2\n")],
)  # fmt: skip
def test_a_column_may_start_at_the_whole_answer(
    run: Run, asked: list[Any], form: str, text: str
) -> None:
    words = ["predict", "--model=m", "--json-instances=-", f"--format={form}"]
    done = run(*words, stdin='{"k": [1]}\n{"k": [2]}\n')
    assert (done.code, done.out) == (0, text)


FLATTENED = {
    "the answer, where a key starts at its predictions": (
        ("--flatten=predictions[]", "--format=value(predictions.k)"), "1;2\n3\n"
    ),
    "twice": (
        ("--flatten=predictions[],predictions.k[]", "--format=csv(predictions.k)"),
        "k\n1\n2\n3\n",
    ),
    "each prediction, where these are shown": (
        ("--flatten=k[]", "--format=value(k)"), "1\n2\n3\n"
    ),
    "a table without a format": (("--flatten=k[]",), "K\n1\n2\n3\n"),
    "JSON, which is a list then": (
        ("--flatten=predictions[]", "--format=json(predictions.k)"),
        json.dumps([{"predictions": {"k": k}} for k in ([1, 2], [3])], indent=2) + "\n",
    ),
    "JSON without a format": (
        ("--flatten= predictions[],predictions.k",),
        json.dumps([{"predictions": {"k": k}} for k in (1, 2, 3)], indent=2) + "\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "text"), FLATTENED.values(), ids=FLATTENED)
def test_flatten_takes_lists_apart(
    run: Run, asked: list[Any], flags: tuple[str, ...], text: str
) -> None:
    lines = '{"k": [1, 2]}\n{"k": [3]}\n'
    assert run("predict", "--model=m", "--json-instances=-", *flags, stdin=lines) == (0, text, "")


def test_flags_of_lists_are_refused_by_name(run: Run, asked: list[Any]) -> None:
    for flag in ("--filter=a:b", "--sort-by=a", "--limit=1", "--page-size=1", "--uri"):
        done = run("predict", "--model=m", "--json-instances=-", flag, stdin="1\n")
        assert done.code == 2 and f"arguments: {flag.split('=')[0]} (it goes with" in done.err
    assert not asked


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    joblib = pytest.importorskip("joblib")
    from sklearn.linear_model import LogisticRegression

    (tmp_path / "model").mkdir()
    model = LogisticRegression().fit([[0, 0], [1, 1]], [False, True])
    joblib.dump(model, tmp_path / "model" / "model.joblib")
    return tmp_path / "model"


def test_a_local_model_answers_without_an_engine(run: Run, classifier: Path) -> None:
    words = ["local", "predict", f"--model-dir={classifier}", "--framework=scikit-learn"]
    done = run(*words, "--json-instances=-", stdin="[1, 2]\n[0, -1]\n")
    assert done == (0, "[True, False]\n", "")
    one_by_one = ["--flatten=predictions[]", "--format=value(predictions)"]
    done = run(*words, *one_by_one, "--json-instances=-", stdin="[1, 2]\n[0, -1]\n")
    assert done == (0, "True\nFalse\n", "")


def test_a_model_in_a_bucket_is_fetched(run: Run, engine: FakeEngine, classifier: Path) -> None:
    run("storage", "buckets", "create", "models")
    assert run("storage", "cp", "-r", str(classifier), "gs://models/m").code == 0
    words = ["local", "predict", "--model-dir=gs://models/m"]
    assert run(*words, "--json-instances=-", stdin="[1, 2]\n").out == "[True]\n"


def test_a_bad_row_is_the_models_own_message(run: Run, classifier: Path) -> None:
    words = ["local", "predict", f"--model-dir={classifier}", "--text-instances=-"]
    done = run(*words, stdin="x\n")
    assert done.code == 1 and "Prediction failed" in done.err and "Traceback" not in done.err
    assert (
        run("local", "predict", "--model-dir=/nowhere", "--text-instances=-", stdin="x").code == 1
    )


def test_a_routine_is_tried_with_its_package(run: Run, tmp_path: Path) -> None:
    for name in ("lengths", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "lengths" / "__init__.py").write_text(
        "class Routine:\n"
        "    def predict(self, instances, **kwargs): return [len(one) for one in instances]\n"
        "    @classmethod\n"
        "    def from_path(cls, model_dir): return cls()\n"
    )
    words = ["local", "predict", f"--model-dir={tmp_path / 'model'}", "--text-instances=-"]
    packed = [*words, f"--package={tmp_path / 'lengths'}"]
    before = os.umask(0o002)
    try:
        done = run(*packed, "--prediction-class=lengths.Routine", stdin="two\nthree\n")
    finally:
        os.umask(before)
    assert done.out == "[3, 5]\n", done.err
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700  # as an engine wants it
    done = run(*packed, "--prediction-class=lenghts.Routine", stdin="two\n")
    assert done.code == 1 and f"the package_uris: ['{tmp_path / 'lengths'}']" in done.err
    done = run(*words, "--prediction-class=nowhere.Routine", stdin="two\n")
    assert done.code == 1 and "nowhere.Routine cannot be found" in done.err
    done = run(*words, "--prediction-class=a.B", "--framework=onnx", stdin="two\n")
    assert done.code == 1 and "leave --framework out" in done.err
