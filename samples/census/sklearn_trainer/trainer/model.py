"""A gradient-boosted tree classifier that takes census rows as plain lists.

    rows ──▶ object array ──▶ words to codes, numbers to floats ──▶ boosted trees ──▶ label

Whoever loads the exported file needs scikit-learn and numpy, not this package: the pipeline
is put together from their classes and functions alone.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

from trainer.data import COLUMNS, NUMERIC

__all__ = ["build"]

# `fnlwgt` says how many people the row stands for in the survey, nothing about the person;
# `education` is `education_num` in words. Both are accepted in a row, and not looked at.
_UNUSED = ("fnlwgt", "education")
# Rarer words share one code: a split on nine people is noise.
_MIN_FREQUENCY_ROWS = 10


def build(*, learning_rate: float, max_iter: int, max_leaf_nodes: int, seed: int) -> Pipeline:
    """Return the untrained pipeline; ``predict`` takes a list of 14-value rows, in order.

    A word never seen in training, and a number that is None or NaN, count as missing.
    """
    words = [i for i, name in enumerate(COLUMNS) if name not in (*NUMERIC, *_UNUSED)]
    numbers = [i for i, name in enumerate(COLUMNS) if name in NUMERIC and name not in _UNUSED]
    columns = ColumnTransformer(
        [
            ("words", _word_encoder(), words),
            ("numbers", FunctionTransformer(partial(np.asarray, dtype=np.float64)), numbers),
        ]
    )
    trees = HistGradientBoostingClassifier(
        learning_rate=learning_rate,
        max_iter=max_iter,
        max_leaf_nodes=max_leaf_nodes,
        max_features=0.5,
        min_samples_leaf=5,
        l2_regularization=1.0,
        categorical_features=list(range(len(words))),
        # A fixed number of iterations: every row trains, and the seed alone decides.
        early_stopping=False,
        random_state=seed,
    )
    return Pipeline(
        [
            # A list has no columns to select; numpy alone would turn its numbers into words.
            ("rows", FunctionTransformer(partial(np.array, dtype=object))),
            ("columns", columns),
            ("trees", trees),
        ]
    )


def _word_encoder() -> OrdinalEncoder:
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=-1,  # the trees take a negative code for "missing"
        min_frequency=_MIN_FREQUENCY_ROWS,
    )
