"""Small networks in plain numbers: what ONNX computes, in C as in numpy, or a refusal.

Networks are drawn with what can be said of each value beforehand: how far it is from 0, and how far
two may come apart who round otherwise. What would magnify the last bits is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.compiled.networks import (
    Network,
    NotDense,
    NumberSession,
    Operation,
    from_onnx,
    in_c,
    in_numpy,
    read_network,
    write_network,
)
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.shortcuts.archive import write_archive
from mlengine.runtime.speedups import Layers

NEEDS_C = pytest.mark.skipif(
    Layers is None,
    reason="LAYERS IN C NOT TESTED: they were not built here",
)
WAYS = [pytest.param(in_c, id="C", marks=NEEDS_C), pytest.param(in_numpy, id="numpy")]
TOLERANCE = 1e-5
_BIT = 2.0**-23  # of 1.0 in single precision
_FARTHEST = 32.0
_ROW = 1.0  # numbers of rows are no farther from 0

Tables = dict[str, np.ndarray]


# --- networks that are drawn ---


class Value(NamedTuple):
    """A table of a network: columns, and bounds of its numbers.

    Attributes:
        far: No number is farther from 0.
        near: None is nearer to 0, and all are above it; 0: some may be.
        apart: So far two may be who compute it in another order, or with another library.
    """

    name: str
    columns: int
    far: float
    near: float = 0.0
    apart: float = 0.0


def _kept(draw: st.DrawFn, arrays: Tables, shape: tuple[int, ...], numbers: Any) -> str:
    count = math.prod(shape)
    drawn = draw(st.lists(numbers, min_size=count, max_size=count))
    name = f"kept{len(arrays)}"
    arrays[name] = np.array(drawn, np.float32).reshape(shape)
    return name


def _of_two(draw: st.DrawFn, kind: str, values: Sequence[Value], arrays: Tables) -> Any:
    """Draw what an operation takes, the values or kept arrays, and what it makes of them."""
    first = draw(st.sampled_from(values))
    alike = [value for value in values if value.columns == first.columns]
    if kind == "Div":
        alike = [value for value in alike if value.near] or alike
    both = [first, draw(st.sampled_from(alike))]
    kept_place = draw(st.sampled_from([None, 0, 1]))
    if kept_place is not None:
        width = first.columns
        shape = draw(st.sampled_from([(width,), (1, width), (1,), ()]))
        numbers = DIVISORS if (kind, kept_place) == ("Div", 1) else NUMBERS
        name = _kept(draw, arrays, shape, numbers)
        # Divisors are at least a half, on either side of 0.
        both[kept_place] = Value(name, width, 1.0, 0.5 if numbers is DIVISORS else 0.0)
    a, b = both
    if kind == "Mul":
        far, apart = a.far * b.far, a.far * b.apart + b.far * a.apart
    elif kind == "Div":
        far = a.far / b.near if b.near else math.inf
        apart = (a.apart + far * b.apart) / b.near if b.near else math.inf
    else:
        far, apart = a.far + b.far, a.apart + b.apart
    return [a.name, b.name], Value("", first.columns, far, 0.0, apart + far * _BIT)


def _operation(draw: st.DrawFn, values: Sequence[Value], arrays: Tables) -> Any:
    kind = draw(st.sampled_from(KINDS))
    if kind in ("Add", "Sub", "Mul", "Div"):
        return kind, *_of_two(draw, kind, values, arrays)
    if kind == "Concat":
        some = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
        far, apart = max(one.far for one in some), max(one.apart for one in some)
        near, columns = min(one.near for one in some), sum(one.columns for one in some)
        return kind, [one.name for one in some], Value("", columns, far, near, apart)
    taken = draw(st.sampled_from(values))
    _, width, far, near, apart = taken
    if kind == "MatMul":
        columns = draw(st.integers(1, 4))
        name = _kept(draw, arrays, (width, columns), NUMBERS)
        made = Value("", columns, width * far, 0.0, width * (apart + width * far * _BIT))
        return kind, [taken.name, name], made
    made = {
        "Relu": Value("", width, far, near, apart),
        "Sigmoid": Value("", width, 1.0, 1 / (1 + math.exp(far)) - apart, apart / 4 + 4 * _BIT),
        "Tanh": Value("", width, 1.0, 0.0, apart + 8 * _BIT),
        "Softmax": Value("", width, 1.0, 0.0, 2 * apart + (8 + width) * _BIT),
        "Identity": taken,
    }[kind]
    return kind, [taken.name], made


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Draw a network none of whose values may come farther apart than is allowed."""
    inputs = {name: draw(st.integers(1, 4)) for name in ("in0", "in1")[: draw(st.integers(1, 2))]}
    values = [Value(name, columns, _ROW) for name, columns in inputs.items()]
    arrays: Tables = {}
    operations = []
    for _ in range(draw(st.integers(0, 8))):
        kind, takes, made = _operation(draw, values, arrays)
        if made.far <= _FARTHEST and made.apart <= TOLERANCE and made.columns <= 12:
            gives = f"made{len(operations)}"
            operations.append(Operation(kind, takes, gives))
            values.append(made._replace(name=gives))
    used = {name for operation in operations for name in operation.takes}
    outputs = draw(st.lists(st.sampled_from([value.name for value in values]), min_size=1))
    return Network(inputs, outputs, operations, {n: a for n, a in arrays.items() if n in used})


