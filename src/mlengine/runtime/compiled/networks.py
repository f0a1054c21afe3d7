"""Small networks of dense layers in plain numbers: a list of operations, in ONNX's words.

    "deep" (n, 10) ─MatMul─Add─Relu─▶ (n, 64) ─┐
    "wide" (n, 20) ────────────────────────────┴─Concat─MatMul─Sigmoid─▶ (n, 1)

Every value is a table of single precision, a row for each instance and as many columns as the
operation makes, so a network is right or wrong before it has computed anything (`_widths`). For
networks that are small enough numpy takes as long as a runtime, and is there already; larger ones,
and all that have other operations, stay in ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.shortcuts.archive import read_archive, write_archive

__all__ = [
    "Network", "NotDense", "NumberSession", "Operation", "from_onnx", "read_network",
    "write_network",
]  # fmt: skip

_MOST_NUMBERS = 1 << 16  # of all arrays: a row is to take some microseconds
_MOST_OPERATIONS = 64
_FLOAT = 1  # in ONNX
_DEFAULTS = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}  # of Gemm


class NotDense(Exception):
    """The network is more than dense layers, or too large; the text says what."""


class Operation(NamedTuple):
    """One step: what it does, the values or arrays that it takes, and what its result is called."""

    name: str
    takes: Sequence[str]
    gives: str


class Network(NamedTuple):
    """Operations in the order in which they are done.

    Attributes:
        inputs: Name and columns of each value that is given.
        outputs: Names of the values that are asked for.
        operations: Each takes what is given, kept, or made before it.
        arrays: What is kept: (columns in, columns out) of a matrix, (columns) of a row.
    """

    inputs: Mapping[str, int]
    outputs: Sequence[str]
    operations: Sequence[Operation]
    arrays: Mapping[str, np.ndarray]


class NumberSession:
    """Answers `run` as a session of onnxruntime does.

    Args:
        network: As `read_network` returns it.
    """

    def __init__(self, network: Network) -> None:
        self._arrays = dict(network.arrays)
        self._steps = [
            (_OPERATIONS[operation.name], list(operation.takes), operation.gives)
            for operation in network.operations
        ]

    def run(self, wanted: Sequence[str], fed: Mapping[str, Any]) -> list[np.ndarray]:
        """Return the values of these names, of tables by the names of the inputs."""
        values = {**self._arrays, **fed}
        with np.errstate(all="ignore"):  # what is no number is refused where answers are written
            for compute, takes, gives in self._steps:
                values[gives] = compute(*[values[name] for name in takes])
        return [values[name] for name in wanted]


def from_onnx(file: Path, inputs: Mapping[str, TensorSpec], outputs: Sequence[str]) -> Network:
    """Read a network out of an ONNX file.

    Args:
        file: The file.
        inputs: What the network takes, by the names in the file.
        outputs: Names in the file of what it gives.

    Raises:
        NotDense: It has an operation, a type or a shape that is not known here.
    """
    import onnx
    import onnx.numpy_helper

    graph = onnx.load(str(file)).graph
    arrays = {}
    for tensor in graph.initializer:
        if tensor.data_type == _FLOAT:
            arrays[tensor.name] = np.array(onnx.numpy_helper.to_array(tensor))
    operations: list[Operation] = []
    for node in graph.node:
        said = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        operations += _operations(node.op_type, list(node.input), list(node.output), said, arrays)
    used = {name for operation in operations for name in operation.takes}
    network = Network(
        {name: _columns(spec) for name, spec in inputs.items()}, list(outputs), operations,
        {name: array for name, array in arrays.items() if name in used},
    )  # fmt: skip
    _widths(network)
    return network


def write_network(network: Network, file: Path) -> None:
    """Keep a network in a file."""
    names = {name: f"array{place}" for place, name in enumerate(network.arrays)}
    about = {
        "inputs": dict(network.inputs), "outputs": list(network.outputs),
        "operations": [list(operation) for operation in network.operations], "arrays": names,
    }  # fmt: skip
    write_archive(file, about, {names[name]: array for name, array in network.arrays.items()})


def read_network(file: Path) -> Network:
    """Read a network that was kept.

    Raises:
        OSError: There is no such file.
        ValueError: It is none.
    """
    about, arrays = read_archive(file)
    try:
        operations = [Operation(name, takes, gives) for name, takes, gives in about["operations"]]
        kept = {name: arrays[own] for name, own in about["arrays"].items()}
        network = Network(about["inputs"], about["outputs"], operations, kept)
        _widths(network)
    except Exception as error:  # where something else is said, anything may be missing
        raise ValueError(f"no network: {error!r}") from error
    return network


def _columns(spec: TensorSpec) -> int:
    if spec.dtype != "float32" or spec.shape is None or len(spec.shape) != 2 or not spec.shape[1]:
        raise NotDense(f"the input {spec.name!r} is no table of float32")
    return spec.shape[1]


def _operations(
    kind: str, takes: list[str], gives: list[str], said: Mapping[str, Any],
    arrays: dict[str, np.ndarray],
) -> list[Operation]:  # fmt: skip
    """Return a node's operations; puts an array there where it has one of its own."""
    if kind == "Gemm":
        settings = {**_DEFAULTS, **said}
        if settings["transA"] or settings["alpha"] != 1.0 or settings["beta"] != 1.0:
            raise NotDense("a Gemm is more than a product and a sum")
        weights = takes[1]
        if settings["transB"]:
            weights = f"{takes[1]} turned"
            arrays[weights] = np.ascontiguousarray(arrays[takes[1]].T)
        product = gives[0] if len(takes) == 2 else f"{gives[0]} without {takes[2]}"
        made = [Operation("MatMul", [takes[0], weights], product)]
        return made if len(takes) == 2 else [*made, Operation("Add", [product, takes[2]], gives[0])]
    is_along_rows = kind in ("Concat", "Softmax") and said.get("axis", -1) not in (1, -1)
    if kind not in _OPERATIONS or is_along_rows or set(said) - {"axis"} or len(gives) != 1:
        raise NotDense(f"it has the operation {kind}")
    return [Operation(kind, takes, gives[0])]


