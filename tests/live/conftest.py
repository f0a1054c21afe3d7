from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from tests.live.engines import LiveEngine, live_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    """One engine for a whole module; its tests use ids of their own."""
    with live_engine(tmp_path_factory.mktemp("live") / "home") as engine:
        engine.make_bucket()
        yield engine


@pytest.fixture(scope="session")
def iris_model() -> bytes:
    """A pickled scikit-learn model of four numbers; the class of [5.1, 3.5, 1.4, 0.2] is 0."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    datasets = pytest.importorskip("sklearn.datasets")
    data, target = datasets.load_iris(return_X_y=True)
    return pickle.dumps(linear_model.LogisticRegression(max_iter=500).fit(data, target))
