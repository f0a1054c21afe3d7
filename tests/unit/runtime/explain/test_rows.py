"""Rows taken apart: which columns are explained, and what is too wide to be begun."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlengine.runtime.explain import by_shapley
from mlengine.runtime.explain.by_shapley import explain_by_shapley
from mlengine.runtime.explain.calls import Pace, in_groups
from mlengine.runtime.explain.metadata import FILE, Input, Metadata
from mlengine.runtime.explain.methods import open_method
from mlengine.runtime.explain.queue import Explanations
from mlengine.runtime.explain.rows import RowCase, RowSubject
from mlengine.runtime.golden import ROWS_FILE
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.routine import RoutineModel


class Columns:
    """A model that answers with a row's first column, and knows what its columns are called."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, list[Any]()

    def describe(self) -> dict[str, Any]:
        return {"inputs": list(self.names), "framework": "test"}

    def predict(self, instances: list[Any], **_: Any) -> list[Any]:
        self.asked += instances
        return [float(row[0]) for row in instances]


def finish(steps: Any) -> tuple[int, list[dict[str, Any]]]:
    """Return how many steps there were, and the attributions."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found = [one["attributions_by_label"][0] for one in end.value]
            return count, [one["attributions"] for one in found]
        count += 1


def test_metadata_that_name_one_column_leave_the_others_as_they_are() -> None:
    model = Columns("age", "job")
    subject = RowSubject(model, Metadata([Input("age", "age", [38])]), [])
    _steps, found = finish(explain_by_shapley(subject, [[30, "Sales"]], 5, Pace(9)))
    assert found == [{"age": pytest.approx(-8.0)}]
    assert {row[1] for row in model.asked} == {"Sales"}
    assert [38, "Sales"] in model.asked


def test_golden_rows_of_one_form_or_several_give_the_middle_of_those_that_are_alike() -> None:
    one_form = RowSubject(Columns(), Metadata(), [[1, 5], [2, 6], [9, 7]])
    several = RowSubject(Columns(), Metadata(), [[1, 5], [2, 6], [9, 7], [4], {"x": 1}])
    for subject in (one_form, several):
        _steps, found = finish(explain_by_shapley(subject, [[3.0, 0.0]], 5, Pace(9)))
        assert found == [{"input": pytest.approx([1.0, 0.0])}]
        _steps, found = finish(explain_by_shapley(subject, [[3.0, 0.0, 1.0]], 5, Pace(9)))
        assert found == [{"input": pytest.approx([3.0, 0.0, 0.0])}], "none is like it: zero"


@pytest.mark.parametrize(("columns", "called"), [((), "row"), (("a", "b"), "input")])
def test_the_whole_row_has_a_name_of_its_own(columns: tuple[str, ...], called: str) -> None:
    subject = RowSubject(Columns(*columns), Metadata([Input("row", called, [[1, 2]])]), [])
    _steps, found = finish(explain_by_shapley(subject, [[4, 5]], 5, Pace(9)))
    assert found == [{"row": pytest.approx([3.0, 0.0])}]


@pytest.mark.parametrize("names", [["agee"], ["age", "jobb"], ["age", "input"]])
def test_what_is_no_column_of_a_model_that_knows_them_is_refused_at_once(names: list[str]) -> None:
    inputs = [Input(name, name, []) for name in names]
    with pytest.raises(PredictionError, match=f"no input '{names[-1]}'. It has: age") as caught:
        RowSubject(Columns("age", "job"), Metadata(inputs), [])
    assert caught.value.error_class.code == 0
    RowSubject(Columns("age", "job"), Metadata([Input("Age", "age:0", [])]), [])
    RowSubject(Columns(), Metadata(inputs), [])


class Answers:
    """A routine that answers with what it was made with, and counts how often it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, 0

    def predict(self, instances: list[Any]) -> list[Any]:
        self.asked += len(instances)
        if "refused" in instances:
            raise ValueError("no such row")
        return [self.answer for _ in instances]


def save(folder: Path, *instances: Any) -> None:
    lines = [json.dumps({"instance": one, "prediction": 0}) + "\n" for one in instances]
    (folder / ROWS_FILE).write_text("".join(lines))


