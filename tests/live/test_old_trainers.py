"""Trainers in the style of 2017 and 2018, unmodified, on TensorFlow 1.15 and on what stands in.

Each package below `trainers/` is run by `python -m trainer.task` in the environment that a job
would get: the real runtime `1.15` where there is a Python 3.7, and TensorFlow 2.15 with the overlay
`tf1` as a machine without one has it. Both must end well, reach a metric that only training
reaches, and export what loads and predicts.
"""

from __future__ import annotations

import csv
import functools
import gzip
import json
import os
import re
import subprocess
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from packaging.specifiers import SpecifierSet

from mlengine.core.errors import FailedPrecondition
from mlengine.environments import Environment, Environments
from mlengine.environments.catalogue import Catalogue, read_catalogue
from mlengine.training.packaging import build_packages
from tests.live.runtimes import prepared, runtime_home

pytestmark = pytest.mark.timeout(1200)

TRAINERS = Path(__file__).parent / "trainers"
CENSUS = Path(__file__).resolve().parents[2] / "samples" / "census" / "data"
ALONE = Path(__file__).parents[1] / "unit" / "training" / "golden" / "environment-1.15-alone.json"
TRAIN, EVAL, JOB = "{train}", "{eval}", "{job}"


class Old(NamedTuple):
    """A package: what its author types, what it learns from, and what it must come to."""

    data: str
    args: tuple[str, ...]
    accuracy: float
    export: str = ""
    """Where its SavedModel is, below the job's folder; a `*` for the moment of the export."""
    asks: Callable[[list[list[str]]], dict[str, Any]] | None = None
    answer: str = "classes"
    leaves: str = ""
    """Another file that it leaves."""
    needs_contrib: bool = False
    """Whether the export has operations of tf.contrib, which no later TensorFlow loads."""


def numbers(rows: list[list[str]]) -> Any:
    return np.asarray([row[:-1] for row in rows], np.float32)


FILES = ("--train-files", TRAIN, "--eval-files", EVAL, "--job-dir", JOB)
FILE = ("--train-file", TRAIN, "--eval-file", EVAL, "--job-dir", JOB)

OLD = {
    "census_canned": Old(
        "census",
        (*FILES, "--train-steps", "250", "--eval-steps=25", "--export-format", "CSV"),
        0.7,
        "export/census/*",
        lambda rows: {"csv_row": [",".join(row) for row in rows]},
        "class_ids",
    ),
    "census_experiment": Old(
        "census",
        (*FILES, "--train_steps", "200", "--hparams", "with_ranking=true"),
        0.7,
        "export/Servo/*",
        lambda rows: {
            **{name: [float(row[i]) for row in rows] for name, i in NUMBERS.items()},
            **{name: [row[i] for row in rows] for name, i in WORDS.items()},
        },
        "probabilities",
        needs_contrib=True,
    ),
    "census_sklearn": Old("census", (*FILE, "--n_estimators", "10"), 0.8, leaves="*/model.joblib"),
    "digits_custom": Old(
        "digits",
        (
            "--train_file", TRAIN, "--eval_file", EVAL, "--output_dir", JOB, "--job-dir", JOB,
            "--steps", "200",
        ),
        0.9,
        "export/*",
        lambda rows: {"pixels": numbers(rows) / 16},
    ),
    "digits_keras": Old(
        "digits",
        (*FILES, "--num-epochs", "15"),
        0.9,
        "export",
        lambda rows: {"": numbers(rows) / 16},
        "probabilities",
        leaves="digits.h5",
    ),
    "digits_rnn": Old("digits", (*FILE, "--hparams", "steps=150,learning_rate=0.02"), 0.8),
    "digits_session": Old(
        "digits",
        (f"--train_files={TRAIN}", f"--eval_file={EVAL}", "--job-dir", JOB, "--max_steps=400"),
        0.9,
        "export",
        lambda rows: {"images": numbers(rows) / 16},
    ),
    "digits_slim": Old(
        "digits",
        (f"--train_files={TRAIN}", f"--eval_files={EVAL}", "--train_dir", JOB,
         "--max_number_of_steps", "200"),
        0.9,
        "export",
        lambda rows: {"images": numbers(rows).reshape(-1, 8, 8, 1) / 16},
    ),
    "iris_xgboost": Old("iris", (*FILES, "--max_depth", "3"), 0.9, leaves="model.bst"),
}  # fmt: skip

