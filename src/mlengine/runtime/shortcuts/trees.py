"""Trees of scikit-learn, past the loop over them and the checks of each.

A forest asks a hundred trees one after the other, and each call costs more than its walk from root
to leaf. So their nodes are read out and walked in one call (`walks`); leaves are added in the order
in which the library adds them. Trees of histograms compare numbers of double precision, and keep to
the library's own function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlengine.runtime.shortcuts.kernel import Kernel, NoKernel
from mlengine.runtime.shortcuts.recipe import Recipe, Rule
from mlengine.runtime.shortcuts.walks import Tree, constant, pack

__all__ = ["boosted_recipe", "forest_recipe", "histogram_kernel"]

_MAX_LANDMARKS = 200
_CONSTANT = ("DummyClassifier", "DummyRegressor", "str")


def forest_recipe(estimator: Any) -> Recipe:
    """Return the recipe of a decision tree or of a forest of them.

    Raises:
        NoKernel: It has several outputs.
    """
    name = type(estimator).__name__
    if estimator.n_outputs_ != 1:
        raise NoKernel(f"{name} has several outputs")
    single = hasattr(estimator, "tree_")
    trees = [estimator.tree_] if single else [tree.tree_ for tree in estimator.estimators_]
    width, classes = int(estimator.n_features_in_), getattr(estimator, "classes_", None)
    labels = None if classes is None else classes.tolist()
    forest = pack(
        [_of(tree, tree.value[:, 0, :]) for tree in trees], width=width,
        targets=1 if labels is None else len(labels),
    )  # fmt: skip
    # A tie before the division may be none after it, and the other way round.
    rule = Rule(float(len(trees)), label="" if labels is None else "the largest", flat=True)
    return Recipe(name, width, (), forest, rule, labels)


def boosted_recipe(estimator: Any) -> Recipe:
    """Return the recipe of gradient boosting; what it begins with is a tree of its own.

    Raises:
        NoKernel: It begins with a model.
    """
    name = type(estimator).__name__
    if type(estimator.init_).__name__ not in _CONSTANT:
        raise NoKernel(f"the init of {name} is a {type(estimator.init_).__name__}")
    width, classes = int(estimator.n_features_in_), getattr(estimator, "classes_", None)
    begin = estimator._raw_predict_init(np.zeros((1, width), np.float32))[0]
    rate = estimator.learning_rate
    trees = [constant(value, target) for target, value in enumerate(begin.tolist())] + [
        _of(one.tree_, rate * one.tree_.value[:, 0, 0], target)
        for stage in estimator.estimators_
        for target, one in enumerate(stage)
    ]
    forest = pack(trees, width=width, targets=len(begin))
    label = "the largest" if len(begin) > 1 else "zero or above"
    rule = Rule(label="" if classes is None else label, flat=True)
    return Recipe(name, width, (), forest, rule, None if classes is None else classes.tolist())


def histogram_kernel(estimator: Any) -> Kernel:
    """Return the kernel of histogram gradient boosting over plain numbers.

    Raises:
        NoKernel: It has categories, which are encoded before the trees.
    """
    name, classes = type(estimator).__name__, getattr(estimator, "classes_", None)
    if getattr(estimator, "is_categorical_", None) is not None:
        raise NoKernel(f"{name} has categorical columns")
    baseline = estimator._baseline_prediction
    width = int(estimator.n_features_in_)
    outputs = estimator.n_trees_per_iteration_

    def raw(table: np.ndarray) -> np.ndarray:
        rows = table.reshape(-1, width)
        scores = np.zeros((len(rows), outputs), dtype=baseline.dtype, order="F")
        scores += baseline
        estimator._predict_iterations(rows, estimator._predictors, scores, False, 1)
        return scores

    def indexes(table: np.ndarray) -> Any:
        scores = raw(table)
        if scores.shape[1] > 1:
            return np.argmax(scores, axis=1)[np.newaxis]
        return (scores[:, 0] > 0).astype(np.intp)[np.newaxis]

    known = _landmarks(estimator)
    if classes is not None:
        return Kernel(name, width, indexes, classes.tolist(), rowwise=True, landmarks=known)
    inverse: Callable[[np.ndarray], np.ndarray] = estimator._loss.link.inverse
    return Kernel(
        name, width, lambda table: inverse(raw(table).ravel())[np.newaxis], rowwise=True,
        landmarks=known,
    )  # fmt: skip


def _of(tree: Any, values: np.ndarray, target: int = 0) -> Tree:
    return Tree(
        tree.children_left, tree.children_right, tree.feature, tree.threshold, values, target
    )


def _landmarks(estimator: Any) -> dict[int, np.ndarray]:
    found: dict[int, list[float]] = {}
    for stage in estimator._predictors:
        for tree in stage:
            for node in tree.nodes:
                if not node["is_leaf"]:
                    column = found.setdefault(int(node["feature_idx"]), [])
                    column.append(float(node["num_threshold"]))
    return {column: np.array(values[:_MAX_LANDMARKS]) for column, values in found.items()}
