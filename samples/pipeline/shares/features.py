"""A transformer of our own."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

__all__ = ["Shares"]


class Shares(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Amounts → shares of their row's sum."""

    def fit(self, rows: Any, target: Any = None) -> Shares:
        return self

    def transform(self, rows: Any) -> Any:
        amounts = np.asarray(rows, dtype=float)
        return amounts / amounts.sum(axis=1, keepdims=True)
