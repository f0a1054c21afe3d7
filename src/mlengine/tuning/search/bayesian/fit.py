"""How a process comes by its kernel: the parameters of highest posterior density.

By L-BFGS from the prior's middle, and while there are few trials from a random start too, with
gradients in closed form (Rasmussen & Williams, 2006, §5.4.1). The prior of the lengths grows with
the number of parameters (Hvarfner et al., ICML 2024), so that a process in many dimensions does not
take every point for an island. That of the noise is wide: metrics are exact, or as noisy as large.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from mlengine.tuning.search.bayesian.descent import descend
from mlengine.tuning.search.bayesian.features import Features
from mlengine.tuning.search.bayesian.kernel import (
    EDGE,
    JITTER,
    ROOT5,
    Array,
    alone,
    spans,
    squares,
    trend,
)
from mlengine.tuning.search.bayesian.process import Shape

__all__ = ["fit"]

# Priors, of logarithms: mean and standard deviation. A category's length is longer: any two of its
# values are one apart, and what a choice is good for is much the same whatever else is chosen.
_LENGTH_MEAN, _CHOICE_MEAN, _LENGTH_SD = -1.8, -0.5, 1.0
_NOISE_MEAN, _NOISE_SD = math.log(1e-3), 3.0
_BEND_SD, _SCALE_SD, _MEAN_SD = 0.3, 1.0, 1.0
_SHARE_MEAN, _SHARE_SD, _NARROW_SD = 0.0, 1.5, 1.0
_SLANT_MEAN, _SLANT_SD = -1.0, 1.5

_STEPS, _STEPS_OF_MANY, _MANY = 60, 35, 60  # with many points fewer are enough, and one start
_NOISES = (0.01, 0.5)  # to start from: little is wrong with the values, or half of each is luck
_REST = 6  # parameters after the lengths and the bends
_ENOUGH = 0.05  # of log density; what is less does not change where to look


def fit(features: Features, points: Array, values: Array, noise: Array) -> Shape:
    """Return the shape of highest posterior density.

    Args:
        values: Of mean 0 and variance 1, or nearly.
        noise: Known variances.
    """
    posterior = _Posterior(features, points, values, noise)
    few = len(values) < _MANY
    starts = [posterior.start(noise) for noise in (_NOISES if few else _NOISES[:1])]

    def each(thetas: Array, _which: NDArray[np.intp]) -> tuple[Array, Array]:
        found = [posterior(theta) for theta in thetas]
        return np.array([value for value, _ in found]), np.array([slope for _, slope in found])

    reached, density = descend(
        each, np.array(starts), *posterior.box,
        steps=_STEPS if few else _STEPS_OF_MANY, enough=_ENOUGH,
    )  # fmt: skip
    return posterior.shape(reached[int(np.argmin(density))])


class _Posterior:
    """Negative log density of a shape, with its gradient."""

    def __init__(self, features: Features, points: Array, values: Array, noise: Array) -> None:
        self._features, self._spans = features, spans(features.groups)
        self._columns, self._values, self._noise = features.embed(points), values, noise
        width = len(features.numeric)
        self._raw = np.clip(self._columns[:, :width], EDGE, 1.0 - EDGE)
        self._log = np.log(self._raw)
        columns = trend(points[:, features.numeric])
        self._trend = columns @ columns.T
        groups = features.count
        dims = max(1, groups)
        self._groups, self._width = groups, width
        centre = np.full(groups, _LENGTH_MEAN + 0.5 * math.log(dims))
        centre[width:] = _CHOICE_MEAN + 0.5 * math.log(dims)
        bends = np.zeros(2 * width)
        # what the kernel's sum sees is one parameter wide: its lengths are not to grow
        rest = [_NOISE_MEAN, 0.0, 0.0, _SHARE_MEAN, 0.5 * math.log(dims), _SLANT_MEAN]
        self._centre = np.concatenate([centre, bends, rest])
        spread = [_NOISE_SD, _SCALE_SD, _MEAN_SD, _SHARE_SD, _NARROW_SD, _SLANT_SD]
        self._spread = np.concatenate(
            [np.full(groups, _LENGTH_SD), np.full(2 * width, _BEND_SD), spread]
        )
        least = [math.log(1e-6), -4.0, -3.0, -8.0, -1.5, -8.0]
        most = [math.log(2.0), 4.0, 3.0, 6.0, 4.0, 4.0]
        self.box = (
            np.concatenate([np.full(groups, math.log(0.01)), bends - 2.0, least]),
            np.concatenate([np.full(groups, math.log(100.0)), bends + 2.0, most]),
        )

    def start(self, noise: float) -> Array:
        """Return the prior's middle, but for the noise's variance."""
        start = self._centre.copy()
        start[-_REST] = math.log(noise)
        return start

    def shape(self, theta: Array) -> Shape:
        """Return the parameters in `theta` by name."""
        groups, width = self._groups, self._width
        return Shape(
            theta[:groups],
            theta[groups : groups + width],
            theta[groups + width : groups + 2 * width],
            *(float(number) for number in theta[-_REST:]),
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
        aside = _Sum(
            embedded * math.exp(shape.narrow), self._spans,
            scale * math.exp(shape.share) / max(1, self._groups),
        )  # fmt: skip
        slant = scale * math.exp(shape.slant) * self._trend
        smooth = scale * (1.0 + distance + distance * distance / 3.0) * decay + aside.total + slant
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
        by_aside = aside.slopes(by_kernel) * math.exp(shape.narrow)
        by_narrow = float((by_aside * embedded).sum())
        by_embedded += by_aside
        by_length = -np.bincount(
            self._features.groups, (by_embedded * embedded).sum(0), minlength=self._groups
        )
        by_a, by_b = self._by_bend(shape, bent, by_embedded * inverse)
        by_rest = [
            float(np.trace(by_kernel)) * noise, float(np.vdot(by_kernel, smooth)),
            -float(weights.sum()), float(np.vdot(by_kernel, aside.total)), by_narrow,
            float(np.vdot(by_kernel, slant)),
        ]  # fmt: skip
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


class _Sum:
    """The part of the kernel that looks at each parameter alone, between embedded rows."""

    def __init__(self, rows: Array, parts: list[slice], share: float) -> None:
        self._rows, self._parts, self._share = rows, parts, share
        self._each = []
        self.total = np.zeros((len(rows), len(rows)))
        for columns in parts:
            one = alone(rows, rows, columns)
            self._each.append(one)
            self.total += one
        self.total *= share

    def slopes(self, by_kernel: Array) -> Array:
        """Return the derivative by the rows of what has the derivative `by_kernel` by the total."""
        pull = by_kernel * (-4.0 * self._share)
        found = np.empty_like(self._rows)
        for one, columns in zip(self._each, self._parts, strict=True):
            steep = np.multiply(one, one, out=one)
            steep *= pull
            here = self._rows[:, columns]
            found[:, columns] = steep.sum(1)[:, None] * here - steep @ here
        return found
