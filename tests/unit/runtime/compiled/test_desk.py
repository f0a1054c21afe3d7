"""What a gateway opens: it answers as the general way does, and is little, quick, and nothing but
numbers; whatever is more than that is refused, and why."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlengine.runtime.answerer import predict
from mlengine.runtime.compiled import RECIPE_FILE, desk
from mlengine.runtime.compiled.compiler import compile_model
from mlengine.runtime.compiled.desk import open_desk
from mlengine.runtime.compiled.model import About, Part, load_compiled, read_about, write_about
from mlengine.runtime.compiled.networks import Network, Operation, write_network
from mlengine.runtime.frameworks import Description, Model, load
from mlengine.runtime.frameworks.signatures import Signature
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.golden import ROWS_FILE
from mlengine.runtime.prediction_error import ErrorClass, PredictionError
from mlengine.runtime.shortcuts.recipe import Product, Rule, Step, read_recipe, write_recipe
from mlengine.runtime.speedups import Trees
from mlengine.runtime.strictjson import dumps

Make = Callable[[str], Path]

_RANDOM = np.random.default_rng(5)
_X = _RANDOM.normal(size=(80, 4)).round(2)
_Y = np.array(["no", "perhaps", "yes"])[np.digitize(_X[:, 0] + _X[:, 1], [-0.5, 0.5])]
_ESTIMATORS: dict[str, Any] = {
    "logistic": lambda: LogisticRegression().fit(_X, _Y),
    "scaled": lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(_X, _Y),
    "named": lambda: LogisticRegression().fit(pd.DataFrame(_X, columns=[*"abcd"]), _Y),
    "forest": lambda: RandomForestClassifier(6, max_depth=4, random_state=1).fit(_X, _Y),
}
_DESCRIPTION: Description = {
    "framework": "KERAS", "library_version": "3", "inputs": ["a", "b"], "raw_text": False,
    "warnings": [],
}  # fmt: skip
_NETWORK_FILE = "0.npz"
_KINDS = [*_ESTIMATORS, "network"]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Make a model and its compiled form by its name, once for this file."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            folder = made[name] = tmp_path_factory.mktemp(name)
            (folder / "model").mkdir()
            (_network if name == "network" else _table)(name, folder)
        return made[name]

    return get


@pytest.fixture
def folder(make: Make, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The compiled form of a logistic regression, or as the test says, to be changed."""
    name = getattr(request, "param", "logistic")
    return Path(shutil.copytree(make(name) / "out", tmp_path / "form"))


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine a row may take as long as it likes.
    monkeypatch.setattr(desk, "_LONGEST_S", 60.0)


def _table(name: str, folder: Path) -> None:
    joblib.dump(_ESTIMATORS[name](), folder / "model" / "model.joblib")
    assert compile_model(folder / "model", "", folder / "out").problem == ""


def _network(_name: str, folder: Path) -> None:
    """Write a network of two inputs, the numbers of which come out without rounding."""
    out = folder / "out"
    out.mkdir()
    weights = np.arange(-6, 6, dtype=np.float32).reshape(4, 3) / 4
    network = Network(
        {"second": 1, "first": 3}, ["sums", "shares"],
        [Operation("Concat", ["first", "second"], "row"), Operation("MatMul", ["row", "w"], "made"),
         Operation("Sub", ["b", "made"], "less"), Operation("Relu", ["less"], "sums"),
         Operation("Div", ["less", "b"], "shares")],
        {"w": weights, "b": np.array([1, 2, 4], np.float32)},
    )  # fmt: skip
    write_network(network, out / _NETWORK_FILE)
    outputs = [TensorSpec(name, "float32", (None, 3)) for name in ("shares", "sums")]
    inputs = [TensorSpec("a", "float32", (None, 3)), TensorSpec("b", "float32", (None, 1))]
    part = Part(
        signature=Signature("serve", inputs, outputs), onnx=_NETWORK_FILE,
        feeds={"first": "a", "second": "b"}, fetches={"shares": "shares", "sums": "sums"},
    )  # fmt: skip
    write_about(out, About(description=_DESCRIPTION, default="serve", parts=[part]))
    rows = _instances("network")[:5]
    answers = load_compiled(out).predict(rows)
    lines = [dumps({"instance": a, "prediction": b}) for a, b in zip(rows, answers, strict=True)]
    (out / ROWS_FILE).write_bytes(b"\n".join(lines))


