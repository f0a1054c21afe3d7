"""How a process comes by its kernel: the parameters of highest posterior density.

By L-BFGS from the prior's middle and from random starts, with gradients in closed form (Rasmussen
& Williams, 2006, §5.4.1). The prior of the lengths grows with the number of parameters (Hvarfner et
al., ICML 2024), so that a process in many dimensions does not take every point for an island.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import minimize

from mlengine.tuning.search.bayesian.features import Features
from mlengine.tuning.search.bayesian.kernel import EDGE, JITTER, ROOT5, Array, squares
from mlengine.tuning.search.bayesian.process import Shape

__all__ = ["fit"]

# Priors, of logarithms: mean and standard deviation. A category's length is longer: any two of its
# values are one apart, and what a choice is good for is much the same whatever else is chosen.
_LENGTH_MEAN, _CHOICE_MEAN, _LENGTH_SD = -1.5, -0.5, 1.0
_NOISE_MEAN, _NOISE_SD = math.log(1e-3), 2.0
_BEND_SD, _SCALE_SD, _MEAN_SD = 0.5, 1.0, 1.0

_RESTARTS = 1
_STEPS, _STEPS_OF_MANY, _MANY = 60, 35, 60  # with many points fewer are enough


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
    for attempt in range(1 + _RESTARTS):
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
        self._raw = np.clip(self._columns[:, :width], EDGE, 1.0 - EDGE)
        self._log = np.log(self._raw)
        groups = features.count
        dims = max(1, groups)
        self._groups, self._width = groups, width
        centre = np.full(groups, _LENGTH_MEAN + 0.5 * math.log(dims))
        centre[width:] = _CHOICE_MEAN + 0.5 * math.log(dims)
        self._centre = np.concatenate([centre, np.zeros(2 * width), [_NOISE_MEAN, 0.0, 0.0]])
        self._spread = np.concatenate(
            [
                np.full(groups, _LENGTH_SD),
                np.full(2 * width, _BEND_SD),
                [_NOISE_SD, _SCALE_SD, _MEAN_SD],
            ]
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
        """Return the parameters in `theta` by name."""
        groups, width = self._groups, self._width
        return Shape(
            theta[:groups],
            theta[groups : groups + width],
            theta[groups + width : groups + 2 * width],
            float(theta[-3]),
            float(theta[-2]),
            float(theta[-1]),
        )

    def __call__(self, theta: Array) -> tuple[float, Array]:
        shape = self.shape(theta)
        away = (theta - self._centre) / self._spread
        prior, by_prior = 0.5 * float(away @ away), away / self._spread
        bent = self._bent(shape)
        inverse = np.exp(-shape.lengths)[self._features.groups]
        embedded = bent.columns * inverse
        distance = ROOT5 * np.sqrt(squares(embedded, embedded))
        decay = np.exp(-distance)
        scale, noise = math.exp(shape.scale), math.exp(shape.noise)
        smooth = scale * (1.0 + distance + distance * distance / 3.0) * decay
        kernel = smooth.copy()
        kernel[np.diag_indices_from(kernel)] += noise + self._noise + JITTER
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
            self._features.groups, (by_embedded * embedded).sum(0), minlength=self._groups
        )
        by_a, by_b = self._by_bend(shape, bent, by_embedded * inverse)
        by_noise = float(np.trace(by_kernel)) * noise
        by_scale = float(np.einsum("ij,ij->", by_kernel, smooth))
        by_rest = np.array([by_noise, by_scale, -float(weights.sum())])
        return value + prior, np.concatenate([by_length, by_a, by_b, by_rest]) + by_prior

    def _bent(self, shape: Shape) -> _Bent:
        power = np.exp(np.exp(shape.a) * self._log)
        log_rest = np.log(1.0 - power)
        left = np.exp(np.exp(shape.b) * log_rest)
        columns = self._columns.copy()
        columns[:, : self._width] += (1.0 - left) - self._raw  # linear beyond the ends
        return _Bent(columns, power, log_rest, left)

    def _by_bend(self, shape: Shape, bent: _Bent, by_columns: Array) -> tuple[Array, Array]:
        by_left = by_columns[:, : self._width] * bent.left
        a, b = np.exp(shape.a), np.exp(shape.b)
        by_a = (by_left / (1.0 - bent.power) * bent.power * self._log).sum(0) * b * a
        by_b = -(by_left * bent.log_rest).sum(0) * b
        return by_a, by_b


class _Bent(NamedTuple):
    """Bent columns, and on the way to them x^a, log(1 - x^a) and (1 - x^a)^b."""

    columns: Array
    power: Array
    log_rest: Array
    left: Array
