"""Models in ONNX's words: they answer as the original does, or there is none and it says why."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlengine.runtime.compiled import FOLDER, compiler
from mlengine.runtime.compiled.compiler import compile_model
from mlengine.runtime.compiled.model import About, load_compiled
from mlengine.runtime.frameworks import ask, load
from mlengine.runtime.golden import ROWS_FILE
from mlengine.runtime.opening import open_model
from mlengine.runtime.prediction_error import PredictionError

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tf2onnx")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Made = tuple[Path, Path, About]
_SIDE = 16


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Make and compile a model by its name, once for this file."""
    made: dict[str, Made] = {}

    def get(name: str) -> Made:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            _MODELS[name](folder / "model")
            about = compile_model(folder / "model", "", folder / "out")
            made[name] = folder / "model", folder / "out", about
        return made[name]

    return get


def _wide(folder: Path) -> None:
    weights = tf.Variable(np.random.default_rng(1).normal(size=(3, 2)), dtype=tf.float32)
    module = tf.Module()
    module.weights = weights
    shapes = {"a": tf.TensorSpec([None, 2], tf.float32), "b": tf.TensorSpec([None], tf.float32)}

    @tf.function(input_signature=[shapes])
    def score(columns: Any) -> Any:
        rows = tf.concat([columns["a"], columns["b"][:, tf.newaxis]], axis=1)
        made = tf.nn.softmax(rows @ weights)
        return {"scores": made, "best": tf.argmax(made, axis=1)}

    def named(a: Any, b: Any) -> Any:
        return score({"a": a, "b": b})

    default = tf.function(named).get_concrete_function(
        a=tf.TensorSpec([None, 2], tf.float32, "a"), b=tf.TensorSpec([None], tf.float32, "b")
    )
    twice = tf.function(lambda x: {"twice": 2 * x}).get_concrete_function(
        x=tf.TensorSpec([None], tf.int64, "x")
    )
    signatures = {"serving_default": default, "twice": twice}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _pictures(folder: Path) -> None:
    module = tf.Module()
    module.filters = tf.Variable(
        np.random.default_rng(2).normal(size=(3, 3, 3, 4)), dtype=tf.float32
    )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(image_bytes: Any) -> Any:
        shape = tf.TensorSpec((_SIDE, _SIDE, 3), tf.uint8)
        decoded = tf.map_fn(
            lambda one: tf.ensure_shape(tf.io.decode_png(one, 3), shape.shape),
            image_bytes, fn_output_signature=shape,
        )  # fmt: skip
        scaled = tf.cast(decoded, tf.float32) / 255.0
        made = tf.nn.relu(tf.nn.conv2d(scaled, module.filters, 1, "SAME"))
        return {"means": tf.reduce_mean(made, axis=(1, 2))}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def _texts(folder: Path) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text: Any) -> Any:
        return {"upper": tf.strings.upper(text)}

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def _lookup(folder: Path) -> None:
    module = tf.Module()
    words = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2])
    module.table = tf.lookup.StaticHashTable(words, 0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
    def serve(word: Any) -> Any:
        return {"twice": 2 * module.table.lookup(word)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def _keras(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(3)
    one, other = keras.Input((3,), name="one"), keras.Input((2,), name="other")
    joined = keras.layers.concatenate([one, keras.layers.Dense(4, activation="relu")(other)])
    out = keras.layers.Dense(2, activation="softmax", name="chances")(joined)
    folder.mkdir()
    keras.Model([one, other], out).save(folder / "model.keras")


_MODELS: dict[str, Callable[[Path], None]] = {
    "wide": _wide, "pictures": _pictures, "texts": _texts, "lookup": _lookup,
    "keras": _keras,
}  # fmt: skip


def _rows(seed: int, count: int) -> list[Any]:
    random = np.random.default_rng(seed)
    return [
        {"a": random.normal(size=2).tolist(), "b": float(random.normal())} for _ in range(count)
    ]


def test_every_signature_answers_as_the_original_does(make: Callable[[str], Made]) -> None:
    folder, out, about = make("wide")
    assert about.problem == ""
    assert about.way.startswith("compiled: ONNX, equal on ")
    original, compiled = load(folder), load_compiled(out)
    assert compiled.describe() == original.describe()
    assert compiled.signatures() == original.signatures()  # type: ignore[attr-defined]
    rows = _rows(5, 9)
    for wanted, got in zip(ask(original, rows, {}), ask(compiled, rows, {}), strict=True):
        assert list(got) == list(wanted)
        assert got["best"] == wanted["best"]
        np.testing.assert_allclose(got["scores"], wanted["scores"], rtol=1e-5)
    twice = {"signature_name": "twice"}
    assert ask(compiled, [3, -4], twice) == ask(original, [3, -4], twice) == [
        {"twice": 6}, {"twice": -8}
    ]  # fmt: skip
    array = np.array([2**40], dtype=np.int64)
    assert compiled.run({"x": array}, signature_name="twice")["twice"].tolist() == [2**41]


@pytest.mark.parametrize(
    ("instances", "kwargs"),
    [
        ([{"a": [1.0], "b": 2.0}], {}),
        ([{"a": [1.0, 2.0]}], {}),
        (["text"], {}),
        ([{"a": [1.0, 2.0], "b": 2.0}], {"signature_name": "no such"}),
    ],
)
def test_what_does_not_fit_is_refused_in_the_original_s_words(
    make: Callable[[str], Made], instances: list[Any], kwargs: dict[str, Any]
) -> None:
    folder, out, _about = make("wide")
    with pytest.raises(PredictionError) as wanted:
        ask(load(folder), instances, kwargs)
    with pytest.raises(PredictionError) as got:
        ask(load_compiled(out), instances, kwargs)
    assert str(got.value) == str(wanted.value)


def test_unknown_keys_and_signatures_of_no_text_are_refused(make: Callable[[str], Made]) -> None:
    compiled = load_compiled(make("wide")[1])
    with pytest.raises(PredictionError, match="unknown key 'other'"):
        ask(compiled, _rows(1, 1), {"other": 1})
    with pytest.raises(PredictionError, match="is no string"):
        ask(compiled, _rows(1, 1), {"signature_name": ["x"]})


def test_pictures_are_decoded_by_tensorflow_and_the_rest_is_onnx(
    make: Callable[[str], Made],
) -> None:
    folder, out, about = make("pictures")
    assert about.problem == ""
    assert "after a TensorFlow graph" in about.way
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(9)
    rows = []
    for _ in range(3):
        held = io.BytesIO()
        pixels = random.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
        image.fromarray(pixels).save(held, "PNG")
        rows.append({"b64": base64.b64encode(held.getvalue()).decode()})
    original, compiled = load(folder), load_compiled(out)
    for wanted, got in zip(ask(original, rows, {}), ask(compiled, rows, {}), strict=True):
        np.testing.assert_allclose(got["means"], wanted["means"], rtol=1e-5)
    kept = (out / ROWS_FILE).read_text().splitlines()
    assert kept and all("means" in json.loads(line)["prediction"] for line in kept)
    with pytest.raises(PredictionError) as refused:
        ask(compiled, [{"b64": base64.b64encode(b"no picture").decode()}], {})
    assert "Error code: 2" in str(refused.value)


def test_a_keras_file_is_compiled_too(make: Callable[[str], Made]) -> None:
    folder, out, about = make("keras")
    assert about.problem == ""
    rows = [{"one": [1.0, 2.0, 3.0], "other": [0.5, -1.0]}, {"one": [0, 0, 0], "other": [0, 0]}]
    wanted, got = ask(load(folder), rows, {}), ask(load_compiled(out), rows, {})
    np.testing.assert_allclose(
        [row["chances"] for row in got], [row["chances"] for row in wanted], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("texts", "'upper' is not made of numbers"),
        ("lookup", "looks words up in a table"),
    ],
)
def test_what_has_no_form_in_onnx_is_told(make: Callable[[str], Made], name: str, why: str) -> None:
    _folder, out, about = make(name)
    assert why in about.problem
    assert [path.name for path in out.iterdir()] == ["compiled.json"]
    with pytest.raises(PredictionError, match=why):
        load_compiled(out)


def test_without_a_converter_it_says_what_to_install(
    make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    about = compile_model(make("wide")[0], "", tmp_path)
    assert "pip install 'mlengine[compile]'" in about.problem


def test_answers_that_differ_by_more_than_allowed_are_not_given(
    make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "TOLERANCE", -1.0)
    about = compile_model(make("wide")[0], "", tmp_path)
    assert "the answers differ" in about.problem


def test_a_worker_answers_from_it_and_falls_back_when_a_row_comes_out_otherwise(
    make: Callable[[str], Made], tmp_path: Path
) -> None:
    folder, out, about = make("wide")
    artifact = shutil.copytree(folder, tmp_path / "artifact")
    compiled = shutil.copytree(out, artifact / FOLDER)
    opened = open_model({"artifact": str(artifact)})
    assert opened.about["way"].startswith(about.way)
    assert opened.about["warnings"] == []
    body = json.dumps({"instances": _rows(3, 2)}).encode()
    assert opened.shortcut is not None
    (answer,) = opened.shortcut.answer([opened.shortcut.read(body)])
    wanted = ask(load(folder), _rows(3, 2), {})
    assert answer is not None
    got = json.loads(answer)["predictions"]
    np.testing.assert_allclose(got[0]["scores"], wanted[0]["scores"], rtol=1e-5)

    named = open_model({"artifact": str(artifact), "signature_name": "twice"})
    assert ask(named.model, [4], {}) == [{"twice": 8}]
    assert named.about["way"].startswith(about.way)  # the golden rows are of the default one

    rows = (compiled / ROWS_FILE).read_text().splitlines()
    first = json.loads(rows[0])
    first["prediction"]["scores"][0] += 0.5
    (compiled / ROWS_FILE).write_text(json.dumps(first) + "\n")
    opened = open_model({"artifact": str(artifact)})
    assert "compiled" not in opened.about["way"]
    assert "golden row 1 comes out otherwise" in opened.about["warnings"][0]
    assert ask(opened.model, _rows(3, 2), {}) == wanted