def _instances(name: str) -> list[Any]:
    if name == "network":
        return [{"a": [n / 8, n % 5 - 2, 0.5], "b": n % 3} for n in range(20)]
    rows = [*_X[:20].tolist(), [0, 0, 0, 0]]
    return [dict(zip("dbca", row, strict=True)) for row in rows] if name == "named" else rows


def _original(make: Make, name: str) -> Model:
    return load_compiled(make(name) / "out") if name == "network" else load(make(name) / "model")


@pytest.mark.parametrize("name", _KINDS)
def test_it_answers_the_bytes_of_the_general_way(make: Make, name: str) -> None:
    folder, rows = make(name) / "out", _instances(name)
    shortcut, held_bytes = open_desk(folder)
    assert held_bytes == sum(file.stat().st_size for file in folder.iterdir())
    bodies = [dumps({"instances": some}) for some in (*([row] for row in rows), rows, rows[3:9])]
    read = [shortcut.read(body) for body in bodies]
    model = _original(make, name)
    answers = [predict(model, body, max_answer_bytes=1 << 20) for body in bodies]
    assert {answer.status for answer in answers} == {200}
    assert shortcut.answer(read) == [answer.body for answer in answers]
    assert [shortcut.count(one) for one in read] == [1] * len(rows) + [len(rows), 6]


@pytest.mark.parametrize("name", _KINDS)
def test_what_is_not_plain_is_left_to_the_general_way(make: Make, name: str) -> None:
    shortcut, _held_bytes = open_desk(make(name) / "out")
    row = _instances(name)[0]
    for body in ({"instances": []}, {"instances": [row], "signature_name": "serve"},
                 {"instances": [row, "text"]}, {"instances": [[1.0]]}, [row]):  # fmt: skip
        assert shortcut.read(dumps(body)) is None
    assert shortcut.read(dumps({"instances": [row]})) is not None


def _refused(folder: Path, why: str = "Failed to load model") -> None:
    with pytest.raises(PredictionError, match=why) as refused:
        open_desk(folder)
    assert refused.value.error_class is ErrorClass.LOAD


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
def test_a_large_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(file.stat().st_size for file in folder.iterdir())
    monkeypatch.setattr(desk, "LARGEST_BYTES", size)
    assert open_desk(folder)[1] == size
    (folder / "more").write_bytes(b"x")
    _refused(folder, f"it has {size + 1} bytes, more than {size}")


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
def test_a_row_that_takes_long_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_LONGEST_S", 0.0)
    _refused(folder, r"a row takes \d+ µs, more than 0")


def _archive(folder: Path) -> Path:
    (archive,) = folder.glob("*.npz")
    return archive


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
def test_compressed_numbers_are_refused(folder: Path) -> None:
    archive = _archive(folder)
    with np.load(archive) as arrays:
        np.savez_compressed(archive, **arrays)
    _refused(folder, f"{archive.name} is compressed")


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"\x93NUMPY\x01\x00 no zip", None])
def test_what_is_no_archive_is_refused(folder: Path, data: bytes | None) -> None:
    archive = _archive(folder)
    if data is None:
        archive.unlink()
        archive.mkdir()
    else:
        archive.write_bytes(data)
    _refused(folder, f"{archive.name} (cannot be read|is no plain file)")


def test_a_network_that_does_not_fit_itself_is_refused(make: Make, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(make("network") / "out", tmp_path / "form"))
    odd = Network({"first": 3}, ["y"], [Operation("Relu", ["none"], "y")], {})
    write_network(odd, folder / _NETWORK_FILE)
    _refused(folder, "0.npz cannot be read: no network.*neither made nor kept")


