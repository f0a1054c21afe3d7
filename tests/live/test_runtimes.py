"""Shipped runtimes, built for real: what trainers of their kind import is there, and runs.

Needs a package index the first time; what is built stays in the checkout's `.venv`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.environments import Environment
from tests.fakes.archives import sdist
from tests.live.engines import live_engine
from tests.live.runtimes import prepared, share_runtimes

pytestmark = pytest.mark.timeout(1200)

COMMON = """
import setuptools, hypertune, gcsfs, google.cloud.storage, pandas, sklearn, numpy
from google.cloud import storage
"""
CODE = {
    "sklearn-1.x": """
        import joblib, xgboost
        from sklearn.linear_model import LogisticRegression
        print(LogisticRegression().fit([[0], [1]], [0, 1]).predict([[1]])[0])
    """,
    "2.21": """
        import tensorflow as tf, keras, tensorboard.default, xgboost
        print(tf.__version__, keras.__version__[0])
    """,
    "2.15": """
        import tensorflow as tf, keras, xgboost, tensorboard.default
        column = tf.feature_column.numeric_column("x")
        estimator = tf.estimator.LinearClassifier([column])
        rows = ({"x": [[0.0], [1.0]]}, [[0], [1]])
        estimator.train(lambda: tf.data.Dataset.from_tensor_slices(rows).batch(2), steps=1)
        print(tf.__version__, keras.__version__)
    """,
    "1.15": """
        import warnings; warnings.simplefilter("ignore")
        import sys, tensorflow as tf, keras, xgboost, tensorboard.default
        from sklearn.externals import joblib
        column = tf.contrib.layers.real_valued_column("x")
        print(tf.__version__, sys.version_info[:2], column.name)
    """,
    "torch": """
        import torch
        from torch.utils.tensorboard import SummaryWriter
        print(torch.__version__, torch.nn.Linear(2, 1)(torch.ones(1, 2)).shape)
    """,
}
PRINTED = {
    "sklearn-1.x": "1",
    "2.21": "2.21.0 3",
    "2.15": "2.15.1 2.15.0",
    "1.15": "1.15.5 (3, 7) x",
    "torch": "2.13.0+cpu torch.Size([1, 1])",
}


def built(name: str, *packages: Path, **wish: bool) -> Environment:
    """Return a runtime's environment; where this machine cannot have it, skip and say why."""
    try:
        return prepared(name, *packages, strict=True, **wish)
    except FailedPrecondition as error:
        if "needs Python" in str(error) or (name == "torch" and "2.13.0+cpu" in str(error)):
            pytest.skip(str(error))
        raise


def run(environment: Environment, *arguments: str) -> str:
    done = subprocess.run(
        [environment.python, *arguments],
        capture_output=True, text=True, cwd="/", timeout=300,
        env=environment.variables({"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.parametrize("name", CODE)
def test_a_runtime_imports_what_its_trainers_import(name: str, tmp_path: Path) -> None:
    lines = [line[8:] if line.startswith(" " * 8) else line for line in CODE[name].splitlines()]
    task = "\n".join([*lines[:2], *COMMON.splitlines(), *lines[2:]])
    package = sdist(tmp_path, files={"task.py": task}, requires=["pandas", "six"])
    environment = built(name, package)
    assert environment.runtime == name
    assert run(environment, "-m", "trainer.task").splitlines()[-1] == PRINTED[name]
    assert built(name, package).hit
    assert not environment.warnings


def test_legacy_keras_on_2_21_is_keras_2() -> None:
    environment = built("2.21", legacy_keras=True)
    code = "import tensorflow as tf, tf_keras; print(tf.keras.__name__, tf_keras.__version__)"
    assert run(environment, "-c", code).endswith("tf_keras.api._v2.keras 2.21.0")


def test_a_trainer_of_old_runs_where_it_asks_to(tmp_path: Path) -> None:
    built("1.15")
    home = tmp_path / "home"
    share_runtimes(home)
    with live_engine(home) as engine:
        engine.make_bucket()
        package = engine.upload_package(
            """
            import sys, tensorflow as tf
            print("contrib", tf.contrib.layers, sys.version_info[:2])
            """
        )
        engine.submit("old", package, runtime_version="1.8", python_version="3.5")
        job = engine.ended("old", timeout_s=120)
        lines = engine.lines("old")
        assert job.state == "SUCCEEDED", lines
        assert any(line.startswith("contrib") and "(3, 7)" in line for line in lines)
        assert any("There is no runtime '1.8'" in line for line in lines)
        assert any("Python 3.5 was asked for" in line for line in lines)
        assert engine.client.get_runtime("1.15").built
        engine.client.collect_environments(keep_bytes=1 << 50)
