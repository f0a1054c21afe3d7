"""Strict JSON agrees with the standard library, save where that is too lenient."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import types
import unittest.mock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime import strictjson
from mlengine.runtime.strictjson import MAX_DEPTH, StrictJsonError, dumps, loads

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30
)


@given(VALUES, st.booleans())
def test_a_valid_text_means_what_the_standard_library_says(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert loads(text) == json.loads(text)


@given(VALUES)
def test_what_was_written_is_read_back(value: Any) -> None:
    assert loads(dumps(value)) == value


@given(st.binary(max_size=40) | TEXTS.map(str.encode))
def test_any_bytes_are_read_or_refused_and_never_read_differently(text: bytes) -> None:
    try:
        value = loads(text)
    except StrictJsonError:
        return
    assert value == json.loads(text)


REFUSED = {
    "NaN": b'{"x": NaN}',
    "Infinity": b"[Infinity]",
    "minus Infinity": b"[-Infinity]",
    "a float beyond doubles": b"[1e999]",
    "an integer of 5,000 digits": b"[" + b"1" * 5000 + b"]",
    "an integer just beyond 64 bits": b"[18446744073709551616]",
    "a negative integer beyond 64 bits": b"[-9223372036854775809]",
    "a duplicate key": b'{"a": 1, "a": 1}',
    "a duplicate key below": b'{"instances": [{"a": 1, "b": {"c": 1, "c": 2}}]}',
    "a duplicate key, written with an escape": b'{"a": 1, "\\u0061": 2}',
    "a duplicate key hidden by a colon in a text": b'{"a": 1, "a": 2, "b": ":"}',
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'"\\udc00"',
    "a lone surrogate as a key": b'{"\\ud800": 1}',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "broken UTF-8": b'"\xff"',
    "a byte order mark": b"\xef\xbb\xbf1",
    "a control character": b'"\x01"',
    "a trailing comma": b"[1,]",
    "a comment": b"[1] // one",
    "single quotes": b"['a']",
    "leading zeros": b"[01]",
    "two values": b"1 2",
    "nothing": b"",
    "one level too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "one level too deep, of objects": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "one level too deep, beside texts of brackets": (
        b'["[[", ' * (MAX_DEPTH + 1) + b"1" + b"]" * (MAX_DEPTH + 1)
    ),
    "100,000 open brackets": b"[" * 100_000,
    "100,000 open brackets, closed": b"[" * 100_000 + b"]" * 100_000,
    "100,000 open objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(text: bytes) -> None:
    with pytest.raises(StrictJsonError):
        loads(text)


HALVES = {
    rb'{"a": ["\ud800"]}': "a text holds a lone surrogate, half of a pair",
    rb'"\ud800x"': "a text holds a lone surrogate",
    rb'"\uDC00"': "a text holds a lone surrogate",
    rb'{"\ud800\ud800": "\ud83d\ude00"}': "a text holds a lone surrogate",
    rb'["\ud83d\ude00", "\ud800': "Input data was truncated",
    rb'["\ud83d\ude00", NaN]': "NaN is not JSON",
}


@pytest.mark.parametrize(("text", "problem"), HALVES.items())
def test_half_a_pair_is_called_so_and_nothing_else_is(text: bytes, problem: str) -> None:
    with pytest.raises(StrictJsonError, match=problem):
        loads(text)


ACCEPTED = {
    "the deepest": (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    "many shallow lists": (b"[" + b",".join([b"[[1]]"] * 5000) + b"]", [[[1]]] * 5000),
    "brackets and escapes in texts": (b'["' + b'[\\"{' * 500 + b'"]', ["[\"{" * 500]),
    "the largest integers": (
        b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
    "a float of many digits": (b"[0.12345678901234567890123]", [0.12345678901234568]),
    "one key in two objects": (b'[{"a": 1}, {"a": 1}]', [{"a": 1}, {"a": 1}]),
    "a pair of surrogates": (b'"\\ud83d\\ude00"', "\U0001f600"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepts(text: bytes, value: object) -> None:
    read = loads(text)
    assert value is None or read == value


@given(st.lists(st.tuples(TEXTS, st.integers(0, 9)), max_size=6))
def test_an_object_is_read_exactly_when_its_keys_differ(pairs: list[tuple[str, int]]) -> None:
    text = ("{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in pairs) + "}").encode()
    if len({key for key, _ in pairs}) == len(pairs):
        assert loads(text) == dict(pairs)
    else:
        with pytest.raises(StrictJsonError, match="twice"):
            loads(text)


@pytest.mark.parametrize(
    "value",
    [math.nan, [1.0, math.inf], {"a": {"b": -math.inf}}, "\ud800", {"a": object()}, {(1, 2): 3}],
    ids=["NaN", "an infinity", "a nested infinity", "a lone surrogate", "an object", "a tuple key"],
)
def test_refuses_to_write(value: object) -> None:
    with pytest.raises(StrictJsonError):
        dumps(value)


def test_null_is_written_though_nan_is_not() -> None:
    assert dumps([None, 1.5]) == b"[null,1.5]"


def test_a_refusal_of_nan_names_it() -> None:
    with pytest.raises(StrictJsonError, match="NaN"):
        dumps([math.nan])


def _without_the_library() -> types.ModuleType:
    """Load the module as it is where msgspec is not installed."""
    spec = importlib.util.spec_from_file_location("slow_strictjson", strictjson.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with unittest.mock.patch.dict(sys.modules, {"msgspec": None}):
        spec.loader.exec_module(module)
    return module


SLOW = _without_the_library()


def _read(module: Any, text: bytes) -> Any:
    try:
        return ["read", module.loads(text)]
    except module.StrictJsonError:
        return "refused"


@given(VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_without_its_library_it_reads_and_writes_the_same(text: bytes) -> None:
    read = _read(strictjson, text)
    assert _read(SLOW, text) == read
    if read != "refused":
        assert json.loads(SLOW.dumps(read[1])) == json.loads(dumps(read[1]))


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_without_its_library_it_refuses_the_same(text: bytes) -> None:
    assert _read(SLOW, text) == "refused"


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": "\ud800"}, object(), {1, 2}])
def test_without_its_library_it_writes_no_more(value: Any) -> None:
    with pytest.raises(SLOW.StrictJsonError):
        SLOW.dumps(value)
