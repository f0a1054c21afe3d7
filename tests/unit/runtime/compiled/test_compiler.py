"""Models in ONNX's words: they answer as the original does, or there is none and it says why."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlengine.runtime.compiled import FOLDER, compiler
from mlengine.runtime.compiled.compiler import compile_model
from mlengine.runtime.compiled.model import About, load_compiled
from mlengine.runtime.frameworks import Model, ask, load
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


def _ranked(folder: Path) -> None:
    """Make a model whose rows see each other."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def serve(x: Any) -> Any:
        return {"share": x / tf.reduce_max(tf.abs(x))}

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


def _looped(one: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Return who makes a model that does something with each picture of a batch."""

    def make(folder: Path) -> None:
        module = tf.Module()
        module.weights = tf.Variable(np.random.default_rng(4).normal(size=(3, 5)), dtype=tf.float32)
        kind = one(_jpeg(_SIDE, _SIDE)).dtype

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serve(image_bytes: Any) -> Any:
            made = tf.map_fn(one, image_bytes, fn_output_signature=kind)
            made.set_shape([None, _SIDE, _SIDE, 3])
            colours = tf.reduce_mean(tf.cast(made, tf.float32), axis=(1, 2))
            return {"scores": colours @ module.weights}

        tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})

    return make


def _both(folder: Path) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, _SIDE, _SIDE, 3], tf.float32, name="x")])
    def pixels(x: Any) -> Any:
        return {"means": tf.reduce_mean(x, axis=(1, 2))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def files(image_bytes: Any) -> Any:
        one = _LOOPS["jpeg"]
        made = tf.map_fn(one, image_bytes, fn_output_signature=tf.uint8)
        made.set_shape([None, _SIDE, _SIDE, 3])
        return pixels(tf.cast(made, tf.float32))

    signatures = {"serving_default": pixels, "files": files}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _jpeg(height: int, width: int, seed: int = 0, *, shades: int = 3, **how: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, shades), dtype=np.uint8)
    made: bytes = tf.io.encode_jpeg(pixels, **how).numpy()
    return made


def _scaled(file: Any) -> Any:
    """Do what Google's own serving functions for Keras do."""
    pixels = tf.image.convert_image_dtype(tf.io.decode_jpeg(file, channels=3), tf.float32)
    return tf.image.resize(pixels, (_SIDE, _SIDE))


def _cropped(file: Any) -> Any:
    pixels = tf.io.decode_image(file, channels=3, expand_animations=False)
    return tf.image.resize_with_crop_or_pad(pixels, _SIDE, _SIDE)


_LOOPS: dict[str, Callable[[Any], Any]] = {
    "jpeg": lambda file: tf.io.decode_jpeg(file, 3),
    "accurate": lambda file: tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE"),
    "blocky": lambda file: tf.io.decode_jpeg(file, 3, fancy_upscaling=False),
    "any": lambda file: tf.io.decode_image(file, 3, expand_animations=False),
    "scaled": _scaled,
    "cropped": _cropped,
    "png": lambda file: tf.io.decode_png(file, 3),
}
_MODELS: dict[str, Callable[[Path], None]] = {
    "wide": _wide, "ranked": _ranked, "pictures": _pictures, "texts": _texts, "lookup": _lookup,
    "keras": _keras, "both": _both, **{name: _looped(one) for name, one in _LOOPS.items()},
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


def test_it_is_known_whether_rows_see_each_other(make: Callable[[str], Made]) -> None:
    assert make("wide")[2].rowwise and make("jpeg")[2].rowwise
    folder, out, about = make("ranked")
    assert about.problem == "" and not about.rowwise
    rows = [[1.0, 2.0], [4.0, -8.0]] * 6
    got = [row["share"] for row in ask(load_compiled(out), rows, {})]
    np.testing.assert_allclose(got, [row["share"] for row in ask(load(folder), rows, {})])


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


def _b64(*files: bytes) -> list[Any]:
    return [{"b64": base64.b64encode(file).decode()} for file in files]


def _without_tensorflow(out: Path, rows: list[Any]) -> list[Any]:
    """Ask a compiled form in a process that has no TensorFlow."""
    code = (
        "import json, sys; sys.modules['tensorflow'] = None; from pathlib import Path\n"
        "from mlengine.runtime.compiled.model import load_compiled\n"
        "from mlengine.runtime.frameworks import ask\n"
        "model = load_compiled(Path(sys.argv[1]))\n"
        "print(json.dumps([list(map(float, row['scores']))\n"
        "                  for row in ask(model, json.load(sys.stdin), {})]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], input=json.dumps(rows), capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("name", ["jpeg", "accurate", "blocky", "any", "scaled"])
def test_pictures_in_a_loop_are_decoded_without_tensorflow(
    make: Callable[[str], Made], name: str
) -> None:
    folder, out, about = make(name)
    assert about.way.startswith("compiled: ONNX after libjpeg-turbo, equal on ")
    rows = _b64(
        _jpeg(_SIDE, _SIDE, 1), _jpeg(_SIDE, _SIDE, 2, quality=30, progressive=True),
        _jpeg(_SIDE, _SIDE, 3, chroma_downsampling=False),
        _jpeg(_SIDE, _SIDE, 4, shades=1, format="grayscale"),
    )  # fmt: skip
    if name == "scaled":
        rows += _b64(_jpeg(7, 31, 5), _jpeg(40, 9, 6))
    wanted = [row["scores"] for row in ask(load(folder), rows, {})]
    np.testing.assert_allclose(_without_tensorflow(out, rows), wanted, rtol=1e-5, atol=1e-5)


def test_8_several_threads_are_answered_at_once(
    make: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    _folder, out, _about = make("any")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    model = load_compiled(out)
    assert model.beside is not None and model.beside.calls == 3
    png = tf.io.encode_png(np.full((_SIDE, _SIDE, 3), 7, np.uint8)).numpy()
    rows = _b64(*[_jpeg(_SIDE, _SIDE, seed) for seed in range(5)], png)
    with ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(ask, model.beside.model, [row], {}) for row in rows * 20]
        got = [one.result() for one in pending]
    wanted = [ask(model, [row], {}) for row in rows]
    for each, one in zip(got, wanted * 20, strict=True):
        np.testing.assert_allclose(each[0]["scores"], one[0]["scores"], rtol=1e-5)


@pytest.mark.parametrize("name", ["jpeg", "keras"])
def test_who_has_one_core_has_nobody_beside_him_nor_who_needs_none(
    make: Callable[[str], Made], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _folder, out, _about = make(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1" if name == "jpeg" else "2")
    assert load_compiled(out).beside is None  # the Keras model is in plain numbers


def test_a_large_network_is_not_opened_for_others_beside(
    make: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    _folder, out, _about = make("jpeg")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert load_compiled(out).beside is not None
    monkeypatch.setattr("mlengine.runtime.compiled.model.LARGEST_TWICE", 100)
    assert load_compiled(out).beside is None


def test_a_worker_answers_pictures_side_by_side(
    make: Callable[[str], Made], start_worker: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A hundred at once, one of which is no picture, and then the end of the worker."""
    folder, out, _about = make("jpeg")
    artifact = shutil.copytree(folder, tmp_path / "artifact")
    shutil.copytree(out, artifact / FOLDER)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    worker = start_worker(artifact)
    assert worker.wait_ready()["way"].endswith("up to 2 callers side by side")
    rows = _b64(*[_jpeg(_SIDE, _SIDE, seed) for seed in range(4)], b"no picture")
    wanted = [_answer(load_compiled(out), [row]) for row in rows]
    connection = worker.connect()
    for number in range(100):
        connection.send(
            json.dumps({"instances": [rows[number % 5]]}).encode(), request_id=number + 1
        )
    worker.process.send_signal(signal.SIGTERM)
    for _ in range(100):
        number, status, answer = connection.receive()
        right = wanted[(number - 1) % 5]
        if right is not None:
            assert status == 200
            np.testing.assert_allclose(answer["predictions"][0]["scores"], right, rtol=1e-5)
        else:
            assert status == 400 and "Error code: 2" in answer["error"]["message"]
    assert worker.process.wait(60) == 0


def test_what_is_no_plain_picture_is_the_graph_s(make: Callable[[str], Made]) -> None:
    folder, out, _about = make("any")
    whole = _jpeg(_SIDE, _SIDE, 1)
    png = tf.io.encode_png(np.full((_SIDE, _SIDE, 3), 7, np.uint8)).numpy()
    held = io.BytesIO()
    pytest.importorskip("PIL.Image").new("CMYK", (_SIDE, _SIDE), (9, 99, 200, 3)).save(held, "JPEG")
    answered = [[png], [whole, png], [held.getvalue()], [whole + b"behind it"]]
    refused = [
        [whole[:-40]], [b""], [whole, b"no picture"], [whole, _jpeg(_SIDE, _SIDE - 3)]
    ]  # fmt: skip
    original, compiled = load(folder), load_compiled(out)
    for files in answered:
        rows = _b64(*files)
        for wanted, got in zip(ask(original, rows, {}), ask(compiled, rows, {}), strict=True):
            np.testing.assert_allclose(got["scores"], wanted["scores"], rtol=1e-5)
    for files in refused:
        for model in original, compiled:
            with pytest.raises(PredictionError):
                ask(model, _b64(*files), {})


def test_damaged_pictures_come_to_the_same(make: Callable[[str], Made]) -> None:
    folder, out, _about = make("jpeg")
    original, compiled = load(folder), load_compiled(out)
    random = np.random.default_rng(8)
    for turn in range(int(os.environ.get("MLENGINE_MUTANTS", "60"))):
        file = bytearray(_jpeg(_SIDE, _SIDE, turn % 5, progressive=turn % 2 == 0))
        for _ in range(random.integers(1, 4)):
            file[random.integers(2, len(file))] = random.integers(0, 256)
        rows = _b64(bytes(file))
        got = _answer(compiled, rows)
        wanted = _answer(original, rows)
        assert (got is None) == (wanted is None), file.hex()
        if got is not None and wanted is not None:
            np.testing.assert_allclose(got, wanted, rtol=1e-5, err_msg=file.hex())


def _answer(model: Model, rows: list[Any]) -> Any:
    try:
        return ask(model, rows, {})[0]["scores"]
    except PredictionError:
        return None


@pytest.mark.parametrize(
    ("name", "files"),
    [("cropped", [_jpeg(30, 9, 1), _jpeg(5, 50, 2)]), ("png", [_jpeg(_SIDE, _SIDE, 3)])],
)
def test_a_loop_with_checks_of_its_own_or_for_png_stays_tensorflow_s(
    make: Callable[[str], Made], name: str, files: list[bytes]
) -> None:
    folder, out, about = make(name)
    assert "after a TensorFlow graph" in about.way
    rows = _b64(*files)
    for wanted, got in zip(
        ask(load(folder), rows, {}), ask(load_compiled(out), rows, {}), strict=True
    ):
        np.testing.assert_allclose(got["scores"], wanted["scores"], rtol=1e-5)


def test_a_signature_for_pictures_takes_nothing_from_the_default_one(
    make: Callable[[str], Made], tmp_path: Path
) -> None:
    folder, out, about = make("both")
    decoded = {part.signature.name for part in about.parts if part.decoding}
    assert decoded == {"files"}
    shutil.copytree(out, shutil.copytree(folder, tmp_path / "a") / FOLDER)
    opened = open_model({"artifact": str(tmp_path / "a")})
    assert opened.shortcut is not None and "libjpeg-turbo" in opened.about["way"]
    rows = _b64(_jpeg(_SIDE, _SIDE, 7))
    kwargs = {"signature_name": "files"}
    (wanted,), (got,) = ask(load(folder), rows, kwargs), ask(opened.model, rows, kwargs)
    np.testing.assert_allclose(got["means"], wanted["means"], rtol=1e-5)


def test_without_its_library_pictures_are_decoded_by_tensorflow(
    make: Callable[[str], Made],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, _out, _about = make("jpeg")
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    about = compile_model(folder, "", tmp_path)
    assert "after a TensorFlow graph" in about.way
    assert "pip install 'mlengine[compile]'" in capsys.readouterr().err


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
    folder, _out, _about = make("wide")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    about = compile_model(folder, "", tmp_path)
    assert "pip install 'mlengine[compile]'" in about.problem


def test_answers_that_differ_by_more_than_allowed_are_not_given(
    make: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _out, _about = make("wide")
    monkeypatch.setattr(compiler, "TOLERANCE", -1.0)
    about = compile_model(folder, "", tmp_path)
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
