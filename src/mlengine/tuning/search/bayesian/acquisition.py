"""How much a point is worth trying: the logarithm of the improvement that is expected of it.

Expected improvement (Jones et al., 1998) is zero to a float nearly everywhere, and so is its slope;
its logarithm is not (Ament et al., NeurIPS 2023).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_improvement", "log_improvement_slopes", "log_news"]

Array = NDArray[np.float64]

_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
_HIGH, _FAR, _TERMS = 30.0, -10.0, 21
_erfc = np.vectorize(math.erfc, otypes=[float])


def log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Return log E[max(best - f, 0)] of f ~ N(mean, deviation²).

    Example:
        >>> even = log_improvement(np.array([0.0]), np.array([1.0]), 0.0)
        >>> float(np.exp(even)[0])
        0.3989...
    """
    found: Array = np.log(deviation) + _log_h((best - mean) / deviation)
    return found


def log_news(deviation: Array, noise: float) -> tuple[Array, Array]:
    """Return log(1 - τ / √(deviation² + τ²)), with its derivative; τ² is the variance `noise`.

    It is what expected improvement is multiplied by where values are noisy (Huang et al., J. Global
    Optim. 2006): of a place that is known better than one value tells, one more says little.
    """
    tau = math.sqrt(noise)
    both = np.sqrt(deviation * deviation + noise)
    found = 2.0 * np.log(deviation) - np.log(both) - np.log(both + tau)
    slope = 2.0 / deviation - deviation / both * (1.0 / both + 1.0 / (both + tau))
    return found, slope


def log_improvement_slopes(mean: Array, deviation: Array, best: float) -> tuple[Array, Array]:
    """Return the derivatives of `log_improvement` by mean and by deviation."""
    z = (best - mean) / deviation
    mills, rest = _ratios(z)
    return -mills / rest / deviation * _HIGH / np.maximum(z, _HIGH), 1.0 / rest / deviation


def _log_h(z: Array) -> Array:
    """Return log(φ(z) + z Φ(z)) without cancellation; where it is as good as z, log z."""
    found: Array = np.log(_ratios(z)[1]) - 0.5 * np.minimum(z, _HIGH) ** 2 - _LOG_ROOT_2PI
    return found + np.log(np.maximum(z, _HIGH) / _HIGH)


def _ratios(z: Array) -> tuple[Array, Array]:
    """Return Φ(z) / φ(z) and 1 + z times that, nearly to a float's precision.

    Below -10 the second is what the first's asymptotic series leaves of the 1.
    """
    z = np.minimum(z, _HIGH)
    near = np.maximum(z, _FAR)
    mills = 0.5 * _erfc(near * -math.sqrt(0.5)) * np.exp(0.5 * near * near + _LOG_ROOT_2PI)
    rest = 1.0 + near * mills
    far = z < _FAR
    if far.any():
        square = 1.0 / (z[far] * z[far])
        series = np.zeros(len(square))
        for odd in range(_TERMS, 1, -2):  # 1/z² - 3/z⁴ + 15/z⁶ - …
            series = odd * square * (1.0 - series)
        rest[far] = square * (1.0 - series)
        mills[far] = (1.0 - rest[far]) / -z[far]
    return mills, rest