@pytest.mark.parametrize(
    ("answer", "inputs", "problem"),
    [
        ({"p": 0.5, "q": 0.5}, {}, "gives several outputs: p, q. Name one in 'outputs' of"),
        ("sold", {}, "the model's predictions are no numbers"),
        (float("nan"), {}, "the output 'predict' is NaN"),
        (1.0, {"agee": {}}, "Input agee was missing in at least one input instance"),
        (1.0, {"age": {"input_baselines": ["refused"]}}, "set back to their baseline"),
    ],
)
def test_a_version_none_of_whose_golden_rows_can_be_explained_is_refused(
    tmp_path: Path, answer: Any, inputs: dict[str, Any], problem: str
) -> None:
    class Model(Answers):
        def predict(self, instances: list[Any]) -> list[Any]:
            return super().predict([one["age"] for one in instances])

    model = RoutineModel(Model(answer), "shop.Model")
    (tmp_path / FILE).write_text(json.dumps({"inputs": inputs}))
    open_method(model, "sampled-shapley", 5, tmp_path)  # without golden rows nobody knows
    save(tmp_path, {"age": 3}, {"age": 4})
    with pytest.raises(PredictionError) as caught:
        open_method(model, "sampled-shapley", 5, tmp_path)
    assert caught.value.error_class.code == 0
    assert caught.value.detail.startswith("golden row 1 cannot be explained: ")
    assert problem in caught.value.detail


@pytest.mark.parametrize("named", [True, False])
def test_a_routine_that_gives_numbers_for_a_key_is_served_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], named: bool
) -> None:
    class ByName:
        def predict(self, instances: list[Any], probabilities: bool = False) -> list[Any]:
            return [0.5 * row[0] if probabilities else row[0] and "setosa" for row in instances]

    class Echo:
        def predict(self, instances: list[Any], **_: Any) -> list[Any]:
            return instances

    class ByAnything(ByName):
        def predict(self, instances: list[Any], **kwargs: Any) -> list[Any]:
            return super().predict(instances, **kwargs)

    model = RoutineModel(ByName() if named else ByAnything(), "shop.Flowers")
    save(tmp_path, [1.0], [2.0])
    body = {"instances": [[3.5]]}
    status, answer = explained(tmp_path, model, body)
    assert status == 400 and "for a key of the request" in answer["error"]["message"]
    warning = capsys.readouterr().err.splitlines()[0]
    assert warning.startswith("WARNING: golden row 1 cannot be explained: ")
    assert "Golden rows are asked without keys" in warning
    status, answer = explained(tmp_path, model, {**body, "probabilities": True})
    (found,) = answer["explanations"][0]["attributions_by_label"]
    assert status == 200 and found["attributions"] == {"input": [1.0]}
    save(tmp_path, [])
    with pytest.raises(PredictionError, match="row 1 cannot be explained: IndexError"):
        open_method(model, "sampled-shapley", 5, tmp_path)
    save(tmp_path, {"q": 1})
    (tmp_path / FILE).write_text('{"outputs": {"p": {}}}')
    echo = RoutineModel(Echo(), "shop.Echo")
    with pytest.raises(PredictionError, match="gives no numbers as 'p'; it gives: q"):
        open_method(echo, "sampled-shapley", 5, tmp_path)
    save(tmp_path, {"q": "r"})
    open_method(echo, "sampled-shapley", 5, tmp_path)


def test_golden_rows_are_tried_until_one_can_be_explained(tmp_path: Path) -> None:
    routine = Answers(1.0)
    save(tmp_path, "refused", [1, 2], [3, 4])
    open_method(RoutineModel(routine, "shop.Answers"), "sampled-shapley", 5, tmp_path)
    assert routine.asked == 1 + 2, "the instance as it is, and its baseline"
    save(tmp_path, *["refused"] * 100)
    with pytest.raises(PredictionError, match="golden row 1 cannot"):
        open_method(RoutineModel(routine, "shop.Answers"), "sampled-shapley", 5, tmp_path)
    assert routine.asked < 3 + 10


