"""Partial responses: the mask's grammar and what is left of a value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.core.fields import parse_fields, pick

VALUE = {"jobs": [{"jobId": "a", "labels": {"x": "1", "y": "2"}}, {"jobId": "b"}], "n": "t"}


@pytest.mark.parametrize(
    ("mask", "left"),
    [
        ("", VALUE),
        ("*", VALUE),
        ("n", {"n": "t"}),
        ("jobs/jobId", {"jobs": [{"jobId": "a"}, {"jobId": "b"}]}),
        ("jobs(jobId),n", {"jobs": [{"jobId": "a"}, {"jobId": "b"}], "n": "t"}),
        ("jobs(labels/x)", {"jobs": [{"labels": {"x": "1"}}, {}]}),
        ("jobs/labels(x,y)", {"jobs": [{"labels": {"x": "1", "y": "2"}}, {}]}),
        ("*/jobId", {"jobs": [{"jobId": "a"}, {"jobId": "b"}], "n": "t"}),
        ("absent", {}),
        (" jobs ( jobId ) ", {"jobs": [{"jobId": "a"}, {"jobId": "b"}]}),
    ],
)
def test_a_mask_leaves(mask: str, left: Any) -> None:
    assert pick(parse_fields(mask), VALUE) == left


@pytest.mark.parametrize(
    "mask", ["(", ")", "a(", "a(b", "a)", "a,", ",a", "a//b", "a/", "/a", "a b", "a(b)c", "é"]
)
def test_what_is_no_mask_is_refused(mask: str) -> None:
    with pytest.raises(InvalidArgument, match="field selection"):
        parse_fields(mask)


@pytest.mark.parametrize("mask", ["a(" * 100 + "b" + ")" * 100, "a," * 5000 + "a"])
def test_a_deep_or_long_mask_is_refused(mask: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_fields(mask)


@given(st.text(alphabet="ab*/(), ", max_size=30))
def test_any_text_is_a_mask_or_is_refused(text: str) -> None:
    try:
        pick(parse_fields(text), VALUE)
    except InvalidArgument:
        pass
