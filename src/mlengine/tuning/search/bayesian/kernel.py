"""The kernel's formulas: how alike two points are, over bent coordinates, and its root.

It has three parts, and what each weighs is learnt. Matérn-5/2 looks at all parameters together. A
sum looks at one after the other (Duvenaud et al., NeurIPS 2011): most of what a metric does, each
parameter does by itself (Hutter et al., ICML 2014), and of that far fewer trials tell, and tell it
for places where nobody has been. Its terms are Cauchy's, since they cost no exponential. The trend
is a slope along each parameter and one bowl (Rasmussen & Williams, 2006, §2.7): most metrics are
worse far out, whatever the direction, and where a bowl lies is known after about as many trials as
there are parameters; a kernel that forgets with distance takes many times more.

Coordinates are bent by Kumaraswamy's distribution function, whose shape is learnt (Snoek et al.,
ICML 2014): a metric seldom varies as fast at one end of a range as at the other.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = [
    "EDGE",
    "JITTER",
    "ROOT5",
    "Array",
    "alone",
    "bend",
    "bend_slope",
    "cholesky",
    "matern",
    "spans",
    "squares",
    "steepness",
    "trend",
]

Array = NDArray[np.float64]

ROOT5 = math.sqrt(5.0)
JITTER = 1e-8
"""Added to the diagonal of every kernel matrix."""
EDGE = 1e-6
"""How far from 0 and 1 a coordinate is kept: bent there, it has no slope."""

_EXTRAS = (0.0, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)  # on the diagonal, until it has a root


def bend(raw: Array, a: Array, b: Array) -> Array:
    """Return Kumaraswamy's distribution function, linear beyond [0, 1]; `a`, `b` are logarithms."""
    inside = np.clip(raw, EDGE, 1.0 - EDGE)
    bent: Array = raw - inside - np.expm1(np.exp(b) * np.log1p(-(inside ** np.exp(a))))
    return bent


def bend_slope(raw: Array, log_a: Array, log_b: Array) -> Array:
    """Return the derivative of `bend` by the coordinate, within [0, 1]."""
    inside = np.clip(raw, EDGE, 1.0 - EDGE)
    a, b = np.exp(log_a), np.exp(log_b)
    slope: Array = a * b * inside ** (a - 1.0) * (1.0 - inside**a) ** (b - 1.0)
    return slope


def squares(left: Array, right: Array) -> Array:
    """Return the squared distances between the rows."""
    one = np.einsum("ij,ij->i", left, left)[:, None]
    two = np.einsum("ij,ij->i", right, right)[None, :]
    squares: Array = np.maximum(one + two - 2.0 * (left @ right.T), 0.0)
    return squares


def matern(squares: Array) -> Array:
    """Return the correlation of points at these squared distances."""
    distance = ROOT5 * np.sqrt(squares)
    smooth: Array = (1.0 + distance + distance * distance / 3.0) * np.exp(-distance)
    return smooth


def steepness(squares: Array) -> Array:
    """Minus the derivative of `matern` by the squared distance."""
    distance = ROOT5 * np.sqrt(squares)
    steep: Array = 5.0 / 6.0 * (1.0 + distance) * np.exp(-distance)
    return steep


def trend(places: Array) -> Array:
    """Return the columns of slopes and bowl; in a space's uniform points each part varies by 1."""
    off = places - 0.5
    size = max(1, off.shape[1])
    out = (off * off - 1.0 / 12.0).sum(1)[:, None]
    found: Array = np.hstack([math.sqrt(12.0 / size) * off, math.sqrt(180.0 / size) * out])
    return found


def spans(groups: NDArray[np.intp]) -> list[slice]:
    """Return where each group's columns are; they stand side by side."""
    edges = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(groups)]
    return [slice(start, end) for start, end in itertools.pairwise(edges) if start < end]


def alone(left: Array, right: Array, columns: slice) -> Array:
    """Return how alike rows are along one parameter: 1 / (1 + distance²)."""
    if columns.stop - columns.start > 1:
        found = squares(left[:, columns], right[:, columns])
    else:
        found = left[:, columns] - right[:, columns].T
        found *= found
    found += 1.0
    return np.reciprocal(found, out=found)


def cholesky(kernel: Array) -> Array:
    """Return the lower root; of a matrix that has none, that of one nearby.

    Raises:
        ArithmeticError: It holds what is no number.
    """
    for extra in _EXTRAS:
        root, failed = lapack.dpotrf(kernel + extra * np.eye(len(kernel)), lower=1, clean=1)
        if not failed and np.isfinite(root).all():
            found: Array = root
            return found
    raise ArithmeticError("the kernel matrix is not positive definite")
