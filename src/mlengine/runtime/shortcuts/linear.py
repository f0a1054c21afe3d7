"""Linear models: a matrix product and a sum.

The product is `numpy.matmul` over a stack of tables, one for each request. For every table it
calls BLAS with the shapes of that request alone, so that its sums are rounded as if nobody else had
asked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlengine.runtime.shortcuts.kernel import Kernel, NoKernel

__all__ = ["kernel"]


def kernel(estimator: Any) -> Kernel:
    """Return the kernel of a linear classifier or regressor.

    Raises:
        NoKernel: It is no linear model, or one whose prediction is more than a weighted sum.
    """
    coefficients = getattr(estimator, "coef_", None)
    intercept = getattr(estimator, "intercept_", None)
    if not isinstance(coefficients, np.ndarray) or intercept is None:
        raise NoKernel(f"{type(estimator).__name__} has no coefficients")
    weights = coefficients.T
    name = type(estimator).__name__
    width = int(estimator.n_features_in_)
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        is_flat = coefficients.ndim == 1 or name.startswith("SGD")

        def values(table: np.ndarray) -> Any:
            sums = table @ weights + intercept
            return sums[..., 0] if is_flat and sums.ndim == 3 else sums

        return Kernel(name, width, values)
    if not isinstance(classes, np.ndarray):
        raise NoKernel(f"{name} predicts several labels for a row")

    def indexes(table: np.ndarray) -> Any:
        scores = table @ weights + intercept
        if scores.shape[-1] == 1:
            return np.asarray(scores[..., 0] > 0, dtype=np.intp)
        return np.argmax(scores, axis=-1)

    return Kernel(name, width, indexes, labels=classes.tolist())