KINDS = [
    "MatMul", "Concat", "Add", "Sub", "Mul", "Div", "Relu", "Sigmoid", "Tanh", "Softmax",
    "Identity",
]  # fmt: skip
NUMBERS = st.integers(-64, 64).map(lambda n: n / 64)
DIVISORS = st.sampled_from([0.5, -0.5, 0.75, -0.875, 1.0])
PLAIN = st.one_of(st.integers(-8, 8).map(lambda n: n / 8), st.floats(-_ROW, _ROW))
SPECIAL = st.sampled_from([math.nan, math.inf, -math.inf, 1e39, -1e300, 0.0, -0.0, 1.0, -0.5])


def rows_of(network: Network, numbers: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    width = sum(network.inputs.values())
    row = st.lists(numbers, min_size=width, max_size=width)
    return st.lists(row, min_size=1, max_size=5).map(lambda rows: np.array(rows, np.float64))


def with_rows(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[Network, np.ndarray]]:
    return networks().flatmap(
        lambda network: st.tuples(st.just(network), rows_of(network, numbers))
    )


def answers(network: Network, make: Any, rows: np.ndarray) -> list[np.ndarray]:
    return NumberSession(network, make=make).of_rows(network.outputs, rows)


@NEEDS_C
@given(with_rows(PLAIN))
def test_in_c_it_is_what_it_is_in_numpy(drawn: tuple[Network, np.ndarray]) -> None:
    network, rows = drawn
    for got, wanted in zip(
        answers(network, in_c, rows), answers(network, in_numpy, rows), strict=True
    ):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert np.isfinite(wanted).all()
        scale = np.maximum(1.0, np.maximum(np.abs(got), np.abs(wanted)))
        assert (np.abs(got - wanted) <= TOLERANCE * scale).all()


@NEEDS_C
@given(with_rows(SPECIAL))
def test_what_is_no_number_is_in_the_same_places(drawn: tuple[Network, np.ndarray]) -> None:
    network, rows = drawn
    for got, wanted in zip(
        answers(network, in_c, rows), answers(network, in_numpy, rows), strict=True
    ):
        # NaN is as NaN there, and infinities as those of their sign.
        np.testing.assert_allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)


@NEEDS_C
@given(with_rows(PLAIN | SPECIAL))
def test_in_c_a_row_is_the_same_alone_and_in_company(drawn: tuple[Network, np.ndarray]) -> None:
    network, rows = drawn
    session = NumberSession(network, make=in_c)
    together = session.of_rows(network.outputs, rows)
    for place in range(len(rows)):
        alone = session.of_rows(network.outputs, rows[place : place + 1])
        for one, all_ in zip(alone, together, strict=True):
            assert one.tobytes() == all_[place : place + 1].tobytes()


