"""The rules of section 5.1 for TensorFlow, on a SavedModel with several signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlengine.runtime.frameworks import Model, ask, load
from mlengine.runtime.frameworks.tensorflow import SavedModel, brief
from mlengine.runtime.prediction_error import ErrorClass, PredictionError

tf = pytest.importorskip("tensorflow")


class _Functions(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable([[1.0], [2.0]])

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def matrix(self, x: Any) -> Any:
        return {"y": tf.matmul(x, self.weights)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="a"),
            tf.TensorSpec([None], tf.string, name="s"),
        ]
    )
    def two(self, a: Any, s: Any) -> Any:
        return {"twice": a * 2, "copy_bytes": s, "text": s}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="raw")])
    def text(self, raw: Any) -> Any:
        return {"length": tf.strings.length(raw)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="i")])
    def lookup(self, i: Any) -> Any:
        return {"value": tf.gather(tf.constant([10, 20, 30]), i)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="d")])
    def inverse(self, d: Any) -> Any:
        return {"inverse": 1.0 / d}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="d")])
    def total(self, d: Any) -> Any:
        return {"total": tf.reduce_sum(d)}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    functions = _Functions()
    names = ["two", "text", "lookup", "inverse", "total"]
    signatures = {name: getattr(functions, name) for name in names}
    tf.saved_model.save(
        functions, str(folder), signatures={"serving_default": functions.matrix, **signatures}
    )
    return folder


@pytest.fixture(scope="module")
def model(directory: Path) -> Model:
    return load(directory, framework="TENSORFLOW")


GOOD = {
    "a bare value for the one input": ([[1, 2]], "", [{"y": [5.0]}]),
    "an object for the one input": ([{"x": [1, 2]}], "", [{"y": [5.0]}]),
    "both in one request": ([{"x": [1, 2]}, [0, 1]], "", [{"y": [5.0]}, {"y": [2.0]}]),
    "the default by its name": ([[1, 2]], "serving_default", [{"y": [5.0]}]),
    "a text": (["abc"], "text", [{"length": 3}]),
    "bytes": ([{"b64": "AAE="}, "x"], "text", [{"length": 2}, {"length": 1}]),
    "bytes by name": ([{"raw": {"b64": "AAE="}}], "text", [{"length": 2}]),
    "_bytes outputs are base64, others text": (
        [{"a": 1, "s": {"b64": "aGk="}}], "two",
        [{"copy_bytes": {"b64": "aGk="}, "text": "hi", "twice": 2.0}]),
    "whole floats for integers": ([1.0, 2], "lookup", [{"value": 20}, {"value": 30}]),
}  # fmt: skip


@pytest.mark.parametrize(("instances", "signature", "answer"), GOOD.values(), ids=GOOD.keys())
def test_answers(model: Model, instances: list[Any], signature: str, answer: list[Any]) -> None:
    assert ask(model, instances, {"signature_name": signature} if signature else {}) == answer


BAD = {
    "a wrong name": (
        [{"b": [1, 2]}], "", 1, "Expected tensor name: x, got tensor name: ['b']."),
    "an unknown name": (
        [{"a": 1, "s": "x", "k": 2}], "two", 1, "Unexpected tensor name: k"),
    "missing in one row": (
        [{"a": 1, "s": "x"}, {"a": 1}], "two", 1,
        "Input s was missing in at least one input instance."),
    "a list for several inputs": ([[1, "x"]], "two", 1, "expected an object with the inputs"),
    "an unknown signature": ([[1]], "X", 1, "No signature found for signature key X."),
    "broken base64": ([{"b64": "*"}], "text", 1, "not valid base64"),
    "base64 of a number": ([{"b64": 1}], "text", 1, "must be a base64 string"),
    "a number for a text": ([1], "text", 1, "has a number, expected strings"),
    "a text for a number": ([["a", "b"]], "", 1, "has a string, expected float32 numbers"),
    "bytes where no text is": ([[{"b64": "AA=="}, 1]], "", 1, "has an object"),
    "a fraction for an integer": ([1.5], "lookup", 1, "the fraction 1.5"),
    "an integer too large": ([2**40], "lookup", 1, "int32 cannot hold"),
    "a wrong shape": ([[1, 2, 3]], "", 1, "has the shape [3], expected [2]"),
    "an index that is not there": ([7], "lookup", 2, "indices[0] = 7"),
    "a division by zero": ([1.0, 0.0], "inverse", 3, "instance 1 is NaN or infinite"),
    "an output without the batch": ([1.0, 2.0], "total", 3, "1 rows for 2 instances"),
    "bytes that are no text": (
        [{"a": 1, "s": {"b64": "/w=="}}], "two", 3, "ends with _bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("instances", "signature", "code", "text"), BAD.values(), ids=BAD.keys())
def test_refuses(model: Model, instances: list[Any], signature: str, code: int, text: str) -> None:
    with pytest.raises(PredictionError) as caught:
        ask(model, instances, {"signature_name": signature} if signature else {})
    assert caught.value.error_class.code == code
    assert text in caught.value.detail
    assert ask(model, [[1, 2]], {}) == [{"y": [5.0]}]


def test_a_default_signature_can_be_chosen_when_loading(directory: Path) -> None:
    chosen = load(directory, signature_name="text")
    assert chosen.describe()["raw_text"] is True
    assert ask(chosen, ["abc"], {}) == [{"length": 3}]
    assert isinstance(chosen, SavedModel)
    assert (chosen.default_signature(), chosen.own_signature()) == ("text", "serving_default")
    with pytest.raises(PredictionError, match="No signature found for signature key X"):
        load(directory, signature_name="X")


def test_a_model_without_signatures_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.variable = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path))
    with pytest.raises(PredictionError, match="MetaGraph must have at least one signature_def"):
        load(tmp_path)


def test_a_model_of_version_1_says_the_reason_alone(tmp_path: Path) -> None:
    """Its nodes are made as it is loaded, so TensorFlow tells the stack of that."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        images = v1.placeholder(tf.string, [None])
        pixels = tf.image.decode_jpeg(images[0])
        v1.saved_model.simple_save(session, str(tmp_path / "v1"), {"image": images}, {"y": pixels})
    with pytest.raises(PredictionError) as refusal:
        ask(load(tmp_path / "v1", framework="TENSORFLOW"), ["no JPEG"], {})
    detail = refusal.value.detail
    assert detail.startswith("Unknown image file format. One of JPEG, "), detail
    assert detail.endswith(" required."), detail