def test_an_instance_that_is_too_wide_is_refused_before_it_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(by_shapley, "MAX_ROWS", 100)
    monkeypatch.setattr(RowCase, "__init__", lambda *_: pytest.fail("it was taken apart"))
    wide = Input("row", "row", [0, 1])
    subject = RowSubject(Columns(), Metadata([wide]), [])
    with pytest.raises(PredictionError, match=r"more than 100 rows.*it may have 10 features"):
        finish(explain_by_shapley(subject, [[1.0] * 6], 10, Pace(9)))
    assert subject.width([1.0] * 5, 10) == 10


def test_wide_instances_are_taken_apart_in_small_groups_and_steps_of_their_own() -> None:
    groups: list[int] = []
    rows = [[1.0] * 900 for _ in range(3)] + [[2.0] * 3000] + [[3.0]] * 20

    def explain(few: list[Any]) -> Any:
        groups.append(len(few))
        yield
        return few

    for _ in (steps := in_groups(rows, explain)):
        pass
    assert groups == [2, 1, 1, 16, 4] and steps is not None
    subject = RowSubject(Columns(), Metadata(), [])
    begun = explain_by_shapley(subject, [[1.0] * 20, [2.0] * 20], 5, Pace(9))
    next(begun), next(begun)
    assert not subject._model.asked  # type: ignore[attr-defined]
    next(begun)
    assert subject._model.asked  # type: ignore[attr-defined]


class Lengths:
    """A routine that takes pictures, and none that is empty."""

    def predict(self, instances: list[Any], *, doubled: bool = False) -> list[Any]:
        sizes = [len(base64.b64decode(one["b64"])) for one in instances]
        if 0 in sizes:
            raise ValueError("no picture")
        return [{"name": "x", "size": size * (2 if doubled else 1)} for size in sizes]


