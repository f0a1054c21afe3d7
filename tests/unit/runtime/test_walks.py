"""Walks through trees: the sums that trees in Python give, to the last bit, in C and in numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.shortcuts import walks
from mlengine.runtime.shortcuts.kernel import NoKernel
from mlengine.runtime.shortcuts.walks import Forest, Tree, constant, landmarks, pack
from mlengine.runtime.speedups import Trees

Walker = Callable[[Forest], Callable[[np.ndarray], np.ndarray]]

NEEDS_C = pytest.mark.skipif(
    Trees is None,
    reason="TREES IN C NOT TESTED: they were not built here",
)
SINGLES = st.sampled_from([0.0, -0.0, 0.5, 1.0, -3.25, 1e-40, 3.4e38])
THRESHOLDS = st.one_of(SINGLES, st.sampled_from([0.1, 1e300, -1e300, 16777217.0, 1e-300]))
LEAVES = st.floats(-10, 10)


@pytest.fixture(scope="module", params=[pytest.param("C", marks=NEEDS_C), "numpy"])
def walker(request: pytest.FixtureRequest) -> Walker:
    return walks.walker if request.param == "C" else walks.walker_in_numpy


@st.composite
def trees(draw: st.DrawFn, *, width: int, numbers: int, targets: int, single: bool) -> Tree:
    """Grow a tree: a leaf that is drawn becomes a node with two leaves, some times."""
    left, right, feature, threshold = [-1], [-1], [0], [0.0]
    for _ in range(draw(st.integers(0, 7))):
        leaf = draw(st.sampled_from([node for node, child in enumerate(left) if child < 0]))
        left[leaf], right[leaf] = len(left), len(left) + 1
        feature[leaf] = draw(st.integers(0, width - 1))
        threshold[leaf] = draw(SINGLES if single else THRESHOLDS)
        left, right = [*left, -1, -1], [*right, -1, -1]
        feature, threshold = [*feature, 0, 0], [*threshold, 0.0, 0.0]
    values = draw(st.lists(LEAVES, min_size=numbers * len(left), max_size=numbers * len(left)))
    shape = (len(left), numbers) if numbers > 1 else (len(left),)
    thresholds = np.array(threshold, np.float32 if single else np.float64)
    arrays = (np.array(left), np.array(right), np.array(feature), thresholds)
    return Tree(*arrays, np.reshape(values, shape), draw(st.integers(0, targets - 1)))


def walked(
    some: Sequence[Tree], rows: np.ndarray, *, targets: int, less: bool, single: bool
) -> list[list[float]]:
    """Return the sums as the libraries find them: one row, one tree, one step after the other."""
    dtype = np.float32 if single else np.float64
    found = []
    for row in rows.astype(np.float32):
        sums = np.zeros(targets, dtype)
        for tree in some:
            at = 0
            while tree.left[at] >= 0:
                value, threshold = float(row[tree.feature[at]]), float(tree.threshold[at])
                goes_left = value < threshold if less else value <= threshold
                at = (tree.left if goes_left else tree.right)[at]
            for place, added in enumerate(np.atleast_1d(tree.values[at]).astype(dtype)):
                sums[tree.target + place] += added
        found.append(sums.tolist())
    return found


@given(st.data())
def test_sums_are_those_of_the_trees_one_by_one(walker: Walker, data: Any) -> None:
    width, less = data.draw(st.integers(1, 4)), data.draw(st.booleans())
    numbers, targets = data.draw(st.sampled_from([(1, 1), (1, 3), (3, 3)]))
    kind = {"targets": targets, "less": less, "single": less}
    one = trees(width=width, numbers=numbers, targets=targets - numbers + 1, single=less)
    some = data.draw(st.lists(one, min_size=1, max_size=11))
    number = st.one_of(SINGLES, THRESHOLDS.filter(lambda x: abs(x) < 1e38), st.floats(-5, 5))
    count = data.draw(st.integers(1, 19))
    drawn = data.draw(st.lists(number, min_size=count * width, max_size=count * width))
    rows = np.array(drawn, np.float64).reshape(count, width)
    forest = pack(some, width=width, **kind)
    assert walker(forest)(rows).tolist() == walked(some, rows, **kind)


def test_a_threshold_between_two_floats_parts_them(walker: Walker) -> None:
    """Libraries compare the float of a row with the double of a tree."""
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    for threshold in np.linspace(float(low), float(high), 5):
        tree = _stump(float(threshold))
        sums = walker(pack([tree], width=1))(np.array([[float(low)], [float(high)]]))
        assert sums.tolist() == walked([tree], np.array([[low], [high]]), **_PLAIN)


_PLAIN: dict[str, Any] = {"targets": 1, "less": False, "single": False}


def _stump(threshold: float) -> Tree:
    arrays = ([1, -1, -1], [2, -1, -1], [0, 0, 0], [threshold, 0, 0], [0.0, 1.0, 2.0])
    return Tree(*map(np.array, arrays))


@pytest.mark.parametrize("number", [1e39, -1e300, float("nan"), float("inf")])
def test_what_has_no_place_in_single_precision_is_refused(walker: Walker, number: float) -> None:
    walk = walker(pack([_stump(0.5)], width=1))
    with pytest.raises(OverflowError):
        walk(np.array([[0.0], [number]]))
    assert walk(np.array([[0.0], [1.0]])).tolist() == [[1.0], [2.0]]
    assert walk(np.zeros((0, 1))).tolist() == []


def test_a_deep_tree_is_walked_to_its_end(walker: Walker) -> None:
    deep = 300
    left = [node + 1 if node % 2 == 0 and node < 2 * deep else -1 for node in range(2 * deep + 1)]
    right = [child + 1 if child > 0 else -1 for child in left]
    # Each step to the right is one threshold further.
    threshold = [node // 2 + 0.5 for node in range(2 * deep + 1)]
    values = np.arange(2 * deep + 1) * 1.0
    tree = Tree(*map(np.array, (left, right, [0] * len(left), threshold)), values)
    rows = np.arange(0, deep + 5, 1.0)[:, np.newaxis]
    assert walker(pack([tree], width=1))(rows).tolist() == walked([tree], rows, **_PLAIN)


def test_trees_without_an_end_are_refused() -> None:
    ring = Tree(np.array([0]), np.array([0]), np.zeros(1, int), np.zeros(1), np.zeros(1))
    with pytest.raises(NoKernel, match="two parents"):
        pack([ring], width=1)
    assert pack([constant(1.5)], width=1).trees["depth"].tolist() == [0]


def test_landmarks_are_where_rows_part() -> None:
    found = landmarks(pack([_stump(0.5), _stump(-2.0), constant(1.0)], width=3))
    assert {column: values.tolist() for column, values in found.items()} == {0: [-2.0, 0.5]}


@NEEDS_C
@pytest.mark.parametrize("change", [
    {"nodes": ("child", 0, 2)}, {"nodes": ("child", 0, 2**32 - 1)}, {"nodes": ("feature", 0, 1)},
    {"nodes": ("child", 1, 3)}, {"nodes": ("at", 2, 0.0)}, {"trees": ("root", 0, 3)},
    {"trees": ("target", 0, 1)}, {"trees": ("depth", 0, 5000)},
], ids=str)  # fmt: skip
def test_arrays_that_lead_out_of_themselves_are_refused(change: dict[str, Any]) -> None:
    forest = pack([_stump(0.5)], width=1)
    ((array, (field, place, value)),) = change.items()
    getattr(forest, array)[field][place] = value
    with pytest.raises(ValueError, match=r"leads nowhere|has no such root"):
        walks.walker(forest)


@NEEDS_C
def test_bytes_that_are_no_rows_are_refused() -> None:
    assert Trees is not None
    forest = pack([_stump(0.5)], width=2)
    walk = Trees(forest.nodes, forest.trees, forest.leaves, 2, 1, False, False).sums
    with pytest.raises(ValueError, match="24 bytes are no rows of 2 doubles"):
        walk(np.zeros(3))
    with pytest.raises((BufferError, ValueError)):
        walk(np.zeros((4, 4))[:, ::2])
    for wrong in ((forest.nodes[:0], forest.trees), (forest.nodes, forest.trees.tobytes()[:-1])):
        with pytest.raises(ValueError):
            Trees(*wrong, forest.leaves, 2, 1, False, False)  # type: ignore[arg-type]
