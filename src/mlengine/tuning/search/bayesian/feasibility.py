"""How likely a point is to work at all, from trials that did and trials that could not.

A kernel estimate (Nadaraya 1964, Watson 1964): a share of successes nearby, drawn towards one where
nobody has been. It is smooth, needs no fit, and multiplies what a point is worth (Gelbart et al.,
UAI 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlengine.tuning.search.bayesian.features import Features
from mlengine.tuning.search.bayesian.kernel import squares

__all__ = ["Feasibility"]

Array = NDArray[np.float64]

_LENGTH = 0.15
_BELIEF = 0.2  # how much the prior weighs against one trial at the very point
_LEAST = 1e-3


class Feasibility:
    """A share of feasible trials around a point, between a small number and 1."""

    def __init__(self, features: Features, good: Array, bad: Array) -> None:
        self._features = features
        self._points = features.embed(np.vstack([good, bad]))
        self._labels = np.concatenate([np.ones(len(good)), np.zeros(len(bad))])
        self._steep = 0.5 / (_LENGTH**2 * max(1, features.count))

    def log_share(self, rows: Array) -> Array:
        """Return its logarithm at `rows`."""
        near = self._near(rows)
        return np.log(self._share(near))

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return its logarithm and the gradient of that by the numeric columns."""
        near = self._near(rows)
        share = self._share(near)
        width = len(self._features.numeric)
        here, there = rows[:, self._features.numeric], self._points[:, :width]
        pull = near * (self._labels - share[:, None])
        scale = 2.0 * self._steep / ((near.sum(1) + _BELIEF) * share)
        slope = -(pull.sum(1)[:, None] * here - pull @ there) * scale[:, None]
        return np.log(share), slope

    def _near(self, rows: Array) -> Array:
        embedded = self._features.embed(rows)
        near: Array = np.exp(-self._steep * squares(embedded, self._points))
        return near

    def _share(self, near: Array) -> Array:
        share: Array = (near @ self._labels + _BELIEF) / (near.sum(1) + _BELIEF)
        return np.clip(share, _LEAST, 1.0)
