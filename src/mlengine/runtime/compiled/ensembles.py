"""Trees, read out of scikit-learn's and XGBoost's models, and all of them as one operation of ONNX.

`TreeEnsemble` walks the trees in their order and adds up leaves in the type that it is given. So
sums are rounded as the library rounds them: in double precision after single precision columns for
scikit-learn's forests, in single precision throughout for XGBoost. What the library begins a sum
with is a tree of its own, the first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlengine.runtime.compiled import NotCompiled

__all__ = ["LESS", "LESS_OR_EQUAL", "Tree", "boosted", "constant", "ensemble", "forest", "xgboost"]

LESS_OR_EQUAL, LESS = 0, 1
_MOST_NODES = 4_000_000
_CONSTANT = ("DummyClassifier", "DummyRegressor", "str")
_LINKS = {
    "reg:squarederror": "", "reg:absoluteerror": "", "binary:logitraw": "", "rank:pairwise": "",
    "binary:logistic": "Sigmoid", "reg:logistic": "Sigmoid",
    "count:poisson": "Exp", "reg:gamma": "Exp", "reg:tweedie": "Exp",
    "multi:softprob": "Softmax",
}  # fmt: skip


class Tree(NamedTuple):
    """One tree. A node without a left child, -1, is a leaf; `values` counts at leaves only."""

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    values: np.ndarray
    target: int = 0


def constant(value: float, target: int = 0) -> Tree:
    """Return a tree that answers the same to all rows: two leaves that are alike."""
    below, none = np.array([1, -1, -1]), np.array([2, -1, -1])
    return Tree(below, none, np.zeros(3, int), np.zeros(3), np.full(3, value), target)


def forest(estimator: Any, label: int) -> list[Tree]:
    """Return the trees of a forest, or the tree that an estimator is.

    Args:
        estimator: Of scikit-learn.
        label: Of a classifier, the number of the class whose share is added up.
    """
    single = hasattr(estimator, "tree_")
    trees = [estimator.tree_] if single else [one.tree_ for one in estimator.estimators_]
    return [_of(tree, tree.value[:, 0, label]) for tree in trees]


def boosted(estimator: Any) -> list[Tree]:
    """Return the trees of gradient boosting, what it begins with first; a target is a class.

    Raises:
        NotCompiled: It begins with a model.
    """
    if type(estimator.init_).__name__ not in _CONSTANT:
        raise NotCompiled(f"its init is a {type(estimator.init_).__name__}")
    begin = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))[0]
    rate = estimator.learning_rate
    return [constant(value, target) for target, value in enumerate(begin.tolist())] + [
        _of(one.tree_, rate * one.tree_.value[:, 0, 0], target)
        for stage in estimator.estimators_
        for target, one in enumerate(stage)
    ]


def xgboost(booster: Any, iterations: tuple[int, int]) -> tuple[list[Tree], str]:
    """Return the trees of a booster, its base score first, and the operation on their sums.

    Args:
        booster: As loaded.
        iterations: The first and the one after the last that count; zeros: all do.

    Raises:
        NotCompiled: It has something that ONNX's trees have not.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    about, kind = learner["learner_model_param"], learner["gradient_booster"]["name"]
    objective = learner["objective"]["name"]
    if kind != "gbtree" or int(about.get("num_target", 1)) > 1:
        raise NotCompiled(f"a booster ({kind}) of other than plain trees with one number a leaf")
    if objective not in _LINKS:
        raise NotCompiled(f"the objective {objective} has no form in ONNX here")
    model = learner["gradient_booster"]["model"]
    # Trees of an iteration stand together: one for each class, times those grown in parallel.
    first, last = iterations
    ends = model["iteration_indptr"]
    chosen = range(ends[first], ends[last or len(ends) - 1])
    trees = [_grown(model["trees"][i], model["tree_info"][i]) for i in chosen]
    link = _LINKS[objective]
    targets = max(int(about.get("num_class", 0)), 1)
    given = str(about["base_score"]).strip("[]").split(",")
    scores = [_margin(float(one), link) for one in given]
    scores = scores * targets if len(scores) == 1 else scores
    return [constant(one, target) for target, one in enumerate(scores)] + trees, link