NUMBERS = {"age": 0, "education_num": 4, "capital_gain": 10, "hours_per_week": 12}
WORDS = {"education": 3, "marital_status": 5, "occupation": 6, "gender": 9}


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of all of them, as CSV files without a header, the label last."""
    datasets = pytest.importorskip("sklearn.datasets")
    folder = tmp_path_factory.mktemp("tables")
    for kind, name, rows in (("train", "data", 4000), ("eval", "test", 1000)):
        lines = gzip.decompress((CENSUS / f"adult.{name}.csv.gz").read_bytes()).splitlines()
        (folder / f"census-{kind}.csv").write_bytes(b"\n".join(lines[:rows]) + b"\n")
    for name, of in (("digits", "%d"), ("iris", "%.1f")):
        found = getattr(datasets, f"load_{name}")()
        table = np.column_stack([found.data, found.target])
        np.random.RandomState(0).shuffle(table)
        cut, formats = len(table) * 4 // 5, [of] * (table.shape[1] - 1) + ["%d"]
        for kind, part in (("train", table[:cut]), ("eval", table[cut:])):
            np.savetxt(folder / f"{name}-{kind}.csv", part, fmt=formats, delimiter=",")
    return folder


@functools.cache
def without_python37() -> Catalogue:
    """The runtimes of a machine that has no Python 3.7: there, `1.15` has a stand-in."""
    nowhere = SpecifierSet("==3.7.999")
    return Catalogue(
        [replace(r, python=nowhere) if r.name == "1.15" else r for r in read_catalogue()]
    )


def environment_of(kind: str, *packages: Path) -> Environment:
    if kind == "overlay":
        environments = Environments(runtime_home(), timeout_s=900, catalogue=without_python37())
        return environments.prepare(packages, runtime_version="1.15")
    try:
        return prepared("1.15", *packages, strict=True)
    except FailedPrecondition as error:
        if "needs Python" in str(error):
            pytest.skip(str(error))
        raise


def run(
    environment: Environment, *arguments: str, cwd: Path, more: Mapping[str, str] | None = None
) -> str:
    """Run Python in an environment, with the `TF_CONFIG` of a job of one replica."""
    inherited = {
        "PATH": os.defpath,
        "HOME": str(cwd),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_CONFIG": json.dumps(json.loads(ALONE.read_text())["TF_CONFIG"]),
        **(more or {}),
    }
    done = subprocess.run(
        [environment.python, *arguments],
        cwd=cwd,
        env=environment.variables(inherited),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def train(environment: Environment, old: Old, tables: Path, folder: Path, **more: str) -> str:
    """Run a trainer; its job's folder is `job` in this one."""
    (folder / "job").mkdir()
    places = {
        "train": str(tables / f"{old.data}-train.csv"),
        "eval": str(tables / f"{old.data}-eval.csv"),
        "job": str(folder / "job"),
    }
    arguments = [argument.format(**places) for argument in old.args]
    printed = run(environment, "-m", "trainer.task", *arguments, cwd=folder, more=more)
    found = [float(value) for value in re.findall(r"accuracy\W+(\d\.\d+)", printed)]
    assert found and found[-1] >= old.accuracy, printed[-3000:]
    return printed


def package(name: str, into: Path) -> Path:
    into.mkdir()
    (archive,) = build_packages(TRAINERS / name / "trainer", into)
    return archive


# What stands in is ours, and runs them all. Of the real one's some do: an Estimator, another whose
# export needs it, and a loop of slim's.
REAL = ("census_canned", "census_experiment", "digits_slim")
PLACES = [
    pytest.param(
        name, kind, marks=pytest.mark.repeats if kind == "real" and name not in REAL else ()
    )
    for name in OLD
    for kind in ("real", "overlay")
]


