"""How two answers compare."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.traffic.agreement import CLOSE, DIFFERENT, EQUAL, UNCOMPARED, agreement

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ('{"a": 1, "b": [2]}', '{"b":[2.0],"a":1}', EQUAL),
        ('{"p": [0.5]}', '{"p": [0.5000001]}', CLOSE),
        ('{"p": [0.0]}', '{"p": [1e-11]}', CLOSE),
        ('{"p": [0.5]}', '{"p": [0.50001]}', DIFFERENT),
        ('{"p": [0.5, 1]}', '{"p": [0.5000001, 2]}', DIFFERENT),
        ('{"p": [1]}', '{"p": [true]}', DIFFERENT),
        ('{"p": [1]}', '{"p": ["1"]}', DIFFERENT),
        ('{"p": [1]}', '{"p": [1, 1]}', DIFFERENT),
        ('{"p": [1]}', '{"q": [1]}', DIFFERENT),
        ("no json", "none either", DIFFERENT),
        ("1" * 40_000, "2" * 40_000, UNCOMPARED),
        ("1" * 40_000, "1" * 40_000, EQUAL),
        ("[" * 20_000, "[" * 20_001, DIFFERENT),
    ],
)
def test_answers_are_equal_close_or_different(first: str, second: str, found: int) -> None:
    assert agreement(first.encode(), second.encode()) == found
    assert agreement(second.encode(), first.encode()) == found


@given(JSON, JSON)
def test_an_answer_equals_itself_however_it_is_written(one: Any, two: Any) -> None:
    plain, spread = json.dumps(one).encode(), json.dumps(one, indent=1).encode()
    assert agreement(plain, spread) == EQUAL
    other = json.dumps(two).encode()
    assert agreement(plain, other) == agreement(other, plain)
