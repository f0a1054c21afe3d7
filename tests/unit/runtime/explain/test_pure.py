"""Metadata, outputs, baselines and the points of a way: what needs no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.explain.baselines import leaves, middle, mirror, zero
from mlengine.runtime.explain.calls import Pace
from mlengine.runtime.explain.gradients import points
from mlengine.runtime.explain.metadata import FILE, Input, Metadata, find_name, read_metadata
from mlengine.runtime.explain.outputs import Labels, by_name, choose, taken
from mlengine.runtime.prediction_error import PredictionError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def said(folder: Path, value: Any) -> Metadata:
    (folder / FILE).write_text(value if isinstance(value, str) else json.dumps(value))
    return read_metadata(folder)


def test_metadata_say_what_is_explained_against_what(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) == Metadata()
    assert said(tmp_path, {
        "inputs": {"Age": {"input_tensor_name": "age:0", "input_baselines": [38],
                           "encoding": "identity", "modality": "numeric"}, "hours": {}},
        "outputs": {"probability": {"output_tensor_name": "dense_1"}}, "framework": "Tensorflow",
    }) == Metadata([Input("Age", "age:0", [38]), Input("hours", "hours", [])],
                   "probability", "dense_1")  # fmt: skip


@pytest.mark.parametrize(("value", "problem"), [
    ("{", "truncated"), ([], "no object"), ({"input": {}}, "'input'"), ({"inputs": []}, "'inputs'"),
    ({"inputs": {"x": {"input_baselines": 0}}}, "no list"),
    ({"inputs": {"x": {"input_tensor_name": 3}}}, "no name"),
    ({"inputs": {"x": {"encoding": "bag_of_features"}}}, "bag_of_features"),
    ({"inputs": {"x": {"modality": "smell"}}}, "smell"),
    ({"inputs": {"x": {"visualization": {}}}}, "'visualization'"),
    ({"inputs": {"x": {"input_tensor_name": "t"}, "t": {}}}, "two inputs"),
    ({"outputs": {"a": {}, "b": {}}}, "2 outputs"),
    ({"outputs": {"a": {"output_tensor_name": []}}}, "no name"),
])  # fmt: skip
def test_metadata_that_cannot_be_honoured_are_refused_by_name(
    tmp_path: Path, value: Any, problem: str
) -> None:
    with pytest.raises(PredictionError, match=problem) as caught:
        said(tmp_path, value)
    assert caught.value.error_class.code == 0


@given(JSON)
def test_whatever_the_file_holds_is_read_or_refused(value: Any) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        try:
            said(Path(folder), value)
        except PredictionError as error:
            assert FILE in str(error)


def test_a_graph_s_name_of_a_tensor_means_the_signature_s() -> None:
    for name in ("x", "x:0", "serving_default_x:0"):
        assert find_name(name, ["x", "y"], "input") == "x"
    with pytest.raises(PredictionError, match=r"no input 'z'.*x, y"):
        find_name("z", ["x", "y"], "input")


def test_numbers_are_found_among_predictions() -> None:
    assert choose(by_name([0.5, 1.5]), "") == "predict"
    assert choose(by_name([{"label": "a", "scores": [0.1, 0.9]}]), "") == "scores"
    assert choose(by_name([{"class": 1, "chance": {"a": 0.1, "b": 0.9}}]), "") == "chance"
    assert by_name([{"p": [[1, 2], [3, 4]]}])["p"].tolist() == [[1, 2, 3, 4]]
    with pytest.raises(PredictionError, match="no numbers"):
        choose(by_name(["yes", "no"]), "")
    with pytest.raises(PredictionError, match=r"several outputs: a, b"):
        choose(by_name([{"a": 0.1, "b": 0.2}]), "")
    with pytest.raises(PredictionError, match=r"'c'.*a, b"):
        choose(by_name([{"a": 0.1, "b": 0.2}]), "c")
    assert choose(by_name([{"a": 0.1, "b": 0.2}]), "b") == "b"


def test_labels_keep_the_order_of_the_first_row_of_a_request() -> None:
    labels: Labels = {}
    first = by_name([{"p": {"b": 0.9, "a": 0.1}}], labels)
    later = by_name([{"p": {"a": 0.2, "b": 0.8}}, {"p": {"b": 0.7, "a": 0.3}}], labels)
    assert taken(first, "p").tolist() == [[0.9, 0.1]]
    assert taken(later, "p").tolist() == [[0.8, 0.2], [0.7, 0.3]]
    assert taken(by_name([{"a": 1, "b": 2}]), "b").tolist() == [[2]]
    assert by_name([{}, {}]) == by_name([{"p": {}}]) == {}


def test_an_output_whose_labels_come_and_go_matters_only_where_it_is_needed() -> None:
    odd = [{"p": {"a": 1.0}, "q": 0.5}, {"p": {"b": 1.0}, "q": 0.6}]
    found = by_name(odd)
    assert choose(found, "") == "q" and choose(found, "p") == "p"
    with pytest.raises(PredictionError, match="'p' has the label 'a' for some rows only"):
        taken(found, "p")
    assert choose(by_name([{"p": row["p"]} for row in odd]), "") == "p"
    assert choose(by_name([{**row, "q": 1} for row in odd]), "") == "q"
    assert list(by_name([{"p": {"a": 1.0}}, {"p": {"name": "x"}}])) == []


@given(JSON)
def test_a_mirror_has_the_form_of_what_it_mirrors(value: Any) -> None:
    found = list(leaves(value))
    made = mirror(value, iter(map(float, range(len(found)))))
    assert [number for _path, number in leaves(made)] == list(map(float, range(len(found))))
    assert [path for path, _ in leaves(made)] == [path for path, _ in found]


def test_the_middle_of_what_was_seen_and_the_zero_of_what_was_not() -> None:
    assert middle([None, None]) is None and middle([True, True, False]) is True
    assert middle([1, 2.0, 4.0]) == 2.0 and middle([{"b64": "QQ=="}]) == {"b64": "QQ=="}
    assert [zero(v) for v in (3, 2.5, "x", True, None, {"b64": "QQ=="})] == [
        0, 0.0, "", False, None, {"b64": ""}]  # fmt: skip


@given(st.integers(1, 60))
def test_weights_of_a_way_are_one_in_all_and_its_points_lie_on_it(steps: int) -> None:
    where, weights = points(steps)
    assert weights.sum() == pytest.approx(1) and (where > 0).all() and (where < 1).all()
    assert weights @ where ** (2 * steps - 1) == pytest.approx(1 / (2 * steps))


class Machine:
    """A clock that a model of this cost moves."""

    def __init__(self, call_s: float, row_s: float) -> None:
        self.now_s, self.call_s, self.row_s = 0.0, call_s, row_s

    def ask(self, rows: int) -> int:
        self.now_s += self.call_s + rows * self.row_s
        return rows


def _settled(machine: Machine, pace: Pace) -> list[int]:
    return [pace.call(pace.rows, machine.ask, pace.rows) for _ in range(40)][20:]


@pytest.mark.parametrize(("call_s", "row_s", "least", "most"), [
    (0.0, 0.0001, 32, 64),  # 5 ms, whatever one row takes
    (0.0, 0.000001, 100, 100),  # never more than it may have
    (0.01, 0.0001, 64, 100),  # what a call costs anyway is no reason to make many
    (0.0, 0.05, 1, 2),  # a heavy row stands nearly alone
])  # fmt: skip
def test_a_call_gets_as_many_rows_as_the_model_answers_in_time(
    call_s: float, row_s: float, least: int, most: int
) -> None:
    machine = Machine(call_s, row_s)
    pace = Pace(100, aim_s=0.005, now_s=lambda: machine.now_s)
    found = _settled(machine, pace)
    assert least <= max(found) <= most and min(found) >= least // 2
    machine.call_s, machine.row_s = call_s * 10, row_s * 10  # the machine gets busy
    slow = _settled(machine, pace)
    assert call_s == 0 or max(slow) == max(found)


def test_an_answer_passes_through() -> None:
    assert Pace(5).call(1, "{}{}".format, 1, 2) == "12"
