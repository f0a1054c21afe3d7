"""Trees of scikit-learn, past the loop over them and the checks of each.

A forest asks a hundred trees one after the other, and each call costs more than its walk from root
to leaf. For a few rows the trees are therefore fused into one: a small tree on top, over a column
that holds the number of a tree, leads to the root of that tree; each row goes in once for every
tree, and one call walks all of them. For many rows the calls are cheap beside the walks, and each
tree is asked in turn. Either way the leaves are added in the order in which the library adds them.

The fused tree is made of the library's own parts through the state with which it is pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlengine.runtime.shortcuts.kernel import Kernel, NoKernel

__all__ = ["boosted_kernel", "forest_kernel", "histogram_kernel"]

_MOST_ROWS_TO_FUSE = 48
_MOST_NODES_TO_FUSE = 1_000_000  # of 64 bytes, and a copy of what the model holds
_MAX_LANDMARKS = 200


def forest_kernel(estimator: Any) -> Kernel:
    """Return the kernel of a decision tree or of a forest of them.

    Raises:
        NoKernel: It has several outputs, or its trees cannot be read.
    """
    name = type(estimator).__name__
    if estimator.n_outputs_ != 1:
        raise NoKernel(f"{name} has several outputs")
    single = hasattr(estimator, "tree_")
    trees = [estimator.tree_] if single else [tree.tree_ for tree in estimator.estimators_]
    width = int(estimator.n_features_in_)
    sums = _sums(trees, width)
    landmarks = _landmarks(trees)
    classes = getattr(estimator, "classes_", None)
    if classes is None:

        def values(table: np.ndarray) -> Any:
            total = sums(_single_precision(table))[:, 0]
            if not single:
                total = total / len(trees)
            return total[np.newaxis]

        return Kernel(name, width, values, rowwise=True, landmarks=landmarks)

    def indexes(table: np.ndarray) -> Any:
        total = sums(_single_precision(table))
        if not single:
            total = total / len(trees)  # a tie before the division may be none after it
        return np.argmax(total, axis=1)[np.newaxis]

    return Kernel(
        name, width, indexes, labels=classes.tolist(), rowwise=True, landmarks=landmarks
    )  # fmt: skip


def boosted_kernel(estimator: Any) -> Kernel:
    """Return the kernel of gradient boosting, whose trees the library walks in one call."""
    width = int(estimator.n_features_in_)
    trees = [tree.tree_ for stage in estimator.estimators_ for tree in stage]

    def raw(table: np.ndarray) -> np.ndarray:
        scores: np.ndarray = estimator._raw_predict(_single_precision(table))
        return scores

    return _of_scores(estimator, raw, width, _landmarks(trees), tie_is_second=True)


def histogram_kernel(estimator: Any) -> Kernel:
    """Return the kernel of histogram gradient boosting over plain numbers.

    Raises:
        NoKernel: It has categories, which are encoded before the trees.
    """
    if getattr(estimator, "is_categorical_", None) is not None:
        raise NoKernel(f"{type(estimator).__name__} has categorical columns")
    baseline = estimator._baseline_prediction
    width = int(estimator.n_features_in_)
    outputs = estimator.n_trees_per_iteration_

    def raw(table: np.ndarray) -> np.ndarray:
        rows = table.reshape(-1, width)
        scores = np.zeros((len(rows), outputs), dtype=baseline.dtype, order="F")
        scores += baseline
        estimator._predict_iterations(rows, estimator._predictors, scores, False, 1)
        return scores

    found: dict[int, list[float]] = {}
    for stage in estimator._predictors:
        for tree in stage:
            for node in tree.nodes:
                if not node["is_leaf"]:
                    found.setdefault(int(node["feature_idx"]), []).append(
                        float(node["num_threshold"])
                    )
    landmarks = {column: np.array(values[:_MAX_LANDMARKS]) for column, values in found.items()}
    kernel = _of_scores(estimator, raw, width, landmarks, tie_is_second=False)
    if kernel.labels is not None:
        return kernel
    inverse: Callable[[np.ndarray], np.ndarray] = estimator._loss.link.inverse
    return kernel._replace(run=lambda table: inverse(raw(table).ravel())[np.newaxis])


def _of_scores(
    estimator: Any,
    raw: Callable[[np.ndarray], Any],
    width: int,
    landmarks: dict[int, np.ndarray],
    *,
    tie_is_second: bool,
) -> Kernel:
    """Make a kernel of boosting from the function that adds up its trees."""
    name = type(estimator).__name__
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return Kernel(
            name, width, lambda table: raw(table).ravel()[np.newaxis], rowwise=True,
            landmarks=landmarks,
        )  # fmt: skip

    def indexes(table: np.ndarray) -> Any:
        scores = raw(table)
        if scores.shape[1] > 1:
            return np.argmax(scores, axis=1)[np.newaxis]
        first = scores[:, 0]
        return (first >= 0 if tie_is_second else first > 0).astype(np.intp)[np.newaxis]

    return Kernel(
        name, width, indexes, labels=classes.tolist(), rowwise=True, landmarks=landmarks
    )  # fmt: skip


def _single_precision(table: np.ndarray) -> Any:
    return table.reshape(-1, table.shape[-1]).astype(np.float32)


def _sums(trees: Sequence[Any], width: int) -> Callable[[np.ndarray], Any]:
    """Return the function from rows to the sums of the leaves they fall into."""
    in_turn = _in_turn(trees)
    if len(trees) == 1 or sum(tree.node_count for tree in trees) > _MOST_NODES_TO_FUSE:
        return in_turn
    fused = _fused(trees, width)
    return lambda rows: fused(rows) if len(rows) <= _MOST_ROWS_TO_FUSE else in_turn(rows)


def _in_turn(trees: Sequence[Any]) -> Callable[[np.ndarray], Any]:
    leaves = [np.ascontiguousarray(tree.value[:, 0, :]) for tree in trees]

    def sums(rows: np.ndarray) -> Any:
        total = leaves[0].take(trees[0].apply(rows), axis=0)
        for tree, values in zip(trees[1:], leaves[1:], strict=True):
            total += values.take(tree.apply(rows), axis=0)
        return total

    return sums


def _fused(trees: Sequence[Any], width: int) -> Callable[[np.ndarray], Any]:
    count = len(trees)
    tree, values = _one_tree(trees, width)
    number = np.arange(count, dtype=np.float32)[:, np.newaxis]

    def sums(rows: np.ndarray) -> Any:
        wide = np.empty((len(rows), width + 1), dtype=np.float32)
        wide[:, :width] = rows
        every = np.empty((count, len(rows), width + 1), dtype=np.float32)
        every[:] = wide
        every[:, :, width] = number
        leaves = tree.apply(every.reshape(-1, width + 1))
        added = values.take(leaves, axis=0).reshape(count, len(rows), -1)
        # Strictly one after the other: `sum` may add in pairs, and round otherwise.
        return np.add.accumulate(added, axis=0)[-1]

    return sums


def _one_tree(trees: Sequence[Any], width: int) -> tuple[Any, np.ndarray]:
    """Join trees below a tree over column `width`, the number of the tree that is wanted."""
    states = [tree.__getstate__() for tree in trees]
    chooser: list[tuple[Any, Any, float]] = []

    def choose(low: int, high: int) -> tuple[str, int]:
        if high - low == 1:
            return ("tree", low)
        me, middle = len(chooser), (low + high) // 2
        chooser.append((None, None, 0.0))
        chooser[me] = (choose(low, middle), choose(middle, high), middle - 0.5)
        return ("choice", me)

    choose(0, len(trees))
    counts = [state["node_count"] for state in states]
    starts = len(chooser) + np.concatenate([[0], np.cumsum(counts)[:-1]])
    top = np.zeros(len(chooser), dtype=states[0]["nodes"].dtype)
    nodes = np.concatenate([top, *(state["nodes"] for state in states)])
    for start, count in zip(starts, counts, strict=True):
        part = nodes[start : start + count]
        inner = part["left_child"] >= 0
        part["left_child"][inner] += start
        part["right_child"][inner] += start
    for index, (left, right, threshold) in enumerate(chooser):
        for side, (kind, target) in (("left_child", left), ("right_child", right)):
            nodes[index][side] = starts[target] if kind == "tree" else target
        nodes[index]["feature"], nodes[index]["threshold"] = width, threshold
    values = np.concatenate(
        [np.zeros((len(top), *states[0]["values"].shape[1:])), *(s["values"] for s in states)]
    )
    fused = type(trees[0])(width + 1, np.asarray(trees[0].n_classes), trees[0].n_outputs)
    fused.__setstate__({
        "max_depth": max(state["max_depth"] for state in states) + len(trees).bit_length(),
        "node_count": len(nodes), "nodes": nodes, "values": values,
    })  # fmt: skip
    return fused, np.ascontiguousarray(values[:, 0, :])


def _landmarks(trees: Sequence[Any]) -> dict[int, np.ndarray]:
    found: dict[int, list[np.ndarray]] = {}
    for tree in trees:
        inner = tree.children_left >= 0
        for column in np.unique(tree.feature[inner]):
            found.setdefault(int(column), []).append(
                tree.threshold[inner & (tree.feature == column)]
            )
    return {
        column: np.unique(np.concatenate(parts))[:_MAX_LANDMARKS] for column, parts in found.items()
    }
