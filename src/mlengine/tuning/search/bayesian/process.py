"""A Gaussian process over embedded points: what it believes, and how it comes to believe it.

The kernel is Matérn-5/2 with a length of its own for every parameter (Snoek et al., NeurIPS 2012),
over coordinates bent by Kumaraswamy's distribution function, whose shape is learnt too (Snoek et
al., ICML 2014): a metric seldom varies as fast at one end of a range as at the other. Parameters
of the kernel are those of the highest posterior density, by L-BFGS from the prior's middle and
from random starts, with gradients in closed form (Rasmussen & Williams, 2006, §5.4.1). The prior
of the lengths grows with the number of parameters (Hvarfner et al., ICML 2024), so that a process
in many dimensions does not take every point for an island.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import minimize

from mlengine.tuning.search.bayesian.features import Features

__all__ = ["Array", "Process", "fit"]

Array = NDArray[np.float64]

_ROOT5 = math.sqrt(5.0)
_JITTER = 1e-8
_EXTRAS = (0.0, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # on the diagonal, until it has a root
_EDGE = 1e-6  # a coordinate bent at 0 or 1 has no slope
_STEPS, _STEPS_OF_MANY, _MANY = 60, 35, 60  # a fit's; with that many points fewer are enough

LENGTH_MEAN, CHOICE_MEAN, LENGTH_SD = -1.0, 0.0, 1.0
BEND_SD = 0.5
NOISE_MEAN, NOISE_SD = math.log(1e-3), 2.0
SCALE_SD = 1.0
RESTARTS = 1


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
        kernel = self._scale * _matern(_squares(self._embedded, self._embedded))
        kernel[np.diag_indices_from(kernel)] += math.exp(shape.noise) + noise + _JITTER
        self._root = _cholesky(kernel)
        self._weights = lapack.dpotrs(self._root, values - shape.mean, lower=1)[0]

    def believe(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the metric, without noise, at `points`."""
        cross = self._scale * _matern(_squares(self._embed(points), self._embedded))
        mean = self.shape.mean + cross @ self._weights
        half = lapack.dtrtrs(self._root, cross.T, lower=1)[0]
        variance = self._scale - np.einsum("ij,ij->j", half, half)
        return mean, np.sqrt(np.maximum(variance, 1e-12 * self._scale))

    def slopes(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Return mean, deviation and the gradient of both by the numeric columns of `points`."""
        numeric = self.features.numeric
        raw = points[:, numeric]
        embedded = self._embed(points)
        squares = _squares(embedded, self._embedded)
        cross = self._scale * _matern(squares)
        steep = -self._scale * _steepness(squares)  # by the squared distance, negated twice below
        solved = lapack.dpotrs(self._root, cross.T, lower=1)[0].T
        mean = self.shape.mean + cross @ self._weights
        variance = np.maximum(
            self._scale - np.einsum("ij,ij->i", solved, cross), 1e-12 * self._scale
        )
        deviation = np.sqrt(variance)
        width = len(numeric)
        bent = embedded[:, :width]
        chain = 2.0 * self._inverse_lengths[:width] * _bend_slope(raw, self.shape.a, self.shape.b)
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
        columns[:, :width] = _bend(columns[:, :width], self.shape.a, self.shape.b)
        columns *= self._inverse_lengths
        return columns


def fit(
    features: Features, points: Array, values: Array, noise: Array, source: np.random.Generator
) -> Shape:
    """Return the shape of highest posterior density.

    Args:
        values: Of mean 0 and variance 1, or nearly.
        noise: Known variances.
        source: Of the random starts.
    """
    objective = _Posterior(features, points, values, noise)
    best: tuple[float, Array] | None = None
    for attempt in range(1 + RESTARTS):
        start = objective.start(None if attempt == 0 else source)
        found: Any = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=objective.bounds,
            options={"maxiter": _STEPS if len(values) < _MANY else _STEPS_OF_MANY},
        )
        if math.isfinite(found.fun) and (best is None or found.fun < best[0]):
            best = (float(found.fun), found.x)
    return objective.shape(best[1] if best else objective.start(None))


class _Posterior:
    """Negative log density of a shape, with its gradient; callable as L-BFGS wants it."""

    def __init__(self, features: Features, points: Array, values: Array, noise: Array) -> None:
        self._features = features
        self._columns, self._values, self._noise = features.embed(points), values, noise
        width = len(features.numeric)
        self._raw = np.clip(self._columns[:, :width], _EDGE, 1.0 - _EDGE)
        self._log = np.log(self._raw)
        groups = features.count
        dims = max(1, groups)
        self._sizes = (groups, width, width)
        centre = np.full(groups, LENGTH_MEAN + 0.5 * math.log(dims))
        centre[width:] = CHOICE_MEAN + 0.5 * math.log(dims)
        self._centre = np.concatenate([centre, np.zeros(2 * width), [NOISE_MEAN, 0.0, 0.0]])
        self._spread = np.concatenate(
            [np.full(groups, LENGTH_SD), np.full(2 * width, BEND_SD), [NOISE_SD, SCALE_SD, 1.0]]
        )
        self.bounds = (
            [(math.log(0.01), math.log(100.0))] * groups
            + [(-2.0, 2.0)] * (2 * width)
            + [(math.log(1e-6), math.log(2.0)), (-4.0, 4.0), (-3.0, 3.0)]
        )

    def start(self, source: np.random.Generator | None) -> Array:
        """Return the prior's middle, or a draw from it."""
        if source is None:
            return self._centre.copy()
        drawn = self._centre + self._spread * source.standard_normal(len(self._centre))
        low, high = np.array(self.bounds).T
        return np.clip(drawn, low, high)

    def shape(self, theta: Array) -> Shape:
        groups, width, _ = self._sizes
        return Shape(
            theta[:groups],
            theta[groups : groups + width],
            theta[groups + width : groups + 2 * width],
            float(theta[-3]),
            float(theta[-2]),
            float(theta[-1]),
        )

    def __call__(self, theta: Array) -> tuple[float, Array]:
        shape, features = self.shape(theta), self._features
        width = self._sizes[1]
        away = (theta - self._centre) / self._spread
        prior, by_prior = 0.5 * float(away @ away), away / self._spread

        power = np.exp(np.exp(shape.a) * self._log)  # x^a
        rest = 1.0 - power
        log_rest = np.log(rest)
        left = np.exp(np.exp(shape.b) * log_rest)  # (1 - x^a)^b
        columns = self._columns.copy()
        columns[:, :width] += (1.0 - left) - self._raw  # linear beyond the ends
        inverse = np.exp(-shape.lengths)[features.groups]
        embedded = columns * inverse
        squares = _squares(embedded, embedded)
        distance = _ROOT5 * np.sqrt(squares)
        decay = np.exp(-distance)
        scale, noise = math.exp(shape.scale), math.exp(shape.noise)
        smooth = scale * (1.0 + distance + distance * distance / 3.0) * decay
        kernel = smooth.copy()
        kernel[np.diag_indices_from(kernel)] += noise + self._noise + _JITTER
        root, failed = lapack.dpotrf(kernel, lower=1, clean=1)
        if failed:
            return 1e10, by_prior
        off = self._values - shape.mean
        weights = lapack.dpotrs(root, off, lower=1)[0]
        value = 0.5 * float(off @ weights) + float(np.log(np.diag(root)).sum())

        solved = lapack.dpotri(root, lower=1)[0]
        solved = solved + np.tril(solved, -1).T
        by_kernel = 0.5 * (solved - np.outer(weights, weights))
        pull = by_kernel * ((-5.0 / 6.0 * scale) * (1.0 + distance) * decay)
        by_embedded = 4.0 * (pull.sum(1)[:, None] * embedded - pull @ embedded)
        by_length = -np.bincount(
            features.groups, (by_embedded * embedded).sum(0), minlength=self._sizes[0]
        )
        by_bent = by_embedded[:, :width] * inverse[:width]
        a, b = np.exp(shape.a), np.exp(shape.b)
        by_a = (by_bent * (left / rest) * power * self._log).sum(0) * b * a
        by_b = -(by_bent * left * log_rest).sum(0) * b
        gradient = np.concatenate(
            [
                by_length,
                by_a,
                by_b,
                [
                    float(np.trace(by_kernel)) * noise,
                    float(np.einsum("ij,ij->", by_kernel, smooth)),
                    -float(weights.sum()),
                ],
            ]
        )
        return value + prior, gradient + by_prior


def _bend(raw: Array, a: Array, b: Array) -> Array:
    """Kumaraswamy's distribution function within [0, 1], linear beyond."""
    inside = np.clip(raw, _EDGE, 1.0 - _EDGE)
    bent: Array = raw - inside - np.expm1(np.exp(b) * np.log1p(-(inside ** np.exp(a))))
    return bent


def _bend_slope(raw: Array, log_a: Array, log_b: Array) -> Array:
    inside = np.clip(raw, _EDGE, 1.0 - _EDGE)
    a, b = np.exp(log_a), np.exp(log_b)
    slope: Array = a * b * inside ** (a - 1.0) * (1.0 - inside**a) ** (b - 1.0)
    return slope


def _squares(left: Array, right: Array) -> Array:
    """Squared distances between the rows."""
    one = np.einsum("ij,ij->i", left, left)[:, None]
    two = np.einsum("ij,ij->i", right, right)[None, :]
    squares: Array = np.maximum(one + two - 2.0 * (left @ right.T), 0.0)
    return squares


def _matern(squares: Array) -> Array:
    distance = _ROOT5 * np.sqrt(squares)
    smooth: Array = (1.0 + distance + distance * distance / 3.0) * np.exp(-distance)
    return smooth


def _steepness(squares: Array) -> Array:
    """Minus the derivative of `_matern` by the squared distance."""
    distance = _ROOT5 * np.sqrt(squares)
    steep: Array = 5.0 / 6.0 * (1.0 + distance) * np.exp(-distance)
    return steep


def _cholesky(kernel: Array) -> Array:
    for extra in _EXTRAS:
        root, failed = lapack.dpotrf(kernel + extra * np.eye(len(kernel)), lower=1, clean=1)
        if not failed and np.isfinite(root).all():
            found: Array = root
            return found
    raise ArithmeticError("the kernel matrix is not positive definite")