def _widths(network: Network) -> dict[str, int]:
    """Return how many columns each value has.

    Raises:
        NotDense: An operation does not fit what it takes, or they are too many.
    """
    size = sum(array.size for array in network.arrays.values())
    if size > _MOST_NUMBERS or len(network.operations) > _MOST_OPERATIONS:
        raise NotDense(f"it has {size} numbers and {len(network.operations)} operations")
    if any(array.dtype != np.float32 for array in network.arrays.values()):
        raise NotDense("its numbers are not float32")
    widths = dict(network.inputs)
    for name, takes, gives in network.operations:
        if gives in widths or gives in network.arrays or name not in _OPERATIONS:
            raise NotDense(f"it has the operation {name} twice, or it is unknown")
        widths[gives] = _width(name, takes, widths, network.arrays)
        if not 0 < widths[gives] <= _MOST_NUMBERS:
            raise NotDense(f"{name} gives {widths[gives]} columns")
    if missing := set(network.outputs) - set(widths):
        raise NotDense(f"nothing gives {missing.pop()!r}")
    return widths


def _width(
    name: str, takes: Sequence[str], widths: Mapping[str, int], arrays: Mapping[str, np.ndarray]
) -> int:
    own = [widths[one] for one in takes if one in widths]
    kept = [arrays[one] for one in takes if one in arrays]
    if len(own) + len(kept) != len(takes) or not own:
        raise NotDense(f"{name} takes what is neither made nor kept")
    if name == "MatMul":
        if takes[0] not in widths or [array.shape[:1] for array in kept] != [(own[0],)]:
            raise NotDense("a product is not of rows and a matrix")
        if kept[0].ndim != 2:
            raise NotDense("a product is not of rows and a matrix")
        return int(kept[0].shape[1])
    if name == "Concat":
        if kept:
            raise NotDense("columns are put beside kept ones")
        return sum(own)
    if len(takes) != _TAKES[name]:
        raise NotDense(f"{name} takes {len(takes)} values")
    if any(array.shape not in ((own[0],), (1, own[0]), (1,), ()) for array in kept):
        raise NotDense(f"{name} has an array of another width")
    if len(set(own)) != 1:
        raise NotDense(f"{name} takes values of several widths")
    return own[0]


def _relu(value: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.maximum(value, np.float32(0))
    return found


def _sigmoid(value: np.ndarray) -> np.ndarray:
    one = np.float32(1)
    found: np.ndarray = one / (one + np.exp(-value))
    return found


def _softmax(value: np.ndarray) -> np.ndarray:
    shares = np.exp(value - value.max(axis=1, keepdims=True))
    found: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
    return found


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "MatMul": np.matmul, "Concat": lambda *values: np.concatenate(values, axis=1),
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide,
    "Relu": _relu, "Sigmoid": _sigmoid, "Tanh": np.tanh, "Softmax": _softmax,
    "Identity": lambda value: value,
}  # fmt: skip
_TAKES = {
    "Add": 2, "Sub": 2, "Mul": 2, "Div": 2, "Relu": 1, "Sigmoid": 1, "Tanh": 1, "Softmax": 1,
    "Identity": 1,
}  # fmt: skip
