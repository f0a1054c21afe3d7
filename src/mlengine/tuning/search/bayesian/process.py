"""A Gaussian process over embedded points: what it believes after what it has seen.

Rasmussen & Williams, 2006, §2.2. Its kernel has a length of its own for every parameter (Snoek et
al., NeurIPS 2012), the same in its parts (`kernel`) up to a factor; the trend has none.
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
    alone,
    bend,
    bend_slope,
    cholesky,
    matern,
    spans,
    squares,
    steepness,
    trend,
)

__all__ = ["Process", "Shape"]


class Shape(NamedTuple):
    """A kernel's parameters, as they are learnt: logarithms, and the mean.

    Attributes:
        lengths: Of each parameter and category.
        a: How each numeric coordinate is bent.
        b: The same, from the other end.
        noise: Variance of what is luck.
        scale: Variance of what the parameters do together.
        mean: Of all values.
        share: Variance of what each does alone, summed, to that.
        narrow: How much shorter lengths are for what each does alone.
        slant: Variance of the trend, to that of what they do together.
    """

    lengths: Array
    a: Array
    b: Array
    noise: float
    scale: float
    mean: float
    share: float
    narrow: float
    slant: float


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
        self._narrow = math.exp(shape.narrow)
        self._share = math.exp(shape.share) / max(1, features.count)
        self._slant = math.sqrt(self._scale * math.exp(shape.slant))
        self._before = self._scale * (1.0 + math.exp(shape.share))
        self._spans = spans(features.groups)
        self._inverse_lengths = np.exp(-shape.lengths)[features.groups]
        self._embedded, self._trend = self._embed(points), self._trended(points)
        kernel = self._alike(self._embedded, self._trend)
        kernel[np.diag_indices_from(kernel)] += math.exp(shape.noise) + noise + JITTER
        self._root = cholesky(kernel)
        self._weights = lapack.dpotrs(self._root, values - shape.mean, lower=1)[0]

    def believe(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the metric, without noise, at `points`."""
        trended = self._trended(points)
        cross = self._alike(self._embed(points), trended)
        mean = self.shape.mean + cross @ self._weights
        half = lapack.dtrtrs(self._root, cross.T, lower=1)[0]
        variance = self._before + (trended * trended).sum(1) - np.einsum("ij,ij->j", half, half)
        return mean, np.sqrt(np.maximum(variance, 1e-12 * self._before))

    def slopes(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Return mean, deviation and the gradient of both by the numeric columns of `points`."""
        numeric = self.features.numeric
        raw = points[:, numeric]
        embedded, trended = self._embed(points), self._trended(points)
        cross = self._alike(embedded, trended)
        steep = -self._scale * steepness(squares(embedded, self._embedded))
        solved = lapack.dpotrs(self._root, cross.T, lower=1)[0].T
        mean = self.shape.mean + cross @ self._weights
        variance = self._before + (trended * trended).sum(1) - np.einsum("ij,ij->i", solved, cross)
        deviation = np.sqrt(np.maximum(variance, 1e-12 * self._before))
        width = len(numeric)
        bent = embedded[:, :width]
        chain = 2.0 * self._inverse_lengths[:width] * bend_slope(raw, self.shape.a, self.shape.b)
        up, down = steep * self._weights, steep * solved
        there = self._embedded[:, :width]
        by_mean = up.sum(1)[:, None] * bent - up @ there
        by_variance = down.sum(1)[:, None] * bent - down @ there
        for i in range(width):
            gap = self._narrow * (bent[:, i, None] - there[:, i])
            one = gap * (1.0 + gap * gap) ** -2.0
            one *= -self._scale * self._share * self._narrow
            by_mean[:, i] += one @ self._weights
            by_variance[:, i] += np.einsum("ij,ij->i", one, solved)
        by_mean *= chain
        by_variance *= -2.0 * chain
        along, out = self._trend_slopes(raw)
        pull, left = self._trend.T @ self._weights, 2.0 * (trended - solved @ self._trend)
        by_mean += along * pull[:-1] + out * pull[-1]
        by_variance += along * left[:, :-1] + out * left[:, -1:]
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

    def _alike(self, embedded: Array, trended: Array) -> Array:
        """Return the covariance of rows and those of the process."""
        kernel = matern(squares(embedded, self._embedded))
        left, right = self._narrow * embedded, self._narrow * self._embedded
        for columns in self._spans:
            one = alone(left, right, columns)
            one *= self._share
            kernel += one
        kernel *= self._scale
        kernel += trended @ self._trend.T
        return kernel

    def _trended(self, points: Array) -> Array:
        return self._slant * trend(points[:, self.features.numeric])

    def _trend_slopes(self, raw: Array) -> tuple[float, Array]:
        """Return the slopes of `_trended`: of each column along its own, of the last along all."""
        size = max(1, raw.shape[1])
        along = self._slant * math.sqrt(12.0 / size)
        return along, 2.0 * self._slant * math.sqrt(180.0 / size) * (raw - 0.5)

    def _embed(self, points: Array) -> Array:
        columns = self.features.embed(points)
        width = len(self.features.numeric)
        columns[:, :width] = bend(columns[:, :width], self.shape.a, self.shape.b)
        columns *= self._inverse_lengths
        return columns