def test_a_network_that_gives_something_else_is_refused(make: Make, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(make("network") / "out", tmp_path / "form"))
    other = Network({"first": 3, "second": 1}, ["sums"], [Operation("Relu", ["first"], "sums")], {})
    write_network(other, folder / _NETWORK_FILE)
    _refused(folder, "golden row 1 of the compiled form differs: None")


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
@pytest.mark.parametrize("line", [0, 4])
def test_a_golden_row_that_comes_out_otherwise_is_refused(folder: Path, line: int) -> None:
    rows = [json.loads(row) for row in (folder / ROWS_FILE).read_text().splitlines()]
    old = rows[line]["prediction"]
    new = "none" if isinstance(old, str) else {**old, "sums": [0.5, *old["sums"][1:]]}
    rows[line]["prediction"] = new
    (folder / ROWS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    _refused(folder, f"golden row {line + 1} of the compiled form differs")


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
@pytest.mark.parametrize("text", ["", "\n \n", None])
def test_a_form_without_golden_rows_is_refused(folder: Path, text: str | None) -> None:
    (folder / ROWS_FILE).unlink()
    if text is not None:
        (folder / ROWS_FILE).write_text(text)
    _refused(folder, "golden.jsonl of the compiled form holds no row")


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
@pytest.mark.parametrize(("line", "why"), [
    ("{", "line 1: not valid JSON"), ('{"instance": 1}', "line 1: expected an object"),
    ('{"instance": [1], "prediction": "yes"}', "golden row 1 of the compiled form differs: None"),
])  # fmt: skip
def test_golden_rows_that_cannot_be_asked_are_refused(folder: Path, line: str, why: str) -> None:
    (folder / ROWS_FILE).write_text(line)
    _refused(folder, why)


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
@pytest.mark.parametrize(("data", "why"), [
    (b"", "the compiled model cannot be read"), (b"{", "the compiled model cannot be read"),
    (b"{}", "says nothing of itself"), (b'{"problem": "it is no table"}', "it is no table"),
    (None, "the compiled model cannot be read"),
])  # fmt: skip
def test_a_form_that_says_nothing_of_itself_is_refused(
    folder: Path, data: bytes | None, why: str
) -> None:
    (folder / "compiled.json").unlink()
    if data is not None:
        (folder / "compiled.json").write_bytes(data)
    _refused(folder, why)


def _rewrite(folder: Path, **changed: Any) -> None:
    write_recipe(read_recipe(folder / RECIPE_FILE)._replace(**changed), folder / RECIPE_FILE)


_HUGE = np.ones((1000, 1, 1))


_MORE_OF_A_ROW = [
    *(Step(operation, numbers) for operation in ("subtract", "clip", "take") for numbers in (
        _HUGE, np.ones((1, 4)), np.ones((4, 1)), np.ones(5), np.ones(1), np.ones(()), np.ones(0),
    )),
    Step("add", np.ones(2)), Step("take", np.array([0, 1, 2, 3, 0])),
    Step("take", np.array([[0, 1, 2, 3]])), Step("take", np.array([0.0, 1.0, 2.0, 3.0])),
]  # fmt: skip


@pytest.mark.parametrize("folder", ["logistic", "forest"], indirect=True)
@pytest.mark.parametrize(
    "step", _MORE_OF_A_ROW, ids=lambda step: f"{step.operation} {step.numbers.shape}"
)
def test_a_scaler_that_makes_more_of_a_row_is_refused(folder: Path, step: Step) -> None:
    _rewrite(folder, steps=[step])
    _refused(folder, f"recipe.npz cannot be read.*'{step.operation}' has the shape")


@pytest.mark.parametrize("step", [
    Step("take", np.array([0, 1, 2, 4])), Step("take", np.array([3, 2, 1, -5])),
    Step("add", np.array(["a", "b", "c", "d"])), Step("no such", np.ones(4)),
    Step("divide", np.zeros(4)),
], ids=str)  # fmt: skip
def test_a_step_that_cannot_be_done_is_refused(folder: Path, step: Step) -> None:
    _rewrite(folder, steps=[step])
    _refused(folder, "golden row 1 of the compiled form differs: None")


def _product(weights: tuple[int, ...], intercept: tuple[int, ...] = ()) -> Product:
    return Product(np.zeros(weights), np.zeros(intercept))


@pytest.mark.parametrize("sums", [
    _product((5, 3)), _product((3, 3)), _product((3, 4)), _product((4, 3, 1)), _product(()),
    _product((1000, 4, 3)), _product((4, 3), (2,)), _product((4, 3), (1000, 1, 1)),
    _product((4,), (4,)), _product((4, 1), (3,)), _product((4, (1 << 16) + 1)), _product((4, 0)),
], ids=lambda sums: f"{sums.weights.shape} {sums.intercept.shape}")  # fmt: skip
def test_a_product_that_makes_more_of_a_row_is_refused(folder: Path, sums: Product) -> None:
    _rewrite(folder, sums=sums)
    _refused(folder, "recipe.npz cannot be read.*its sums are not of rows of 4 numbers")


@pytest.mark.parametrize("folder", _ESTIMATORS, indirect=True)
def test_sums_of_rows_of_another_width_are_refused(folder: Path) -> None:
    _rewrite(folder, width=3, steps=[])
    _refused(folder, "recipe.npz cannot be read.*its sums are not of rows of 3 numbers")


def test_a_body_of_many_rows_that_takes_long_is_refused(folder: Path) -> None:
    """A row of one number and three thousand sums is quick; a thousand of them are not."""
    _rewrite(folder, width=1, steps=[], sums=_product((1, 3000)), labels=["no"] * 3000)
    (folder / ROWS_FILE).write_text('{"instance": [1], "prediction": "no"}')
    _refused(folder, r"a long body takes \d+ µs, more than 1000")


@pytest.mark.parametrize("folder", ["forest"], indirect=True)
@pytest.mark.parametrize(("array", "field"), [
    ("nodes", "child"), ("nodes", "feature"), ("trees", "root"), ("trees", "target"),
])  # fmt: skip
def test_trees_that_lead_out_of_themselves_are_refused(
    folder: Path, array: str, field: str
) -> None:
    sums: Any = read_recipe(folder / RECIPE_FILE).sums
    changed = getattr(sums, array).copy()
    changed[field][0] = 2**32 - 1
    _rewrite(folder, sums=sums._replace(**{array: changed}))
    # Where trees are walked in numpy, it is their rows that show it.
    _refused(folder, "recipe.npz cannot be read" if Trees is not None else "golden row .* differs")


# --- what is said of the files ---


def _change(folder: Path, **changed: Any) -> None:
    about = read_about(folder)
    parts = [msgspec.structs.replace(part, **changed) for part in about.parts]
    write_about(folder, msgspec.structs.replace(about, parts=parts))


@pytest.mark.parametrize("folder", ["network"], indirect=True)
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_an_archive_in_another_folder_is_refused(folder: Path, place: str) -> None:
    elsewhere = folder / "more" if place == "inside" else folder.parent
    elsewhere.mkdir(exist_ok=True)
    with np.load(folder / _NETWORK_FILE) as arrays:
        bomb = np.zeros(1 << 20, np.uint8)
        np.savez_compressed(elsewhere / "1.npz", bomb=bomb, **arrays)
    _change(folder, onnx="more/1.npz" if place == "inside" else str(elsewhere / "1.npz"))
    _refused(folder, "is not plain numbers alone|more is no plain file")


@pytest.mark.parametrize("folder", ["network"], indirect=True)
def test_arithmetic_that_is_not_in_plain_numbers_is_refused(folder: Path) -> None:
    helper = pytest.importorskip("onnx").helper
    tables = [
        helper.make_tensor_value_info(name, 1, [None, 3]) for name in ("first", "shares", "sums")
    ]
    nodes = [helper.make_node("Relu", ["first"], [name]) for name in ("shares", "sums")]
    graph = helper.make_graph(nodes, "network", tables[:1], tables[1:])
    versions = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=8)
    (folder / "0.bin").write_bytes(model.SerializeToString())
    _change(folder, onnx="0.bin", feeds={"first": "a"})
    row = {"instance": {"a": [1, 2, 3], "b": 0}, "prediction": {"shares": [1.0, 2.0, 3.0]}}
    row["prediction"]["sums"] = row["prediction"]["shares"]
    (folder / ROWS_FILE).write_text(json.dumps(row))
    _refused(folder, "is not plain numbers alone")


