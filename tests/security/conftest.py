"""A real engine that the tests named `test_live_…` attack, and what they send to it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from tests.live.engines import LiveEngine, live_engine


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    """One engine for all of them; each uses ids of its own."""
    with live_engine(tmp_path_factory.mktemp("attacked") / "home") as engine:
        engine.make_bucket()
        yield engine


@pytest.fixture(scope="session")
def line_model() -> bytes:
    """A pickled scikit-learn model that doubles a number."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    return pickle.dumps(linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]))


@pytest.fixture(scope="session")
def serving(live: LiveEngine, line_model: bytes) -> LiveEngine:
    """The same engine, with the model `line` whose version is READY."""
    uri = live.upload_model("models/line", model__pkl=line_model)
    assert live.deploy(uri, model_id="line").error is None
    return live
