"""The overlay for TensorFlow 1's trainers, as far as it is rules; `tests/live` runs it for real."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.environments.catalogue import OVERLAYS_FOLDER, read_catalogue

TF1 = OVERLAYS_FOLDER / "tf1"
KERAS2 = OVERLAYS_FOLDER / "keras2"
CONTRIB = "mlengine_tf1.contrib"
LEARN = "tensorflow.contrib.learn.python.learn"
ESTIMATOR = "tensorflow_estimator.python.estimator.api._v1.estimator"


@pytest.fixture(scope="module")
def overlay() -> Iterator[Any]:
    """Give access to modules of the overlays, none of which needs TensorFlow."""
    sys.path[:0] = [str(TF1), str(KERAS2)]
    before = set(sys.modules)
    try:
        yield lambda name: importlib.import_module(name)
    finally:
        del sys.path[:2]
        for name in set(sys.modules) - before:
            if name.startswith(("mlengine_tf1", "mlengine_keras2")):
                del sys.modules[name]


# --- which module a name stands for ---


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("tensorflow.contrib", "mlengine_tf1.contrib"),
        ("tensorflow.contrib.layers", f"{CONTRIB}.layers"),
        ("tensorflow.contrib.layers.python.layers.initializers", f"{CONTRIB}.layers"),
        (f"{LEARN}.learn_runner", f"{CONTRIB}.learn.learn_runner"),
        (f"{LEARN}.utils", f"{CONTRIB}.learn"),
        (f"{LEARN}.estimators.run_config", f"{CONTRIB}.learn.run_config"),
        ("tensorflow.contrib.training.python.training.hparam", f"{CONTRIB}.training"),
        ("tensorflow.contrib.metrics", f"{CONTRIB}.metrics"),
        ("tensorflow.contrib.slim.python.slim.nets.resnet_v2", "tf_slim.nets.resnet_v2"),
        ("mlengine_tf1.contrib.layers", ""),
        ("sklearn.externals.joblib", "joblib"),
        ("sklearn.externals.six.moves", "six.moves"),
        ("sklearn.externals", ""),
        ("tensorflow.keras.layers", "keras.api._v1.keras.layers"),
        ("tensorflow.python.keras.layers.core", "keras.api._v1.keras.layers"),
        ("tensorflow.python.keras.engine.input_spec", ""),
        ("keras.backend.tensorflow_backend", "keras.api._v1.keras.backend"),
        ("keras.src.engine", ""),
        ("tensorflow.estimator.export", f"{ESTIMATOR}.export"),
        ("tensorflow.python.lib.io.file_io", ""),
        ("tensorflow.train", "tensorflow._api.v2.compat.v1.train"),
        ("tensorflow.nothing", ""),
        ("tensorflow.examples.tutorials.mnist.input_data", f"{CONTRIB}.learn.datasets"),
    ],
)  # fmt: skip
def test_a_name_of_2018_stands_for_a_module(
    overlay: Any, monkeypatch: pytest.MonkeyPatch, asked: str, found: str
) -> None:
    paths = overlay("mlengine_tf1.paths")
    there = {
        "keras.api._v1.keras.layers",
        "keras.api._v1.keras.backend",
        "tensorflow._api.v2.compat.v1.train",
    }
    monkeypatch.setattr(paths, "exists", there.__contains__)
    assert paths.other_name(asked) == found


@pytest.mark.parametrize(
    "name", ["crf", "seq2seq.python.ops.helper", "layers.no.such.file", "learn.nothing.at_all"]
)
def test_what_the_overlay_lacks_is_refused_with_the_runtime_that_has_it(
    overlay: Any, name: str
) -> None:
    paths = overlay("mlengine_tf1.paths")
    with pytest.raises(ImportError, match=rf"tf\.contrib\.{name} is not in the overlay") as caught:
        paths.other_name(f"tensorflow.contrib.{name}")
    assert "Runtime 1.15" in str(caught.value) and "Python 3.7" in str(caught.value)
    contrib = overlay("mlengine_tf1.contrib")
    with pytest.raises(AttributeError, match=r"tf\.contrib\.crf is not in the overlay"):
        _ = contrib.crf


def test_every_file_of_contrib_refuses_what_it_lacks() -> None:
    """By `names_from`, which says where it is; and a deep path below it may be asked for."""
    for path in sorted((TF1 / "mlengine_tf1" / "contrib").glob("*.py")):
        if path.name not in ("__init__.py", "hparam.py"):
            text = path.read_text()
            assert f'names_from("{path.stem}"' in text.replace("(\n    ", "("), path.name
            assert "__path__: list[str] = []" in text, path.name


# --- the start of an interpreter ---

FAKES = {
    "tensorflow/__init__.py": "from tensorflow.python.framework import ops\n"
    "from tensorflow import compat\nModern = Tensor = IndexedSlices = object\n",
    "tensorflow/python/__init__.py": "",
    "tensorflow/python/framework/__init__.py": "",
    "tensorflow/python/framework/ops.py": "",
    "tensorflow/compat/__init__.py": "from tensorflow.compat import v1\n",
    "tensorflow/compat/v1.py": "Session, Modern, off = 'session', 'old', []\n"
    "def disable_v2_behavior(): off.append(True)\n",
    "numpy/__init__.py": "",
    "joblib/__init__.py": "",
    "sklearn/__init__.py": "",
    "sklearn/externals/__init__.py": "",
}
SEEN = """
    import sys
    from sklearn.externals import joblib
    started = {"tensorflow", "numpy"} & set(sys.modules)
    import numpy as np
    import tensorflow as tf
    from tensorflow import contrib

    def look(send):
        import tensorflow
        send([tensorflow.Session, joblib.__name__, np.float is float, tf.Modern, tf.off,
              tf.contrib is contrib, contrib.__name__, tf.__spec__.loader.__class__.__name__])

    if __name__ == "__main__":
        import json, multiprocessing
        answers = []
        look(answers.append)
        for method in ("fork", "spawn"):
            context = multiprocessing.get_context(method)
            pipe = context.SimpleQueue()
            child = context.Process(target=look, args=(pipe.put,))
            child.start()
            answers.append(pipe.get())
            child.join()
        print(json.dumps([sorted(started), answers]))