IN_A_SESSION = """Graph execution error:

Detected at node 'a' defined at (most recent call last):
    File "worker.py", line 7, in main

    File "worker.py", line 9, in load
      load(path)
Node: 'a'
Detected at node 'b' defined at (most recent call last):
<stack traces unavailable>
Node: 'b'
2 root error(s) found.
  (0) INVALID_ARGUMENT: too many
\t [[{{node a}}]]
\t [[b/_1]]
  (1) INVALID_ARGUMENT: too many
\t [[{{node a}}]]
0 successful operations."""


def test_what_is_no_stack_is_kept() -> None:
    said = brief(tf.errors.InvalidArgumentError(None, None, IN_A_SESSION))
    assert said == (
        "2 root error(s) found. (0) INVALID_ARGUMENT: too many (1) INVALID_ARGUMENT: too many "
        "0 successful operations."
    )


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 50)
    with pytest.raises(PredictionError) as caught:
        load(tmp_path)
    assert caught.value.error_class is ErrorClass.LOAD


def test_keras_inputs_and_outputs_go_by_name(tmp_path: Path) -> None:
    import keras

    one, two = keras.Input((2,), name="one"), keras.Input((1,), name="two")
    both = keras.layers.Concatenate(name="both")([one, two])
    keras.Model({"one": one, "two": two}, {"joined": both}).save(tmp_path / "mine.keras")
    model = load(tmp_path)
    assert model.describe()["inputs"] == ["one", "two"]
    assert ask(model, [{"two": 3, "one": [1, 2]}], {}) == [{"joined": [1.0, 2.0, 3.0]}]
    with pytest.raises(PredictionError, match="Input two was missing"):
        ask(model, [{"one": [1, 2]}], {})


def test_keras_code_in_a_model_file_is_not_run(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(PredictionError, match="not loaded"):
        load(tmp_path)
