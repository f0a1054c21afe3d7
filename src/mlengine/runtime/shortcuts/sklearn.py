"""Which kernel a scikit-learn estimator has, if any: its class says so, exactly.

A subclass may compute something else, so only the library's own classes count. That a kernel gives
what the class gives is not believed but checked, each time a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlengine.runtime.shortcuts import linear, trees
from mlengine.runtime.shortcuts.kernel import Kernel, NoKernel

__all__ = ["kernel"]

_FORESTS = frozenset({
    "DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor",
    "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier",
    "ExtraTreesRegressor",
})  # fmt: skip
_BOOSTED = frozenset({"GradientBoostingClassifier", "GradientBoostingRegressor"})
_HISTOGRAM = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})
_LINEAR_MODULES = ("sklearn.linear_model.", "sklearn.svm._classes")

_Step = Callable[[np.ndarray], Any]


def kernel(estimator: Any) -> Kernel:
    """Return the kernel of an estimator, or of a pipeline that ends in one.

    Raises:
        NoKernel: There is none; the text names the part that has none.
    """
    name = type(estimator).__name__
    module = type(estimator).__module__
    if not module.startswith("sklearn."):
        raise NoKernel(f"{name} is no class of scikit-learn's own")
    if name == "Pipeline":
        return _of_pipeline(estimator)
    if name in _FORESTS:
        return trees.forest_kernel(estimator)
    if name in _BOOSTED:
        return trees.boosted_kernel(estimator)
    if name in _HISTOGRAM:
        return trees.histogram_kernel(estimator)
    if module.startswith(_LINEAR_MODULES):
        return linear.kernel(estimator)
    raise NoKernel(f"{name} has no direct way")


def _of_pipeline(pipeline: Any) -> Kernel:
    *before, (_, last) = pipeline.steps
    steps = [step for _, part in before if (step := _step(part)) is not None]
    end = kernel(last)
    if not steps:
        return end

    def run(table: np.ndarray) -> Any:
        for step in steps:
            table = step(table)
        if not np.isfinite(table).all():
            raise FloatingPointError("a scaled number is not finite")
        return end.run(table)

    width = int(pipeline.n_features_in_)
    name = " → ".join(type(part).__name__ for _, part in pipeline.steps if part is not None)
    return end._replace(name=name, width=width, run=run, landmarks={})


def _step(part: Any) -> _Step | None:
    """Return what a transformer does to a table without missing values; None: nothing."""
    if part is None or part == "passthrough":
        return None
    name = type(part).__name__
    if not type(part).__module__.startswith("sklearn.") or name not in _STEPS:
        raise NoKernel(f"the step {name} has no direct way")
    return _STEPS[name](part)


def _standard(part: Any) -> _Step:
    mean = part.mean_ if part.with_mean else None
    scale = part.scale_ if part.with_std else None
    return _shifted(mean, scale)


def _robust(part: Any) -> _Step:
    return _shifted(
        part.center_ if part.with_centering else None, part.scale_ if part.with_scaling else None
    )


def _shifted(mean: Any, scale: Any) -> _Step:
    def step(table: np.ndarray) -> Any:
        if mean is not None:
            table = table - mean
        return table if scale is None else table / scale

    return step


def _min_max(part: Any) -> _Step:
    low, high = part.feature_range

    def step(table: np.ndarray) -> Any:
        table = table * part.scale_ + part.min_
        return np.clip(table, low, high) if part.clip else table

    return step


def _max_abs(part: Any) -> _Step:
    if getattr(part, "clip", False):
        raise NoKernel("MaxAbsScaler clips")
    return _shifted(None, part.scale_)


def _imputer(part: Any) -> _Step:
    filled = part.statistics_
    if filled.dtype.kind != "f" or np.isnan(filled).any() or part.add_indicator:
        raise NoKernel("SimpleImputer adds or drops columns")
    missing = part.missing_values
    if isinstance(missing, float) and np.isnan(missing):
        return lambda table: table  # rows with null go the general way
    raise NoKernel("SimpleImputer replaces a number")


def _selector(part: Any) -> _Step:
    kept = part.get_support()
    return lambda table: table[..., kept]


_STEPS: dict[str, Callable[[Any], _Step]] = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "SimpleImputer": _imputer,
    "VarianceThreshold": _selector,
    "SelectKBest": _selector,
    "SelectPercentile": _selector,
}