@pytest.mark.parametrize("folder", ["network"], indirect=True)
def test_a_graph_that_goes_first_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # it is not to be imported, either
    (folder / "0.bin").write_bytes(b"")
    _change(folder, graph="0.bin")
    _refused(folder, "is not plain numbers alone")


@pytest.mark.parametrize("folder", _KINDS, indirect=True)
@pytest.mark.parametrize("pattern", ["compiled.json", "*.npz", ROWS_FILE])
def test_a_file_that_is_a_link_is_refused(folder: Path, pattern: str) -> None:
    (file,) = folder.glob(pattern)
    file.symlink_to(file.rename(folder.parent / "elsewhere"))
    _refused(folder, f"{file.name} is no plain file")


def _nested(members: int, size: int) -> bytes:
    """Return an archive of plain members each of which holds all that come after it."""
    body, begins = bytes(size), []
    for number in range(members):
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(body)},), }}"
        header = text.ljust(117).encode() + b"\n"
        data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body
        name = b"%d.npy" % number
        about = struct.pack(
            "<5H3L2H", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0
        )
        body = b"PK\x03\x04" + about + name + data
        begins.append((about, name, len(body)))
    central = b"".join(
        b"PK\x01\x02" + struct.pack("<H", 20) + about + struct.pack("<3H2L", 0, 0, 0, 0, at) + name
        for about, name, at in ((about, name, len(body) - end) for about, name, end in begins)
    )
    end = struct.pack("<4H2LH", 0, 0, members, members, len(central), len(body), 0)
    return body + central + b"PK\x05\x06" + end


