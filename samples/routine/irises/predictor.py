"""The routine: names instead of numbers, and probabilities for those who ask."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib

__all__ = ["Predictor"]

NAMES = ("setosa", "versicolor", "virginica")


class Predictor:
    """Answers with the name of a flower; with ``"probabilities": true`` with those of all three."""

    def __init__(self, model: Any, centerer: Any) -> None:
        self._model = model
        self._centerer = centerer

    def predict(self, instances: list[Any], **kwargs: Any) -> list[Any]:
        rows = self._centerer.apply(instances)
        if kwargs.get("probabilities"):
            found: list[Any] = self._model.predict_proba(rows).tolist()
            return found
        return [NAMES[number] for number in self._model.predict(rows)]

    @classmethod
    def from_path(cls, model_dir: str) -> Predictor:
        folder = Path(model_dir)
        with (folder / "preprocessor.pkl").open("rb") as file:
            centerer = pickle.load(file)  # noqa: S301 - our own
        return cls(joblib.load(folder / "model.joblib"), centerer)
