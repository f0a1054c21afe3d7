"""Learning curves to stop: whole ones, made once, of many configurations of a training.

Each configuration is trained twice, with other randomness: a study sees the first curve, and what
its winner is worth is read off the second, so that luck on the first is not counted as quality.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["TASKS", "Config", "kept", "make"]

Train = Callable[[random.Random, int], Callable[[int], list[float]]]
"""From a source of configurations and a length: a training that takes a seed and gives losses."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One configuration's losses, epoch by epoch, and the least loss of another training of it."""

    losses: list[float]
    again: float


def make(task: str, count: int, epochs: int, seed: int = 0) -> list[Config]:
    """Train `count` random configurations of a task."""
    source = random.Random(f"{task}/{seed}")
    found = []
    for number in range(count):
        train = TASKS[task](source, epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(Config(train(2 * number), min(train(2 * number + 1))))
    return found


def kept(task: str, count: int, epochs: int, seed: int, folder: Path) -> list[Config]:
    """Return what `make` does, from a file if this source has made it before."""
    asked = f"{Path(__file__).read_text()}/{task}/{count}/{epochs}/{seed}"
    path = folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
    if path.exists():
        return [Config(**config) for config in json.loads(path.read_text())]
    found = make(task, count, epochs, seed)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([dataclasses.asdict(config) for config in found]))
    return found


def _log(source: random.Random, low: float, high: float) -> float:
    return math.exp(source.uniform(math.log(low), math.log(high)))


# --- synthetic ---


def _powers(source: random.Random, epochs: int) -> Callable[[int], list[float]]:
    """Inverse powers towards a limit of their own; quick ones often end above slow ones."""
    pace = _log(source, 0.3, 1.5)
    limit = 0.1 + 0.15 * pace * source.random() + 0.3 * source.random() ** 2
    height = source.uniform(0.5, 1.5)

    def train(seed: int) -> list[float]:
        noise = random.Random(seed)
        return [limit + height * (1 + n) ** -pace + noise.gauss(0, 0.01) for n in range(epochs)]

    return train


def _diverging(source: random.Random, epochs: int) -> Callable[[int], list[float]]:
    """Exponentials, of which some turn up again at some point, as those that overfit do."""
    limit, pace = 0.1 + 0.6 * source.random() ** 2, _log(source, 0.05, 0.5)
    turn = source.uniform(0.3, 3.0) * epochs

    def train(seed: int) -> list[float]:
        noise = random.Random(seed)
        return [
            limit + math.exp(-pace * n) + 0.5 * max(0.0, n - turn) / epochs + noise.gauss(0, 0.01)
            for n in range(epochs)
        ]

    return train


# --- scikit-learn ---


def _parts(data: str) -> tuple[Any, Any, Any, Any]:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    features, labels = getattr(datasets, f"load_{data}")(return_X_y=True)
    parts = train_test_split(
        StandardScaler().fit_transform(features), labels, test_size=0.4, random_state=3
    )
    return parts[0][:600], parts[1], parts[2][:600], parts[3]


def _boosting(data: str) -> Train:
    def configure(source: random.Random, epochs: int) -> Callable[[int], list[float]]:
        settings = {
            "learning_rate": _log(source, 0.005, 1.0), "max_depth": source.randint(1, 6),
            "subsample": source.uniform(0.3, 1.0), "max_features": source.uniform(0.1, 1.0),
            "min_samples_leaf": source.randint(1, 40),
        }  # fmt: skip

        def train(seed: int) -> list[float]:
            from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
            from sklearn.metrics import log_loss, mean_squared_error

            known, asked, targets, truth = _parts(data)
            if data == "diabetes":
                model = GradientBoostingRegressor(
                    n_estimators=epochs, random_state=seed, **settings
                ).fit(known, targets[: len(known)])
                scale = float(truth.var())
                return [mean_squared_error(truth[: len(asked)], said) / scale
                        for said in model.staged_predict(asked)]  # fmt: skip
            model = GradientBoostingClassifier(
                n_estimators=epochs, random_state=seed, **settings
            ).fit(known, targets[: len(known)])
            return [min(2.0, log_loss(truth[: len(asked)], said))
                    for said in model.staged_predict_proba(asked)]  # fmt: skip

        return train

    return configure


def _mlp(source: random.Random, epochs: int) -> Callable[[int], list[float]]:
    settings = {
        "hidden_layer_sizes": (int(_log(source, 4, 64)),), "alpha": _log(source, 1e-5, 10.0),
        "learning_rate_init": _log(source, 1e-4, 0.1), "batch_size": source.choice([16, 32, 64]),
        "activation": source.choice(["relu", "tanh", "logistic"]),
    }  # fmt: skip

    def train(seed: int) -> list[float]:
        import numpy as np
        from sklearn.metrics import log_loss
        from sklearn.neural_network import MLPClassifier

        known, asked, targets, truth = _parts("digits")
        model = MLPClassifier(random_state=seed, **settings)
        losses = []
        for _epoch in range(epochs):
            model.partial_fit(known, targets[: len(known)], classes=np.arange(10))
            losses.append(min(3.0, log_loss(truth[: len(asked)], model.predict_proba(asked))))
        return losses

    return train


def _sgd(source: random.Random, epochs: int) -> Callable[[int], list[float]]:
    settings = {
        "alpha": _log(source, 1e-6, 1.0), "eta0": _log(source, 1e-4, 1.0),
        "learning_rate": source.choice(["constant", "invscaling"]),
        "penalty": source.choice(["l1", "l2"]),
    }  # fmt: skip

    def train(seed: int) -> list[float]:
        import numpy as np
        from sklearn.linear_model import SGDClassifier
        from sklearn.metrics import log_loss

        known, asked, targets, truth = _parts("digits")
        model = SGDClassifier(loss="log_loss", random_state=seed, **settings)
        losses = []
        for _epoch in range(epochs):
            model.partial_fit(known, targets[: len(known)], classes=np.arange(10))
            losses.append(min(3.0, log_loss(truth[: len(asked)], model.predict_proba(asked))))
        return losses

    return train


TASKS: dict[str, Train] = {
    "power laws": _powers,
    "overfitting": _diverging,
    "boosting, diabetes": _boosting("diabetes"),
    "boosting, breast cancer": _boosting("breast_cancer"),
    "MLP, digits": _mlp,
    "SGD, digits": _sgd,
}
"""Synthetic tasks first, then real trainings."""
