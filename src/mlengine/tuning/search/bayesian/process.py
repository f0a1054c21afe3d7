"""A Gaussian process over embedded points: what it believes after what it has seen.

Rasmussen & Williams, 2006, §2.2. Its kernel is Matérn-5/2 with a length of its own for every
parameter (Snoek et al., NeurIPS 2012).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from mlengine.tuning.search.bayesian.features import Features
from mlengine.tuning.search.bayesian.kernel import (
    JITTER,
    Array,
    bend,
    bend_slope,
    cholesky,
    matern,
    squares,
    steepness,
)

__all__ = ["Process", "Shape"]


class Shape(NamedTuple):
    """A kernel's parameters, as they are learnt: logarithms, and the mean."""

    lengths: Array
    a: Array
    b: Array
    noise: float
    scale: float
    mean: float


class Process:
    """A process conditioned on values at points.

    Args:
        features: How points are embedded.
        shape: Of the kernel.
        points: Rows of places (`Features`).
        values: One a row.
        noise: Known variance of each value, added to the learnt one.
    """

    def __init__(
        self, features: Features, shape: Shape, points: Array, values: Array, noise: Array
    ) -> None:
        self.features, self.shape = features, shape
        self.points, self.values, self.noise = points, values, noise
        self._scale = math.exp(shape.scale)
        self._inverse_lengths = np.exp(-shape.lengths)[features.groups]
        self._embedded = self._embed(points)
        kernel = self._scale * matern(squares(self._embedded, self._embedded))
        kernel[np.diag_indices_from(kernel)] += math.exp(shape.noise) + noise + JITTER
        self._root = cholesky(kernel)
        self._weights = lapack.dpotrs(self._root, values - shape.mean, lower=1)[0]

    def believe(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the metric, without noise, at `points`."""
        cross = self._scale * matern(squares(self._embed(points), self._embedded))
        mean = self.shape.mean + cross @ self._weights
        half = lapack.dtrtrs(self._root, cross.T, lower=1)[0]
        variance = self._scale - np.einsum("ij,ij->j", half, half)
        return mean, np.sqrt(np.maximum(variance, 1e-12 * self._scale))

    def slopes(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Return mean, deviation and the gradient of both by the numeric columns of `points`."""
        numeric = self.features.numeric
        raw = points[:, numeric]
        embedded = self._embed(points)
        apart = squares(embedded, self._embedded)
        cross = self._scale * matern(apart)
        steep = -self._scale * steepness(apart)
        solved = lapack.dpotrs(self._root, cross.T, lower=1)[0].T
        mean = self.shape.mean + cross @ self._weights
        variance = np.maximum(
            self._scale - np.einsum("ij,ij->i", solved, cross), 1e-12 * self._scale
        )
        deviation = np.sqrt(variance)
        width = len(numeric)
        bent = embedded[:, :width]
        chain = 2.0 * self._inverse_lengths[:width] * bend_slope(raw, self.shape.a, self.shape.b)
        up = steep * self._weights
        by_mean = chain * (up.sum(1)[:, None] * bent - up @ self._embedded[:, :width])
        down = steep * solved
        by_variance = (
            -2.0 * chain * (down.sum(1)[:, None] * bent - down @ self._embedded[:, :width])
        )
        return mean, deviation, by_mean, by_variance / (2.0 * deviation[:, None])

    def given(self, points: Array, values: Array) -> Process:
        """Return the process as it would be, had it seen these values too."""
        return Process(
            self.features,
            self.shape,
            np.vstack([self.points, points]),
            np.concatenate([self.values, values]),
            np.concatenate([self.noise, np.zeros(len(points))]),
        )

    def _embed(self, points: Array) -> Array:
        columns = self.features.embed(points)
        width = len(self.features.numeric)
        columns[:, :width] = bend(columns[:, :width], self.shape.a, self.shape.b)
        columns *= self._inverse_lengths
        return columns