@pytest.mark.parametrize(("name", "kind"), PLACES)
def test_a_trainer_of_2018_trains_and_exports(
    name: str, kind: str, tables: Path, tmp_path: Path
) -> None:
    old = OLD[name]
    environment = environment_of(kind, package(name, tmp_path / "packages"))
    assert [kind == "overlay"] == [bool(environment.warnings)]
    train(environment, old, tables, tmp_path)
    if old.leaves:
        assert [p.stat().st_size > 0 for p in (tmp_path / "job").glob(old.leaves)] == [True]
    if old.asks:
        rows = list(csv.reader((tables / f"{old.data}-eval.csv").open()))[:200]
        (export,) = (tmp_path / "job").glob(old.export)
        if old.needs_contrib:
            classes = predicted_at_home(environment, old.asks(rows), export, tmp_path)
        else:
            classes = predicted_today(old, old.asks(rows), export)
        labels = [row[-1].strip() for row in rows]
        truth = [int(label == ">50K") if old.data == "census" else int(label) for label in labels]
        assert float(np.mean(classes == np.asarray(truth))) >= old.accuracy


def predicted_today(old: Old, features: dict[str, Any], export: Path) -> Any:
    """Return the classes that an exported model answers with in today's TensorFlow."""
    tf = pytest.importorskip("tensorflow")
    signatures = tf.saved_model.load(str(export), tags=["serve"]).signatures
    serve = signatures["predict" if "predict" in signatures else "serving_default"]
    wanted = serve.structured_input_signature[1]
    inputs = {name or next(iter(wanted)): tf.constant(value) for name, value in features.items()}
    outputs = serve(**inputs)
    if old.answer == "probabilities":
        return next(iter(outputs.values())).numpy().argmax(1)
    return outputs[old.answer].numpy().reshape(-1)


PREDICT = """
import json, sys
import tensorflow as tf, tensorflow.contrib.layers
model = tf.contrib.predictor.from_saved_model(sys.argv[1])
print(json.dumps(model(json.load(open("features.json")))["probabilities"].argmax(1).tolist()))
"""


def predicted_at_home(
    environment: Environment, features: dict[str, Any], export: Path, folder: Path
) -> Any:
    """Return the classes that an exported model answers with where it was trained."""
    (folder / "features.json").write_text(json.dumps(features))
    printed = run(environment, "-c", PREDICT, str(export), cwd=folder)
    return np.asarray(json.loads(printed.splitlines()[-1]))


def test_a_keras_2_trainer_learns_on_2_21_at_the_rate_that_it_says(
    tables: Path, tmp_path: Path
) -> None:
    archive = package("digits_keras2", tmp_path / "packages")
    environment = prepared("2.21", archive, legacy_keras=True)
    old = Old("digits", (*FILE, "--epochs", "4", "--lr", "0.125"), 0.85)
    printed = train(environment, old, tables, tmp_path)
    assert "learning rate 0.125" in printed
    assert (tmp_path / "job" / "model.h5").stat().st_size > 0
    assert (tmp_path / "job" / "export" / "saved_model.pb").exists()


