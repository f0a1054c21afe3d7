"""How much a point is worth trying: the logarithm of the improvement that is expected of it.

Expected improvement (Jones et al., 1998) is zero to a float nearly everywhere, and so is its slope;
its logarithm is not (Ament et al., NeurIPS 2023).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

__all__ = ["log_improvement", "log_improvement_slopes"]

Array = NDArray[np.float64]

_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
_ROOT_HALF_PI = math.sqrt(math.pi / 2.0)


def log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Return log E[max(best - f, 0)] of f ~ N(mean, deviation²).

    Example:
        >>> even = log_improvement(np.array([0.0]), np.array([1.0]), 0.0)
        >>> float(np.exp(even)[0])
        0.3989...
    """
    found: Array = np.log(deviation) + _log_h((best - mean) / deviation)
    return found


def log_improvement_slopes(mean: Array, deviation: Array, best: float) -> tuple[Array, Array]:
    """Return the derivatives of `log_improvement` by mean and by deviation."""
    z = (best - mean) / deviation
    log_h = _log_h(z)
    by_mean = -np.exp(log_ndtr(z) - log_h) / deviation
    by_deviation = np.exp(-0.5 * z * z - _LOG_ROOT_2PI - log_h) / deviation
    return by_mean, by_deviation


def _log_h(z: Array) -> Array:
    """Return log(φ(z) + z Φ(z)) without cancellation."""
    found = np.empty_like(z)
    high = z > -1.0
    far = z < -1e4
    near = ~high & ~far
    log_density = -0.5 * z * z - _LOG_ROOT_2PI
    zh = z[high]
    found[high] = np.log(np.exp(log_density[high]) + zh * np.exp(log_ndtr(zh)))
    zn = z[near]
    # Φ(z) / φ(z) = sqrt(π/2) erfcx(-z/√2); 1 + z Φ/φ goes like 1/z² and cancels slowly until 1e4
    found[near] = log_density[near] + np.log(
        np.maximum(1.0 + zn * _ROOT_HALF_PI * erfcx(-zn / math.sqrt(2.0)), 1e-300)
    )
    found[far] = log_density[far] - 2.0 * np.log(-z[far])
    return found
