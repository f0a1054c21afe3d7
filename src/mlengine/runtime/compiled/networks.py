"""Small networks of dense layers in plain numbers: a list of operations, in ONNX's words.

    "deep" (n, 10) ─MatMul─Add─Relu─▶ (n, 64) ─┐
    "wide" (n, 20) ────────────────────────────┴─Concat─MatMul─Sigmoid─▶ (n, 1)

Every value is a table of single precision, a row for each instance and as many columns as the
operation makes, so a network is right or wrong before it has computed anything (`_widths`).
`speedups.Layers` computes them, or numpy where that was not built: their sums are rounded otherwise
in the last bits, as those of any two libraries are. Large networks, and all that have other
operations, stay in ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.shortcuts.archive import read_archive, write_archive
from mlengine.runtime.speedups import Layers

__all__ = [
    "Network", "NotDense", "NumberSession", "Operation", "from_onnx", "in_c", "in_numpy",
    "read_network", "write_network",
]  # fmt: skip

_MOST_NUMBERS = 1 << 16  # of all arrays: a row is to take some microseconds
_MOST_OPERATIONS = 64
_MOST_NAMES = 1024  # of what operations take, and of outputs
_MOST_PLACES = 1 << 19  # of a row; `layers.c` has twice as many
_FLOAT = 1  # in ONNX
Compute = Callable[[np.ndarray], np.ndarray]
Make = Callable[["Network"], Compute]

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
    """Answers `run` as a session of onnxruntime does, and rows that are one table.

    Args:
        network: As `read_network` returns it.
        make: Returns the function from rows of doubles (rows, all inputs) to results in single
            precision (rows, all outputs): in C, if that was built.
    """

    def __init__(self, network: Network, *, make: Make | None = None) -> None:
        self.inputs = list(network.inputs)
        widths = _widths(network)
        self._compute = (make or (in_numpy if Layers is None else in_c))(network)
        ends = np.cumsum([widths[name] for name in network.outputs]).tolist()
        self._places = {
            name: slice(end - widths[name], end)
            for name, end in zip(network.outputs, ends, strict=True)
        }

    def run(self, wanted: Sequence[str], fed: Mapping[str, Any]) -> list[np.ndarray]:
        """Return the values of these names, of tables by the names of the inputs."""
        tables = [np.asarray(fed[name], np.float64) for name in self.inputs]
        return self.of_rows(wanted, np.concatenate(tables, axis=1))

    def of_rows(self, wanted: Sequence[str], table: np.ndarray) -> list[np.ndarray]:
        """Return the values of these names, of rows that hold all inputs side by side."""
        found = self._compute(table)
        return [found[:, self._places[name]] for name in wanted]


def in_numpy(network: Network) -> Compute:
    """Return the function from rows to results, an operation at a time for all rows."""
    arrays = dict(network.arrays)
    steps = [(_OPERATIONS[name], list(takes), gives) for name, takes, gives in network.operations]
    ends = np.cumsum(list(network.inputs.values())).tolist()
    begins = [0, *ends]
    outputs = list(network.outputs)

    def compute(table: np.ndarray) -> np.ndarray:
        values = dict(arrays)
        with np.errstate(all="ignore"):  # what is no number is refused where answers are written
            narrow = table.astype(np.float32)
            for name, begin, end in zip(network.inputs, begins, ends, strict=False):
                values[name] = narrow[:, begin:end]
            for operation, takes, gives in steps:
                values[gives] = operation(*[values[name] for name in takes])
        return np.concatenate([values[name] for name in outputs], axis=1)

    return compute


def in_c(network: Network) -> Compute:
    """Return the function from rows to results, a row at a time for all operations."""
    assert Layers is not None
    pack = _Pack(network)
    for name, takes, gives in network.operations:
        pack.add(name, takes, gives)
    first = pack.together(network.outputs)
    width, outputs = sum(network.inputs.values()), pack.end - first
    run = Layers(pack.operations(), pack.weights(), pack.row(), width, first, outputs).run

    def compute(table: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(table, np.float64)
        return np.frombuffer(run(rows), np.float32).reshape(len(rows), outputs)

    return compute


class _Pack:
    """A network as `speedups.Layers` takes it: a place in the row for each number of each value."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._widths = _widths(network)
        self.end = 0
        self._places = {name: self._room(width) for name, width in network.inputs.items()}
        self._kept: dict[int, np.ndarray] = {}
        self._matrices: list[np.ndarray] = []
        self._matrices_end = 0
        self._operations: list[tuple[int, ...]] = []

    def add(self, name: str, takes: Sequence[str], gives: str) -> None:
        """Let an operation be done, after those that were added before it."""
        width = self._widths[gives]
        if name == "Concat":
            self._places[gives] = self.together(takes)
        elif name == "Identity":
            self._places[gives] = self._places[takes[0]]
        elif name == "MatMul":
            matrix = self._network.arrays[takes[1]]
            at, begin = self._places[takes[0]], self._matrices_end
            self._matrices.append(matrix)
            self._matrices_end += matrix.size
            self._places[gives] = to = self._room(width)
            self._operations.append((_CODES[name], to, at, at, len(matrix), width, begin))
        else:
            places = [self._place(one, width) for one in takes]
            self._places[gives] = to = self._room(width)
            code = _CODES[name]
            self._operations.append((code, to, places[0], places[-1], width, width, 0))

    def together(self, names: Sequence[str]) -> int:
        """Have values side by side, in places of their own; return where they begin."""
        first = self.end
        for name in names:
            width, at = self._widths[name], self._places[name]
            to, code = self._room(width), _CODES["Identity"]
            self._operations.append((code, to, at, at, width, width, 0))
        return first

    def operations(self) -> np.ndarray:
        return np.array(self._operations, "<u4")

    def weights(self) -> np.ndarray:
        """Return the numbers of all matrices."""
        flat = [np.ascontiguousarray(matrix).reshape(-1) for matrix in self._matrices]
        return np.concatenate(flat) if flat else np.zeros(0, np.float32)

    def row(self) -> np.ndarray:
        """Return a row in which there is what is kept."""
        row = np.zeros(self.end, np.float32)
        for at, array in self._kept.items():
            row[at : at + array.size] = array
        return row

    def _room(self, width: int) -> int:
        self.end += width
        return self.end - width

    def _place(self, name: str, width: int) -> int:
        if name in self._places:
            return self._places[name]
        at = self._room(width)
        self._kept[at] = np.broadcast_to(self._network.arrays[name].reshape(-1), (width,))
        return at


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
            if takes[1] not in arrays:
                raise NotDense("a Gemm has a matrix that is made, not kept")
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
    if not isinstance(network.inputs, Mapping):
        raise NotDense("its inputs have no names")
    if len(network.outputs) + sum(len(one.takes) for one in network.operations) > _MOST_NAMES:
        raise NotDense(f"its operations take more than {_MOST_NAMES} values")
    widths = dict(network.inputs)
    if not widths or any(type(width) is not int or width < 1 for width in widths.values()):
        raise NotDense(f"its inputs are {widths}")
    if sum(widths.values()) > _MOST_NUMBERS:
        raise NotDense(f"its inputs have {sum(widths.values())} columns")
    for name, takes, gives in network.operations:
        if gives in widths or gives in network.arrays or name not in _OPERATIONS:
            raise NotDense(f"it has the operation {name} twice, or it is unknown")
        widths[gives] = _width(name, takes, widths, network.arrays)
        if not 0 < widths[gives] <= _MOST_NUMBERS:
            raise NotDense(f"{name} gives {widths[gives]} columns")
    if missing := set(network.outputs) - set(widths):
        raise NotDense(f"nothing gives {missing.pop()!r}")
    # Of each value, of what is kept beside it, and of results, which stand side by side at the end.
    places = 2 * sum(widths.values()) + sum(widths[name] for name in network.outputs)
    if places > _MOST_PLACES:
        raise NotDense(f"a row of it has {places} numbers")
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
_CODES = {
    "MatMul": 0, "Add": 1, "Sub": 2, "Mul": 3, "Div": 4, "Relu": 5, "Sigmoid": 6, "Tanh": 7,
    "Softmax": 8, "Identity": 9,
}  # fmt: skip
"""Those of `layers.c`."""
_TAKES = {
    "Add": 2, "Sub": 2, "Mul": 2, "Div": 2, "Relu": 1, "Sigmoid": 1, "Tanh": 1, "Softmax": 1,
    "Identity": 1,
}  # fmt: skip
