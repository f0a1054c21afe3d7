"""Which recipe a scikit-learn estimator has, if any: its class says so, exactly.

A subclass may compute something else, so only the library's own classes count. That a recipe gives
what the class gives is not believed but checked, each time a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlengine.runtime.shortcuts import linear, recipe, trees
from mlengine.runtime.shortcuts.kernel import Kernel, NoKernel
from mlengine.runtime.shortcuts.recipe import Recipe, Step

__all__ = ["kernel", "recipe_of"]

_FORESTS = frozenset({
    "DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor",
    "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier",
    "ExtraTreesRegressor",
})  # fmt: skip
_BOOSTED = frozenset({"GradientBoostingClassifier", "GradientBoostingRegressor"})
_HISTOGRAM = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})
_LINEAR_MODULES = ("sklearn.linear_model.", "sklearn.svm._classes")


def kernel(estimator: Any) -> Kernel:
    """Return the kernel of an estimator, or of a pipeline that ends in one.

    Raises:
        NoKernel: There is none; the text names the part that has none.
    """
    name, width, steps, last = _taken_apart(estimator)
    if type(last).__name__ in _HISTOGRAM:
        end = trees.histogram_kernel(last)
        return recipe.scaled(end._replace(name=name, width=width), steps)
    return recipe.kernel(recipe_of(estimator))


def recipe_of(estimator: Any) -> Recipe:
    """Return the recipe of an estimator, or of a pipeline that ends in one.

    Raises:
        NoKernel: There is none; the text names the part that has none.
    """
    name, width, steps, last = _taken_apart(estimator)
    return _recipe(last)._replace(name=name, width=width, steps=steps)


def _recipe(estimator: Any) -> Recipe:
    name = type(estimator).__name__
    if name in _FORESTS:
        return trees.forest_recipe(estimator)
    if name in _BOOSTED:
        return trees.boosted_recipe(estimator)
    if type(estimator).__module__.startswith(_LINEAR_MODULES):
        return linear.recipe(estimator)
    if name in _HISTOGRAM:
        raise NoKernel(f"{name} has no form in plain numbers")
    raise NoKernel(f"{name} has no direct way")


def _taken_apart(estimator: Any) -> tuple[str, int, list[Step], Any]:
    """Return an estimator's name and width, what a pipeline does to its rows, and its last part."""
    _check_own(estimator)
    name, parts = type(estimator).__name__, [estimator]
    if name == "Pipeline":
        parts = [part for _, part in estimator.steps if part is not None and part != "passthrough"]
        name = " → ".join(type(part).__name__ for part in parts)
        _check_own(parts[-1])
    steps = [step for part in parts[:-1] for step in _steps(part)]
    return name, int(estimator.n_features_in_), steps, parts[-1]


def _check_own(estimator: Any) -> None:
    if not type(estimator).__module__.startswith("sklearn."):
        raise NoKernel(f"{type(estimator).__name__} is no class of scikit-learn's own")


def _steps(part: Any) -> list[Step]:
    """Return what a transformer does to a table without missing values."""
    name = type(part).__name__
    if not type(part).__module__.startswith("sklearn.") or name not in _STEPS:
        raise NoKernel(f"the step {name} has no direct way")
    return _STEPS[name](part)


def _standard(part: Any) -> list[Step]:
    mean = part.mean_ if part.with_mean else None
    scale = part.scale_ if part.with_std else None
    return _shifted(mean, scale)


def _robust(part: Any) -> list[Step]:
    return _shifted(
        part.center_ if part.with_centering else None, part.scale_ if part.with_scaling else None
    )


def _shifted(mean: Any, scale: Any) -> list[Step]:
    steps = [] if mean is None else [Step("subtract", mean)]
    return steps if scale is None else [*steps, Step("divide", scale)]


def _min_max(part: Any) -> list[Step]:
    steps = [Step("multiply", part.scale_), Step("add", part.min_)]
    return [*steps, Step("clip", np.array(part.feature_range, float))] if part.clip else steps


def _max_abs(part: Any) -> list[Step]:
    if getattr(part, "clip", False):
        raise NoKernel("MaxAbsScaler clips")
    return _shifted(None, part.scale_)


def _imputer(part: Any) -> list[Step]:
    filled = part.statistics_
    if filled.dtype.kind != "f" or np.isnan(filled).any() or part.add_indicator:
        raise NoKernel("SimpleImputer adds or drops columns")
    missing = part.missing_values
    if isinstance(missing, float) and np.isnan(missing):
        return []  # rows with null go the general way
    raise NoKernel("SimpleImputer replaces a number")


def _selector(part: Any) -> list[Step]:
    return [Step("take", np.flatnonzero(part.get_support()))]


_STEPS: dict[str, Callable[[Any], list[Step]]] = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "SimpleImputer": _imputer,
    "VarianceThreshold": _selector,
    "SelectKBest": _selector,
    "SelectPercentile": _selector,
}
