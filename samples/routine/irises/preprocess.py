"""What is learned of the data before the model: it is pickled beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Centerer"]


class Centerer:
    """Moves the mean of the training rows to zero."""

    def __init__(self) -> None:
        self._means: Any = None

    def fit(self, rows: Any) -> None:
        """Learn the means."""
        self._means = np.mean(rows, axis=0)

    def apply(self, rows: Any) -> Any:
        """Return centred rows."""
        return np.asarray(rows, dtype=float) - self._means
