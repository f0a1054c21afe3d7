"""`mlengine explain`: what is sent, and how explanations look."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.cli.errors import CommandError
from mlengine.cli.explanations import chart
from mlengine.core.resources import Model
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run


@pytest.fixture(autouse=True)
def model(engine: FakeEngine) -> None:
    engine.create_model("default", Model(name="census"))


def test_the_answer_is_shown_as_it_is(run: Run) -> None:
    done = run("explain", "--model=census", "--json-instances=-", stdin='{"age": 25}\n')
    assert (done.code, done.err) == (0, "")
    (one,) = json.loads(done.out)["explanations"]
    assert one["attributions_by_label"][0]["attributions"]["age"] == 0.3
    done = run("explain", "--model=census", "--text-instances=-",
               "--format=value(explanations[0].attributions_by_label[0].label_index)",
               stdin="x\n")  # fmt: skip
    assert done.out == "1\n"


def test_explanations_can_be_flattened(run: Run) -> None:
    done = run("explain", "--model=census", "--json-instances=-",
               "--flatten=explanations[],explanations.attributions_by_label[]",
               "--format=value(explanations.attributions_by_label.output_name)",
               stdin="1\n")  # fmt: skip
    assert (done.code, done.out) == (0, "probability\n")


@pytest.mark.parametrize("flag", ["--format=json", "--flatten=explanations[]"])
def test_a_chart_has_no_other_form(run: Run, flag: str) -> None:
    done = run("explain", "--model=census", "--json-instances=-", "--chart", flag, stdin="1\n")
    assert done.code == 2
    assert f"At most one of --chart | {flag.split('=')[0]} can be specified." in done.err


def test_a_chart_has_the_longest_bar_first(run: Run) -> None:
    done = run("explain", "--model=census", "--json-instances=-", "--chart", stdin="1\n")
    lines = done.out.replace("█", "#").replace("│", "|").splitlines()
    assert lines[0] == "Instance 0: probability 1 is 0.7, and 0.5 at the baseline (+0.2)"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["age", "+0.3"], ["hours[0]", "-0.1"], ["hours[1]", "+0"]]  # fmt: skip
    assert lines[1].endswith("|" + "#" * 20) and lines[2].endswith("#" * 7 + "|")


def test_of_many_features_the_least_are_one_bar() -> None:
    found = {"attributions": {"x": [0.1] * 50}, "baseline_score": 0, "example_score": 5,
             "label_index": 0, "output_name": "predict"}  # fmt: skip
    drawn = chart(json.dumps({"explanations": [{"attributions_by_label": [found]}]}).encode())
    assert len(drawn.splitlines()) == 22 and "(30 others)    +3" in drawn


@given(st.recursive(st.none() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_whatever_comes_is_drawn_or_refused(value: Any) -> None:
    found = {"attributions": value, "baseline_score": 0, "example_score": 5, "label_index": 0,
             "output_name": value}  # fmt: skip
    for answer in (value, {"explanations": value},
                   {"explanations": [{"attributions_by_label": [found]}]}):  # fmt: skip
        try:
            assert "\x1b" not in chart(json.dumps(answer).encode())
        except CommandError as error:
            assert "holds no explanations" in str(error)


def test_an_error_of_the_engine_is_the_command_s(run: Run) -> None:
    done = run("explain", "--model=none", "--json-instances=-", stdin="1\n")
    assert done.code == 1 and "HTTP request failed" in done.err and "NOT_FOUND" in done.err
    done = run("explain", "--model=census")
    assert done.code == 2 and "Exactly one of" in done.err