@pytest.mark.parametrize("folder", ["network"], indirect=True)
def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / _NETWORK_FILE) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (folder / _NETWORK_FILE).write_bytes(_nested(20, 1 << 16))
    with zipfile.ZipFile(folder / _NETWORK_FILE, "a") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    _refused(folder, "0.npz unpacks to more than it is")


@pytest.mark.parametrize("changed", [
    {"width": 4.0}, {"width": "4"}, {"width": 0, "sums": _product((0, 3))},
    {"rule": Rule(link="none")}, {"rule": Rule(label="none")},
    {"labels": None}, {"labels": ["no"]}, {"labels": ["no", "perhaps"]},
    {"labels": ["no"], "sums": _product((4, 1)), "rule": Rule(label="above zero")},
], ids=lambda changed: str(changed)[:60])  # fmt: skip
def test_a_recipe_of_other_words_is_refused(folder: Path, changed: dict[str, Any]) -> None:
    # Rows of the first label: they do not show that there are too few.
    rows = (folder / ROWS_FILE).read_text().splitlines()
    kept = [row for row in rows if json.loads(row)["prediction"] == "no"]
    (folder / ROWS_FILE).write_text("\n".join(kept))
    _rewrite(folder, **changed)
    _refused(folder, "recipe.npz cannot be read: no recipe")


def _without_feeds(folder: Path) -> None:
    _change(folder, feeds={})


def _without_a_shape(folder: Path) -> None:
    inputs = [TensorSpec(name, "float32", None) for name in "ab"]
    _change(folder, signature=Signature("serve", inputs, []))


def _without_parts(folder: Path) -> None:
    write_about(folder, msgspec.structs.replace(read_about(folder), parts=[]))


def _with_nothing_to_answer(folder: Path) -> None:
    (folder / ROWS_FILE).write_text('{"instance": "text", "prediction": null}')


@pytest.mark.parametrize("folder", ["network"], indirect=True)
@pytest.mark.parametrize(
    "spoil",
    [_without_feeds, _without_a_shape, _without_parts, _with_nothing_to_answer, shutil.rmtree],
)
def test_whatever_is_wrong_is_told_as_such(folder: Path, spoil: Callable[[Path], Any]) -> None:
    spoil(folder)
    _refused(folder)
