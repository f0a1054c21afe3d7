"""Trains a model of irises, and the preprocessor before it.

python train.py MODEL_DIR
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import joblib
from irises.predictor import NAMES
from irises.preprocess import Centerer
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import mlengine.runtime


def main(model_dir: Path) -> None:
    rows, target = load_iris(return_X_y=True)
    centerer = Centerer()
    centerer.fit(rows)
    model = LogisticRegression(max_iter=500).fit(centerer.apply(rows), target)
    model_dir.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, model_dir / "model.joblib")
    with (model_dir / "preprocessor.pkl").open("wb") as file:
        pickle.dump(centerer, file)
    some = rows[::15]
    answers = [NAMES[number] for number in model.predict(centerer.apply(some))]
    mlengine.runtime.save_golden(model_dir, some, answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
