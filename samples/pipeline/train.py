"""Trains a pipeline that tells from what baskets hold whether they are a baker's.

python train.py MODEL_DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
import numpy as np
from shares.features import Shares
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import mlengine.runtime


def main(model_dir: Path) -> None:
    draw = np.random.default_rng(7)
    flour, fish, fruit = draw.uniform(0.1, 9.0, (3, 200))
    rows = np.column_stack([flour, fish, fruit]).round(2)
    model = make_pipeline(Shares(), LogisticRegression(C=100.0))
    model.fit(rows, rows[:, 0] / rows.sum(axis=1) > 0.4)
    model_dir.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, model_dir / "model.joblib")
    mlengine.runtime.save_golden(model_dir, rows[:16], model.predict(rows[:16].tolist()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
