"""Linear models: a matrix product and a sum."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlengine.runtime.shortcuts.kernel import NoKernel
from mlengine.runtime.shortcuts.recipe import Product, Recipe, Rule

__all__ = ["recipe"]


def recipe(estimator: Any) -> Recipe:
    """Return the recipe of a linear classifier or regressor.

    Raises:
        NoKernel: It is no linear model, or one whose prediction is more than a weighted sum.
    """
    name = type(estimator).__name__
    coefficients = getattr(estimator, "coef_", None)
    intercept = getattr(estimator, "intercept_", None)
    if not isinstance(coefficients, np.ndarray) or intercept is None:
        raise NoKernel(f"{name} has no coefficients")
    width = int(estimator.n_features_in_)
    classes = getattr(estimator, "classes_", None)
    if classes is not None and not isinstance(classes, np.ndarray):
        raise NoKernel(f"{name} predicts several labels for a row")
    if classes is not None and coefficients.ndim != 2:
        raise NoKernel(f"{name} has no coefficients of each class")
    label = "the largest" if len(coefficients) > 1 else "above zero"
    is_flat = coefficients.ndim == 2 and name.startswith("SGD")
    rule = Rule(label=label if classes is not None else "", flat=is_flat)
    # As the library has them, turned: BLAS adds up in another order what lies in another order.
    product = Product(coefficients.T, np.asarray(intercept))
    return Recipe(name, width, (), product, rule, None if classes is None else classes.tolist())