def explained(folder: Path, model: Any, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    queue = Explanations(open_method(model, "sampled-shapley", 5, folder), max_answer_bytes=9999)
    queue.add("me", json.dumps(body).encode(), now_s=0.0)
    while not (done := queue.step(now_s=0.0)):
        pass
    return done[0][1].status, json.loads(done[0][1].body)


def test_a_picture_is_one_value_and_needs_a_baseline_that_is_one(tmp_path: Path) -> None:
    model = RoutineModel(Lengths(), "shop.Lengths")
    picture = {"b64": base64.b64encode(b"picture").decode()}
    status, answer = explained(tmp_path, model, {"instances": [picture]})
    assert status == 400 and "no picture" in answer["error"]["message"]
    assert FILE in answer["error"]["message"]
    said = {"photo": {"modality": "image", "input_baselines": [{"b64": "AAA="}]}}
    (tmp_path / FILE).write_text(json.dumps({"inputs": said}))
    status, answer = explained(tmp_path, model, {"instances": [picture]})
    (found,) = answer["explanations"][0]["attributions_by_label"]
    assert status == 200 and found["attributions"] == {"photo": 5.0}
    assert (found["baseline_score"], found["example_score"]) == (2.0, 7.0)


def test_the_other_keys_of_a_request_are_the_routines(tmp_path: Path) -> None:
    model = RoutineModel(Lengths(), "shop.Lengths")
    (tmp_path / FILE).write_text('{"inputs": {"photo": {"input_baselines": [{"b64": "AAA="}]}}}')
    body = {"instances": [{"b64": "AAAA"}], "doubled": True, "signature_name": "x"}
    status, answer = explained(tmp_path, model, body)
    (found,) = answer["explanations"][0]["attributions_by_label"]
    assert status == 200 and found["attributions"] == {"photo": 2.0}
    status, answer = explained(tmp_path, model, {**body, "tripled": 1})
    assert status == 400 and "'tripled', which shop.Lengths.predict" in answer["error"]["message"]


class Editing:
    """A routine that edits what it is given: rows, what they hold, and the request's keys."""

    def predict(self, instances: list[Any], options: Any = None) -> list[Any]:
        scale = options.pop("scale") if options else 1
        return [scale * self.score(instances.pop(0)) for _ in list(instances)]

    def score(self, row: Any) -> float:
        if "b64" in row:
            return float(len(row.pop("b64")))
        if "photo" in row:
            return float(len(row["photo"].pop("b64")))
        row["history"].append(row.pop("now"))
        return float(sum(row["history"]))


@pytest.mark.parametrize(("inputs", "instance", "found"), [
    ({"now": {}}, {"history": [1, 2], "now": 4}, {"now": 40.0}),
    ({}, {"history": [1, 2], "now": 4}, {"history": [10.0, 20.0], "now": 40.0}),
    ({"photo": {"input_baselines": [{"b64": "AA"}]}}, {"b64": "AAAA"}, {"photo": 20.0}),
    ({"photo": {"input_baselines": [{"b64": "AA"}]}}, {"photo": {"b64": "AAAA"}}, {"photo": 20.0}),
    ({"at": {}}, {"photo": {"b64": "AAAA"}, "at": 3}, {"at": 0.0}),
])  # fmt: skip
def test_a_routine_that_edits_what_it_is_given_is_explained_by_what_was_sent(
    tmp_path: Path, inputs: Any, instance: Any, found: Any
) -> None:
    (tmp_path / FILE).write_text(json.dumps({"inputs": inputs}))
    model = RoutineModel(Editing(), "shop.Editing")
    body = {"instances": [instance, instance], "options": {"scale": 10}}
    status, answer = explained(tmp_path, model, body)
    assert status == 200, answer
    for one in answer["explanations"]:
        (label,) = one["attributions_by_label"]
        assert label["attributions"] == found
        assert label["example_score"] - label["baseline_score"] == sum(
            np.sum(value) for value in found.values()
        )


class BestFirst:
    """A routine that names the best label first, and the label "owl" where "owl" is in a row."""

    def predict(self, instances: list[Any]) -> list[Any]:
        return [{"scores": self.scores(row)} for row in instances]

    def scores(self, row: dict[str, Any]) -> Any:
        if row.get("lost"):
            return "none"
        cat = 0.3 + 0.6 * row["fur"] - 0.1 * row.get("wings", 0)
        found = {"cat": cat, "dog": 1 - cat} | ({"owl": 0.0} if row.get("owl") else {})
        return dict(sorted(found.items(), key=lambda one: -one[1]))


def test_labels_are_the_same_however_a_routine_sorts_them(tmp_path: Path) -> None:
    model = RoutineModel(BestFirst(), "zoo.BestFirst")
    rows = [{"fur": 1}, {"fur": 1, "wings": 1}, *[{"fur": 0, "wings": 0}] * 20]
    status, answer = explained(tmp_path, model, {"instances": rows})
    assert status == 200, answer
    found = [one["attributions_by_label"][0] for one in answer["explanations"]]
    assert found[0]["attributions"] == {"fur": pytest.approx(0.6)}
    assert found[0]["baseline_score"] == pytest.approx(0.3)
    assert found[1]["attributions"] == pytest.approx({"fur": 0.6, "wings": -0.1})
    assert [one["label_index"] for one in found] == [0, 0] + [1] * 20, "of the first row's order"
    assert {one["example_score"] for one in found[2:]} == {0.7}
    (tmp_path / FILE).write_text('{"inputs": {"fur": {"input_baselines": [1]}}}')
    status, answer = explained(tmp_path, model, {"instances": rows[2:]})
    (other,) = answer["explanations"][0]["attributions_by_label"]
    assert (other["label_index"], other["example_score"]) == (0, 0.7), "each request has its own"


@pytest.mark.parametrize(("rows", "inputs", "problem"), [
    ([{"fur": 1}, {"fur": 1, "owl": 1}], {"fur": {}}, "has the label 'owl' for some rows only"),
    ([{"fur": 1, "owl": 1}], {}, "has the label 'owl' for some rows only"),
    ([{"fur": 1, "lost": False}], {"lost": {"input_baselines": [True]}},
     "set back to their baseline (it gives no numbers as 'scores' then). Give baselines"),
])  # fmt: skip
def test_a_label_that_comes_and_goes_is_an_error_that_says_so(
    tmp_path: Path, rows: Any, inputs: Any, problem: str
) -> None:
    (tmp_path / FILE).write_text(json.dumps({"inputs": inputs}))
    model = RoutineModel(BestFirst(), "zoo.BestFirst")
    status, answer = explained(tmp_path, model, {"instances": rows})
    assert status == 400 and problem in answer["error"]["message"]