"""


def test_a_data_frame_gives_its_array_by_its_old_name(overlay: Any) -> None:
    class Frame:
        def __init__(self, values: dict[str, int]) -> None:
            self.values = values

        def __getitem__(self, columns: list[str]) -> Frame:
            return Frame({name: self.values[name] for name in columns})

    pandas = SimpleNamespace(DataFrame=Frame, Series=type("Series", (), {"values": [1]}))
    overlay("mlengine_tf1.names").complete_pandas(pandas)
    frame: Any = Frame({"a": 1, "b": 2})
    assert (frame.as_matrix(), frame.as_matrix(["b"])) == ({"a": 1, "b": 2}, {"b": 2})
    assert pandas.Series().as_matrix() == [1]


def test_an_interpreter_starts_with_the_hook_alone_and_so_do_its_children(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name, text in FAKES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("")
    (tmp_path / "trainer" / "task.py").write_text(textwrap.dedent(SEEN))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "overlay.pth").write_text(f"{site}\nimport site; site.addsitedir({str(TF1)!r})\n")
    done = subprocess.run(
        [tmp_path / "env" / "bin" / "python", "-W", "error", "-m", "trainer.task"],
        capture_output=True, text=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    started, answers = json.loads(done.stdout)
    assert started == []
    expected = ["session", "joblib", True, "old", [True], True, "mlengine_tf1.contrib",
                "SourceFileLoader"]  # fmt: skip
    assert answers == [expected] * 3


def test_the_runtimes_name_overlays_that_are_there() -> None:
    named = set()
    for recipe in read_catalogue():
        named |= {recipe.overlay, getattr(recipe.fallback, "overlay", "")}
        named.add(getattr(recipe.legacy_keras, "overlay", ""))
    assert named - {""} == {path.name for path in OVERLAYS_FOLDER.iterdir() if path.is_dir()}
    for name in named - {""}:
        (link,) = (OVERLAYS_FOLDER / name).glob("*.pth")
        module = link.read_text().split()[1]
        assert (OVERLAYS_FOLDER / name / f"{module.replace('.', '/')}.py").is_file()


# --- hyperparameters ---

names = st.from_regex(r"\A[a-z][a-z0-9_]{3,8}\Z")
values = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.from_regex(r"\A[a-zA-Z0-9_./:-]{1,12}\Z"),
)


def kept(name: str) -> bool:
    return not hasattr(dict, name) and name not in ("parse", "to_json", "parse_json")


alike = st.lists(values, min_size=1).map(lambda v: [one for one in v if type(one) is type(v[0])])


@given(st.dictionaries(names.filter(kept), values | alike, max_size=5))
def test_hparams_read_what_they_are_written_as(overlay: Any, given_values: dict[str, Any]) -> None:
    hparam = overlay("mlengine_tf1.contrib.hparam")
    hparams = hparam.HParams(**given_values)
    text = ",".join(
        f"{name}=[{','.join(map(str, value))}]" if isinstance(value, list) else f"{name}={value}"
        for name, value in given_values.items()
    )
    assert hparams.parse(text).values() == given_values
    assert hparams.parse_json(hparams.to_json()).values() == given_values
    assert all(name in hparams and hparams.get(name) == given_values[name] for name in given_values)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("rate", "Malformed"),
        ("other=1", "Unknown hyperparameter"),
        ("steps=1.5", "Could not parse"),
        ("deep=perhaps", "Could not parse"),
        ("steps=1,steps=2", "Multiple assignments"),
        ("sizes=3", "pass a list"),
        ("steps=[3,4]", "not pass a list"),
    ],
)
def test_hparams_refuse_what_is_not_of_their_kind(overlay: Any, text: str, error: str) -> None:
    hparam = overlay("mlengine_tf1.contrib.hparam")
    hparams = hparam.HParams(steps=3, rate=0.5, deep=True, sizes=[1, 2])
    before = hparams.values()
    with pytest.raises(ValueError, match=error):
        hparams.parse(text)
    assert hparams.values() == before


def test_hparams_by_index_and_by_type(overlay: Any) -> None:
    hparam = overlay("mlengine_tf1.contrib.hparam")
    hparams = hparam.HParams(rate=0.5, sizes=[1, 2], name="a")
    assert hparams.parse("sizes[1]=7, rate=2").values() == {
        "rate": 2.0, "sizes": [1, 7], "name": "a",
    }  # fmt: skip
    assert isinstance(hparams.rate, float)
    for name, value in (("rate", "fast"), ("name", 3), ("rate", True), ("sizes", 4)):
        with pytest.raises(ValueError):
            hparams.set_hparam(name, value)
    with pytest.raises(ValueError, match="reserved"):
        hparams.add_hparam("parse", 1)
    hparams.del_hparam("rate")
    assert "rate" not in hparams and not hasattr(hparams, "rate")


# --- arguments of optimizers, in the overlay of Keras 2 ---


@given(
    rate=st.none() | st.floats(0.001, 1),
    old=st.none() | st.floats(0.001, 1),
    decay=st.sampled_from([None, 0.0, 0.1]),
    positional=st.booleans(),
)
def test_an_optimizer_learns_at_the_rate_that_it_was_given_last(
    overlay: Any, rate: float | None, old: float | None, decay: float | None, positional: bool
) -> None:
    arguments = overlay("mlengine_keras2.arguments")

    class Optimizer:
        def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0) -> None:
            self.rate, self.momentum = learning_rate, momentum

    init = arguments.with_old_arguments(Optimizer.__init__, lambda *how: ("fading", *how))
    made = Optimizer.__new__(Optimizer)
    first = (rate,) if positional and rate is not None else ()
    named = {} if positional or rate is None else {"learning_rate": rate}
    named |= {} if old is None else {"lr": old}
    named |= {} if decay is None else {"decay": decay}
    init(made, *first, momentum=0.9, **named)
    expected = next(value for value in (old, rate, 0.01) if value is not None)
    assert made.rate == (("fading", expected, decay) if decay else expected)
    assert made.momentum == 0.9