@pytest.mark.parametrize("make", WAYS)
@given(drawn=with_rows(PLAIN))
def test_what_was_kept_answers_as_before(
    make: Any, tmp_path_factory: pytest.TempPathFactory, drawn: tuple[Network, np.ndarray]
) -> None:
    network, rows = drawn
    file = tmp_path_factory.getbasetemp() / "network.npz"
    write_network(network, file)
    read = read_network(file)
    assert (read.inputs, read.outputs) == (network.inputs, network.outputs)
    assert read.operations == network.operations
    after = answers(read, make, rows)
    for before, one in zip(answers(network, make, rows), after, strict=True):
        assert before.tobytes() == one.tobytes()


_SMALL = Network(
    {"a": 2, "b": 1}, ["y", "a"],
    [Operation("Concat", ["b", "a"], "c"), Operation("MatMul", ["c", "w"], "m"),
     Operation("Sub", ["k", "m"], "y")],
    {"w": np.array([[1, 2], [3, 4], [5, 6]], np.float32), "k": np.array([[10, 20]], np.float32)},
)  # fmt: skip


@pytest.mark.parametrize("make", WAYS)
def test_values_are_asked_for_by_name(make: Any) -> None:
    session = NumberSession(_SMALL, make=make)
    fed = {"a": np.array([[1, 0], [0, 1]], np.float32), "b": [[1], [2]]}
    y, a = session.run(["y", "a"], fed)
    assert y.tolist() == [[6.0, 14.0], [3.0, 10.0]]
    assert a.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert [found.tolist() for found in session.run(["a"], fed)] == [a.tolist()]
    assert [found.shape for found in session.of_rows(["y", "a"], np.zeros((0, 3)))] == [(0, 2)] * 2


# --- out of ONNX ---


def _spec(name: str, columns: int | None) -> TensorSpec:
    return TensorSpec(name, "float32", (None, columns))


