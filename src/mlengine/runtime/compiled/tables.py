"""Models of tables of numbers as ONNX: forests, boosted trees and linear models, scalers before.

Only the arithmetic becomes ONNX; which column is which, which label has which number and what is
refused stays the original's, see `rows`. What is written here:

    rows ─▶ scalers (double precision) ─▶ trees, or a matrix product ─▶ values, or numbers of labels

A forest of two classes adds up the shares of one of them, which is half the work. Where it stands
so close to a tie that rounding decides, it adds up those of the other too, as the library does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlengine.runtime.compiled import NotCompiled, ensembles
from mlengine.runtime.compiled.ensembles import LESS, LESS_OR_EQUAL, Tree
from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.sklearn import SklearnModel
from mlengine.runtime.frameworks.xgboost import BoosterModel
from mlengine.runtime.shortcuts import kernel_of
from mlengine.runtime.shortcuts.kernel import Kernel, NoKernel

__all__ = ["INPUT", "OUTPUT", "convert_table"]

INPUT, OUTPUT = "rows", "answers"
_OPSET, _ML_OPSET, _IR_VERSION = 17, 5, 9
_FINEST_SCALE = 1e-20  # what is divided by less may leave single precision, which is refused
_TIE = 1e-9
_FORESTS = ("DecisionTree", "ExtraTree", "RandomForest")


def convert_table(model: Model, file: Path) -> Kernel:
    """Write the arithmetic of a model of rows of numbers; return the kernel that it has without.

    The file takes `INPUT`, rows of doubles, and gives `OUTPUT`: values, or the numbers of labels.

    Raises:
        NotCompiled: It has no form in ONNX; the text names the part.
    """
    try:
        kernel = kernel_of(model)
    except NoKernel as error:
        raise NotCompiled(str(error)) from error
    assert isinstance(model, SklearnModel | BoosterModel)
    estimator = model.estimator if isinstance(model, SklearnModel) else model.booster
    graph = _Graph()
    rows = INPUT
    if type(estimator).__name__ == "Pipeline":
        *before, (_, estimator) = estimator.steps
        for _, part in before:
            rows = _scaled(graph, part, rows)
    labels = kernel.labels is not None
    found = _answers(graph, estimator, rows, labels=labels)
    graph.add("Cast", found, gives=OUTPUT, to=graph.type_of(np.int64 if labels else np.float64))
    graph.write(file, kernel.width, np.int64 if labels else np.float64)
    return kernel


class _Graph:
    """ONNX in the making."""

    def __init__(self) -> None:
        try:
            from onnx import helper
        except ModuleNotFoundError as error:
            raise NotCompiled(
                f"{error.name} is not installed: pip install 'mlengine[compile]'"
            ) from error
        self._helper = helper
        self._nodes: list[Any] = []
        self._numbers: list[Any] = []
        self._made = 0

    def add(self, operation: str, *takes: str, gives: str = "", **attributes: Any) -> str:
        """Add an operation; return the name of what it gives."""
        gives = gives or self._name()
        self._nodes.append(self._helper.make_node(operation, list(takes), [gives], **attributes))
        return gives

    def number(self, value: Any, dtype: Any = np.float64) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = self._name()
        self._numbers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def cast(self, takes: str, *dtypes: Any) -> str:
        """Have numbers in a type, by way of others."""
        for dtype in dtypes:
            takes = self.add("Cast", takes, to=self.type_of(dtype))
        return takes

    def type_of(self, dtype: Any) -> int:
        return int(self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def trees(
        self, trees: Sequence[Tree], rows: str, *, targets: int = 1, dtype: Any = np.float64,
        mode: int = LESS_OR_EQUAL,
    ) -> str:  # fmt: skip
        """Add up trees; return the name of the sums (rows, targets)."""
        sums = self._name()
        self._nodes.append(
            ensembles.ensemble(trees, (rows, sums), targets=targets, dtype=dtype, mode=mode)
        )
        return sums

    def trees_if(self, condition: str, trees: Sequence[Tree], rows: str, otherwise: str) -> str:
        """Add up trees if a condition holds, else take what is there."""
        helper, kind = self._helper, self.type_of(np.float64)
        mine, theirs = self._name(), self._name()
        node = ensembles.ensemble(
            trees, (rows, mine), targets=1, dtype=np.float64, mode=LESS_OR_EQUAL
        )
        copy = helper.make_node("Identity", [otherwise], [theirs])
        branches = [
            helper.make_graph([one], name, [], [helper.make_tensor_value_info(name, kind, None)])
            for one, name in ((node, mine), (copy, theirs))
        ]
        return self.add("If", condition, then_branch=branches[0], else_branch=branches[1])

    def write(self, file: Path, width: int, dtype: Any) -> None:
        helper = self._helper
        takes = helper.make_tensor_value_info(INPUT, self.type_of(np.float64), [None, width])
        gives = helper.make_tensor_value_info(OUTPUT, self.type_of(dtype), None)
        graph = helper.make_graph(self._nodes, "model", [takes], [gives], self._numbers)
        operations = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
        made = helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=operations)
        file.write_bytes(made.SerializeToString())

    def _name(self) -> str:
        self._made += 1
        return f"t{self._made}"


def _answers(graph: _Graph, estimator: Any, rows: str, *, labels: bool) -> str:
    name = type(estimator).__name__
    if name == "Booster":
        return _xgboost(graph, estimator, (0, 0), rows, labels=labels)
    if type(estimator).__module__.startswith("xgboost"):
        if not np.isnan(estimator.missing):
            raise NotCompiled(f"{estimator.missing} stands for a missing value")
        iterations = estimator._get_iteration_range(None)
        return _xgboost(graph, estimator.get_booster(), iterations, rows, labels=labels)
    if name.startswith(_FORESTS):
        return _forest(graph, estimator, rows)
    if name.startswith("GradientBoosting"):
        trees = ensembles.boosted(estimator)
        targets = 1 + max(tree.target for tree in trees)
        single = graph.cast(rows, np.float32, np.float64)
        sums = graph.trees(trees, single, targets=targets)
        return _label(graph, sums, targets, "GreaterOrEqual") if labels else _flat(graph, sums)
    if hasattr(estimator, "coef_"):
        return _linear(graph, estimator, rows, labels=labels)
    raise NotCompiled(f"{name} has no form in ONNX here")


def _forest(graph: _Graph, estimator: Any, rows: str) -> str:
    name = type(estimator).__name__
    count = 1 if hasattr(estimator, "tree_") else len(estimator.estimators_)
    rows = graph.cast(rows, np.float32, np.float64)  # the trees of scikit-learn see single ones
    number = graph.number(count)
    if not hasattr(estimator, "classes_"):
        sums = _flat(graph, graph.trees(ensembles.forest(estimator, 0), rows))
        return graph.add("Div", sums, number)
    if len(estimator.classes_) != 2:
        raise NotCompiled(f"{name} of {len(estimator.classes_)} classes is no faster in ONNX")
    second = graph.trees(ensembles.forest(estimator, 1), rows)
    first = graph.add("Sub", number, second)
    apart = graph.add("Abs", graph.add("Sub", second, first))
    nearest = graph.add("ReduceMin", apart, keepdims=0)
    is_close = graph.add("Less", nearest, graph.number(count * _TIE))
    first = graph.trees_if(is_close, ensembles.forest(estimator, 0), rows, first)
    # A tie before the division may be none after it, and the other way round.
    shares = graph.add("Div", graph.add("Concat", first, second, axis=1), number)
    return graph.add("ArgMax", shares, axis=1, keepdims=0)


def _xgboost(
    graph: _Graph, booster: Any, iterations: tuple[int, int], rows: str, *, labels: bool
) -> str:
    trees, link = ensembles.xgboost(booster, iterations)
    targets = 1 + max(tree.target for tree in trees)
    rows = graph.cast(rows, np.float32)
    sums = graph.trees(trees, rows, targets=targets, dtype=np.float32, mode=LESS)
    if link == "Softmax":
        sums = graph.add("Softmax", sums, axis=1)
    elif link == "Exp":
        sums = graph.add("Exp", sums)
    elif link == "Sigmoid":
        one = graph.number(1.0, np.float32)
        sums = graph.add(
            "Div", one, graph.add("Add", one, graph.add("Exp", graph.add("Neg", sums)))
        )
    if labels:
        return _label(graph, sums, targets, "Greater", at=0.5, dtype=np.float32)
    return _flat(graph, sums) if targets == 1 else sums


def _linear(graph: _Graph, estimator: Any, rows: str, *, labels: bool) -> str:
    coefficients = np.atleast_2d(estimator.coef_)
    products = graph.add("MatMul", rows, graph.number(coefficients.T))
    scores = graph.add("Add", products, graph.number(np.atleast_1d(estimator.intercept_)))
    if labels:
        return _label(graph, scores, len(coefficients), "Greater")
    flat = estimator.coef_.ndim == 1 or type(estimator).__name__.startswith("SGD")
    return _flat(graph, scores) if flat else scores


def _label(
    graph: _Graph, scores: str, targets: int, second: str, *, at: float = 0.0,
    dtype: Any = np.float64,
) -> str:  # fmt: skip
    """Return the number of the label: of the largest score, or whether the only one is enough."""
    if targets > 1:
        return graph.add("ArgMax", scores, axis=1, keepdims=0)
    return graph.add(second, _flat(graph, scores), graph.number(at, dtype))


def _flat(graph: _Graph, column: str) -> str:
    return graph.add("Squeeze", column, graph.number([1], np.int64))


def _scaled(graph: _Graph, part: Any, rows: str) -> str:
    """Add what a step before the model does to rows without missing values."""
    name = type(part).__name__
    if part is None or part == "passthrough" or name == "SimpleImputer":
        return rows  # a row with null is the original's
    if name == "StandardScaler":
        return _shifted(graph, rows, part.mean_ if part.with_mean else None,
                        part.scale_ if part.with_std else None)  # fmt: skip
    if name == "RobustScaler":
        return _shifted(graph, rows, part.center_ if part.with_centering else None,
                        part.scale_ if part.with_scaling else None)  # fmt: skip
    if name == "MaxAbsScaler":
        return _shifted(graph, rows, None, part.scale_)
    if name == "MinMaxScaler" and not part.clip:
        rows = graph.add("Mul", rows, graph.number(part.scale_))
        _check(1.0 / part.scale_)
        return graph.add("Add", rows, graph.number(part.min_))
    raise NotCompiled(f"the step {name} has no form in ONNX here")


def _shifted(graph: _Graph, rows: str, mean: Any, scale: Any) -> str:
    if mean is not None:
        rows = graph.add("Sub", rows, graph.number(mean))
    if scale is not None:
        _check(scale)
        rows = graph.add("Div", rows, graph.number(scale))
    return rows


def _check(scale: Any) -> None:
    if np.any(np.abs(scale) < _FINEST_SCALE):
        raise NotCompiled("a scaler divides by next to nothing")