def ensemble(
    trees: Sequence[Tree], names: tuple[str, str], *, targets: int, dtype: Any, mode: int
) -> Any:
    """Return the operation that adds up the leaves of all trees.

    Args:
        trees: In the order in which they are added.
        names: Of the rows, and of the sums (rows, targets).
        targets: How many sums there are.
        dtype: Of rows, thresholds and sums.
        mode: `LESS_OR_EQUAL` or `LESS`: when a row goes to the left.

    Raises:
        NotCompiled: There are too many nodes for one file.
    """
    from onnx import helper, numpy_helper

    if sum(len(tree.left) for tree in trees) > _MOST_NODES:
        raise NotCompiled(f"its trees have more than {_MOST_NODES} nodes")
    parts: dict[str, list[np.ndarray]] = {}
    inner_before = leaves_before = 0
    for tree in trees:
        if tree.left[0] < 0:  # a root that is a leaf has no place in ONNX
            tree = constant(float(tree.values[0]), tree.target)
        found, inner, leaves = _numbered(tree, inner_before, leaves_before)
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
        inner_before += inner
        leaves_before += leaves
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    splits, weights = whole.pop("splits").astype(dtype), whole.pop("weights").astype(dtype)
    modes = np.full(len(splits), mode, np.uint8)
    return helper.make_node(
        "TreeEnsemble", [names[0]], [names[1]], domain="ai.onnx.ml",
        n_targets=targets, aggregate_function=1, post_transform=0,
        nodes_splits=numpy_helper.from_array(splits, "splits"),
        nodes_modes=numpy_helper.from_array(modes, "modes"),
        leaf_weights=numpy_helper.from_array(weights, "weights"),
        **{name: values.tolist() for name, values in whole.items()},
    )  # fmt: skip


def _numbered(
    tree: Tree, inner_before: int, leaves_before: int
) -> tuple[dict[str, np.ndarray], int, int]:
    """Return a tree's part; nodes and leaves are numbered apart, over all trees."""
    leaf = tree.left < 0
    inner = ~leaf
    number = np.where(
        leaf, np.cumsum(leaf) - 1 + leaves_before, np.cumsum(inner) - 1 + inner_before
    )
    left, right = tree.left[inner], tree.right[inner]
    found = {
        "tree_roots": np.array([inner_before]),
        "nodes_featureids": tree.feature[inner],
        "splits": tree.threshold[inner],
        "nodes_truenodeids": number[left],
        "nodes_trueleafs": leaf[left].astype(int),
        "nodes_falsenodeids": number[right],
        "nodes_falseleafs": leaf[right].astype(int),
        "leaf_targetids": np.full(int(leaf.sum()), tree.target),
        "weights": tree.values[leaf],
    }
    return found, int(inner.sum()), int(leaf.sum())


def _of(tree: Any, values: np.ndarray, target: int = 0) -> Tree:
    return Tree(
        tree.children_left, tree.children_right, tree.feature, tree.threshold, values, target
    )


def _grown(tree: dict[str, Any], target: int) -> Tree:
    """Read one of XGBoost's trees; where a node has no children, its condition is its value."""
    if any(tree["split_type"]):
        raise NotCompiled("its trees split by categories")
    values = np.array(tree["split_conditions"], np.float32)
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise NotCompiled("its leaves hold several numbers")
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    return Tree(left, right, np.array(tree["split_indices"]), values, values, target)


def _margin(score: float, link: str) -> float:
    """Return the sum that a base score stands for; the library says it as an answer."""
    if link == "Sigmoid":
        return -math.log(1.0 / score - 1.0)
    return math.log(score) if link == "Exp" else score
