"""Every shortcut keeps the obligations that `mlengine.runtime.shortcuts.Shortcut` numbers."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from mlengine.runtime.answerer import predict
from mlengine.runtime.shortcuts.proof import distance

TOLERANCE = 1e-5

pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")


def _general(case: Any, body: bytes) -> bytes | None:
    answer = predict(case.model, body, max_answer_bytes=1 << 20)
    return answer.body if answer.status == 200 else None


def _assert_same(case: Any, bodies: list[bytes]) -> None:
    asked = [case.shortcut.read(body) for body in bodies]
    assert all(one is not None for one in asked)
    for body, got in zip(bodies, case.shortcut.answer(asked), strict=True):
        wanted = _general(case, body)
        assert wanted is not None and got is not None, body
        if case.exact:
            assert got == wanted
        else:
            found = distance(json.loads(wanted), json.loads(got))
            assert not found.problem and found.largest < TOLERANCE


def _body(rows: Any) -> bytes:
    return json.dumps({"instances": rows}).encode()


def _rows(count: int, seed: int) -> list[list[float]]:
    chance = random.Random(seed)
    return [
        [chance.choice([round(chance.uniform(-1, 8), 3), chance.randrange(9), chance.gauss(3, 2)])
         for _ in range(4)]
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("sizes", [[1], [1] * 33, [33], [2, 1, 7, 1, 2], [70, 1]])
def test_3_answers_are_those_of_the_general_way_in_any_company(case: Any, sizes: list[int]) -> None:
    _assert_same(case, [_body(_rows(size, 100 * at + size)) for at, size in enumerate(sizes)])


@pytest.mark.parametrize("row", ["[0,0,0,0]", "[-0,0.0,-0.0,1e-300]", "[1E2, 1e+2,100,1e-2]",
                                 "[16777217,16777216.5,33554435,1]"])  # fmt: skip
def test_3_numbers_are_read_alike_however_they_are_written(case: Any, row: str) -> None:
    _assert_same(case, [b' {\n "instances" : [%b ]}\t' % row.encode()])
    _assert_same(case, [b'{"instances" : [%b ]}\t' % row.encode() + LONG] * 2)


def test_2_count_is_the_number_of_instances(case: Any) -> None:
    assert case.shortcut.count(case.shortcut.read(_body(_rows(5, 1)))) == 5


OTHER = {
    "no instances": b'{"instances":[]}',
    "a keyword": b'{"instances":[[1,2,3,4]],"signature_name":"x"}',
    "another key": b'{"examples":[[1,2,3,4]]}',
    "instances twice": b'{"instances":[[9,9,9,9]],"instances":[[1,2,3,4]]}',
    "instances twice, once in disguise": b'{"instances":[[9,9,9,9]],"\\u0069nstances":[[1,2,3,4]]}',
    "a row too short": b'{"instances":[[1,2,3]]}',
    "a row too long": b'{"instances":[[1,2,3,4,5]]}',
    "ragged rows": b'{"instances":[[1,2,3,4],[1,2,3]]}',
    "a text": b'{"instances":[[1,2,3,"4"]]}',
    "null": b'{"instances":[[1,2,3,null]]}',
    "a boolean": b'{"instances":[[1,2,3,true]]}',
    "a row in a row": b'{"instances":[[[1,2,3,4]]]}',
    "NaN": b'{"instances":[[1,2,3,NaN]]}',
    "an infinity": b'{"instances":[[1,2,3,1e999]]}',
    "not strict": b'{"instances":[[1,2,3,04]]}',
    "a comma too many": b'{"instances":[[1,2,3,4],]}',
    "more behind it": b'{"instances":[[1,2,3,4]]} {}',
    "not UTF-8": b'{"instances":[[1,2,3,4]],"\xff":1}',
    "deep": b"[" * 100_000,
    "nothing": b"",
}


LONG = b" " * 2000
"""A body of this length is read in another way."""


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER.keys())
def test_1_anything_but_the_plain_case_goes_the_general_way(case: Any, body: bytes) -> None:
    assert case.shortcut.read(body) is None
    assert case.shortcut.read(body.replace(b"{", b"{" + LONG, 1)) is None


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("number", ["9007199254740993", "123456789012345678901234567890", "1e300"])
def test_3_a_number_that_is_another_as_a_float_goes_the_general_way(
    case: Any, number: str, is_long: bool
) -> None:
    good = _body(_rows(1, 2))
    odd = b'{"instances":[[1,2,3,%b]]}' % number.encode() + LONG * is_long
    bodies = [good, odd, good]
    asked = [case.shortcut.read(body) for body in bodies]
    if all(one is not None for one in asked):
        first, second, third = case.shortcut.answer(asked)
        assert second is None
        assert first == third
        assert first in (None, _general(case, good))  # a call that fails is asked one by one


def test_objects_with_columns_by_name() -> None:
    from tests.conformance.shortcuts import conftest

    case = conftest._opened(conftest.ROWS["columns by name"])
    rows = b'{"a":1,"b":2.5,"a long name":3,"d":4},{"d":4,"b":2,"a":1,"a long name":0}'
    plain = b'{"instances":[%b]}' % rows
    _assert_same(case, [plain, plain, _body([[1, 2, 3, 4]])])
    for wrong in (b'{"a":1,"b":2,"d":4}', b'{"a":1,"b":2,"a long name":3,"d":4,"e":5}',
                  b'{"a":1,"a":1,"b":2,"a long name":3,"d":4}'):  # fmt: skip
        assert case.shortcut.read(b'{"instances":[%b]}' % wrong) is None


GOOD = {"age": 39, "work": "State-gov", "children": 2}


def test_objects_of_several_types(objects: Any) -> None:
    other = {"children": -1, "work": "Zoë", "age": 39.5}
    _assert_same(objects, [_body([GOOD]), _body([other, GOOD, other]), _body([other])])


@pytest.mark.parametrize("change", [
    {"age": "39"}, {"age": None}, {"work": 1}, {"work": {"b64": "AAAA"}}, {"children": 1.5},
    {"children": 2**31}, {"children": [2]}, {"children": True}, {"more": 1}, {"work": "a: b"},
], ids=str)  # fmt: skip
def test_objects_that_are_not_plain_go_the_general_way(objects: Any, change: Any) -> None:
    assert objects.shortcut.read(_body([GOOD, GOOD | change])) is None


def test_a_key_given_twice_in_an_object_goes_the_general_way(objects: Any) -> None:
    body = b'{"instances":[{"age":1,"age":2,"work":"x","children":0}]}'
    assert objects.shortcut.read(body) is None
