"""Forests as arrays, whatever library grew them, and the sums of the leaves that rows fall into.

All trees are one table of nodes. Children lie side by side, so that a step is a comparison and an
addition; a leaf is its own child, so that all walks of a tree take as many steps as its longest.
Rows are in single precision, as the libraries have them, and thresholds are too: a row of single
precision is not above a threshold exactly when it is not above the float below it.

`speedups.Trees` walks in C; where it was not built, numpy takes one step of all walks at a time.
Either way leaves are added in the order of the trees, in the type in which the library adds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlengine.runtime.shortcuts.kernel import NoKernel
from mlengine.runtime.speedups import Trees

__all__ = ["Forest", "Tree", "constant", "landmarks", "pack", "walker", "walker_in_numpy"]

_NODE = np.dtype([("at", "<f4"), ("child", "<u4"), ("feature", "<u4")])
_TREE = np.dtype([("root", "<u4"), ("depth", "<u4"), ("target", "<u4")])
_MOST_NODES = 1 << 28
_MOST_DEPTH = 4096  # of `speedups/trees.c`
_MOST_STEPS = 1 << 18  # that numpy takes at a time
_MOST_LANDMARKS = 200


class Tree(NamedTuple):
    """One tree as a library has it.

    Attributes:
        left: Of each node its first child; -1: it is a leaf. The first node is the root.
        right: Its second child.
        feature: The column that it looks at.
        threshold: With which it compares.
        values: What a leaf adds: a number, or several (nodes, numbers). It counts at leaves only.
        target: The sum that it is added to, the first of several.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    values: np.ndarray
    target: int = 0


class Forest(NamedTuple):
    """Trees that are added up; see `mlengine.runtime.speedups.Trees` for the arrays.

    Attributes:
        nodes: Of all trees.
        trees: Root, depth and target of each.
        leaves: (nodes, numbers of a leaf).
        width: Numbers of a row.
        targets: Sums of a row.
        less: A row goes left if it is less than the threshold; else if it is not more.
        single: Sums are added in single precision; else in double.
    """

    nodes: np.ndarray
    trees: np.ndarray
    leaves: np.ndarray
    width: int
    targets: int
    less: bool
    single: bool


def constant(value: float, target: int = 0) -> Tree:
    """Return a tree that adds the same to all rows."""
    none = np.array([-1])
    return Tree(none, none, np.zeros(1, int), np.zeros(1), np.array([value]), target)


def pack(
    trees: Sequence[Tree], *, width: int, targets: int = 1, less: bool = False, single: bool = False
) -> Forest:
    """Have trees as one table.

    Args:
        trees: In the order in which they are added.
        width, targets, less, single: See `Forest`.

    Raises:
        NoKernel: They are too many or too deep.

    Example:
        >>> tree = Tree(
        ...     *map(np.array, ([1, -1, -1], [2, -1, -1], [0, 0, 0], [0.5, 0, 0])),
        ...     values=np.array([0.0, 10.0, 20.0]),
        ... )
        >>> walker(pack([tree, constant(1.0)], width=1))(np.array([[0.5], [0.6]])).tolist()
        [[11.0], [21.0]]
    """
    counts = [len(tree.left) for tree in trees]
    if sum(counts) > _MOST_NODES:
        raise NoKernel(f"its trees have more than {_MOST_NODES} nodes")
    numbers = trees[0].values[0].size
    nodes, about = np.empty(sum(counts), _NODE), np.empty(len(trees), _TREE)
    leaves = np.zeros((len(nodes), numbers))
    begin = 0
    for place, tree in enumerate(trees):
        order, depth = _by_level(tree)
        if depth > _MOST_DEPTH:
            raise NoKernel(f"a tree is {depth} levels deep")
        end = begin + len(order)
        inner = tree.left[order] >= 0
        own = nodes[begin:end]
        # The children of the first inner node follow the root, those of the second follow these.
        own["child"] = begin + np.where(inner, 2 * np.cumsum(inner) - 1, np.arange(len(order)))
        own["feature"] = np.where(inner, tree.feature[order], 0)
        threshold = tree.threshold[order]
        own["at"] = np.where(inner, threshold if less else _not_above(threshold), np.nan)
        own_leaves = tree.values[order].reshape(-1, numbers)
        leaves[begin:end] = np.where(inner[:, np.newaxis], 0.0, own_leaves)
        about[place] = begin, depth, tree.target
        begin = end
    nodes, leaves = nodes[:begin], leaves[:begin]
    return Forest(nodes, about, leaves, width, targets, less, single)


