"""Integrated gradients: what the score gains on the straight way from the baseline to the instance.

    value of a feature = (instance − baseline) · ∫ gradient along the way

The integral is Gauss and Legendre's: so many points, placed and weighed so that a smooth score
needs few. Pure: gradients are asked of whoever has them.
"""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["error_of", "points"]


@functools.lru_cache(maxsize=8)
def points(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where on the way gradients are taken, 0 … 1, and the weight of each.

    Example:
        >>> where, weights = points(3)
        >>> round(float(weights @ where**5), 9)  # exact up to the degree 2 · 3 − 1
        0.166666667
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def error_of(total: float, example_score: float, baseline_score: float) -> float:
    """Return what the values lack to add up to the difference of the scores."""
    return abs(total - (example_score - baseline_score))