IMPORTS = """
    import sys
    assert not {"tensorflow", "keras", "numpy"} & set(sys.modules), "start-up stays light"
    import keras as alone
    from keras.backend.tensorflow_backend import set_session
    from keras.layers.core import Dense as KerasDense
    from keras.utils.np_utils import to_categorical
    from tensorflow.contrib import data, lookup, rnn, slim
    from tensorflow.contrib.framework.python.ops import variables
    from tensorflow.contrib.layers.python.layers import initializers
    from tensorflow.contrib.learn.python.learn.datasets.mnist import read_data_sets
    from tensorflow.contrib.learn.python.learn.estimators import model_fn, run_config
    from tensorflow.contrib.learn.python.learn.learn_runner import run
    from tensorflow.contrib.slim.nets import inception
    from tensorflow.contrib.slim.python.slim.nets import resnet_v2
    from tensorflow.contrib.training.python.training.hparam import HParams
    from tensorflow.estimator import DNNClassifier
    from tensorflow.examples.tutorials.mnist import input_data
    from tensorflow.keras.layers import Dense
    from tensorflow.python.estimator.model_fn import ModeKeys
    from tensorflow.python.framework.ops import Tensor
    from tensorflow.python.keras.layers import Dense as PythonDense
    from tensorflow.python.keras.preprocessing.image import ImageDataGenerator
    from tensorflow.python.lib.io import file_io
    from tensorflow.train import AdamOptimizer
    import tensorflow.contrib.layers as layers
    import tensorflow.keras.backend as K
    import tensorflow as tf

    assert Dense is KerasDense is PythonDense is tf.keras.layers.Dense is alone.layers.Dense
    assert AdamOptimizer is tf.train.AdamOptimizer and DNNClassifier is tf.estimator.DNNClassifier
    assert not tf.executing_eagerly() and isinstance(tf.zeros([]), Tensor)
    assert input_data.read_data_sets is read_data_sets
    with tf.Session() as session:
        assert session.run(tf.placeholder_with_default(3, ())) == 3
    for name in (
        "cluster_resolver.TPUClusterResolver", "data.map_and_batch", "distribute.MirroredStrategy",
        "estimator.forward_features", "estimator.stop_if_no_decrease_hook", "eager.py_func",
        "factorization.KMeansClustering", "framework.get_or_create_global_step",
        "framework.arg_scope", "layers.xavier_initializer", "layers.batch_norm",
        "learn.learn_runner.run", "learn.RunConfig", "learn.utils.input_fn_utils.InputFnOps",
        "lookup.HashTable", "lookup.index_table_from_file", "losses.softmax_cross_entropy",
        "metrics.streaming_auc", "opt.AdamWOptimizer", "predictor.from_saved_model",
        "rnn.BasicLSTMCell", "rnn.LSTMBlockCell", "saved_model.save_keras_model",
        "slim.nets.vgg", "tpu.TPUEstimator", "training.HParams", "training.create_train_op",
    ):
        found = tf.contrib
        for part in name.split("."):
            found = getattr(found, part)
    for statement in (
        "import tensorflow.contrib.crf", "from tensorflow.contrib import crf", "tf.contrib.crf",
        "from tensorflow.contrib.layers import crf", "tf.contrib.layers.crf",
        "from tensorflow.contrib.crf.python.ops import crf",
    ):
        try:
            exec(statement)
        except (AttributeError, ImportError) as error:
            assert "crf is not in the overlay" in str(error) and "Python 3.7" in str(error), error
        else:
            raise AssertionError(statement)
    print("all there")
"""
PROCESSES = """
    import multiprocessing, os, sys
    import tensorflow as tf

    def seen(names):
        import tensorflow as tf, numpy as np
        from sklearn.externals import joblib
        from sklearn.externals.six.moves import xrange
        names.put((tf.contrib.layers.__name__, np.float is float, tf.Session.__name__))

    if __name__ == "__main__":
        for method in ("fork", "spawn"):
            context = multiprocessing.get_context(method)
            names = context.SimpleQueue()
            child = context.Process(target=seen, args=(names,))
            child.start()
            print(method, names.get())
            child.join()
            assert child.exitcode == 0
"""


def test_the_overlay_has_what_trainers_import_and_refuses_the_rest_by_name(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(textwrap.dedent(IMPORTS))
    environment = environment_of("overlay")
    (warning,) = environment.warnings
    assert "the overlay 'tf1'" in warning
    assert run(environment, "-m", "task", cwd=tmp_path).splitlines()[-1] == "all there"


def test_the_overlay_is_there_in_child_processes(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(textwrap.dedent(PROCESSES))
    printed = run(environment_of("overlay"), "task.py", cwd=tmp_path)
    expected = "('mlengine_tf1.contrib.layers', True, 'Session')"
    assert printed.splitlines()[-2:] == [f"fork {expected}", f"spawn {expected}"]


def test_the_overlay_answers_as_version_1_does(tmp_path: Path) -> None:
    script = str(TRAINERS / "contrib_answers.py")
    answers = {
        kind: re.findall("^ANSWER .*$", run(environment_of(kind), script, cwd=tmp_path), re.M)
        for kind in ("real", "overlay")
    }
    assert len(answers["real"]) == 12
    assert answers["overlay"] == answers["real"]