def walker(forest: Forest) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from rows of doubles (rows, width) to their sums (rows, targets).

    It raises `OverflowError` where a number has no place in single precision.

    Raises:
        ValueError: A node leads out of the arrays.
    """
    if Trees is None:
        return walker_in_numpy(forest)
    about = (forest.width, forest.targets, forest.less, forest.single)
    trees = Trees(forest.nodes, forest.trees, forest.leaves, *about)
    dtype, targets = _sum_type(forest), forest.targets

    def sums(table: np.ndarray) -> np.ndarray:
        return np.frombuffer(trees.sums(table), dtype).reshape(-1, targets)

    return sums


def walker_in_numpy(forest: Forest) -> Callable[[np.ndarray], np.ndarray]:
    """Return what `walker` does, for those who have it not in C."""
    child, feature = forest.nodes["child"].astype(np.intp), forest.nodes["feature"]
    at, leaves = forest.nodes["at"], forest.leaves.astype(_sum_type(forest))
    roots, depth = forest.trees["root"].astype(np.intp), int(forest.trees["depth"].max())
    above = np.greater_equal if forest.less else np.greater
    groups = [(t, np.flatnonzero(forest.trees["target"] == t)) for t in range(forest.targets)]
    most = max(_MOST_STEPS // len(roots), 1)

    def some(rows: np.ndarray) -> np.ndarray:
        walks = np.repeat(roots[np.newaxis], len(rows), axis=0)
        row = np.arange(len(rows))[:, np.newaxis]
        for _ in range(depth):
            walks = child[walks] + above(rows[row, feature[walks]], at[walks])
        sums = np.zeros((len(rows), forest.targets), leaves.dtype)
        for target, group in groups:
            if len(group):
                # The running sum is the one that adds in turn; `sum` adds by halves.
                added = np.cumsum(leaves[walks[:, group]], axis=1)[:, -1]
                sums[:, target : target + leaves.shape[1]] += added
        return sums

    def sums(table: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            rows = table.astype(np.float32)
        if not np.isfinite(rows).all():
            raise OverflowError("a number is too large for single precision")
        parts = [some(rows[begin : begin + most]) for begin in range(0, len(rows), most)]
        return np.concatenate(parts) if parts else np.zeros((0, forest.targets), leaves.dtype)

    return sums


def landmarks(forest: Forest) -> dict[int, np.ndarray]:
    """Return for each column numbers at which rows part."""
    inner = forest.nodes[~np.isnan(forest.nodes["at"])]
    return {
        int(column): np.unique(inner["at"][inner["feature"] == column])[:_MOST_LANDMARKS]
        for column in np.unique(inner["feature"])
    }


def _sum_type(forest: Forest) -> Any:
    return np.float32 if forest.single else np.float64


def _by_level(tree: Tree) -> tuple[np.ndarray, int]:
    """Return the nodes level by level, siblings side by side, and how many levels are below."""
    level = np.zeros(1, np.intp)
    levels, seen = [level], 1
    while True:
        inner = level[tree.left[level] >= 0]
        if not len(inner):
            return np.concatenate(levels), len(levels) - 1
        level = np.stack([tree.left[inner], tree.right[inner]], axis=1).ravel()
        levels.append(level)
        seen += len(level)
        if seen > len(tree.left):
            raise NoKernel("a node has two parents")


def _not_above(thresholds: np.ndarray) -> np.ndarray:
    """Return the largest floats that are not above doubles."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    found: np.ndarray = np.where(near > thresholds, below, near)
    return found
