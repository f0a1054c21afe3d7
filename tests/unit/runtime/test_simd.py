"""Arrays out of JSON: what the standard library reads as numbers of one shape, and nothing else."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlengine.runtime.shortcuts.simd import FEW_BYTES, Arrays

pytest.importorskip("simdjson")

NUMBER = st.one_of(
    st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
ODD = st.sampled_from([
    None, True, False, "a", "", {}, {"x": 1}, [], [1], [[1]], [1, 2, 3, 4], 2**64, -(2**63) - 1,
    float("nan"), float("inf"),
])  # fmt: skip
SHAPES = st.sampled_from([(4,), (5,), (2, 4), (2, 3, 4)])


def nested(shape: tuple[int, ...], item: st.SearchStrategy[Any] = NUMBER) -> Any:
    if not shape:
        return item
    return st.lists(nested(shape[1:], item), min_size=shape[0], max_size=shape[0])


def is_shaped(value: Any, shape: tuple[int, ...]) -> bool:
    """Return whether a value of `json` is numbers in lists of a shape."""
    if not shape:
        return type(value) in (int, float) and math.isfinite(value) and -(2**63) <= value < 2**64
    return (
        isinstance(value, list) and len(value) == shape[0]
        and all(is_shaped(one, shape[1:]) for one in value)
    )  # fmt: skip


@given(st.data())
def test_lists_of_one_shape_become_an_array(data: Any) -> None:
    shape = data.draw(SHAPES)
    instances = data.draw(st.lists(nested(shape), min_size=1, max_size=5))
    read = Arrays([shape]).read(json.dumps({"instances": instances}).encode())
    assert read is not None
    (array,) = read
    assert array.shape == (len(instances), *shape) and array.flags.writeable
    assert array.tolist() == np.array(instances, dtype=np.float64).tolist()


@given(st.data())
def test_objects_become_an_array_of_each_input(data: Any) -> None:
    shapes = {"a": data.draw(SHAPES), "é:": data.draw(SHAPES)}
    row = st.fixed_dictionaries({name: nested(shape) for name, shape in shapes.items()})
    instances = data.draw(st.lists(row, min_size=1, max_size=4))
    body = json.dumps({"instances": instances}, ensure_ascii=data.draw(st.booleans())).encode()
    read = Arrays(list(shapes.values()), list(shapes)).read(body)
    assert read is not None
    for (name, shape), array in zip(shapes.items(), read, strict=True):
        assert array.shape == (len(instances), *shape)
        assert array.tolist() == [np.array(one[name], np.float64).tolist() for one in instances]


@given(st.data())
def test_whatever_is_put_in_its_place_is_seen(data: Any) -> None:
    shape = data.draw(SHAPES)
    instances = data.draw(st.lists(nested(shape, st.integers(-5, 5)), min_size=1, max_size=3))
    for _ in range(data.draw(st.integers(1, 2))):
        place: Any = instances
        for _ in range(data.draw(st.integers(0, len(shape)))):
            at = data.draw(st.integers(0, len(place) - 1))
            if not isinstance(place[at], list) or not place[at]:
                break
            place = place[at]
        change = data.draw(st.sampled_from(["put", "add", "drop"]))
        at = data.draw(st.integers(0, len(place) - 1))
        if change == "drop":
            del place[at]
        elif change == "add":
            place.insert(at, data.draw(ODD))
        else:
            place[at] = data.draw(ODD)
        if not place:
            break
    read = Arrays([shape]).read(json.dumps({"instances": instances}).encode())
    if instances and all(is_shaped(one, shape) for one in instances):
        assert read is not None
    else:
        assert read is None


@example("[1,[2],3,[]],[1,2,3,4]")
@example("[1,2,3,[4,5]],[1,2,3,[]]")
@example("[[1,2,3,4]],[]")
@given(st.text(st.sampled_from(list('[]{},:"0123456789.eE+- \n\ufeff')), max_size=40))
def test_any_text_is_read_as_others_read_it(text: str) -> None:
    for body in ('{"instances":[' + text + "]}", text, "\ufeff" + '{"instances":[[1,2,3,4]]}'):
        read = Arrays([(4,)]).read(body.encode())
        if read is not None:
            known = json.loads(body)
            assert list(known) == ["instances"]
            assert all(is_shaped(row, (4,)) for row in known["instances"])
            assert read[0].tolist() == np.array(known["instances"], np.float64).tolist()


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [{"a": [1,2,3,4], "a": [1,2,3,4]}]}',
        '{"instances": [{"a": [1,2,3,4], "b": [1,2,3,4], "a": [1,2,3,4]}]}',
        '{"instances": [{"a": [1,2,3,4], "b": [1,2,3,4], "c": 1}]}',
        '{"instances": [{"a": [1,2,3,4]}]}',
        '{"instances": [{"a": [1,2,3,4], "b": [1,2,3,4]}, [1]]}',
        '{"instances": [{"a": [1,2,3,4], "b": {"c": [1,2,3,4]}}]}',
        '{"instances": [{"a": [1,2,3,4], "b": [1,2,3,4]}], "instances": []}',
        '{"instances": [{"a": [1,2,3,4], "b": [1,2,3,4]}], "signature_name": "s"}',
        '{"instances": []}', '{"instances": {}}', '{"instances": 1}', "[]", "{}", "", "{",
    ],
)  # fmt: skip
def test_other_objects_are_not_read(body: str) -> None:
    arrays = Arrays([(4,), (4,)], ["a", "b"])
    assert arrays.read(body.encode()) is None
    whole = b'{"instances": [{"b": [1,2,3,4], "a": [5,6,7,8]}]}'
    assert [column.tolist() for column in arrays.read(whole) or ()] == [
        [[5, 6, 7, 8]],
        [[1, 2, 3, 4]],
    ]


def test_nothing_is_read_without_simdjson_nor_where_lists_are_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = b'{"instances": [[1,2,3,4]]}'
    assert Arrays([(4,)]).read(body) is not None
    assert Arrays([(2,)]).read(b'{"instances": [[1,2]]}') is None
    monkeypatch.setitem(sys.modules, "simdjson", None)
    assert Arrays([(4,)]).read(body) is None
    assert FEW_BYTES > 0
