"""XGBoost past its wrapper: its trees as numbers, or one call of the library's C function.

`Booster.inplace_predict` looks for twenty kinds of tables before that call, and an `XGBClassifier`
sets up a context around it; together they cost what forty rows cost. The trees alone (`walks`) take
less than the call, but exponentials come out of numpy with another last digit; so answers that have
one are the library's unless a version is compiled, which may differ there.
"""

from __future__ import annotations

import ctypes
import json
import math
from typing import Any

import numpy as np

from mlengine.runtime.shortcuts import recipe
from mlengine.runtime.shortcuts.kernel import Kernel, NoKernel
from mlengine.runtime.shortcuts.recipe import Recipe, Rule
from mlengine.runtime.shortcuts.walks import Tree, constant, pack

__all__ = ["kernel", "recipe_of"]

_LINKS = {
    "reg:squarederror": "", "reg:absoluteerror": "", "binary:logitraw": "", "rank:pairwise": "",
    "binary:logistic": "sigmoid", "reg:logistic": "sigmoid",
    "count:poisson": "exp", "reg:gamma": "exp", "reg:tweedie": "exp",
    "multi:softprob": "softmax",
}  # fmt: skip
_WRAPPERS = ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor")


def kernel(model: Any) -> Kernel:
    """Return the kernel of a `Booster`, an `XGBClassifier` or an `XGBRegressor`.

    Raises:
        NoKernel: Of another class, of several labels, or of another XGBoost than this was made for.
    """
    try:
        if _is_exact(model):
            return recipe.kernel(recipe_of(model))
    except (NoKernel, LookupError):  # an older XGBoost writes its trees otherwise
        pass
    return _library_kernel(model)


def recipe_of(model: Any) -> Recipe:
    """Return the recipe of a `Booster`, an `XGBClassifier` or an `XGBRegressor`.

    Raises:
        NoKernel: Of another class, with another missing value than NaN, or with something that
            is more than plain trees with one number a leaf.
    """
    name = type(model).__name__
    if name == "Booster":
        return _of_trees(name, model, (0, 0))
    _check(model)
    if not math.isnan(model.missing):
        raise NoKernel(f"{model.missing} stands for a missing value")
    found = _of_trees(name, model.get_booster(), model._get_iteration_range(None))
    if name.endswith("Regressor"):
        return found
    label = "above a half" if found.rule.flat else "the largest"
    # Its answers are the numbers of the classes, whatever the classes are.
    return found._replace(
        rule=found.rule._replace(label=label), labels=range(int(model.n_classes_))
    )


def _is_exact(model: Any) -> bool:
    """Whether a recipe gives the library's very bits: no prediction is an exponential."""
    name = type(model).__name__
    if name != "Booster":
        _check(model)
    if name.endswith("Classifier"):
        return True
    booster = model if name == "Booster" else model.get_booster()
    learner = json.loads(booster.save_config())["learner"]
    return _LINKS.get(learner["objective"]["name"]) == ""


def _library_kernel(model: Any) -> Kernel:
    name = type(model).__name__
    if name == "Booster":
        call = _Call(model, missing=math.nan, iterations=(0, 0))
        return Kernel(name, call.width, call.tables, rowwise=True)
    _check(model)
    iterations = model._get_iteration_range(None)
    call = _Call(model.get_booster(), missing=model.missing, iterations=iterations)
    if name.endswith("Regressor"):
        return Kernel(name, call.width, call.tables, rowwise=True)

    def indexes(table: np.ndarray) -> Any:
        chances = call.tables(table)
        if chances.ndim == 3:
            return np.argmax(chances, axis=-1)
        return (chances > 0.5).astype(np.intp)

    # Its answers are the numbers of the classes, whatever the classes are.
    return Kernel(name, call.width, indexes, labels=range(int(model.n_classes_)), rowwise=True)


def _check(model: Any) -> None:
    name = type(model).__name__
    if name not in _WRAPPERS:
        raise NoKernel(f"{name} has no direct way")
    if name.endswith("Classifier") and model.objective not in ("binary:logistic", "multi:softprob"):
        raise NoKernel(f"{name} with the objective {model.objective} has no direct way")


