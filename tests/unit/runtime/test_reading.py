"""Tables out of JSON: what the standard library reads as numbers of one shape, and nothing else;
in C and in Python alike."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlengine.runtime.shortcuts.reading import reader, reader_in_python
from mlengine.runtime.speedups import Reader

Make = Callable[..., Callable[[bytes], bytes | None]]


@pytest.fixture(scope="module", params=["C", "Python"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "Python":
        return reader_in_python
    if Reader is None:
        pytest.skip("THE READER IN C NOT TESTED: it was not built here, for want of a C compiler")
    return reader


NUMBER = st.one_of(
    st.integers(1 - 2**53, 2**53 - 1),
    st.floats(-(2.0**53), 2.0**53, exclude_min=True, exclude_max=True),
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
        return type(value) in (int, float) and abs(value) < 2**53
    return (
        isinstance(value, list) and len(value) == shape[0]
        and all(is_shaped(one, shape[1:]) for one in value)
    )  # fmt: skip


def columns(table: bytes | None, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Return what was read of each member, as lists."""
    assert table is not None
    rows = np.frombuffer(table, np.float64).reshape(-1, sum(map(math.prod, shapes)))
    found, end = [], 0
    for shape in shapes:
        start, end = end, end + math.prod(shape)
        found.append(rows[:, start:end].reshape(-1, *shape).tolist())
    return found


@given(st.data())
def test_lists_of_one_shape_become_a_table(make: Make, data: Any) -> None:
    shape = data.draw(SHAPES)
    instances = data.draw(st.lists(nested(shape), min_size=1, max_size=5))
    indent = data.draw(st.sampled_from([None, 0, 2]))
    body = json.dumps({"instances": instances}, indent=indent).encode()
    assert columns(make([shape])(body), [shape]) == [np.array(instances, np.float64).tolist()]


@given(st.data())
def test_objects_become_a_table_of_all_members(make: Make, data: Any) -> None:
    shapes = {"a": data.draw(SHAPES), "é": data.draw(SHAPES), "aa": (), "": (1,)}
    row = st.fixed_dictionaries({name: nested(shape) for name, shape in shapes.items()})
    instances = data.draw(st.lists(row, min_size=1, max_size=4))
    shuffled = [dict(data.draw(st.permutations(list(one.items())))) for one in instances]
    body = json.dumps({"instances": shuffled}, ensure_ascii=False).encode()
    read = make(list(shapes.values()), list(shapes))(body)
    assert columns(read, list(shapes.values())) == [
        [np.array(one[name], np.float64).tolist() for one in instances] for name in shapes
    ]


@given(st.data())
def test_whatever_is_put_in_its_place_is_seen(make: Make, data: Any) -> None:
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
    read = make([shape])(json.dumps({"instances": instances}).encode())
    assert (read is not None) == (
        bool(instances) and all(is_shaped(one, shape) for one in instances)
    )


@example("[1,[2],3,[]],[1,2,3,4]")
@example("[1,2,3,[4,5]],[1,2,3,[]]")
@example("[[1,2,3,4]],[]")
@example("[1,2,3,04]")
@example("[1,2,3,4.]")
@example("[1,2,3,.4]")
@example("[1,2,3,+4]")
@example("[1,2,3,4e]")
@example("[1,2,3,-]")
@example("[1,2,3,0x4]")
@example("[1,2,3,4]\x00")
@example("[1,2,3,4]]}\x00")
@given(st.text(st.sampled_from(list('[]{},:"0123456789.eE+- \n\ufeff\x00')), max_size=40))
def test_any_text_is_read_as_others_read_it(make: Make, text: str) -> None:
    for body in ('{"instances":[' + text + "]}", text, "\ufeff" + '{"instances":[[1,2,3,4]]}'):
        read = make([(4,)])(body.encode())
        if read is not None:
            known = json.loads(body)
            assert list(known) == ["instances"]
            assert all(is_shaped(row, (4,)) for row in known["instances"])
            assert columns(read, [(4,)]) == [np.array(known["instances"], np.float64).tolist()]


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
)
@example("-0")
@example("-0.0")
@example("0.1")
@example("0.30000000000000004")
@example("2.2250738585072011e-308")
@example("5e-324")
@example("1e-400")
@example("9007199254740991")
@example("9007199254740991.5")
@example("9007199254740992")
@example("0.500000000000000166533453693773481063544750213623046875")
@example("1.00000000000000011102230246251565404236316680908203125")
@example("1.00000000000000011102")
@example("7450580596923828125e-27")
@example("18446744073709551615e-19")
@example("0.00000000000000000000000000000000000000000000000000000001")
def test_a_number_is_the_float_that_is_next_to_it(make: Make, text: str) -> None:
    read = make([(1,)])(b'{"instances":[[%b]]}' % text.encode())
    value = float(json.loads(text))
    if abs(value) >= 2**53:
        assert read is None
    else:
        assert read is not None
        assert struct.unpack("d", read)[0] == value


def test_long_bodies_are_read_whole(make: Make) -> None:
    rows = [[1, 2.5], [1e-7, 123456.789012345]] * 5000 + [[0, 0]] * 7
    body = json.dumps({"instances": rows}).encode()
    assert columns(make([(2,)])(body), [(2,)]) == [np.array(rows, np.float64).tolist()]
    assert make([(2,)])(body[:-3] + b"]}") is None


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
        '{"instances": [{"a": [1,2,3,4], "b: [1,2,3,4]}]}',
        '{"instances": [{"a": [1,2,3,4], b: [1,2,3,4]}]}',
        '{"instances": []}', '{"instances": {}}', '{"instances": 1}', "[]", "{}", "", "{",
        '{"instances', '{"instances": [{"a', '{"instances": [{"a": [1,2,3,4], "b": [1,2,3,4',
    ],
)  # fmt: skip
def test_other_objects_are_not_read(make: Make, body: str) -> None:
    read = make([(4,), (4,)], ["a", "b"])
    assert read(body.encode()) is None
    whole = read(b'{"instances": [{"b": [1,2,3,4], "a": [5,6,7,8]}]}')
    assert columns(whole, [(4,), (4,)]) == [[[5, 6, 7, 8]], [[1, 2, 3, 4]]]


@pytest.mark.parametrize("name", ['a"', "a\\b", "\\u0061", "tab\t", "a\x00"])
def test_a_name_that_is_written_with_escapes_is_refused(make: Make, name: str) -> None:
    with pytest.raises(ValueError):
        make([()], [name])


@pytest.mark.skipif(Reader is None, reason="THE READER IN C NOT TESTED: it was not built here")
def test_what_is_no_shape_is_refused_by_name() -> None:
    assert Reader is not None
    for shapes, names, said in (
        ([], [], "0 shapes"), ([(1,)], ["a", "b"], "1 shapes and 2 names"),
        ([(0,)], [], "no list of 0 numbers"), ([(2**20, 2**20)], [], "no list of"),
        ([(1,) * 9], [], "at most 8 sizes"), ([()], ['"'], "with escapes"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            Reader(shapes, names)
    with pytest.raises(TypeError):
        Reader([()]).read("{}")  # type: ignore[arg-type]
    assert Reader([()]).read(b'{"instances": [1, 2]}') == struct.pack("2d", 1, 2)