def _file(
    tmp_path: Path, nodes: Sequence[Any], arrays: Tables, widths: dict[str, int],
    outputs: Sequence[str],
) -> Path:  # fmt: skip
    """Write a network as ONNX; a node is its kind, what it takes and gives, and its settings."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper, number = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(kind, takes, gives, **said) for kind, takes, gives, said in nodes],
        "network",
        [helper.make_tensor_value_info(n, number, [None, w]) for n, w in widths.items()],
        [helper.make_tensor_value_info(n, number, None) for n in outputs],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    versions = [helper.make_opsetid("", 17)]
    file = tmp_path / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=8), str(file))
    return file


_RANDOM = np.random.default_rng(7)
_ARRAYS: Tables = {
    name: _RANDOM.normal(size=shape).astype(np.float32)
    for name, shape in {
        "w3x4": (3, 4), "w4x3": (4, 3), "w3x3": (3, 3), "w7x2": (7, 2), "b4": (4,), "b1x4": (1, 4),
        "b1": (1,), "b": (), "b3": (3,),
    }.items()
}  # fmt: skip
_KNOWN: dict[str, list[Any]] = {
    "dense": [
        ("MatMul", ["x", "w3x4"], ["m"], {}), ("Add", ["m", "b4"], ["s"], {}),
        ("Relu", ["s"], ["y"], {}),
    ],
    "Gemm": [("Gemm", ["x", "w3x4", "b4"], ["y"], {})],
    "Gemm, turned": [("Gemm", ["x", "w4x3", "b1x4"], ["y"], {"transB": 1})],
    "Gemm, no sum": [("Gemm", ["x", "w4x3"], ["y"], {"transB": 1, "alpha": 1.0, "beta": 1.0})],
    "Gemm, one array both ways": [
        ("Gemm", ["x", "w3x3"], ["t"], {"transB": 1}), ("Gemm", ["t", "w3x3", "b"], ["y"], {}),
    ],
    "two inputs": [
        ("Gemm", ["z", "w4x3", "b3"], ["t"], {}), ("Relu", ["t"], ["r"], {}),
        ("Concat", ["r", "z"], ["c"], {"axis": -1}), ("MatMul", ["c", "w7x2"], ["p"], {}),
        ("Softmax", ["p"], ["q"], {"axis": 1}), ("Concat", ["q", "x"], ["y"], {"axis": 1}),
    ],
    "every other": [
        ("MatMul", ["x", "w3x4"], ["m"], {}), ("Sub", ["b1x4", "m"], ["s"], {}),
        ("Mul", ["s", "b"], ["t"], {}), ("Div", ["t", "b1"], ["d"], {}),
        ("Tanh", ["d"], ["h"], {}), ("Sigmoid", ["h"], ["i"], {}), ("Div", ["b4", "i"], ["j"], {}),
        ("Sub", ["j", "m"], ["k"], {}), ("Div", ["k", "i"], ["l"], {}),
        ("Softmax", ["l"], ["o"], {}), ("Identity", ["o"], ["y"], {}),
    ],
    "nothing": [("Identity", ["x"], ["y"], {})],
}  # fmt: skip


@pytest.mark.parametrize("name", _KNOWN)
@pytest.mark.parametrize("make", WAYS)
def test_it_computes_what_onnxruntime_does(make: Any, name: str, tmp_path: Path) -> None:
    nodes = _KNOWN[name]
    widths = {"x": 3, "z": 4} if "two" in name else {"x": 3}
    used = {taken for node in nodes for taken in node[1]}
    arrays = {name: array for name, array in _ARRAYS.items() if name in used}
    file = _file(tmp_path, nodes, arrays, widths, ["y"])
    original = pytest.importorskip("onnxruntime").InferenceSession(str(file))
    network = from_onnx(file, {name: _spec(name, width) for name, width in widths.items()}, ["y"])
    fed = {n: _RANDOM.normal(size=(9, w)).astype(np.float32) for n, w in widths.items()}
    (wanted,), (got,) = original.run(["y"], fed), NumberSession(network, make=make).run(["y"], fed)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE)


def test_what_nothing_needs_is_left_behind(tmp_path: Path) -> None:
    file = _file(tmp_path, _KNOWN["Gemm, turned"], _ARRAYS, {"x": 3}, ["y"])
    network = from_onnx(file, {"x": _spec("x", 3)}, ["y"])
    assert sorted(array.shape for array in network.arrays.values()) == [(1, 4), (3, 4)]


_WIDE = np.zeros((3, 30000), np.float32)
_ODD: Tables = {
    "whole": np.ones(3, np.int64), "double": np.ones((4, 3)), "cube": np.ones((3, 3, 2), "f4"),
    "shape": np.array([-1, 3]), "filter": np.ones((1, 1, 1), "f4"), "wide": _WIDE,
}  # fmt: skip
_REFUSED: dict[str, tuple[list[Any], str]] = {
    "Conv": ([("Conv", ["x", "filter"], ["y"], {})], "the operation Conv"),
    "Reshape": ([("Reshape", ["x", "shape"], ["y"], {})], "the operation Reshape"),
    "Split": ([("Split", ["x"], ["y", "z"], {"axis": 1})], "the operation Split"),
    "two results": ([("Relu", ["x"], ["y", "z"], {})], "the operation Relu"),
    "alpha": ([("Gemm", ["x", "w3x4"], ["y"], {"alpha": 2.0})], "more than a product"),
    "beta": ([("Gemm", ["x", "w3x4", "b4"], ["y"], {"beta": 0.5})], "more than a product"),
    "turned rows": ([("Gemm", ["x", "w3x4"], ["y"], {"transA": 1})], "more than a product"),
    "rows below": ([("Concat", ["x", "x"], ["y"], {"axis": 0})], "the operation Concat"),
    "shares of rows": ([("Softmax", ["x"], ["y"], {"axis": 0})], "the operation Softmax"),
    "kept columns": ([("Concat", ["x", "b3"], ["y"], {"axis": 1})], "beside kept ones"),
    "whole numbers": ([("Add", ["x", "whole"], ["y"], {})], "neither made nor kept"),
    "doubles": ([("MatMul", ["x", "double"], ["y"], {})], "neither made nor kept"),
    "a matrix first": ([("MatMul", ["w3x4", "x"], ["y"], {})], "not of rows and a matrix"),
    "three dimensions": ([("MatMul", ["x", "cube"], ["y"], {})], "not of rows and a matrix"),
    "a row for a matrix": ([("MatMul", ["x", "b3"], ["y"], {})], "not of rows and a matrix"),
    "rows with rows": ([("MatMul", ["x", "x"], ["y"], {})], "not of rows and a matrix"),
    "another width": ([("MatMul", ["x", "w4x3"], ["y"], {})], "not of rows and a matrix"),
    "another width kept": ([("Add", ["x", "b4"], ["y"], {})], "array of another width"),
    "for each row": ([("Add", ["x", "w3x3"], ["y"], {})], "array of another width"),
    "a column": ([
        ("MatMul", ["x", "w3x4"], ["m"], {}), ("Mul", ["m", "x"], ["y"], {}),
    ], "several widths"),
    "kept alone": ([("Add", ["b3", "b"], ["y"], {})], "neither made nor kept"),
    "nobody's": ([("Relu", ["x"], ["z"], {})], "nothing gives 'y'"),
    "the array itself": ([("MatMul", ["x", "y"], ["z"], {})], "neither made nor kept"),
    "too many numbers": ([("MatMul", ["x", "wide"], ["y"], {})], "90000 numbers"),
    "too many operations": ([
        ("Relu", [f"v{at}" if at else "x"], [f"v{at + 1}" if at < 64 else "y"], {})
        for at in range(65)
    ], "65 operations"),
    "too many columns": ([
        ("Concat", [f"v{at}" if at else "x"] * 8, [f"v{at + 1}" if at < 5 else "y"], {"axis": 1})
        for at in range(6)
    ], "gives 98304 columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", _REFUSED)
def test_what_is_more_than_dense_layers_is_refused(name: str, tmp_path: Path) -> None:
    nodes, why = _REFUSED[name]
    file = _file(tmp_path, nodes, {**_ARRAYS, **_ODD}, {"x": 3}, ["y"])
    with pytest.raises(NotDense, match=why):
        from_onnx(file, {"x": _spec("x", 3)}, ["y"])


@pytest.mark.parametrize("spec", [
    TensorSpec("x", "float64", (None, 3)), TensorSpec("x", "int64", (None, 3)),
    TensorSpec("x", "float32", (None, 3, 1)), TensorSpec("x", "float32", (None,)),
    TensorSpec("x", "float32", (None, None)), TensorSpec("x", "float32", None),
], ids=str)  # fmt: skip
def test_what_is_no_table_of_single_precision_is_refused(spec: TensorSpec, tmp_path: Path) -> None:
    file = _file(tmp_path, _KNOWN["nothing"], {}, {"x": 3}, ["y"])
    with pytest.raises(NotDense, match="the input 'x' is no table of float32"):
        from_onnx(file, {"x": spec}, ["y"])


@pytest.mark.parametrize("name", ["double", "x"])
def test_a_turned_matrix_that_is_not_kept_is_refused(name: str, tmp_path: Path) -> None:
    nodes = [("Gemm", ["x", name], ["y"], {"transB": 1})]
    file = _file(tmp_path, nodes, _ODD, {"x": 3}, ["y"])
    with pytest.raises(NotDense):
        from_onnx(file, {"x": _spec("x", 3)}, ["y"])


# --- files that lie ---


def _about(**changed: Any) -> dict[str, Any]:
    operations = [list(operation) for operation in _SMALL.operations]
    plain = {"inputs": _SMALL.inputs, "outputs": ["y"], "operations": operations,
             "arrays": {"w": "array0", "k": "array1"}}  # fmt: skip
    return {**plain, **changed}


def _write(file: Path, about: Any, **arrays: np.ndarray) -> Path:
    kept = {"array0": _SMALL.arrays["w"], "array1": _SMALL.arrays["k"], **arrays}
    write_archive(file, about, kept)
    return file


@pytest.mark.parametrize("about", [
    _about(outputs=["y"] * 3000),
    _about(inputs={"a": 2, "b": 1, "u": 40_000}, outputs=["y", *["z"] * 20],
           operations=[["Identity", ["a"], "y"], ["Relu", ["u"], "z"]]),
    _about(outputs=["c0"], operations=[["Concat", ["b"] * 60_000, "c0"]]),
], ids=["outputs", "places", "names"])  # fmt: skip
def test_a_small_file_that_would_make_a_large_row_is_refused(about: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no network.*(takes? more than|has \d+ numbers)"):
        read_network(_write(tmp_path / "network.npz", about))


def test_what_the_lies_are_made_of_is_no_lie(tmp_path: Path) -> None:
    network = read_network(_write(tmp_path / "network.npz", _about()))
    assert NumberSession(network).of_rows(["y"], np.ones((1, 3)))[0].tolist() == [[1.0, 8.0]]


def _and(*operations: Sequence[Any]) -> dict[str, Any]:
    """Say what is no lie, and these operations more."""
    return _about(operations=[*_about()["operations"], *operations])


@pytest.mark.parametrize("about", [
    _and(["Sub", ["none", "m"], "z"]), _and(["Relu", ["z"], "z"]), _and(["Sub", ["k"], "z"]),
    _and(["Sub", ["k", "k"], "z"]), _and(["Relu", ["m", "m"], "z"]), _and(["Relu", [], "z"]),
    _and(["Relu", ["later"], "z"], ["Relu", ["y"], "later"]), _and(["Concat", [], "z"]),
    _and(["Relu", ["m"], "m"]), _and(["Relu", ["m"], "y"]), _and(["Relu", ["m"], "a"]),
    _and(["Relu", ["m"], "k"]), _and(["Gelu", ["m"], "z"]), _and(["__class__", ["m"], "z"]),
    _and([["Relu"], ["m"], "z"]), _and(["Sub", ["k", "c"], "z"]), _and(["Add", ["m", "c"], "z"]),
    _and(["MatMul", ["m", "w"], "z"]), _and(["MatMul", ["w", "c"], "z"]),
    _and(["MatMul", ["c", "c"], "z"]), _and(["MatMul", ["c", "w", "w"], "z"]),
    _and(["Concat", ["m", "k"], "z"]), _and(["Concat", ["m"] * 32769, "z"]),
    _and(["Relu", [["m"]], "z"]), _and(["Relu", ["m"], {}]), _and(["Relu", ["m"]]),
    _and(["Relu", ["m"], "z", 1]), _and(*[["Relu", ["m"], f"{at}"] for at in range(62)]), _and(5),
    _about(outputs=["y", "nobody's"]), _about(outputs=["w"]), _about(outputs=[["y"]]),
    _about(outputs=5), _about(inputs={"a": 3, "b": 1}), _about(inputs={"a": 2}),
    _about(inputs={"a": "2", "b": 1}), _about(inputs={"a": 2, "b": -1}), _about(inputs=5),
    _about(arrays={"w": "array0"}), _about(arrays={"w": "array0", "k": "none"}),
    _about(arrays={"w": "array1", "k": "array0"}), _about(arrays=["array0"]), _about(operations=5),
    _about(operations=[]), {}, [], None, 1, "inputs",
], ids=lambda about: str(about)[-70:])  # fmt: skip
def test_a_file_whose_words_do_not_fit_is_refused(about: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no network"):
        read_network(_write(tmp_path / "network.npz", about))


@pytest.mark.parametrize("about", [
    _about(inputs={"a": 2, "b": 1.0}), _about(inputs={"a": 2, "b": 1, "u": "1"}),
    _about(inputs={"a": 2, "b": 1, "u": None}), _about(inputs={"a": 2, "b": 1, "u": -1}),
    _about(inputs={"a": 2, "b": 1, "u": 10**13}), _about(inputs={"a": 2, "b": 1, "u": 0}),
    _about(inputs={"a": 2, "b": True}), _about(inputs={}, outputs=[], operations=[]),
    _about(inputs=[["a", 2], ["b", 1]]),
], ids=lambda about: str(about["inputs"]))  # fmt: skip
def test_a_file_whose_inputs_are_no_tables_is_refused(about: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no network"):
        read_network(_write(tmp_path / "network.npz", about))


_MATRIX = _SMALL.arrays["w"]


@pytest.mark.parametrize("array", [
    _MATRIX[:2], _MATRIX.T, _MATRIX[:, :1], _MATRIX[:, :0], _MATRIX[np.newaxis], _MATRIX.ravel(),
    _MATRIX.astype("f8"), _MATRIX.astype(">f4"), _MATRIX.astype("f2"), _MATRIX.astype("U3"),
    _MATRIX.astype("i4"), np.zeros((3, 30000), "f4"),
], ids=lambda array: f"{array.dtype} {array.shape}")  # fmt: skip
def test_a_file_whose_matrix_does_not_fit_is_refused(array: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no network"):
        read_network(_write(tmp_path / "network.npz", _about(), array0=array))


def test_a_value_without_columns_is_refused(tmp_path: Path) -> None:
    about = _about(operations=_about()["operations"][:2], outputs=["m"])
    read_network(_write(tmp_path / "network.npz", about))
    with pytest.raises(ValueError, match="MatMul gives 0 columns"):
        read_network(_write(tmp_path / "network.npz", about, array0=_MATRIX[:, :0]))


def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_network(tmp_path / "none.npz")


changes = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 4000), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.integers(0, 4000), st.integers(1, 400)),
    st.tuples(st.just("put"), st.integers(0, 4000), st.binary(min_size=1, max_size=20)),
)


def _damaged(whole: bytes, change: Any) -> bytes:
    kind, place, what = change
    place %= len(whole)
    if kind == "flip":
        return whole[:place] + bytes([whole[place] ^ what]) + whole[place + 1 :]
    if kind == "cut":
        return whole[:place] + whole[place + what :]
    return whole[:place] + what + whole[place:]


@given(st.lists(changes, min_size=1, max_size=3))
def test_a_damaged_file_is_refused_or_still_answers(
    tmp_path_factory: pytest.TempPathFactory, some: list[Any]
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.npz"
    write_network(_SMALL, file)
    for change in some:
        file.write_bytes(_damaged(file.read_bytes() or b" ", change))
    try:
        network = read_network(file)
    except (ValueError, OSError):
        return
    y, a = answers(network, None, np.ones((4, 3)))
    assert (y.shape, a.shape) == ((4, 2), (4, 2))


# --- in C: nothing leads out of the arrays ---

_NUMBERS, _WEIGHTS = 8, 6  # places of a row, numbers of all matrices
_CODES = 10
_LARGE = [2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4, 2**16, 2**16 + 1, 2**30]
numbers_of_32_bits = st.one_of(
    st.integers(0, 10), st.integers(0, 10), st.sampled_from(_LARGE), st.integers(0, 2**32 - 1)
)
places = st.integers(-2, 10) | st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63), -(2**31)])
_VALID = [
    [0, 5, 0, 0, 3, 2, 0], [0, 6, 3, 3, 2, 1, 4], [1, 4, 0, 2, 4, 4, 0], [2, 5, 5, 0, 3, 3, 0],
    [3, 7, 0, 7, 1, 1, 0], [4, 3, 0, 3, 3, 3, 9], [5, 3, 0, 0, 5, 5, 0], [6, 3, 0, 0, 4, 4, 0],
    [7, 3, 0, 0, 4, 4, 0], [8, 3, 0, 0, 4, 4, 0], [9, 0, 0, 0, 8, 8, 0],
]  # fmt: skip


def _layers(operations: Any, *, width: int = 3, first: int = 5, outputs: int = 2) -> Any:
    assert Layers is not None
    row, weights = np.zeros(_NUMBERS, np.float32), np.ones(_WEIGHTS, np.float32)
    return Layers(np.array(operations, "<u4"), weights, row, width, first, outputs)


def _fits(begin: int, count: int, everything: int) -> bool:
    return begin >= 0 and count >= 1 and begin + count <= everything


def _stays_inside(operation: Sequence[int]) -> bool:
    code, to, a, b, width, out, matrix = operation
    taken = _fits(a, width, _NUMBERS) and _fits(b, width, _NUMBERS) and _fits(to, out, _NUMBERS)
    made = _fits(matrix, width * out, _WEIGHTS) if code == 0 else out == width
    return taken and made and code < _CODES


@NEEDS_C
@given(st.lists(numbers_of_32_bits, min_size=7, max_size=7))
def test_an_operation_that_leads_out_of_the_arrays_is_refused(drawn: list[int]) -> None:
    _refused_or_run([drawn])


@NEEDS_C
@pytest.mark.parametrize("place", range(len(_VALID)))
@pytest.mark.parametrize("field", range(7))
def test_so_is_one_that_leads_out_by_any_of_its_numbers(place: int, field: int) -> None:
    for number in (*range(_CODES + 2), *_LARGE):
        operations = [list(operation) for operation in _VALID]
        operations[place][field] = number
        _refused_or_run(operations)


def _refused_or_run(operations: list[list[int]]) -> None:
    wrong = [at for at, one in enumerate(operations) if not _stays_inside(one)]
    if wrong:
        with pytest.raises(ValueError, match=f"operation {wrong[0]} leads nowhere"):
            _layers(operations)
    else:
        assert len(_layers(operations).run(np.ones((4, 3)))) == 4 * 2 * 4


@NEEDS_C
def test_what_is_tried_with_other_numbers_is_valid() -> None:
    _layers(_VALID).run(np.ones(3))
    assert {operation[0] for operation in _VALID} == set(range(_CODES))
    assert all(map(_stays_inside, _VALID))


@NEEDS_C
def test_a_matrix_is_as_large_as_it_is_beyond_32_bits() -> None:
    assert Layers is not None
    width, out = 1 << 16, (1 << 16) + 1  # 65,536 numbers, where 32 bits are counted with
    row, weights = np.zeros(width + out, np.float32), np.zeros(1 << 16, np.float32)
    operations = np.array([[0, width, 0, 0, width, out, 0]], "<u4")
    with pytest.raises(ValueError, match="operation 0 leads nowhere"):
        Layers(operations, weights, row, width, width, out)


@NEEDS_C
@given(places, places, places)
def test_rows_and_results_without_a_place_are_refused(width: int, first: int, outputs: int) -> None:
    if _fits(0, width, _NUMBERS) and _fits(first, outputs, _NUMBERS):
        layers = _layers(_VALID, width=width, first=first, outputs=outputs)
        assert len(layers.run(np.ones((3, width)))) == 3 * outputs * 4
    else:
        with pytest.raises(ValueError, match="no place for what it is given or gives"):
            _layers(_VALID, width=width, first=first, outputs=outputs)


@NEEDS_C
@given(st.integers(0, 200))
def test_bytes_that_are_no_rows_are_refused(size: int) -> None:
    layers = _layers(_VALID)
    if size % 24:
        with pytest.raises(ValueError, match=f"{size} bytes are no rows of 3 doubles"):
            layers.run(bytes(size))
    else:
        assert len(layers.run(bytes(size))) == size // 24 * 8


@NEEDS_C
def test_no_rows_have_no_results() -> None:
    assert _layers(_VALID).run(np.zeros((0, 3))) == b""


@NEEDS_C
def test_what_is_not_in_one_piece_is_refused() -> None:
    with pytest.raises((BufferError, ValueError)):
        _layers(_VALID).run(np.zeros((4, 6))[:, ::2])


@NEEDS_C
def test_arrays_of_broken_or_too_many_numbers_are_refused() -> None:
    assert Layers is not None
    valid = {"operations": np.array(_VALID, "<u4").tobytes(), "weights": bytes(4 * _WEIGHTS),
             "row": bytes(4 * _NUMBERS)}  # fmt: skip
    Layers(**valid, width=3, first=5, outputs=2)  # type: ignore[arg-type]  # bytes will do
    for name, data in valid.items():
        with pytest.raises(ValueError, match="no whole numbers, or too many"):
            Layers(**{**valid, name: data[:-1]}, width=3, first=5, outputs=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no whole numbers, or too many"):
        Layers(**{**valid, "row": bytes(4 * (1 << 20) + 4)}, width=3, first=5, outputs=2)  # type: ignore[arg-type]