def _of_trees(name: str, booster: Any, iterations: tuple[int, int]) -> Recipe:
    """Return the recipe of a booster's sums: trees in single precision, its base score first."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    about, kind = learner["learner_model_param"], learner["gradient_booster"]["name"]
    objective = learner["objective"]["name"]
    if kind != "gbtree" or int(about.get("num_target", 1)) > 1:
        raise NoKernel(f"a booster ({kind}) of other than plain trees with one number a leaf")
    if objective not in _LINKS:
        raise NoKernel(f"the objective {objective} has no form in plain numbers")
    model = learner["gradient_booster"]["model"]
    # Trees of an iteration stand together: one for each class, times those grown in parallel.
    first, last = iterations
    ends = model["iteration_indptr"]
    chosen = range(ends[first], ends[last or len(ends) - 1])
    trees = [_grown(model["trees"][i], model["tree_info"][i]) for i in chosen]
    targets = max(int(about.get("num_class", 0)), 1)
    given = str(about["base_score"]).strip("[]").split(",")
    link = _LINKS[objective]
    scores = [_margin(float(one), link) for one in given]
    scores = scores * targets if len(scores) == 1 else scores
    width = int(booster.num_features())
    forest = pack(
        [constant(one, target) for target, one in enumerate(scores)] + trees,
        width=width, targets=targets, less=True, single=True,
    )  # fmt: skip
    return Recipe(name, width, (), forest, Rule(link=link, flat=targets == 1))


def _grown(tree: dict[str, Any], target: int) -> Tree:
    """Read one of XGBoost's trees; where a node has no children, its condition is its value."""
    if any(tree["split_type"]):
        raise NoKernel("its trees split by categories")
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise NoKernel("its leaves hold several numbers")
    values = np.array(tree["split_conditions"], np.float32)
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    return Tree(left, right, np.array(tree["split_indices"]), values, values, target)


def _margin(score: float, link: str) -> float:
    """Return the sum that a base score stands for; the library says it as an answer."""
    if link == "sigmoid":
        return -math.log(1.0 / score - 1.0)
    return math.log(score) if link == "exp" else score


class _Call:
    """The C function with everything but the rows filled in."""

    def __init__(self, booster: Any, *, missing: float, iterations: tuple[int, int]) -> None:
        try:
            from xgboost.core import _LIB, c_bst_ulong

            self._function = _LIB.XGBoosterPredictFromDense
            self._handle = booster.handle
        except (ImportError, AttributeError) as error:
            raise NoKernel(f"this XGBoost is built otherwise: {error}") from error
        self._booster = booster  # owns the handle
        self.width = int(booster.num_features())
        self._options = json.dumps({
            "type": 0, "training": False, "iteration_begin": int(iterations[0]),
            "iteration_end": int(iterations[1]), "missing": float(missing), "strict_shape": False,
            "cache_id": 0,
        }).encode()  # fmt: skip
        self._shape = ctypes.POINTER(c_bst_ulong)()
        self._dimensions = c_bst_ulong()
        self._predictions = ctypes.POINTER(ctypes.c_float)()

    def tables(self, table: np.ndarray) -> np.ndarray:
        """Predict a stack of one table of doubles."""
        rows = table.reshape(-1, self.width).astype(np.float32)
        about = b'{"data":[%d,true],"shape":[%d,%d],"typestr":"<f4","version":3,"strides":null}' % (
            rows.ctypes.data,
            len(rows),
            self.width,
        )
        status = self._function(
            self._handle, about, self._options, None, ctypes.byref(self._shape),
            ctypes.byref(self._dimensions), ctypes.byref(self._predictions),
        )  # fmt: skip
        if status != 0:
            raise RuntimeError("XGBoost refused the rows")
        shape = tuple(self._shape[: self._dimensions.value])
        # The library writes the next answer to the same place.
        found = np.ctypeslib.as_array(self._predictions, shape).copy()
        return found[np.newaxis]
